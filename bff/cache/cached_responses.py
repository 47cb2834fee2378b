"""Finished answers, remembered for two seconds at most, so that a repeated question costs next to nothing.

Nothing is kept beyond the token's ``exp``, GenAuth's acceptance of it, or the entry's freshness, and a person's answers go at
once when something about them changed (`bff.cache.invalidation`). `bff.web.express` asks here and says what to keep.
"""

import threading
import time
from collections import defaultdict
from collections.abc import Callable

from msgspec import Struct

from bff.models import Session
from bff.resilience import Memo

Headers = tuple[tuple[str, str], ...]

KEEP = "linked_accounts.keep"
_BOUND = 1024  # of a kilobyte or two


class Freshness(Struct, frozen=True):
    """What may be said again: whose session it answers, and for how long it holds. Times in epoch seconds."""

    session: Session
    at: float
    fresh_until: float
    good_until: float


class CachedResponse(Struct, frozen=True):
    """A finished answer. Its headers lack those that tell the time. ``person`` is the user as announcements name them."""

    user_id: str
    person: str
    at: float
    fresh_until: float
    until: float
    status: str
    headers: Headers
    body: bytes


class CachedResponses:
    """Answers by a digest of everything that decided them. For many threads; bounded."""

    def __init__(self, seconds: float, *, person: Callable[[str], str], clock: Callable[[], float] = time.time) -> None:
        """``person`` names a user as announcements do."""
        self._seconds = seconds
        self._person = person
        self._clock = clock
        self._lock = threading.Lock()
        self._kept: Memo[bytes, CachedResponse] = Memo(_BOUND)
        self._of: defaultdict[str, set[bytes]] = defaultdict(set)
        self.changes = 0

    def find(self, key: bytes) -> CachedResponse | None:
        """The answer under ``key``, while it holds."""
        kept = self._kept.get(key)
        return kept if kept is not None and self._clock() < kept.until else None

    def keep(self, key: bytes, keepsake: Freshness, status: str, headers: Headers, body: bytes, changes: int) -> None:
        """Remember an answer that was begun when `changes` stood at this: if something changed since, it may be from before."""
        now = self._clock()
        until = min(now + self._seconds, keepsake.good_until, keepsake.session.expires_at)
        if until <= now:
            return
        user_id = keepsake.session.user_id
        kept = CachedResponse(user_id, self._person(user_id), keepsake.at, keepsake.fresh_until, until, status, headers, body)
        with self._lock:
            if changes != self.changes:
                return
            self._of[kept.person].add(key)
            if left := self._kept.put(key, kept):
                self._left(*left)

    def forget(self, person: str) -> None:
        """Let go of everything about somebody, and of what is being answered right now."""
        with self._lock:
            self.changes += 1
            for key in self._of.pop(person, ()):
                self._kept.drop(key)

    def forget_all(self) -> None:
        """Let go of everything: changes may have been missed."""
        with self._lock:
            self.changes += 1
            self._kept = Memo(_BOUND)
            self._of.clear()

    def _left(self, key: bytes, kept: CachedResponse) -> None:
        keys = self._of[kept.person]
        keys.discard(key)
        if not keys:
            del self._of[kept.person]
