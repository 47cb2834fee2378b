"""What is stored of a person: their accounts as finished JSON, and which of their tokens GenAuth accepted or refused.

    la:6:{person}:accounts       one for each user
    la:6:{person}:security       how the user can sign in but by linked accounts
    la:6:{person}:token:<id>     one for each session token: when GenAuth was asked last that accepted it
    la:6:{person}:recent:<id>    for as long as that acceptance saves a question, by Redis's clock as well as by ours
    la:6:{person}:refused:<id>   one for each session token: when GenAuth refused it last; what it was accepted before is void
    la:6:{person}:invalidated    what changed about the person, and what that voids (`changes`)
    la:6:{person}:failure:<id>   for two seconds: GenAuth failed to answer for the token, and is not asked with it again so soon
    la:6:{person}:lock:<id>      held by the process that is asking GenAuth right now
    la:6:{person}:lock:refresh   the same, where a fresh answer to any of the person's tokens will do
    la:6:{person}:lock:change    held by the request that changes the person's accounts

``{person}`` is an opaque id in a Redis Cluster hash tag: a user's keys share a slot and one round trip. `values` has the shapes.

A process may be paused between asking GenAuth and storing the answer. So the order of writing decides nothing: each value carries
its moment, and refusals and changes have keys of their own, which are kept until nothing from before them could be served.

What changed about a person, and what that voids, is `changes`'s.
"""

import time
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext, suppress
from dataclasses import replace
from typing import NamedTuple

from bff.cache.changes import Changes, prefix_of
from bff.cache.entries import (
    FAILURE_SECONDS,
    Dated,
    Entry,
    Failure,
    InvalidationMarker,
    Lookup,
    SecurityEntry,
    TokenStatus,
    latest,
)
from bff.cache.lock import Locks
from bff.cache.memory import FRESH_SECONDS, FallbackCache
from bff.cache.redis_errors import CacheUnavailable
from bff.cache.redis_store import RedisStore
from bff.cache.values import Values
from bff.errors import TokenRefused, UpstreamFailure, UpstreamRejected, UserBlocked
from bff.models import RenderedAccounts, SecurityInfo, Session
from bff.resilience import Cache, cache

_RECENT = b"1"  # says nothing by itself, so it needs no codec


class Keys(NamedTuple):
    """Where everything about a session's user and token is in Redis."""

    accounts: str
    token: str
    recent: str
    refused: str
    invalidated: str
    failure: str

    @classmethod
    def of(cls, person: str, token: str) -> "Keys":
        """By what the person's keys begin with, and the token's opaque id."""
        return cls(
            accounts=f"{person}:accounts",
            token=f"{person}:token:{token}",
            recent=f"{person}:recent:{token}",
            refused=f"{person}:refused:{token}",
            invalidated=f"{person}:invalidated",
            failure=f"{person}:failure:{token}",
        )


