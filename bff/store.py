"""Redis as a place for bytes that may be away. The only caller of the backend, and where "away" is decided.

    read, take, forget, publish, subscribed   raise `StoreAway`: the caller knows what may stand in, or that nothing may
    write, extend, release, count, ping       tell whether it was done: a cache may fail to remember

Each call costs at most one socket timeout, and after the first one the breaker saves the next callers theirs. A request never
pays for finding out whether Redis is back: whoever comes when it is time to look has that done by a thread.
"""

import secrets
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future
from contextlib import contextmanager
from typing import Any, NamedTuple, Protocol, cast

import structlog
from flask_caching.backends.rediscache import RedisCache
from redis import Redis
from redis.client import PubSub
from redis.exceptions import ClusterError, RedisError, ResponseError
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import TimeoutError as RedisTimeoutError

from bff.breaker import Breaker, CircuitOpen, Permit

log = structlog.get_logger()

_PATIENCE_SECONDS = 0.25  # with the making of the client
_PROBE_KEY = "linked-accounts:1:probe"  # never written; a PING asks every node of a cluster, and one of them may be gone
_COUNT = """
local counted = redis.call('incrby', KEYS[1], ARGV[2])
if redis.call('pttl', KEYS[1]) < 0 then redis.call('pexpire', KEYS[1], ARGV[1]) end
return {counted, redis.call('pttl', KEYS[1])}
"""
# What a holder that failed leaves behind, "!receipt word", is for those who waited for it; anybody else may try anew.
# A lease that never ends, or not soon, is none of ours: nobody waits for it.
_TAKE = """
local holder = redis.call('get', KEYS[1])
local failed = holder and string.match(holder, '^!(%x+)')
local left = redis.call('pttl', KEYS[1])
if not holder or (failed and failed ~= ARGV[3]) or left < 0 or left > tonumber(ARGV[2]) then
  holder = ARGV[1]
  redis.call('set', KEYS[1], holder, 'px', ARGV[2])
end
return {holder, redis.call('mget', unpack(KEYS, 2))}
"""
# Compare and act in one step: a lease that ran out may be somebody else's by now.
_EXTEND = "if redis.call('get', KEYS[1]) == ARGV[1] then return redis.call('pexpire', KEYS[1], ARGV[2]) end return 0"
_RELEASE = "if redis.call('get', KEYS[1]) == ARGV[1] then return redis.call('del', KEYS[1]) end return 0"
_FAIL = """
if redis.call('get', KEYS[1]) ~= ARGV[1] then return 0 end
return redis.call('set', KEYS[1], '!' .. ARGV[1] .. ' ' .. ARGV[2], 'px', ARGV[3])
"""
_FAILURE_SECONDS = 1.0  # long enough for everybody who waits to look once more


class Observer(Protocol):
    """Who hears of trouble."""

    def cache_failed(self, operation: str, reason: str) -> None:
        """An operation did not happen."""


class StoreAway(Exception):
    """Redis did not do what had to be done."""


class Lease(NamedTuple):
    """The right to be the one who asks, until it runs out. ``receipt`` proves whose it is."""

    name: str
    receipt: str


class Taken(NamedTuple):
    """How an attempt to take a lease ended: it is ours if ``holder`` is our receipt; ``failed`` is how the one awaited ended."""

    holder: str
    failed: str
    values: Sequence[bytes | None]


