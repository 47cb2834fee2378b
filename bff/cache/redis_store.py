"""Redis as a place for bytes that may be away. The only caller of the backend, and where "away" is decided.

    read, take, forget, publish, subscribed   raise `CacheUnavailable`: the caller knows what may stand in, or that nothing may
    write, extend, release, count, ping       tell whether it was done: a cache may fail to remember

Each call costs at most one socket timeout, and after the first one the breaker saves the next callers theirs. A request never
pays for finding out whether Redis is back: whoever comes when it is time to look has that done by a thread.
"""

import random
import threading
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from concurrent.futures import Future
from contextlib import contextmanager
from typing import Any, NamedTuple, TypeVar

import structlog
from flask_caching.backends.rediscache import RedisCache
from redis.client import PubSub
from redis.exceptions import ClusterError, RedisError
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import TimeoutError as RedisTimeoutError

from bff.cache.roundtrip import Ask, Command, way_to
from bff.observability import Recorder
from bff.resilience import CircuitBreaker, CircuitOpen, Permit

log = structlog.get_logger()

T = TypeVar("T")

_PATIENCE_SECONDS = 0.25  # with the making of the client
PREFIX = "la:2:"  # of every key and channel; with another shape of what is stored comes another number
_PROBE = ("GET", f"{PREFIX}probe")  # never written; a PING asks every node of a cluster, and one of them may be gone
_COUNT = """
local counted = redis.call('incrby', KEYS[1], ARGV[2])
if redis.call('pttl', KEYS[1]) < 0 then redis.call('pexpire', KEYS[1], ARGV[1]) end
return {counted, redis.call('pttl', KEYS[1])}
"""
# What a holder that failed leaves behind, "!receipt word", is for those who waited for it; anybody else may try anew.
# A lease that never ends, or not soon, is none of ours: nobody waits for it.
_TAKE = """
local values = redis.call('mget', unpack(KEYS, 2))
local known, enough = 0, tonumber(ARGV[4])
while values[known + 1] do known = known + 1 end
if enough > 0 and known >= enough then return {'', values} end
local holder = redis.call('get', KEYS[1])
local failed = holder and string.match(holder, '^!(%x+)')
local left = redis.call('pttl', KEYS[1])
if not holder or (failed and failed ~= ARGV[3]) or left < 0 or left > tonumber(ARGV[2]) then
  holder = ARGV[1]
  redis.call('set', KEYS[1], holder, 'px', ARGV[2])
end
return {holder, values}
"""
# Compare and act in one step: a lease that ran out may be somebody else's by now.
_EXTEND = "if redis.call('get', KEYS[1]) == ARGV[1] then return redis.call('pexpire', KEYS[1], ARGV[2]) end return 0"
_RELEASE = "if redis.call('get', KEYS[1]) == ARGV[1] then return redis.call('del', KEYS[1]) end return 0"
_FAIL = """
if redis.call('get', KEYS[1]) ~= ARGV[1] then return 0 end
return redis.call('set', KEYS[1], '!' .. ARGV[1] .. ' ' .. ARGV[2], 'px', ARGV[3])
"""
_FAILURE_SECONDS = 1.0  # long enough for everybody who waits to look once more


class CacheUnavailable(Exception):
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


class Connected(NamedTuple):
    """Redis as we reach it."""

    client: Any  # redis-py's clients for one server, sentinels and a cluster share no type
    ask: Ask


