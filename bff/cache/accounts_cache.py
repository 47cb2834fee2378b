"""What is stored of a person: their accounts as finished JSON, and which of their tokens GenAuth accepted or refused.

    la:5:{person}:accounts       one for each user
    la:5:{person}:security       how the user can sign in but by linked accounts
    la:5:{person}:token:<id>     one for each session token: when GenAuth was asked last that accepted it
    la:5:{person}:recent:<id>    for as long as that acceptance saves a question, by Redis's clock as well as by ours
    la:5:{person}:refused:<id>   one for each session token: when GenAuth refused it last; what it was accepted before is void
    la:5:{person}:invalidated    after a change: accounts asked for before it are void; while one is under way: whichever
    la:5:{person}:failure:<id>   for two seconds: GenAuth failed to answer for the token, and is not asked with it again so soon
    la:5:{person}:lock:<id>      held by the process that is asking GenAuth right now
    la:5:{person}:lock:refresh   the same, where a fresh answer to any of the person's tokens will do
    la:5:{person}:lock:change    held by the request that changes the person's accounts

``{person}`` is an opaque id in a Redis Cluster hash tag: a user's keys share a slot and one round trip. `values` has the shapes.

A process may be paused between asking GenAuth and storing the answer. So the order of writing decides nothing: each value carries
its moment, and refusals and changes have keys of their own, which are kept until nothing from before them could be served.

A change that GenAuth is asked for is dated ahead before it is sent (`hold`): should Redis go away then, nothing that was asked
for meanwhile comes back with it. Every process keeps it in mind as well, for while Redis cannot (`on_hold`).
"""

import time
from collections.abc import Callable, Collection
from contextlib import AbstractContextManager, nullcontext, suppress
from dataclasses import replace

from bff.cache.codec import Codec
from bff.cache.entries import (
    FAILURE_SECONDS,
    Dated,
    Entry,
    Failure,
    InvalidationMarker,
    Keys,
    Lifetimes,
    Lookup,
    SecurityEntry,
    TokenStatus,
    latest,
)
from bff.cache.fallback import FRESH_SECONDS, FallbackCache, Holds
from bff.cache.lock import Locks
from bff.cache.redis_store import PREFIX, CacheUnavailable, RedisStore, StoreLock
from bff.cache.values import Values
from bff.errors import TokenRefused, UpstreamFailure, UpstreamRejected, UserBlocked
from bff.models import RenderedAccounts, SecurityInfo, Session
from bff.observability import Recorder
from bff.resilience import Cache, cache

CHANGE_LOCK_AT_MOST = 60.0  # seconds; more than the longest CHANGE_DEADLINE_SECONDS
HOLD_AT_MOST = 55.0  # a marker that is a minute ahead, or more, is not believed (`values`)
_RECENT = b"1"  # says nothing by itself, so it needs no codec


