"""Rate limits: so many requests in a window for each user, and so many bad tokens from each address and network.

limits reads the rate and names the key. The counting is ours: its storages open connections beside the store's and ask Redis each
time. Workers and replicas count together in Redis; a worker counts alone while Redis is away. A window starts with its first
request and ends as a whole. Twice the rate can pass around its end; a sliding one would take a second key to stop what harms
nobody.
"""

import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from math import ceil
from typing import NoReturn, Protocol

from limits import parse

from bff.errors import RateLimited
from bff.resilience.caches import Cache, cache

_UNREPORTED_SHARE = 16


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


class RateLimit:
    """One rate for every member of a ``scope``, such as all users. ``rate`` reads like ``120/minute``.

    Requests are counted in this process and reported to the shared counter in batches. A batch may be a sixteenth of what is left
    of the limit: far from its limit a caller seldom takes a round trip, near it every request is reported. Beyond the limit
    nothing is.
    """

    def __init__(
        self,
        scope: str,
        rate: str,
        counter: Counter,
        *,
        namespace: str,
        opaque_id: Callable[[str], str],
        times: int = 1,
        on_refuse: Callable[[str], None] = lambda _scope: None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Members are counted under ``namespace`` by their ``opaque_id``, and may have ``times`` the rate.

        ``on_refuse(scope)`` is called for each refusal.
        """
        self._rate = parse(rate)
        self._rate.namespace = namespace
        self._limit = self._rate.amount * times
        self._seconds = self._rate.get_expiry()
        self._scope = scope
        self._counter = counter
        self._on_refuse = on_refuse
        self._opaque_id = opaque_id
        self._clock = clock
        self._windows: Cache[str, _Window] = cache("rate_limit_windows", seconds=self._seconds, clock=clock)
        self._lock = threading.Lock()

    def check(self, member: str) -> None:
        """Raise RateLimited while the member's window is used up, as far as this process knows. Counts nothing."""
        window = self._windows.get(member)
        if window and self._clock() < window.ends and window.count >= self._limit:
            self._refuse(window)

    def hit(self, member: str) -> Mapping[str, str]:
        """Count one request of the member's; raises RateLimited when it is one too many.

        Returns the fields of draft-ietf-httpapi-ratelimit-headers-11.
        """
        with self._lock:
            window = self._windows.get(member)
            if window is None or self._clock() >= window.ends:
                window = _Window(self._clock() + self._seconds)
                self._windows.put(member, window)
            window.pending += 1
            due = window.pending > window.pending_at_most and window.shared <= self._limit
            batch = window.pending if due else 0
            window.shared, window.pending = window.shared + batch, window.pending - batch
        if batch:
            self._report(member, window, batch)
        if window.count > self._limit:
            self._refuse(window)
        return self._headers(window)

    def _report(self, member: str, window: _Window, batch: int) -> None:
        key = self._rate.key_for(self._opaque_id(member))
        reported = self._counter.increment(key, self._seconds, batch)
        with self._lock:
            if reported is not None:
                # No less than was just counted and no longer than our own window, whatever the counter says.
                window.shared = max(reported[0], batch)
                window.ends = self._clock() + min(max(0.0, reported[1]), self._seconds)
            window.pending_at_most = max(0, self._limit - window.shared) // _UNREPORTED_SHARE

    def _headers(self, window: _Window) -> Mapping[str, str]:
        remaining, resets_in = max(0, self._limit - window.count), ceil(max(0.0, window.ends - self._clock()))
        return {
            "RateLimit-Policy": f'"{self._scope}";q={self._limit};w={self._seconds}',
            "RateLimit": f'"{self._scope}";r={remaining};t={resets_in}',
        }

    def _refuse(self, window: _Window) -> NoReturn:
        self._on_refuse(self._scope)
        seconds = max(0.0, window.ends - self._clock())
        raise RateLimited(
            f"Ask again in {max(1, ceil(seconds))} seconds.",
            note=f"over the {self._scope} limit",
            retry_after=seconds,
            headers=self._headers(window),
        )
