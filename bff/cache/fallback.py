"""What this process saw last, for while Redis cannot answer or cannot store.

Without it every request would ask GenAuth as soon as Redis is away, and GenAuth's bulkhead would turn most of them away. It is no
second cache: while Redis answers and stores what it is given, nothing here is read.
"""

from collections.abc import Callable
from dataclasses import dataclass

from bff.cache.entries import SKEW_SECONDS, InvalidationMarker, Lookup
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


class Holds:
    """The changes of people's accounts that this process knows of, for when Redis lost them.

    It may have been emptied, or replaced by a replica that lacks the last ones. Until a change ends nothing that was
    asked for before is served where Redis tells of no such change, and nothing else is changed.
    """

    def __init__(self, seconds: float, clock: Callable[[], float]) -> None:
        self._holds: Cache[str, tuple[float, float]] = cache("holds", seconds=seconds)
        self._clock = clock

    def put(self, key: str, seconds: float) -> None:
        """A change begins that may take so long; with 0 one is over, or is none of those that are held."""
        now = self._clock()
        begun, until = self._holds.get(key) or (0.0, 0.0)
        if seconds and now + seconds > until + SKEW_SECONDS:  # who sends one receives it twice
            begun = now
        self._holds.put(key, (begun, max(now + seconds, until)))

    def untold(self, key: str, marker: InvalidationMarker | None) -> float:
        """Until when, in epoch seconds, a change may be under way of which the marker does not tell; 0 for none."""
        begun, until = self._holds.get(key) or (0.0, 0.0)
        return until if marker is None or marker.at < begun - SKEW_SECONDS else 0.0


def _bytes(copy: Copy) -> int:
    return _OBJECTS + (copy.value.entry.size if copy.value.entry else 0)