class AccountsCache:
    """The cache below the route, by verified user id and never by path or token alone.

    Fails open, but for `invalidate` and what a change stands on: `change_lock`, `unconfirmed` and `hold`.
    """

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
        self._invalidations: Cache[str, float] = cache("invalidations", seconds=lifetimes.longest)
        self._holds = Holds(max(lifetimes.longest, HOLD_AT_MOST), clock)
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
            known, marker = Lookup(), None
        values: dict[str, Entry | TokenStatus] = {}
        valid = self._valid(keys, entry, marker)
        if valid and (known.entry is None or known.entry.at <= entry.at):
            values[keys.accounts] = entry
        if latest(status, known.status) is status:
            values[keys.token] = status
            self._store.set_many({keys.recent: _RECENT}, self.lifetimes.accepted)
        stored = self._store.set_many(self._values.encode(values), self.lifetimes.ttl + self.lifetimes.stale)
        if len(values) == 2:  # both are the latest
            self._put_copy(keys, Lookup(entry, status), stored=stored)
        return entry if valid else entry.void()

    def security(self, session: Session) -> SecurityEntry | None:
        """How the session's user can sign in, as GenAuth said since the accounts changed last. One round trip."""
        keys, key = self._keys(session), f"{self._person(session.user_id)}:security"
        with suppress(CacheUnavailable):
            stored, marked = self._store.get_many(key, keys.invalidated)
            marker = self._values.decode(keys.invalidated, marked, InvalidationMarker, self._clock())
            return self._valid(keys, self._values.decode(key, stored, SecurityEntry, self._clock()), marker)
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
        now = self._clock()
        self._invalidations.put(f"{self._person(user_id)}:invalidated", now)
        marker = InvalidationMarker(now)
        with suppress(CacheUnavailable):
            marker = self._marker(user_id).changed(now)
        self._mark(user_id, marker)

    def change_lock(self, user_id: str, seconds: float) -> StoreLock:
        """The lock under which a user's accounts are changed, not yet acquired. It is not extended by itself."""
        return self._store.lock(f"{self._person(user_id)}:lock:change", seconds, at_most=CHANGE_LOCK_AT_MOST)

    def unconfirmed(self, user_id: str) -> Collection[str]:
        """The ids of sources whose removal was sent lately and not confirmed. `CacheUnavailable` also where Redis lost them."""
        marker, now = self._marker(user_id), self._clock()
        if self._holds.untold(f"{self._person(user_id)}:invalidated", marker) > now:
            raise CacheUnavailable
        return marker.pending(now)

    def hold(self, user_id: str, source_id: str, seconds: float) -> None:
        """The removal of a source is about to be sent: for ``seconds``, or until it is settled, nothing asked for is kept.

        Under the `change_lock`. Raises `CacheUnavailable`.
        """
        self._mark(user_id, self._marker(user_id).holding(source_id, self._clock(), min(seconds, HOLD_AT_MOST)))

    def settle(self, user_id: str, source_id: str, entry: Entry | None = None) -> Entry | None:
        """The removal of a source is confirmed by the ``entry``, or was not made (None). Under the `change_lock`.

        The entry as it is served from now on, while everything else that was asked for meanwhile stays void. None if there is
        none: with Redis away, or another removal unconfirmed, nothing is kept until the hold ends by itself.
        """
        try:
            marker = self._marker(user_id).settled(source_id, self._clock(), entry)
            self._mark(user_id, marker)
        except CacheUnavailable:
            return None
        if entry is None or marker.voids(entry):
            return None
        entry = entry.fresh(self.lifetimes.fresh_for())
        stored = self._values.encode({f"{self._person(user_id)}:accounts": entry})
        return entry if self._store.set_many(stored, self.lifetimes.ttl + self.lifetimes.stale) else None

    def on_hold(self, person: str, seconds: float) -> None:
        """The accounts of ``person``, an opaque id, change, which may take ``seconds``; `Holds` says what for."""
        self._holds.put(f"{PREFIX}{{{person}}}:invalidated", min(seconds, HOLD_AT_MOST))

    def attempt(self, session: Session, *, refresh: bool = False, held: bool = False) -> AbstractContextManager[bool]:
        """Whether this process may ask GenAuth about the session; if it acquired the lock for that, it holds it for the block.

        ``refresh``: GenAuth accepted the token lately: the answer to any session of the person will do. ``held``: as in `Lookup`.
        """
        if held:
            return nullcontext(True)  # nothing is kept: who waited would find nothing
        if refresh:
            return self._locks.attempt(f"{self._person(session.user_id)}:lock:refresh")
        return self._locks.attempt(self._keys(session).failure.replace(":failure:", ":lock:"))

    def _marker(self, user_id: str) -> InvalidationMarker:
        key = f"{self._person(user_id)}:invalidated"
        (stored,) = self._store.get_many(key)
        return self._values.decode(key, stored, InvalidationMarker, self._clock()) or InvalidationMarker(0.0)

    def _mark(self, user_id: str, marker: InvalidationMarker) -> None:
        person = self._person(user_id)
        kept = max(self.lifetimes.longest, marker.at - self._clock())
        marked = self._store.set_many(self._values.encode({f"{person}:invalidated": marker}), kept)
        self._store.delete_many(f"{person}:accounts", f"{person}:security")
        if not marked:
            raise CacheUnavailable

    def _person(self, user_id: str) -> str:
        return f"{PREFIX}{{{self._person_id(user_id)}}}"

    def _keys(self, session: Session) -> Keys:
        return Keys.of(self._person(session.user_id), self._codec.opaque_id("token", session.digest))

    def _lookup(self, keys: Keys) -> Lookup:
        """What Redis holds, and what it could not store a moment ago. One round trip; raises `CacheUnavailable`."""
        known, marker = self._find(keys)
        # A refusal that is repeated is newer than what could not be stored there.
        if not known.refused and (copy := self._copies.unstored(keys.token)):
            return known.newer(self._aged(copy.value, copy.seen_at, keys, marker))
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
        marker = self._values.decode(keys.invalidated, stored[keys.invalidated], InvalidationMarker, now)
        failure = self._values.decode(keys.failure, stored[keys.failure], Failure, now)
        status = latest(refused, accepted)
        repeated = status is not None and status.repeats(now, self.lifetimes.refused)
        failure = failure if failure and failure.is_repeated(now) else None
        return Lookup(self._valid(keys, entry, marker), status, failure, repeated, bool(marker and marker.at > now)), marker

    def _from_copy(self, keys: Keys) -> Lookup:
        copy = self._copies.get(keys.token)
        return self._aged(copy.value, copy.seen_at, keys) if copy else Lookup()

    def _aged(self, known: Lookup, seen_at: float, keys: Keys, marker: InvalidationMarker | None = None) -> Lookup:
        """A copy, fresh for a few seconds and good for nothing once the acceptance of its token is too old.

        What is served as stale later than that could be somebody's whom another process saw refused.
        """
        accepted_at = known.accepted_at
        entry = self._valid(keys, known.entry, marker)
        if entry is None or accepted_at is None or accepted_at <= self._clock() - self.lifetimes.accepted:
            return Lookup()
        fresh_until = min(entry.fresh_until, seen_at + FRESH_SECONDS)
        return Lookup(Entry(entry.at, fresh_until, entry.accounts), known.status)

    def _put_copy(self, keys: Keys, known: Lookup, *, stored: bool) -> None:
        if known.entry:
            self._copies.put(keys.token, known, stored=stored)

    def _valid(self, keys: Keys, entry: Dated | None, marker: InvalidationMarker | None) -> Dated | None:
        """The entry, unless the person's accounts changed since GenAuth was asked."""
        changed_at = self._invalidations.get(keys.invalidated) or 0.0
        if entry is None or entry.at <= max(changed_at, self._holds.untold(keys.invalidated, marker)):
            return None
        return None if marker and marker.voids(entry) else entry