class AccountsCache:
    """The cache below the route, by verified user id and never by path or token alone. Fails open."""

    def __init__(
        self,
        store: RedisStore,
        values: Values,
        locks: Locks,
        changes: Changes,
        *,
        person: Callable[[str], str],
        clock: Callable[[], float] = time.time,
    ) -> None:
        """``person`` gives the opaque id of a user."""
        self._store = store
        self._values = values
        self._locks = locks
        self.changes = changes
        self.lifetimes = lifetimes = values.lifetimes
        self._person_id = person
        self._clock = clock
        self._copies = FallbackCache(lifetimes.accepted, clock)
        self._failures: Cache[str, Failure] = cache("failures", seconds=FAILURE_SECONDS)

    def get(self, session: Session) -> Lookup:
        """Everything known of the session's user and token. One round trip."""
        keys = self._keys(session)
        try:
            known = self._lookup(keys)
        except CacheUnavailable:
            known = self._from_copy(keys)
        failure = self._failures.get(keys.failure)
        if known.failure is None and failure and failure.is_repeated(self._clock()):
            return replace(known, failure=failure)
        return known

    def put(self, session: Session, accounts: RenderedAccounts, asked_at: float) -> Entry:
        """Store what GenAuth reported when it was asked at ``asked_at``, which accepted the token too. Three round trips.

        Only what is later than what is stored by now; what is void already is `Entry.void`. Another process that writes between
        two of the round trips may still have its accounts replaced by older ones, until those end; never a refusal or a change.
        A forced refresh that fails never comes here: nothing prolongs freshness but an answer.
        """
        entry = Entry.reported(accounts, asked_at, self.lifetimes.fresh_for())
        status = TokenStatus(entry.at)
        keys = self._keys(session)
        try:
            known, marker = self._find(keys)
        except CacheUnavailable:
            known, marker = Lookup(), self.changes.marker(keys.invalidated, None)
        values: dict[str, Entry | TokenStatus] = {}
        valid = _valid(entry, marker)
        if valid and (known.entry is None or known.entry.at <= entry.at):
            values[keys.accounts] = entry
        if latest(status, known.status) is status:
            values[keys.token] = status
            self._store.set_many({keys.recent: _RECENT}, self.lifetimes.accepted)
        stored = self._store.set_many(self._values.encode(values), self.lifetimes.ttl + self.lifetimes.stale)
        if len(values) == 2:  # both are the latest
            self._put_copy(keys, Lookup(entry, status), stored=stored)
        if marker and marker.removed(entry, locked=False):
            # Whoever asked GenAuth for that learned nothing of it, or was killed.
            with suppress(CacheUnavailable):
                self.changes.settle(session.user_id, None, entry, locked=False)
        return entry if valid else entry.void()

    def security(self, session: Session) -> SecurityEntry | None:
        """How the session's user can sign in, as GenAuth said since the accounts changed last. One round trip."""
        keys, key = self._keys(session), f"{self._person(session.user_id)}:security"
        with suppress(CacheUnavailable):
            stored, marked = self._store.get_many(key, keys.invalidated)
            marker = self.changes.marker(keys.invalidated, marked)
            return _valid(self._values.decode(key, stored, SecurityEntry, self._clock()), marker)
        return None

    def put_security(self, session: Session, info: SecurityInfo, asked_at: float) -> SecurityEntry:
        """Store what GenAuth said when it was asked at ``asked_at``. One round trip."""
        entry = SecurityEntry.reported(info, asked_at, self.lifetimes.fresh_for())
        key = f"{self._person(session.user_id)}:security"
        self._store.set_many(self._values.encode({key: entry}), self.lifetimes.fresh_at_most)
        return entry

    def put_refusal(self, session: Session, error: TokenRefused | UserBlocked) -> None:
        """Void the token's acceptance by its refusal; a blocked user's accounts go too, whichever token asks for them.

        The refusal is dated now and not when GenAuth was asked: an acceptance asked for in between may be the older one.
        """
        keys = self._keys(session)
        self._copies.drop(keys.token)
        refusal = TokenStatus(self._clock(), error.code)
        self._store.set_many(self._values.encode({keys.refused: refusal}), self.lifetimes.longest)
        # Deleted as well: a full Redis does not write, and a replica with another clock may have dated the acceptance later.
        # Fails open: this process knows of the refusal (`bff.accounts.refusals`), and a token refused once is refused again.
        with suppress(CacheUnavailable):
            self._store.delete_many(keys.token)
        if isinstance(error, UserBlocked):
            with suppress(CacheUnavailable):
                self.changes.forget(session.user_id, cause="user_blocked", wait=False)

    def put_failure(self, session: Session, error: UpstreamFailure | UpstreamRejected) -> None:
        """GenAuth failed to answer for the token, just now: who waits for that answer, or asks again soon, fails likewise."""
        failure = Failure.of(error, self._clock())
        key = self._keys(session).failure
        self._failures.put(key, failure)
        self._store.set_many(self._values.encode({key: failure}), FAILURE_SECONDS)

    def drop_copies(self) -> None:
        """Copies of before hold no longer, where changes may have been missed since: Redis, which is back, knows of them."""
        self._copies.clear()

    def attempt(self, session: Session, *, refresh: bool = False, held: bool = False) -> AbstractContextManager[bool]:
        """Whether this process may ask GenAuth about the session; if it acquired the lock for that, it holds it for the block.

        ``refresh``: GenAuth accepted the token lately: the answer to any session of the person will do. ``held``: as in `Lookup`.
        """
        if held:
            return nullcontext(True)  # nothing is kept: who waited would find nothing
        if refresh:
            return self._locks.attempt(f"{self._person(session.user_id)}:lock:refresh")
        return self._locks.attempt(self._keys(session).failure.replace(":failure:", ":lock:"))

    def _person(self, user_id: str) -> str:
        return prefix_of(self._person_id(user_id))

    def _keys(self, session: Session) -> Keys:
        return Keys.of(self._person(session.user_id), self._values.opaque_id("token", session.digest))

    def _lookup(self, keys: Keys) -> Lookup:
        """What Redis holds, and what it could not store a moment ago. One round trip; raises `CacheUnavailable`."""
        known, marker = self._find(keys)
        # A refusal that is repeated is newer than what could not be stored there.
        if not known.refused and (copy := self._copies.unstored(keys.token)):
            return known.newer(self._aged(copy.value, copy.seen_at, marker))
        if known.entry and known.accepted_at is not None:
            self._put_copy(keys, Lookup(known.entry, known.status), stored=True)
        else:
            self._copies.drop(keys.token)  # refused or invalidated by another process
        return known

    def _find(self, keys: Keys) -> tuple[Lookup, InvalidationMarker | None]:
        """What Redis holds, and the last change of the person's accounts. One round trip; raises `CacheUnavailable`."""
        stored = dict(zip(keys, self._store.get_many(*keys), strict=True))
        now = self._clock()
        entry = self._values.decode(keys.accounts, stored[keys.accounts], Entry, now)
        accepted = self._values.decode(keys.token, stored[keys.token], TokenStatus, now)
        if accepted and stored[keys.recent] is None:
            # It is older than it says: whoever dated it has a clock that is ahead.
            accepted = replace(accepted, at=min(accepted.at, now - self.lifetimes.accepted))
        refused = self._values.decode(keys.refused, stored[keys.refused], TokenStatus, now)
        marker = self.changes.marker(keys.invalidated, stored[keys.invalidated])
        failure = self._values.decode(keys.failure, stored[keys.failure], Failure, now)
        status = latest(refused, _valid_acceptance(accepted, marker))
        repeated = status is not None and status.repeats(now, self.lifetimes.refused)
        if status and marker and marker.reconsiders(status):
            repeated = False
        failure = failure if failure and failure.is_repeated(now) else None
        held = marker is not None and marker.held_until > now
        return Lookup(_valid(entry, marker), status, failure, repeated, held), marker

    def _from_copy(self, keys: Keys) -> Lookup:
        copy = self._copies.get(keys.token)
        return self._aged(copy.value, copy.seen_at, self.changes.marker(keys.invalidated, None)) if copy else Lookup()

    def _aged(self, known: Lookup, seen_at: float, marker: InvalidationMarker | None) -> Lookup:
        """A copy, fresh for a few seconds and good for nothing once the acceptance of its token is too old.

        What is served as stale later than that could be somebody's whom another process saw refused.
        """
        entry, status = _valid(known.entry, marker), _valid_acceptance(known.status, marker)
        if entry is None or status is None or status.at <= self._clock() - self.lifetimes.accepted:
            return Lookup()
        fresh_until = min(entry.fresh_until, seen_at + FRESH_SECONDS)
        return Lookup(Entry(entry.at, fresh_until, entry.accounts), status)

    def _put_copy(self, keys: Keys, known: Lookup, *, stored: bool) -> None:
        if known.entry:
            self._copies.put(keys.token, known, stored=stored)


def _valid(entry: Dated | None, marker: InvalidationMarker | None) -> Dated | None:
    """The entry, unless the person's accounts changed since GenAuth was asked."""
    return None if entry and marker and marker.voids(entry) else entry


def _valid_acceptance(status: TokenStatus | None, marker: InvalidationMarker | None) -> TokenStatus | None:
    """The acceptance, unless the person was signed out since GenAuth was asked."""
    return None if status and marker and marker.rejects(status) else status