class Store:
    """Named bytes with a lifetime, in Redis."""

    def __init__(self, connect: Callable[[], RedisCache], breaker: Breaker, observer: Observer) -> None:
        """``connect`` builds the backend; it is called on first use and again until it succeeds."""
        self._connect = connect
        self._connecting = threading.Lock()
        self._connected: RedisCache | None = None
        self._attempted: Future[RedisCache] | None = None
        self._breaker = breaker
        self._observer = observer

    def read(self, *keys: str) -> Sequence[bytes | None]:
        """The values under ``keys``, None for each that is missing or no text. One round trip; raises `StoreAway`."""
        with self._using("read") as backend:
            client = _client(backend)
            return _promptly(client, keys) if type(client) is Redis else backend.get_many(*keys)

    def write(self, values: Mapping[str, bytes], lifetime: float, release: Lease | None = None) -> bool:
        """Keep ``values`` for ``lifetime`` seconds, give a lease back with it. Whether it was done. One round trip."""
        try:
            with self._using("write") as backend, _client(backend).pipeline(transaction=False) as pipe:
                for key, value in values.items():
                    pipe.set(key, value, px=max(1, round(lifetime * 1000)))
                if release:
                    pipe.execute_command("EVAL", _RELEASE, 1, *release)  # a cluster's pipelines have no eval of their own
                pipe.execute()
        except StoreAway:
            return False
        return True

    def forget(self, *keys: str, leaving: Mapping[str, bytes] | None = None, lifetime: float = 1.0) -> None:
        """Delete ``keys`` and leave notes for ``lifetime`` seconds, or raise `StoreAway`: what stays would be served."""
        with self._using("forget") as backend, _client(backend).pipeline(transaction=False) as pipe:
            for key, note in (leaving or {}).items():
                pipe.set(key, note, px=round(lifetime * 1000))
            pipe.unlink(*keys)
            pipe.execute()

    def take(self, lease: Lease, lifetime: float, awaited: str, *keys: str) -> Taken:
        """Try to take ``lease`` for ``lifetime`` seconds and read ``keys``. One round trip; raises `StoreAway`.

        ``awaited`` is the receipt of the holder that the caller was waiting for, if any: how that one failed is told.
        """
        with self._using("lease") as backend:
            holder, values = _client(backend).eval(
                _TAKE, 1 + len(keys), lease.name, *keys, lease.receipt, round(lifetime * 1000), awaited
            )
        receipt, _, failed = holder.decode("ascii", "replace").partition(" ")
        return Taken(receipt.removeprefix("!"), failed, values)

    def extend(self, lease: Lease, lifetime: float) -> bool:
        """Hold ``lease`` for ``lifetime`` seconds from now, if it is still ours."""
        return bool(self._attempt("lease", _EXTEND, *lease, round(lifetime * 1000)))

    def release(self, lease: Lease, failed: str = "") -> None:
        """Give ``lease`` back if it is still ours, leaving word of a failure for those who wait; else it runs out by itself."""
        if failed:
            self._attempt("lease", _FAIL, *lease, failed, round(_FAILURE_SECONDS * 1000))
        else:
            self._attempt("lease", _RELEASE, *lease)

    def count(self, key: str, window: float, by: int = 1) -> tuple[int, float] | None:
        """Count ``by`` more under ``key``, which starts anew ``window`` seconds after its first; how many, and seconds left.

        None when Redis is away. One round trip.
        """
        counted = self._attempt("count", _COUNT, key, round(window * 1000), by)
        return (int(counted[0]), max(0, int(counted[1])) / 1000) if counted else None

    def ping(self) -> bool:
        """Whether Redis answers right now."""
        try:
            with self._using("ping") as backend:
                _client(backend).get(_PROBE_KEY)
        except StoreAway:
            return False
        return True

    def publish(self, channel: str, message: str) -> None:
        """Tell whoever is `subscribed` right now, or raise `StoreAway`."""
        with self._using("publish") as backend:
            _client(backend).publish(channel, message)

    @contextmanager
    def subscribed(self, channel: str) -> Iterator[PubSub]:
        """A subscription with a connection of its own; whatever of Redis goes wrong in the block is `StoreAway`."""
        with self._using("subscribe") as backend:
            subscription = _client(backend).pubsub()
            subscription.subscribe(channel)
        try:
            with subscription:
                yield subscription
        except (RedisError, OSError) as exc:
            self._report("subscribe", exc)
            raise StoreAway from None

    @staticmethod
    def lease(name: str) -> Lease:
        """A lease to be taken, with a receipt that nobody else has."""
        return Lease(name, secrets.token_hex(8))

    def _attempt(self, operation: str, script: str, key: str, *args: str | int) -> Any:  # noqa: ANN401 - whatever the script says
        try:
            with self._using(operation) as backend:
                return _client(backend).eval(script, 1, key, *args)
        except StoreAway:
            return None

    @contextmanager
    def _using(self, operation: str) -> Iterator[RedisCache]:
        permit = self._permit(operation)
        try:
            yield self._backend()
        except (RedisConnectionError, RedisTimeoutError, ClusterError, OSError) as exc:
            permit.failed()
            self._report(operation, exc)
            raise StoreAway from None
        except RedisError as exc:
            # It answers, if only to refuse (full, read-only, another type under our key): no reason to stop asking.
            permit.succeeded()
            self._report(operation, exc)
            raise StoreAway from None
        except Exception as exc:  # noqa: BLE001 - a cluster's client raises all sorts of things while the cluster changes under it
            permit.failed()
            self._report(operation, exc)
            raise StoreAway from None
        except BaseException:
            permit.abandoned()
            raise
        else:
            permit.succeeded()

    def _permit(self, operation: str) -> Permit:
        try:
            permit = self._breaker.enter()
        except CircuitOpen:
            self._observer.cache_failed(operation, "breaker_open")
            raise StoreAway from None
        if permit.probe:
            threading.Thread(target=self._probe, args=(permit,), name="redis-probe", daemon=True).start()
            self._observer.cache_failed(operation, "breaker_open")
            raise StoreAway
        return permit

    def _probe(self, permit: Permit) -> None:
        try:
            _client(self._backend()).get(_PROBE_KEY)
        except Exception as exc:  # noqa: BLE001 - whatever it is, Redis is not back
            permit.failed()
            self._report("ping", exc)
        else:
            permit.succeeded()

    def _backend(self) -> RedisCache:
        if self._connected is None:
            with self._connecting:
                if self._attempted is None:
                    self._attempted = Future()
                    threading.Thread(target=self._connect_to, args=(self._attempted,), name="redis", daemon=True).start()
                attempt = self._attempted
            # A cluster's client asks one node after the other before it exists.
            self._connected = attempt.result(timeout=_PATIENCE_SECONDS)
        return self._connected

    def _connect_to(self, attempt: "Future[RedisCache]") -> None:
        try:
            backend = self._connect()
        except Exception as exc:  # noqa: BLE001 - whoever waits is told
            self._attempted = None
            attempt.set_exception(exc)
        else:
            attempt.set_result(backend)

    def _report(self, operation: str, exc: Exception) -> None:
        # The name alone: the text of a library's exception may hold a password or a value.
        reason = type(exc).__name__
        self._observer.cache_failed(operation, reason)
        log.warning("cache_failed", operation=operation, reason=reason)


def _promptly(client: Redis, keys: Sequence[str]) -> Sequence[bytes | None]:
    """MGET without redis-py's retries, events and telemetry around it, which cost more than Redis does; a cluster needs them."""
    pool = client.connection_pool
    connection: Any = pool.get_connection()
    try:
        connection.send_command("MGET", *keys)
        return cast("Sequence[bytes | None]", connection.read_response())
    except ResponseError:
        raise  # read to its end
    except BaseException:
        # What was asked for may still arrive: it must not become the next caller's answer.
        connection.disconnect()
        raise
    finally:
        pool.release(connection)


def _client(backend: RedisCache) -> Any:  # noqa: ANN401 - redis-py's clients for one server, sentinels and a cluster share no type
    # cachelib knows no pipelines and no scripts; its client does.
    return backend._write_client  # noqa: SLF001
