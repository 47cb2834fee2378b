"""What a worker keeps of people in its own memory: finished responses, and copies for while Redis cannot answer.

No response is kept beyond the token's ``exp``, GenAuth's acceptance of it, or the entry's freshness. A person's responses are
dropped at once when something about them changed (`invalidation`), and an answer that was begun before is not kept.

Without the copies every request would ask GenAuth as soon as Redis is away, and GenAuth's bulkhead would turn most of them away.
They are no second cache: while Redis answers and stores what it is given, none is read.
"""

import threading
import time
from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass

from bff.cache.entries import Lookup
from bff.models import Session
from bff.resilience import Cache, cache

Headers = tuple[tuple[str, str], ...]

FRESH_SECONDS = 10.0  # what another process invalidated or saw refused since then is not known here

# The most bytes of Python objects beside the texts in them, measured: of a response, and of each of its headers.
_OBJECTS = 512
_HEADER = 168
_COPY = 832  # of a copy, beside its JSON


@dataclass(frozen=True, slots=True)
class Freshness:
    """That a response may be kept: whose session it answers, and for how long it holds. Times in epoch seconds.

    ``at`` is when GenAuth answered, ``fresh_until`` when the entry ends, ``good_until`` when the entry or the token's acceptance
    ends.
    """

    session: Session
    at: float
    fresh_until: float
    good_until: float


@dataclass(frozen=True, slots=True)
class CachedResponse:
    """A finished response without the headers that depend on the moment. ``person`` is the opaque id in invalidations."""

    user_id: str
    person: str
    at: float
    fresh_until: float
    until: float
    status: str
    headers: Headers
    body: bytes


class CachedResponses:
    """Responses by the digest of everything that decided them, for many threads."""

    def __init__(self, seconds: float, *, person: Callable[[str], str], clock: Callable[[], float] = time.time) -> None:
        """Each is kept for ``seconds`` at most. ``person(user_id)`` is the opaque id that invalidations carry."""
        self._seconds = seconds
        self._person = person
        self._clock = clock
        self._lock = threading.Lock()
        self._responses: Cache[bytes, CachedResponse] = cache("responses", seconds=seconds, weigh=_bytes)
        self._keys_of: defaultdict[str, set[bytes]] = defaultdict(set)
        self._invalidations = 0

    @property
    def invalidations(self) -> int:
        """How many there were. An answer that was begun at another number is not kept."""
        return self._invalidations

    def get(self, key: bytes) -> CachedResponse | None:
        """The response under ``key``, while it holds."""
        cached = self._responses.get(key)
        return cached if cached is not None and self._clock() < cached.until else None

    def put(self, key: bytes, freshness: Freshness, status: str, headers: Headers, body: bytes, invalidations: int) -> None:
        """Keep a response that was begun when `invalidations` stood at this number."""
        until = min(self._clock() + self._seconds, freshness.good_until, freshness.session.expires_at)
        user_id = freshness.session.user_id
        cached = CachedResponse(user_id, self._person(user_id), freshness.at, freshness.fresh_until, until, status, headers, body)
        with self._lock:
            if invalidations != self._invalidations:
                return
            self._keys_of[cached.person].add(key)
            for gone, response in self._responses.put(key, cached):
                self._unlist(gone, response.person)

    def invalidate(self, person: str) -> None:
        """Drop everything about a person, and whatever is being answered right now."""
        with self._lock:
            self._invalidations += 1
            for key in self._keys_of.pop(person, ()):
                self._responses.drop(key)

    def clear(self) -> None:
        """Drop everything: invalidations may have been missed."""
        with self._lock:
            self._invalidations += 1
            self._responses.clear()
            self._keys_of.clear()

    def _unlist(self, key: bytes, person: str) -> None:
        keys = self._keys_of[person]
        keys.discard(key)
        if not keys:
            del self._keys_of[person]


def _bytes(cached: CachedResponse) -> int:
    headers = sum([_HEADER + len(name) + len(value) for name, value in cached.headers])
    return _OBJECTS + len(cached.body) + len(cached.user_id) + len(cached.person) + headers


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
        self._copies: Cache[str, Copy] = cache("fallback_entries", seconds=seconds, weigh=_copy_bytes)
        self._clock = clock

    def put(self, key: str, value: Lookup, *, stored: bool) -> None:
        """``value`` holds at this moment."""
        self._copies.put(key, Copy(value, self._clock(), stored))

    def drop(self, key: str) -> None:
        """Nothing holds any more."""
        self._copies.drop(key)

    def clear(self) -> None:
        """Nothing of anybody holds any more."""
        self._copies.clear()

    def get(self, key: str) -> Copy | None:
        """The last copy."""
        return self._copies.get(key)

    def unstored(self, key: str) -> Copy | None:
        """The last copy, if Redis would not store it a moment ago (it is full, or became a replica)."""
        copy = self._copies.get(key)
        return copy if copy and not copy.stored and self._clock() - copy.seen_at < FRESH_SECONDS else None


def _copy_bytes(copy: Copy) -> int:
    return _COPY + (copy.value.entry.size if copy.value.entry else 0)
