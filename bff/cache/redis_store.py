"""Redis as a place for bytes that may be away. The only caller of the backend, and where "away" is decided.

    get_many, delete_many, publish, subscribed, a lock's acquire   raise `CacheUnavailable`: the caller knows what may stand in
    set_many, increment, ping, a lock's extend and release         return whether it was done: a cache may fail to store

Each call takes at most one socket timeout; after the first failure the circuit breaker refuses the next calls at once. No request
waits to find out whether Redis is back: a thread of its own sends the breaker's probe.

Connections die without knowing (a firewall forgets them), or lead to a server that was replaced (a failover behind one address).
So a failure of one closes all idle ones: the next calls make their own.
"""

import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future
from contextlib import contextmanager, suppress
from math import ceil, inf
from typing import Any, TypeVar

import structlog
from redis.client import PubSub
from redis.exceptions import RedisError

from bff.cache.lock import StoreLock
from bff.cache.redis_client import RedisBackend, Script
from bff.cache.redis_errors import RIGHTS, CacheUnavailable, is_away, is_demoted, reason_of
from bff.observability import Recorder
from bff.resilience import CircuitBreaker, CircuitOpen, Permit, in_background

log = structlog.get_logger()

T = TypeVar("T")
Trial = Callable[[RedisBackend], object]

PREFIX = "la:6:"  # of every key and channel; with another shape of what is stored comes another number
_PROBE_KEY = f"{PREFIX}probe"  # nothing reads what it holds; a PING asks every node of a cluster, and one of them may be gone
# Counts, and starts the window with its first request. What cannot be counted on, or has no end, or one beyond its window, is
# none of ours.
_INCREMENT = """
local count = redis.pcall('incrby', KEYS[1], ARGV[2])
if type(count) == 'table' then
  redis.call('del', KEYS[1])
  count = redis.call('incrby', KEYS[1], ARGV[2])
end
local left = redis.call('pttl', KEYS[1])
if left < 0 or left > tonumber(ARGV[1]) then
  left = tonumber(ARGV[1])
  redis.call('pexpire', KEYS[1], left)
end
return {count, left}
"""
_QUIET_SECONDS = 60.0  # in which the log says once that an operation fails for a reason
_RENEWED_EVERY = 0.25  # seconds; a server that refuses every write must not cost a connection each


# What a server that answers may refuse all the same: full, a replica, or without the right. Tried to find out.
_TRIALS: dict[str, Trial] = {
    "set": lambda redis: redis.client.set(_PROBE_KEY, "", px=1),
    "increment": lambda redis: redis.client.eval("return 1", 1, _PROBE_KEY),
    "publish": lambda redis: redis.client.publish(_PROBE_KEY, ""),
}


