"""What this process saw last, for while Redis cannot answer or cannot store.

Without it every request would ask GenAuth as soon as Redis is away, and GenAuth's bulkhead would turn most of them away. It is no
second cache: while Redis answers and stores what it is given, nothing here is read.
"""

from collections.abc import Callable
from dataclasses import dataclass

from bff.cache.entries import Lookup
from bff.resilience import Cache, cache

FRESH_SECONDS = 10.0  # what another process invalidated or saw refused since then is not known here
_OBJECTS = 832  # the most bytes of a copy's Python objects beside its JSON, measured


@dataclass(frozen=True, slots=True)
class Copy:
    """A ``value`` that held at ``seen_at``, in epoch seconds. ``stored``: Redis has it, or had it then."""

    value: Lookup
    seen_at: float
    stored: bool


class FallbackCache:
    """Bounded copies by key."""

    def __init__(self, seconds: float, clock: Callable[[], float]) -> None:
        """A copy is kept for ``seconds``; one that is larger than others is not kept (`bff.resilience.caches`)."""
        self._copies: Cache[str, Copy] = cache("fallback_entries", seconds=seconds, weigh=_bytes)
        self._clock = clock

    def put(self, key: str, value: Lookup, *, stored: bool) -> None:
        """``value`` holds at this moment."""
        self._copies.put(key, Copy(value, self._clock(), stored))

    def drop(self, key: str) -> None:
        """Nothing holds any more."""
        self._copies.drop(key)

    def get(self, key: str) -> Copy | None:
        """The last copy."""
        return self._copies.get(key)

    def unstored(self, key: str) -> Copy | None:
        """The last copy, if Redis would not store it a moment ago (it is full, or became a replica)."""
        copy = self._copies.get(key)
        return copy if copy and not copy.stored and self._clock() - copy.seen_at < FRESH_SECONDS else None


def _bytes(copy: Copy) -> int:
    return _OBJECTS + (copy.value.entry.size if copy.value.entry else 0)
