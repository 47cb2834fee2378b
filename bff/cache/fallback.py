"""What this process saw last, for while Redis cannot say or cannot keep it.

Without it every request would cost a question to GenAuth as soon as Redis is away, and GenAuth's bulkhead would turn most of them
away. It is no second cache: while Redis answers and takes what it is given, nothing here is looked at.
"""

import time
from collections.abc import Callable
from typing import Generic, TypeVar

from msgspec import Struct

from bff.resilience import Cache, cache

T = TypeVar("T")

FRESH_SECONDS = 10.0  # what another process forgot or refused since then is not known here


class Copy(Struct, Generic[T], frozen=True):
    """A ``value`` that held at ``seen_at``, in epoch seconds. ``stored``: Redis has it, or had it then."""

    value: T
    seen_at: float
    stored: bool


class FallbackCache(Generic[T]):
    """Bounded copies by name."""

    def __init__(self, size: int | None = None, clock: Callable[[], float] = time.time) -> None:
        self._copies: Cache[str, Copy[T]] = cache("fallback_entries", size=size)
        self._clock = clock

    def keep(self, name: str, value: T, *, stored: bool) -> None:
        """``value`` holds at this moment."""
        self._copies.put(name, Copy(value, self._clock(), stored))

    def drop(self, name: str) -> None:
        """Nothing holds any more."""
        self._copies.drop(name)

    def any(self, name: str) -> Copy[T] | None:
        """What was kept last."""
        return self._copies.get(name)

    def unstored(self, name: str) -> Copy[T] | None:
        """What was kept last, if Redis would not take it a moment ago (it is full, or became a replica)."""
        copy = self._copies.get(name)
        return copy if copy and not copy.stored and self._clock() - copy.seen_at < FRESH_SECONDS else None