class RedisStore:
    """Named bytes with a lifetime, in Redis."""

    def __init__(
        self, connect: Callable[[], RedisBackend], breaker: CircuitBreaker, recorder: Recorder, *, connect_seconds: float = 0.25
    ) -> None:
        """``connect`` builds the backend; it is called on first use and again until it succeeds.

        ``connect_seconds`` is how long a call waits for it.
        """
        self._connect = connect
        self._connect_seconds = connect_seconds
        self._connecting = threading.Lock()
        self._backend: RedisBackend | None = None
        self._connection: Future[RedisBackend] | None = None
        self._breaker = breaker
        self._recorder = recorder
        self._renewed_at = -inf
        self._reason = "closed"  # of the last failure
        self._logged: dict[tuple[str, str], float] = {}
        self._forbidden: set[str] = set()

    def get_many(self, *keys: str) -> Sequence[bytes | None]:
        """The values under ``keys``, None for each that is missing or no string. One round trip; raises `CacheUnavailable`."""
        return self._do("get", lambda redis: redis.cache.get_many(*keys))

    def set_many(self, values: Mapping[str, bytes], seconds: float) -> bool:
        """Store ``values`` for ``seconds``, rounded up to whole ones. Whether it was done. One round trip."""
        try:
            self._do("set", lambda redis: redis.cache.set_many(dict(values), timeout=max(1, ceil(seconds))))
        except CacheUnavailable:
            return False
        return True

    def delete_many(self, *keys: str) -> None:
        """Delete ``keys``, or raise `CacheUnavailable`: what is left would be served."""
        self._do("delete", lambda redis: redis.cache.delete_many(*keys))

    def increment(self, key: str, window: float, by: int = 1) -> tuple[int, float] | None:
        """Count ``by`` more under ``key``, from 0 again ``window`` seconds after the first: the count, and the seconds left.

        None when Redis is away. One round trip.
        """
        try:
            ((count, left),) = self.run_scripts("increment", [(_INCREMENT, [key], [round(window * 1000), by])])
        except CacheUnavailable:
            return None
        return int(count), int(left) / 1000

    def lock(self, name: str, seconds: float, *, at_most: float | None = None) -> StoreLock:
        """A lock that ends by itself after ``seconds``, not yet acquired. ``at_most``: how long any of that name could last."""
        return StoreLock(self._do, name, seconds, at_most or seconds)

    def ping(self) -> bool:
        """Whether Redis answers right now."""
        try:
            self._do("ping", lambda redis: redis.client.get(_PROBE_KEY))
        except CacheUnavailable:
            return False
        return True

    def trouble(self, also: Mapping[str, Trial] | None = None) -> str | None:
        """Why Redis does not do its work right now, as a word of `bff.cache.redis_errors`; None while it does.

        ``also`` is what else is tried, by operation.
        `bff.cache.redis_errors.RIGHTS` when it serves, but lets us not do everything that we have to.
        """
        if not self.ping():
            return self._reason
        refused = None
        for operation, work in {**_TRIALS, **(also or {})}.items():
            try:
                self._do(operation, work)
            except CacheUnavailable:
                refused = refused or self._reason
        return RIGHTS if self._forbidden else refused

    def run_scripts(self, operation: str, scripts: Sequence[Script]) -> Sequence[Any]:
        """What the scripts return, one after the other, each done as a whole. One round trip, or in a cluster one to each server.

        Raises `CacheUnavailable`: some may be done.
        """
        return self._do(operation, lambda redis: redis.run(scripts))

    def publish(self, channel: str, message: str | bytes) -> int:
        """Send ``message`` to whoever is `subscribed` right now: to how many. Raises `CacheUnavailable`."""
        return self._do("publish", lambda redis: int(redis.client.publish(channel, message)))

    def subscribers(self, channel: str) -> int:
        """How many are `subscribed` to the channel right now, or raise `CacheUnavailable`."""
        return self._do("subscribers", lambda redis: redis.subscribers(channel))

    @contextmanager
    def subscribed(self, *channels: str) -> Iterator[PubSub]:
        """A subscription with a connection of its own; whatever of Redis fails in the block is `CacheUnavailable`."""
        subscription = self._do("subscribe", lambda redis: _subscribed(redis.client, channels))
        try:
            with subscription:
                yield subscription
        except (RedisError, OSError) as exc:
            self._failed("subscribe", exc)
            raise CacheUnavailable from None

    def _do(self, operation: str, work: Callable[[RedisBackend], T]) -> T:
        """What ``work`` returns; a failure of Redis in it is `CacheUnavailable` and counts for the breaker."""
        permit = self._permit(operation)
        try:
            done = work(self._connected())
        except Exception as exc:  # noqa: BLE001 - a cluster's client raises all sorts of things while the cluster changes under it
            self._failed(operation, exc)
            if is_away(exc):
                permit.failed()
            else:
                permit.succeeded()  # it answers, if only to refuse
            raise CacheUnavailable from None
        except BaseException:
            permit.abandoned()
            raise
        permit.succeeded()
        if self._forbidden:
            self._forbidden.discard(operation)
        return done

    def _permit(self, operation: str) -> Permit:
        with suppress(CircuitOpen):
            permit = self._breaker.enter()
            if not permit.probe:
                return permit
            if not in_background(self._probe, permit, name="redis-probe"):
                permit.abandoned()
        self._recorder.cache_failed(operation, "breaker_open")
        raise CacheUnavailable

    def _probe(self, permit: Permit) -> None:
        try:
            self._connected().client.get(_PROBE_KEY)
        except Exception as exc:  # noqa: BLE001 - whatever it is, Redis is not back
            self._failed("ping", exc)
            permit.failed()
        else:
            permit.succeeded()

    def _connected(self) -> RedisBackend:
        if self._backend is None:
            with self._connecting:
                connection = self._connection
                if connection is None:
                    connection = self._connection = Future()
                    if not in_background(self._connect_to, connection, name="redis"):
                        self._connection = None
                        raise OSError("no thread is to be had")
            # A cluster's client asks one node after the other before it exists.
            self._backend = connection.result(timeout=self._connect_seconds)
        return self._backend

    def _connect_to(self, connection: "Future[RedisBackend]") -> None:
        try:
            backend = self._connect()
        except Exception as exc:  # noqa: BLE001 - whoever waits receives it
            self._connection = None
            connection.set_exception(exc)
        else:
            connection.set_result(backend)

    def _failed(self, operation: str, exc: Exception) -> None:
        """Count and log a failure, and have the next calls make connections of their own where that may help."""
        reason = self._reason = reason_of(exc)
        self._recorder.cache_failed(operation, reason)
        now = time.monotonic()
        if (is_away(exc) or is_demoted(exc)) and self._backend and now - self._renewed_at >= _RENEWED_EVERY:
            self._renewed_at = now
            self._backend.close_idle()
        if reason == RIGHTS:
            self._forbidden.add(operation)
        # A right that is missing stays so until somebody grants it.
        quiet = inf if reason == RIGHTS else _QUIET_SECONDS
        if now - self._logged.get((operation, reason), -inf) >= quiet:
            self._logged[operation, reason] = now
            log.warning("cache_failed", operation=operation, reason=reason)


def _subscribed(client: Any, channels: Sequence[str]) -> PubSub:  # noqa: ANN401 - see `RedisBackend`
    subscription: PubSub = client.pubsub()
    try:
        subscription.subscribe(*channels)
    except BaseException:
        subscription.close()
        raise
    return subscription
