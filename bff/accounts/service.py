"""The use case: which outside accounts has this person linked? Fresh from the cache, else from GenAuth, else the last ones.

look up ── fresh, and GenAuth accepted this token lately ──▶ hit
   ├─ GenAuth failed for this token a moment ago ──▶ as if it failed now
   └─ single flight: one thread of this process for each token, the others wait for its outcome
        └─ lock: one process for each token, the others look again until there is an outcome
             └─ look again ─▶ ask GenAuth
                  ├─ answered ─▶ link, render, guard, put ──▶ miss
                  ├─ refused the token, or the user is blocked ─▶ put the refusal, and raise it: never from the cache
                  └─ failed ─▶ put the failure; the last good answer, if GenAuth accepted this very token since ──▶ stale
"""

import random
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from enum import StrEnum
from math import inf

from bff.accounts.linking import link
from bff.accounts.providers import Providers
from bff.accounts.redaction import report
from bff.accounts.refusals import Refusals
from bff.accounts.rendering import render
from bff.cache import AccountsCache, CacheUnavailable, Entry, Lookup
from bff.errors import TokenRefused, UpstreamFailure, UpstreamRejected, UpstreamTimeout, UpstreamUnavailable, UserBlocked
from bff.genauth import CallNotMade, GenAuthClient
from bff.models import Session
from bff.observability import Recorder
from bff.resilience import BulkheadFull, Deadline, Forgotten, Shares, SingleFlight, WaitingRoom, cache, set_apart

# A fresh answer is asked of GenAuth only if what there is is older than this; younger is fresh by definition.
REFRESHABLE_SECONDS = 2.0
_POLL_SECONDS = 0.025
# How many sessions of one person may be asked about at a time: a good third of the calls that may be under way.
_CALLS_EACH = 24


class Source(StrEnum):
    """Where an answer came from."""

    CACHE = "cache"
    GENAUTH = "genauth"
    COLLAPSED = "collapsed"
    STALE = "stale"


class Forward(StrEnum):
    """Why GenAuth was asked (RFC 9211 2.2)."""

    MISS = "miss"
    STALE = "stale"
    REQUEST = "request"


@dataclass(frozen=True, slots=True)
class Answer:
    """A person's linked accounts, and how they came about. ``ttl`` and ``age`` in seconds, ``ttl`` negative when stale.

    ``good_until`` is when the token's acceptance or the entry's freshness ends, in epoch seconds; 0: not to be served again.
    """

    entry: Entry
    source: Source
    ttl: float
    age: float
    good_until: float
    forward: Forward | None = None

    @property
    def stale(self) -> bool:
        """Whether GenAuth failed to answer and this is its last good answer."""
        return self.source is Source.STALE


@contextmanager
def redis_needed() -> Iterator[None]:
    """UpstreamUnavailable for what cannot be done while Redis is away."""
    try:
        yield
    except CacheUnavailable:
        raise UpstreamUnavailable(note="Redis is away", retry_after=1) from None


