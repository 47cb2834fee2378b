"""What is stored of a person: their accounts as finished JSON, and which of their tokens GenAuth accepted or refused.

    la:3:{person}:accounts       one for each user
    la:3:{person}:token:<id>     one for each session token: whether GenAuth accepted it when it was last asked, and when that was
    la:3:{person}:invalidated    for a minute after a change: accounts asked for before it are void
    la:3:{person}:failure:<id>   for two seconds: GenAuth failed to answer for the token, and is not asked with it again so soon
    la:3:{person}:lock:<id>      held by the process that is asking GenAuth right now

``{person}`` is an opaque id in a Redis Cluster hash tag, so that a user's keys share a slot and one round trip. How values are
written, and what of them is believed, is in `entries`.
"""

import time
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, suppress
from dataclasses import replace
from typing import NamedTuple

from bff.cache.codec import Codec
from bff.cache.entries import FAILURE_SECONDS, Entry, Failure, InvalidationMarker, Lifetimes, Lookup, TokenStatus, Values
from bff.cache.fallback import FRESH_SECONDS, FallbackCache
from bff.cache.lock import Locks
from bff.cache.redis_store import PREFIX, CacheUnavailable, RedisStore
from bff.errors import TokenRefused, UpstreamFailure, UpstreamRejected, UserBlocked
from bff.models import RenderedAccounts, Session
from bff.observability import Recorder
from bff.resilience import Cache, cache

_INVALIDATED_SECONDS = 60.0  # longer than a call that was under way when the change came


class Keys(NamedTuple):
    """Where everything about a session's user and token is."""

    accounts: str
    token: str
    invalidated: str
    failure: str