class RedisStore:
    """Named bytes with a lifetime, in Redis."""

    def __init__(self, connect: Callable[[], RedisCache], breaker: CircuitBreaker, recorder: Recorder) -> None:
        """``connect`` builds the backend; it is called on first use and again until it succeeds."""
        self._connect = connect
        self._connecting = threading.Lock()
        self._connected: Connected | None = None
        self._attempted: Future[Connected] | None = None
        self._breaker = breaker
        self._recorder = recorder

    def read(self, *keys: str) -> Sequence[bytes | None]:
        """The values under ``keys``, None for each that is missing or no text. One round trip; raises `CacheUnavailable`."""
        values: Sequence[bytes | None] = self._ask("read", ("MGET", *keys))[0]
        return values

    def write(self, values: Mapping[str, bytes], lifetime: float, release: Lease | None = None) -> bool:
        """Keep ``values`` for ``lifetime`` seconds, give a lease back with it. Whether it was done. One round trip."""
        commands = _kept(values, lifetime)
        if release:
            commands.append(("EVAL", _RELEASE, 1, *release))
        try:
            self._ask("write", *commands)
        except CacheUnavailable:
            return False
        return True

    def forget(self, *keys: str, leaving: Mapping[str, bytes] | None = None, lifetime: float = 1.0) -> None:
        """Delete ``keys`` and leave notes for ``lifetime`` seconds, or raise `CacheUnavailable`: what stays would be served."""
        self._ask("forget", *_kept(leaving or {}, lifetime), ("UNLINK", *keys))

    def take(self, lease: Lease, lifetime: float, awaited: str, *keys: str, enough: int = 0) -> Taken:
        """Try to take ``lease`` for ``lifetime`` seconds and read ``keys``. One round trip; raises `CacheUnavailable`.

        ``awaited`` is the receipt of the holder that the caller was waiting for, if any: how that one failed is told. If each of
        the first ``enough`` keys has a value, the lease is left alone and has no ``holder``.
        """
        names = (lease.name, *keys)
        take: Command = ("EVAL", _TAKE, len(names), *names, lease.receipt, round(lifetime * 1000), awaited, enough)
        holder, values = self._ask("lease", take)[0]
        receipt, _, failed = holder.decode("ascii", "replace").partition(" ")
        return Taken(receipt.removeprefix("!"), failed, values)

    def extend(self, leases: Collection[Lease], lifetime: float) -> int:
        """Hold ``leases`` for ``lifetime`` seconds from now; how many were still ours. One round trip."""
        milliseconds = round(lifetime * 1000)
        try:
            return sum(self._ask("lease", *(("EVAL", _EXTEND, 1, *lease, milliseconds) for lease in leases)))
        except CacheUnavailable:
            return 0

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
            self._ask("ping", _PROBE)
        except CacheUnavailable:
            return False
        return True

    def publish(self, channel: str, message: str) -> None:
        """Tell whoever is `subscribed` right now, or raise `CacheUnavailable`."""
        self._do("publish", lambda redis: redis.client.publish(channel, message))

    @contextmanager
    def subscribed(self, channel: str) -> Iterator[PubSub]:
        """A subscription with a connection of its own; whatever of Redis goes wrong in the block is `CacheUnavailable`."""
        subscription = self._do("subscribe", lambda redis: _subscribed(redis.client, channel))
        try:
            with subscription:
                yield subscription
        except (RedisError, OSError) as exc:
            self._report("subscribe", exc)
            raise CacheUnavailable from None

    @staticmethod
    def lease(name: str) -> Lease:
        """A lease to be taken, with a receipt that nobody else has."""
        # It guards nothing; asking the system would give the interpreter away in the middle of a request.
        return Lease(name, f"{random.getrandbits(64):016x}")

    def _attempt(self, operation: str, script: str, key: str, *args: str | int) -> Any:  # noqa: ANN401 - whatever the script says
        try:
            return self._ask(operation, ("EVAL", script, 1, key, *args))[0]
        except CacheUnavailable:
            return None

    def _ask(self, operation: str, *commands: Command) -> Sequence[Any]:
        return self._do(operation, lambda redis: redis.ask(*commands))

    def _do(self, operation: str, work: Callable[[Connected], T]) -> T:
        """What ``work`` makes of Redis; whatever of Redis goes wrong in it is `CacheUnavailable`, and the breaker's to judge."""
        permit = self._permit(operation)
        try:
            done = work(self._redis())
        except (RedisConnectionError, RedisTimeoutError, ClusterError, OSError) as exc:
            permit.failed()
            self._report(operation, exc)
            raise CacheUnavailable from None
        except RedisError as exc:
            # It answers, if only to refuse (full, read-only, another type under our key): no reason to stop asking.
            permit.succeeded()
            self._report(operation, exc)
            raise CacheUnavailable from None
        except Exception as exc:  # noqa: BLE001 - a cluster's client raises all sorts of things while the cluster changes under it
            permit.failed()
            self._report(operation, exc)
            raise CacheUnavailable from None
        except BaseException:
            permit.abandoned()
            raise
        permit.succeeded()
        return done

    def _permit(self, operation: str) -> Permit:
        try:
            permit = self._breaker.enter()
        except CircuitOpen:
            self._recorder.cache_failed(operation, "breaker_open")
            raise CacheUnavailable from None
        if permit.probe:
            threading.Thread(target=self._probe, args=(permit,), name="redis-probe", daemon=True).start()
            self._recorder.cache_failed(operation, "breaker_open")
            raise CacheUnavailable
        return permit

    def _probe(self, permit: Permit) -> None:
        try:
            self._redis().ask(_PROBE)
        except Exception as exc:  # noqa: BLE001 - whatever it is, Redis is not back
            permit.failed()
            self._report("ping", exc)
        else:
            permit.succeeded()

    def _redis(self) -> Connected:
        if self._connected is None:
            with self._connecting:
                if self._attempted is None:
                    self._attempted = Future()
                    threading.Thread(target=self._connect_to, args=(self._attempted,), name="redis", daemon=True).start()
                attempt = self._attempted
            # A cluster's client asks one node after the other before it exists.
            self._connected = attempt.result(timeout=_PATIENCE_SECONDS)
        return self._connected

    def _connect_to(self, attempt: "Future[Connected]") -> None:
        try:
            # cachelib knows no pipelines and no scripts; its client does.
            client = self._connect()._write_client  # noqa: SLF001
        except Exception as exc:  # noqa: BLE001 - whoever waits is told
            self._attempted = None
            attempt.set_exception(exc)
        else:
            attempt.set_result(Connected(client, way_to(client)))

    def _report(self, operation: str, exc: Exception) -> None:
        # The name alone: the text of a library's exception may hold a password or a value.
        reason = type(exc).__name__
        self._recorder.cache_failed(operation, reason)
        log.warning("cache_failed", operation=operation, reason=reason)


def _kept(values: Mapping[str, bytes], lifetime: float) -> list[Command]:
    milliseconds = max(1, round(lifetime * 1000))
    return [("SET", key, value, "PX", milliseconds) for key, value in values.items()]


def _subscribed(client: Any, channel: str) -> PubSub:  # noqa: ANN401 - see `Connected`
    subscription: PubSub = client.pubsub()
    subscription.subscribe(channel)
    return subscription