class LinkedAccounts:
    """Finds the accounts that a person has linked, asking GenAuth as seldom as it can."""

    def __init__(
        self,
        genauth: GenAuthClient,
        accounts: AccountsCache,
        providers: Providers,
        refusals: Refusals,
        recorder: Recorder,
        *,
        waiting_room: WaitingRoom,
        person: Callable[[str], str] = str,
        clock: Callable[[], float] = time.time,
    ) -> None:
        """``waiting_room`` is for threads that wait for another caller's outcome. ``person`` gives the opaque id of a user."""
        self._genauth = genauth
        self._cache = accounts
        self.changes = accounts.changes
        self._providers = providers
        self._refusals = refusals
        self._recorder = recorder
        self._lifetimes = accounts.lifetimes
        self.waiting_room = waiting_room
        self._person = person
        self._clock = clock
        self._flights: SingleFlight[Answer] = SingleFlight(waiting_room)
        self._calls = Shares(_CALLS_EACH)
        self._changed = Forgotten(cache("changed_people", seconds=inf))

    def of(self, session: Session, deadline: Deadline, *, refresh: bool = False, since: float | None = None) -> Answer:
        """The accounts linked to the session's user. ``refresh``: no older than two seconds, or than ``since``.

        Raises TokenRefused, UserBlocked, or an UpstreamFailure when there is no answer that may be served as stale.
        """
        if refresh and since is None:
            since = self._clock() - REFRESHABLE_SECONDS
        younger_than = float("-inf") if since is None else since
        seen = self._look_up(session)
        if found := self._fresh(session, seen, younger_than, Source.CACHE):
            return found
        try:
            found = self._shared(session, deadline, younger_than, seen)
        except UpstreamFailure as failure:
            return self._last_good(session, failure)
        if refresh:
            self.changes.outdate(session.user_id)
        return found

    def now(self, session: Session, deadline: Deadline) -> Answer:
        """The accounts as GenAuth reports them when it is asked now: for a change, which no earlier answer will do for.

        Raises what `of` raises, and whatever GenAuth fails with: nothing stands in.
        """
        self._look_up(session)
        self._genauth.raise_if_open(session.digest)
        try:
            with self._calls.place(session.user_id):
                entry = self._ask(session, deadline)
        except BulkheadFull:
            raise UpstreamUnavailable(note="too many wait", retry_after=1) from None
        self.changes.outdate(session.user_id)
        return self._answer(entry, Source.GENAUTH, entry.at, Forward.REQUEST)

    def on_change(self, person: str) -> None:
        """Something about a person, an opaque id, changed somewhere: who asks from now on shares no call that began before."""
        self._changed.put(person)

    def on_missed_changes(self) -> None:
        """Something about anybody may have changed without being received here. From now on changes are received."""
        self._changed.put_everybody()
        self._refusals.forget_everybody()
        self._cache.drop_copies()

    def changes_so_far(self, session: Session) -> tuple[int, int]:
        """``number`` and ``since`` of `SingleFlight.do`: a call that began before a change is no answer to who asks now."""
        return self._changed.number, self._changed.last(self._person(session.user_id))

    def raise_if_refused(self, session: Session) -> None:
        """Raise TokenRefused or UserBlocked where GenAuth is known to have refused the session. One round trip."""
        self._look_up(session)

    def refuse(self, session: Session, refusal: TokenRefused | UserBlocked, begun: int | None = None) -> None:
        """GenAuth refused the token: nothing it was accepted for before holds, here or elsewhere. ``begun`` as in `Refusals`."""
        self._refusals.put(session, refusal, begun)
        self._cache.put_refusal(session, refusal)
        self.changes.outdate(session.user_id)

    def _look_up(self, session: Session) -> Lookup:
        """What is known of the session's user and token. One round trip; raises TokenRefused or UserBlocked."""
        self._refusals.raise_if_refused(session.digest)
        seen = self._cache.get(session)
        seen.raise_if_refused()
        return seen

    def _shared(self, session: Session, deadline: Deadline, younger_than: float, seen: Lookup) -> Answer:
        """What one thread of this process finds for all that ask with the same token."""
        number, since = self.changes_so_far(session)
        while True:
            try:
                found, shared = self._flights.do(
                    # By token, not by user: GenAuth has to accept every single one of them.
                    session.digest,
                    lambda: self._locked(session, deadline, younger_than, seen),
                    deadline,
                    visitor=session.user_id,
                    number=number,
                    since=since,
                )
            except TimeoutError:
                raise UpstreamTimeout(note="waited for another thread's call") from None
            except BulkheadFull:
                raise UpstreamUnavailable(note="too many wait", retry_after=1) from None
            if not shared:
                return found
            if found.entry.at > younger_than:
                return found if found.source is Source.CACHE else replace(found, source=Source.COLLAPSED)
            # That call was made before this caller asked for a fresh answer: once more.

    def _locked(self, session: Session, deadline: Deadline, younger_than: float, seen: Lookup) -> Answer:
        """What one process finds for all that ask with the same token: `_ask` under the lock, or what its holder stored."""
        # Before a lock is taken that would lead to nothing. One person's failures are not to keep GenAuth busy.
        seen.raise_if_failed()
        self._genauth.raise_if_open(session.digest)
        source, forward = Source.CACHE, self._forward(seen, younger_than)
        with self._calls.place(session.user_id), ExitStack() as waiting:
            wait = None
            while True:
                with self._cache.attempt(session, refresh=forward is Forward.REQUEST, held=seen.held) as acquired:
                    again = self._look_up(session)
                    if found := self._fresh(session, again, younger_than, source):
                        return replace(found, forward=forward)
                    again.raise_if_failed()
                    if acquired:
                        waiting.close()
                        entry = self._ask(session, deadline)
                        return self._answer(entry, Source.GENAUTH, entry.at, forward)
                if deadline.passed:
                    raise UpstreamTimeout(note="waited for another process's call")
                wait = wait or waiting.enter_context(self.waiting_room.visit(session.user_id))
                pause = _POLL_SECONDS * random.uniform(0.5, 1.5)  # noqa: S311 - spreads load
                wait(threading.Event(), min(deadline.remaining(), pause))
                source = Source.COLLAPSED

    def _ask(self, session: Session, deadline: Deadline) -> Entry:
        """Ask GenAuth, and store what it answers: the accounts as they are sent, its refusal or its failure."""
        self._providers.freshen(session.token)
        asked_at, begun = self._clock(), self._refusals.begun
        try:
            reported = self._genauth.identities(session.token, deadline, whose=session.digest)
            catalogue = self._providers.catalogue(deadline)
            with set_apart(reported.size, deadline):
                rendered, emptied = render(link(reported.rows), catalogue, [*reported.secrets, session.token])
        except (TokenRefused, UserBlocked) as refusal:
            if self._refusals.are_reconsidered(session, begun):
                return self._ask(session, deadline)
            self.refuse(session, refusal, begun)
            raise
        except CallNotMade:
            raise  # that is about this process, not about the token
        except (UpstreamFailure, UpstreamRejected) as failure:
            self._cache.put_failure(session, failure)
            raise
        report(emptied, self._recorder)
        return self._cache.put(session, rendered, asked_at)

    def _last_good(self, session: Session, failure: UpstreamFailure) -> Answer:
        """The last good answer, for a token that GenAuth accepted within the stale window and has not refused since."""
        # Looked up again: meanwhile another thread or process may have seen the token refused.
        seen = self._look_up(session)
        horizon = self._clock() - self._lifetimes.ttl - self._lifetimes.stale
        if seen.entry is None or seen.entry.at < horizon or self._accepted_at(session, seen) < horizon:
            raise failure
        return self._answer(seen.entry, Source.STALE)

    def _fresh(self, session: Session, seen: Lookup, younger_than: float, source: Source) -> Answer | None:
        """What is stored, if it is fresh, young enough for the caller, and GenAuth accepted the token lately."""
        now = self._clock()
        accepted_at = self._accepted_at(session, seen)
        if seen.entry is None or accepted_at <= now - self._lifetimes.accepted:
            return None
        fresh = seen.entry.at > younger_than and now < seen.entry.fresh_until
        return self._answer(seen.entry, source, accepted_at) if fresh else None

    def _accepted_at(self, session: Session, seen: Lookup) -> float:
        """When GenAuth last accepted the token; never, if this process saw it refused since, whatever Redis holds."""
        at = seen.accepted_at
        return at if at is not None and at > self._refusals.refused_at(session.digest) else float("-inf")

    def _answer(self, entry: Entry, source: Source, accepted_at: float = 0.0, forward: Forward | None = None) -> Answer:
        """``accepted_at``: when GenAuth accepted the token that asks; 0 if the answer is not to be served again."""
        now = self._clock()
        good_until = min(entry.fresh_until, accepted_at + self._lifetimes.accepted) if accepted_at else 0.0
        return Answer(entry, source, entry.fresh_until - now, entry.age(now), good_until, forward)

    def _forward(self, seen: Lookup, younger_than: float) -> Forward:
        if seen.entry is None or seen.accepted_at is None:
            return Forward.MISS
        too_old = seen.entry.at <= younger_than and self._clock() < seen.entry.fresh_until
        return Forward.REQUEST if too_old else Forward.STALE
