"""Not too often: so many requests in a window for each user, and so many bad tokens from each address.

Counted in Redis for all workers and replicas together, in this process alone while Redis is away. Far from its limit a member
is counted here and reported in sums, near it one by one: a request within its limit seldom costs a round trip, and the limit
holds all the same, but for what other processes have not reported yet, a sixteenth of what was left each.

A window starts with its first request and ends as a whole. Twice the rate can pass around its end; a sliding one would cost
a second key to stop what harms nobody. Ours, because Flask-Limiter opens connections beside `store`'s and asks Redis each time.
"""

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from math import ceil
from typing import NoReturn, Protocol

from limits import parse

from bff.errors import RateLimited
from bff.observability import Recorder
from bff.resilience.caches import Cache, cache

_UNREPORTED_SHARE = 16


@dataclass(frozen=True, slots=True)
class Standing:
    """Where a caller stands: ``remaining`` of ``limit`` requests in this window, which starts anew in ``resets_in`` seconds."""

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
    """What counts for everybody: `bff.cache.redis_store.RedisStore`."""

    def increment(self, key: str, window: float, by: int = 1) -> tuple[int, float] | None:
        """Count ``by`` more in a window: how many, and seconds left. None when nobody can be asked."""


@dataclass(slots=True)
class _Window:
    """One member's: ``told`` as far as everybody knows, ``untold`` counted here since, until ``ends`` (monotonic seconds)."""

    ends: float
    told: int = 0
    untold: int = 0
    slack: int = 0

    @property
    def counted(self) -> int:
        return self.told + self.untold


class RateLimit:
    """One rate for every member of a ``scope``, such as all users. ``rate`` reads like ``120/minute``."""

    def __init__(
        self,
        scope: str,
        rate: str,
        counter: Counter,
        recorder: Recorder,
        *,
        key: Callable[[str], str],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """``key`` is where a member is counted."""
        item = parse(rate)
        self._scope = scope
        self._limit = item.amount
        self._seconds = item.get_expiry()
        self._counter = counter
        self._recorder = recorder
        self._key = key
        self._clock = clock
        self._windows: Cache[str, _Window] = cache("rate_limit_windows")
        self._lock = threading.Lock()

    def check(self, member: str) -> None:
        """Raise RateLimited while the member's window is used up, as far as this process knows. Counts nothing, asks nobody."""
        window = self._windows.get(member)
        if window is not None and window.counted >= self._limit and (left := window.ends - self._clock()) > 0:
            self._refuse(left)

    def hit(self, member: str) -> Standing:
        """Count one request of the member's; raises RateLimited when it is one too many."""
        return self.standing(member) or self._refuse(self._left(self._current(member)))

    def standing(self, member: str) -> Standing | None:
        """Count one request of the member's: where that leaves them, or None when it is one too many."""
        with self._lock:
            window = self._current(member)
            window.untold += 1
            report = window.untold if window.untold > window.slack and window.told <= self._limit else 0
            window.told, window.untold = window.told + report, window.untold - report
        if report:
            self._report(member, window, report)
        if window.counted > self._limit:
            return None
        return Standing(self._scope, self._limit, self._seconds, self._limit - window.counted, self._left(window))

    def _left(self, window: _Window) -> float:
        return max(0.0, window.ends - self._clock())

    def _current(self, member: str) -> _Window:
        window = self._windows.get(member)
        if window is None or self._clock() >= window.ends:
            window = _Window(self._clock() + self._seconds)
            self._windows.put(member, window)
        return window

    def _report(self, member: str, window: _Window, report: int) -> None:
        counted = self._counter.increment(self._key(member), self._seconds, report)
        with self._lock:
            if counted is not None:
                window.told, window.ends = counted[0], self._clock() + counted[1]
            window.slack = max(0, self._limit - window.told) // _UNREPORTED_SHARE

    def _refuse(self, left: float) -> NoReturn:
        self._recorder.rate_limited(self._scope)
        raise RateLimited(
            f"Ask again in {max(1, ceil(left))} seconds.",
            note=f"over the {self._scope} limit",
            retry_after=left,
            headers=Standing(self._scope, self._limit, self._seconds, 0, left).headers,
        )
