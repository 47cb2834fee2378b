"""Not too often: so many requests in a window for each user, and for each address that keeps failing to authenticate.

Counted in Redis for all workers and replicas together, in this process alone while Redis is away. `limits` reads the rate and
counts in memory; Flask-Limiter, built on it, would open connections of its own beside `store`'s and pay their timeouts again.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from limits import RateLimitItem, parse
from limits.storage import MemoryStorage
from limits.strategies import FixedWindowRateLimiter

from bff.errors import RateLimited
from bff.memo import Memo
from bff.store import Store


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
        """The fields of draft-ietf-httpapi-ratelimit-headers."""
        return {
            "RateLimit-Policy": f'"{self.scope}";q={self.limit};w={self.window}',
            "RateLimit": f'"{self.scope}";r={self.remaining};t={round(self.resets_in)}',
        }


class Observer(Protocol):
    """Who hears of callers sent away."""

    def rate_limited(self, scope: str) -> None:
        """Somebody asked too often."""


class RateLimit:
    """One rate for every member of a ``scope``, such as all users. ``rate`` reads like ``120/minute``."""

    def __init__(
        self,
        scope: str,
        rate: str,
        counter: Store,
        observer: Observer,
        *,
        name: Callable[[str], str],
        times: int = 1,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """``times`` multiplies the rate; ``name`` makes an opaque key of a member."""
        item = parse(rate)
        self._scope = scope
        self._limit = item.amount * times
        self._window = item.get_expiry()
        self._item: RateLimitItem = type(item)(self._limit, item.multiples)
        self._counter = counter
        self._observer = observer
        self._name = name
        self._alone = FixedWindowRateLimiter(MemoryStorage())
        self._until: Memo[str, float] = Memo(10_000)
        self._clock = clock

    def check(self, member: str) -> None:
        """Raise RateLimited while the member's window is used up, as far as this process knows. Counts nothing, asks nobody."""
        until = self._until.get(member)
        if until is not None and self._clock() < until:
            self._refuse(until - self._clock())

    def hit(self, member: str) -> Standing:
        """Count one request of the member's; raises RateLimited when it is one too many."""
        counted, resets_in = self._count(member)
        if counted > self._limit:
            self._until.put(member, self._clock() + resets_in)
            self._refuse(resets_in)
        return Standing(self._scope, self._limit, self._window, self._limit - counted, resets_in)

    def _count(self, member: str) -> tuple[int, float]:
        counted = self._counter.count(f"linked-accounts:1:rate:{self._scope}:{self._name(member)}", self._window)
        if counted is not None:
            return counted
        within = self._alone.hit(self._item, member)
        stats = self._alone.get_window_stats(self._item, member)
        return self._limit - stats.remaining + (0 if within else 1), max(0.0, stats.reset_time - time.time())

    def _refuse(self, resets_in: float) -> None:
        self._observer.rate_limited(self._scope)
        raise RateLimited(
            f"Ask again in {max(1, round(resets_in))} seconds.",
            note=f"over the {self._scope} limit",
            retry_after=resets_in,
            headers=Standing(self._scope, self._limit, self._window, 0, resets_in).headers,
        )