class AccountsCache:
    """The cache below the route, by verified user id and never by path or token alone. Fails open, but for `invalidate`."""

    def __init__(
        self,
        store: RedisStore,
        codec: Codec,
        locks: Locks,
        recorder: Recorder,
        lifetimes: Lifetimes,
        *,
        person: Callable[[str], str],
        clock: Callable[[], float] = time.time,
    ) -> None:
        """``person`` gives the opaque id of a user."""
        self._store = store
        self._codec = codec
        self._locks = locks
        self._values = Values(codec, recorder, lifetimes)
        self.lifetimes = lifetimes
        self._person_id = person
        self._clock = clock
        self._copies = FallbackCache(lifetimes.accepted, clock)
        # Those of this process, which Redis may not have stored.
        self._invalidations: Cache[str, float] = cache("invalidations", seconds=_INVALIDATED_SECONDS)
        self._failures: Cache[str, Failure] = cache("failures", seconds=FAILURE_SECONDS)

    def get(self, session: Session) -> Lookup:
        """Everything known of the session's user and token. One round trip."""
        keys = self._keys(session)
        try:
            known = self._lookup(keys, self._store.get_many(*keys))
        except CacheUnavailable:
            known = self._from_copy(keys)
        now = self._clock()
        failures = [each for each in (known.failure, self._failures.get(keys.failure)) if each and each.is_repeated(now)]
        return replace(known, failure=failures[0] if failures else None)

    def put(self, session: Session, accounts: RenderedAccounts, asked_at: float) -> Entry:
        """Store what GenAuth reported when it was asked at ``asked_at``, which accepted the token too. One round trip.

        A forced refresh that fails never comes here: nothing prolongs freshness but an answer.
        """
        entry = Entry.reported(accounts, asked_at, self.lifetimes.fresh_for())
        status = TokenStatus(entry.at)
        keys = self._keys(session)
        values = self._values.encode({keys.accounts: entry, keys.token: status})
        stored = self._store.set_many(values, self.lifetimes.ttl + self.lifetimes.stale)
        self._put_copy(keys, Lookup(entry, status), stored=stored)
        return entry

    def put_refusal(self, session: Session, error: TokenRefused | UserBlocked) -> None:
        """Replace the token's acceptance by its refusal; a blocked user's accounts go too, whichever token asks for them."""
        keys = self._keys(session)
        self._copies.drop(keys.token)
        status = TokenStatus(self._clock(), error.code)
        # Fails open: this process knows of the refusal (`bff.accounts.refusals`), and a token refused once is refused again.
        with suppress(CacheUnavailable):
            if not self._store.set_many(self._values.encode({keys.token: status}), self.lifetimes.refused):
                self._store.delete_many(keys.token)  # a full Redis does not write, but deletes
        if isinstance(error, UserBlocked):
            with suppress(CacheUnavailable):
                self.invalidate(session.user_id)

    def put_failure(self, session: Session, error: UpstreamFailure | UpstreamRejected) -> None:
        """GenAuth failed to answer for the token, just now: who waits for that answer, or asks again soon, fails likewise."""
        failure = Failure.of(error, self._clock())
        key = self._keys(session).failure
        self._failures.put(key, failure)
        self._store.set_many(self._values.encode({key: failure}), FAILURE_SECONDS)

    def invalidate(self, user_id: str) -> None:
        """Drop a user's accounts, those that GenAuth is being asked for right now included.

        Raises `CacheUnavailable` when other processes would go on serving them.
        """
        person = self._person(user_id)
        key = f"{person}:invalidated"
        now = self._clock()
        self._invalidations.put(key, now)
        marked = self._store.set_many(self._values.encode({key: InvalidationMarker(now)}), _INVALIDATED_SECONDS)
        self._store.delete_many(f"{person}:accounts")
        if not marked:
            raise CacheUnavailable

    def attempt(self, session: Session) -> AbstractContextManager[bool]:
        """Whether this process acquired the lock to ask GenAuth about the session; if so, it is held for the block."""
        return self._locks.attempt(self._keys(session).failure.replace(":failure:", ":lock:"))

    def _person(self, user_id: str) -> str:
        return f"{PREFIX}{{{self._person_id(user_id)}}}"

    def _keys(self, session: Session) -> Keys:
        person = self._person(session.user_id)
        token = self._codec.opaque_id("token", session.digest)
        return Keys(f"{person}:accounts", f"{person}:token:{token}", f"{person}:invalidated", f"{person}:failure:{token}")

    def _lookup(self, keys: Keys, stored: Sequence[bytes | None]) -> Lookup:
        now = self._clock()
        entry = self._values.decode(keys.accounts, stored[0], Entry, now)
        status = self._values.decode(keys.token, stored[1], TokenStatus, now)
        marker = self._values.decode(keys.invalidated, stored[2], InvalidationMarker, now)
        failure = self._values.decode(keys.failure, stored[3], Failure, now)
        known = Lookup(self._valid(keys, entry, marker), status, failure)
        # A refusal in Redis is newer than what could not be stored there.
        if (status is None or status.verdict == "accepted") and (copy := self._copies.unstored(keys.token)):
            return _newer(known, self._aged(copy.value, copy.seen_at, keys))
        if known.entry and known.accepted_at is not None:
            self._put_copy(keys, Lookup(known.entry, status), stored=True)
        else:
            self._copies.drop(keys.token)  # refused or invalidated by another process
        return known

    def _from_copy(self, keys: Keys) -> Lookup:
        copy = self._copies.get(keys.token)
        return self._aged(copy.value, copy.seen_at, keys) if copy else Lookup()

    def _aged(self, known: Lookup, seen_at: float, keys: Keys) -> Lookup:
        """A copy, fresh for a few seconds and good for nothing once the acceptance of its token is too old.

        What is served as stale later than that could be somebody's whom another process saw refused.
        """
        accepted_at = known.accepted_at
        entry = self._valid(keys, known.entry, None)
        if entry is None or accepted_at is None or accepted_at <= self._clock() - self.lifetimes.accepted:
            return Lookup()
        fresh_until = min(entry.fresh_until, seen_at + FRESH_SECONDS)
        return Lookup(Entry(entry.at, fresh_until, entry.accounts), known.status)

    def _put_copy(self, keys: Keys, known: Lookup, *, stored: bool) -> None:
        if known.entry:
            self._copies.put(keys.token, known, stored=stored)

    def _valid(self, keys: Keys, entry: Entry | None, marker: InvalidationMarker | None) -> Entry | None:
        """The entry, unless the person's accounts changed since GenAuth was asked."""
        if entry is None:
            return None
        now = self._clock()
        changes = (marker.at if marker else None, self._invalidations.get(keys.invalidated))
        # One that is older than its marker would be, or not yet made, is a clock's doing.
        void = any(at is not None and entry.at <= at and abs(now - at) < _INVALIDATED_SECONDS for at in changes)
        return None if void else entry


def _newer(one: Lookup, other: Lookup) -> Lookup:
    entry = max((each.entry for each in (one, other) if each.entry), key=lambda entry: entry.at, default=None)
    status = max((each.status for each in (one, other) if each.status), key=lambda status: status.at, default=None)
    return Lookup(entry, status, one.failure)
