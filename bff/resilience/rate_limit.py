"""Rate limits: so many requests in a window for each user, and so many bad tokens from each address.

limits' fixed window over a storage of ours, because limits' own opens connections beside the store's and asks Redis each time.
Workers and replicas count together in Redis; a worker counts alone while Redis is away. A window starts with its first request
and ends as a whole. Twice the rate can pass around its end; a sliding one would take a second key to stop what harms nobody.
"""

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from math import ceil
from typing import NoReturn, Protocol

from limits import parse
from limits.storage import Storage
from limits.strategies import FixedWindowRateLimiter

from bff.errors import RateLimited
from bff.observability import Recorder
from bff.resilience.caches import Cache, cache

_UNREPORTED_SHARE = 16


@dataclass(frozen=True, slots=True)
class Standing:
    """Where a caller stands: ``remaining`` of ``limit`` requests in this window, which ends in ``resets_in`` seconds."""

    scope: str
    limit: int
    window: int
    remaining: int
    resets_in: float

    @property
    def headers(self) -> dict[str, str]:
        """The fields of draft-ietf-httpapi-ratelimit-headers-11."""
        return {
            "RateLimit-Policy": f'"{self.scope}";q={self.limit};w={self.window}',
            "RateLimit": f'"{self.scope}";r={self.remaining};t={ceil(self.resets_in)}',
        }


class Counter(Protocol):
    """What all workers and replicas share: `bff.cache.redis_store.RedisStore`."""

    def increment(self, key: str, window: float, by: int = 1) -> tuple[int, float] | None:
        """Count ``by`` more in a window: the count, and the seconds left. None while it is away."""


@dataclass(slots=True)
class _Window:
    """The count of one key until ``ends``: ``shared`` as far as reported, ``pending`` counted here since."""

    ends: float
    shared: int = 0
    pending: int = 0
    pending_at_most: int = 0

    @property
    def count(self) -> int:
        return self.shared + self.pending


class BatchingStorage(Storage):
    """Counts in this process and reports to a shared counter in batches.

    A batch may be a sixteenth of what is left of the limit: far from its limit a caller seldom takes a round trip, near it every
    request is reported. Beyond the limit nothing is. Where limits speaks of expiry as a time, it is one of ``clock``.
    """

    STORAGE_SCHEME = None  # made here, not by a URI

    def __init__(self, counter: Counter, limit: int, clock: Callable[[], float]) -> None:
        super().__init__()
        self._counter = counter
        self._limit = limit
        self._clock = clock
        self._windows: Cache[str, _Window] = cache("rate_limit_windows")
        self._lock = threading.Lock()

    @property
    def base_exceptions(self) -> tuple[type[Exception], ...]:
        """None: a counter that is away is no error."""
        return ()

    def incr(self, key: str, expiry: int, amount: int = 1) -> int:
        """Count ``amount`` more in a window of ``expiry`` seconds."""
        with self._lock:
            window = self._current(key)
            if window is None:
                window = _Window(self._clock() + expiry)
                self._windows.put(key, window)
            window.pending += amount
            due = window.pending > window.pending_at_most and window.shared <= self._limit
            batch = window.pending if due else 0
            window.shared, window.pending = window.shared + batch, window.pending - batch
        if batch:
            reported = self._counter.increment(key, expiry, batch)
            with self._lock:
                if reported is not None:
                    # No longer than our own window, whatever the counter says.
                    window.shared, window.ends = reported[0], self._clock() + min(reported[1], expiry)
                window.pending_at_most = max(0, self._limit - window.shared) // _UNREPORTED_SHARE
        return window.count

    def get(self, key: str) -> int:
        """The count, as far as this process knows."""
        window = self._current(key)
        return window.count if window else 0

    def get_expiry(self, key: str) -> float:
        """When the window ends; now, if there is none."""
        window = self._current(key)
        return window.ends if window else self._clock()

    def check(self) -> bool:
        """Always true: without the counter it counts alone."""
        return True

    def reset(self) -> int | None:
        """Start all windows of this process again."""
        self._windows.clear()
        return None

    def clear(self, key: str) -> None:
        """Start one window of this process again."""
        self._windows.drop(key)

    def _current(self, key: str) -> _Window | None:
        window = self._windows.get(key)
        return window if window and self._clock() < window.ends else None


class RateLimit:
    """One rate for every member of a ``scope``, such as all users. ``rate`` reads like ``120/minute``."""

    def __init__(
        self,
        scope: str,
        rate: str,
        counter: Counter,
        recorder: Recorder,
        *,
        namespace: str,
        opaque_id: Callable[[str], str],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Members are counted under ``namespace`` by their ``opaque_id``."""
        self._item = parse(rate)
        self._item.namespace = namespace
        self._limiter = FixedWindowRateLimiter(BatchingStorage(counter, self._item.amount, clock))
        self._scope = scope
        self._recorder = recorder
        self._opaque_id = opaque_id
        self._clock = clock

    def check(self, member: str) -> None:
        """Raise RateLimited while the member's window is used up, as far as this process knows. Counts nothing."""
        name = self._opaque_id(member)
        if not self._limiter.test(self._item, name):
            self._refuse(name)

    def hit(self, member: str) -> Standing:
        """Count one request of the member's; raises RateLimited when it is one too many."""
        name = self._opaque_id(member)
        if not self._limiter.hit(self._item, name):
            self._refuse(name)
        return self._standing(name)

    def _standing(self, name: str) -> Standing:
        ends, remaining = self._limiter.get_window_stats(self._item, name)
        left = max(0.0, ends - self._clock())
        return Standing(self._scope, self._item.amount, self._item.get_expiry(), remaining, left)

    def _refuse(self, name: str) -> NoReturn:
        self._recorder.rate_limited(self._scope)
        standing = self._standing(name)
        raise RateLimited(
            f"Ask again in {max(1, ceil(standing.resets_in))} seconds.",
            note=f"over the {self._scope} limit",
            retry_after=standing.resets_in,
            headers=standing.headers,
        )
