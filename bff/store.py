"""Redis as a place for bytes that may be away. The only caller of the backend, and the owner of failing open.

    read, write    fail open: a cache that is away costs a question to GenAuth, never an answer
    forget         raises: what could not be forgotten would be served
    take, release  fail open: without the lease everybody goes, as without the cache

Each call costs at most one socket timeout, and after the first one the breaker saves the next callers theirs.
"""

import secrets
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Protocol

import structlog
from flask_caching.backends.rediscache import RedisCache
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import RedisClusterException, RedisError
from redis.exceptions import TimeoutError as RedisTimeoutError

from bff.breaker import Breaker, CircuitOpen

log = structlog.get_logger()

_AWAY = (RedisConnectionError, RedisTimeoutError, RedisClusterException, OSError)
_PATIENCE_SECONDS = 0.25  # with somebody else's first connection
_COUNT = """
local counted = redis.call('incr', KEYS[1])
if counted == 1 then redis.call('pexpire', KEYS[1], ARGV[1]) end
return {counted, redis.call('pttl', KEYS[1])}
"""
# Compare and act in one step: a lease that ran out may be somebody else's by now.
_EXTEND = "if redis.call('get', KEYS[1]) == ARGV[1] then return redis.call('pexpire', KEYS[1], ARGV[2]) end return 0"
_RELEASE = "if redis.call('get', KEYS[1]) == ARGV[1] then return redis.call('del', KEYS[1]) end return 0"


class Observer(Protocol):
    """Who hears of trouble."""

    def cache_failed(self, operation: str, reason: str) -> None:
        """An operation did not happen."""


class StoreAway(Exception):
    """Redis did not do what had to be done."""


class Store:
    """Named bytes with a lifetime, in Redis."""

    def __init__(self, connect: Callable[[], RedisCache], breaker: Breaker, observer: Observer) -> None:
        """``connect`` builds the backend; it is called on first use and again until it succeeds."""
        self._connect = connect
        self._connecting = threading.Lock()
        self._connected: RedisCache | None = None
        self._breaker = breaker
        self._observer = observer

    def read(self, *keys: str) -> Sequence[bytes | None]:
        """The values under ``keys``, None for each that is missing, all None when Redis is away. One round trip."""
        try:
            with self._using("read") as backend:
                return backend.get_many(*keys)
        except StoreAway:
            return [None] * len(keys)

    def write(self, values: Mapping[str, bytes], lifetime: float) -> bool:
        """Keep ``values`` for ``lifetime`` seconds, or report that it could not be done. One round trip."""
        try:
            with self._using("write") as backend:
                return len(backend.set_many(dict(values), timeout=max(1, round(lifetime)))) == len(values)
        except StoreAway:
            return False

    def forget(self, *keys: str) -> None:
        """Delete ``keys`` or raise `StoreAway`: what stays would be served."""
        with self._using("forget") as backend:
            backend.unlink(*keys)

    def take(self, lease: str, lifetime: float, *keys: str) -> tuple[str | None, Sequence[bytes | None]]:
        """Try to take ``lease`` for ``lifetime`` seconds and read ``keys``, in one round trip.

        Returns the receipt to `release` it with, None when somebody else holds it, and the values. With Redis away the receipt
        is "" : go, nobody can be asked to wait.
        """
        receipt = secrets.token_hex(8)
        try:
            with self._using("lease") as backend, backend._write_client.pipeline(transaction=False) as pipe:  # noqa: SLF001
                pipe.set(lease, receipt, nx=True, px=int(lifetime * 1000))
                for key in keys:
                    pipe.get(key)
                taken, *values = pipe.execute()
                return (receipt if taken else None), values
        except StoreAway:
            return "", [None] * len(keys)

    def extend(self, lease: str, receipt: str, lifetime: float) -> None:
        """Hold ``lease`` for ``lifetime`` seconds from now, if it is still ours."""
        try:
            with self._using("lease") as backend:
                backend._write_client.eval(_EXTEND, 1, lease, receipt, int(lifetime * 1000))  # noqa: SLF001
        except StoreAway:
            return

    def release(self, lease: str, receipt: str) -> None:
        """Give ``lease`` back if it is still ours. A lease that cannot be given back runs out by itself."""
        try:
            with self._using("lease") as backend:
                backend._write_client.eval(_RELEASE, 1, lease, receipt)  # noqa: SLF001 - cachelib knows no scripts
        except StoreAway:
            return

    def count(self, key: str, window: float) -> tuple[int, float] | None:
        """Count one more under ``key``, which starts anew ``window`` seconds after its first; how many, and seconds left.

        None when Redis is away. One round trip.
        """
        try:
            with self._using("count") as backend:
                counted, milliseconds = backend._write_client.eval(_COUNT, 1, key, int(window * 1000))  # noqa: SLF001
                return int(counted), max(0, int(milliseconds)) / 1000
        except StoreAway:
            return None

    def ping(self) -> bool:
        """Whether Redis answers right now."""
        try:
            with self._using("ping") as backend:
                return bool(backend._write_client.ping())  # noqa: SLF001 - cachelib knows no ping
        except StoreAway:
            return False

    @contextmanager
    def _using(self, operation: str) -> Iterator[RedisCache]:
        try:
            permit = self._breaker.enter()
        except CircuitOpen:
            self._observer.cache_failed(operation, "breaker_open")
            raise StoreAway from None
        try:
            yield self._backend()
        except _AWAY as exc:
            permit.failed()
            self._report(operation, exc)
            raise StoreAway from None
        except RedisError as exc:
            # It answers, if only to refuse (full, read-only, another type under our key): no reason to stop asking.
            permit.succeeded()
            self._report(operation, exc)
            raise StoreAway from None
        except BaseException:
            permit.abandoned()
            raise
        else:
            permit.succeeded()

    def _backend(self) -> RedisCache:
        if self._connected is None:
            if not self._connecting.acquire(timeout=_PATIENCE_SECONDS):
                raise RedisConnectionError
            try:
                return self._connected_by_now()
            finally:
                self._connecting.release()
        return self._connected

    def _connected_by_now(self) -> RedisCache:
        if self._connected is None:
            self._connected = self._connect()
        return self._connected

    def _report(self, operation: str, exc: Exception) -> None:
        reason = type(exc).__name__
        self._observer.cache_failed(operation, reason)
        log.warning("cache_failed", operation=operation, reason=reason)
