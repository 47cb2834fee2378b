"""The use case: which outside accounts has this person linked? Fresh from memory, else from GenAuth, else the last good answer.

recall ── fresh, and GenAuth accepted this token lately ──▶ hit
   │      (with a new token there is hardly anything: straight on, with a look on the way)
   └─ one caller per token asks GenAuth, the others wait for what it brings
          ├─ answered ─▶ link, guard, remember ──▶ miss
          ├─ refused the token, or the user is blocked ─▶ remember that; never from memory
          └─ in trouble ─▶ the last good answer, if GenAuth accepted this very token since ──▶ stale
"""

import random
import time
from collections.abc import Callable
from contextlib import ExitStack
from enum import StrEnum
from typing import Protocol

from msgspec import Struct, structs

from bff.accounts.linking import link
from bff.accounts.redaction import guarded, tell
from bff.accounts.refusals import Refusals
from bff.cache import AccountsCache, Asking, Entry, Lifetimes, Lookup
from bff.errors import TokenRefused, UpstreamFailure, UpstreamTimeout, UpstreamUnavailable, UserBlocked
from bff.genauth import Identities
from bff.models import Session
from bff.observability import Recorder
from bff.resilience import BulkheadFull, Deadline, SingleFlight, WaitingRoom
from bff.resilience import waiting as outside_the_gate

# Asking for a fresh answer is honoured for what is older than this; younger is fresh by definition.
_REFRESHABLE_SECONDS = 2.0
_POLL_SECONDS = 0.025


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


class Answer(Struct, frozen=True):
    """A person's linked accounts, and how they came about. ``ttl`` and ``age`` in seconds, ``ttl`` negative when stale.

    ``good_until`` is when the token's acceptance or the entry's freshness ends, in epoch seconds; 0: not to be repeated.
    """

    entry: Entry
    source: Source
    ttl: float
    age: float
    good_until: float
    forward: Forward | None = None

    @property
    def stale(self) -> bool:
        """Whether GenAuth is away and this is its last good answer."""
        return self.source is Source.STALE


class Found(Struct, frozen=True):
    """An entry, where it came from, when GenAuth accepted the token that asks, and why GenAuth was asked if it was."""

    entry: Entry
    source: Source
    accepted_at: float
    forward: Forward | None = None


class GenAuth(Protocol):
    """Who knows: `bff.genauth.client.GenAuthClient`."""

    @property
    def ready(self) -> bool:
        """Whether `identities` would ask right now."""

    def heed(self) -> None:
        """Raise the UpstreamFailure with which `identities` would refuse to ask right now."""

    def identities(self, token: str, deadline: Deadline) -> Identities:
        """The user's identities, without tokens, and the tokens that came with them, to guard against."""


class LinkedAccounts:
    """Answers the one question, asking GenAuth as seldom as it can."""

    def __init__(
        self,
        genauth: GenAuth,
        cache: AccountsCache,
        refusals: Refusals,
        recorder: Recorder,
        lifetimes: Lifetimes,
        *,
        waiting_places: int,
        changed: Callable[[str], None] = lambda _user_id: None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        """``waiting_places`` is how many threads may wait long for another caller's question.

        ``changed(user_id)`` is called when answers given for the user a moment ago no longer hold.
        """
        self._genauth = genauth
        self._cache = cache
        self._refusals = refusals
        self._recorder = recorder
        self._lifetimes = lifetimes
        self._changed = changed
        self._clock = clock
        self._room = WaitingRoom(waiting_places, watched=recorder.waiting)
        self._flights: SingleFlight[Found] = SingleFlight(self._room)

    def of(self, session: Session, deadline: Deadline, *, refresh: bool = False) -> Answer:
        """The accounts linked to the session's user. ``refresh`` asks for an answer no older than two seconds.

        Raises TokenRefused, UserBlocked, or a UpstreamFailure when nothing may stand in.
        """
        asked_since = self._clock() - _REFRESHABLE_SECONDS if refresh else float("-inf")
        # With a new token there is most likely nothing to recall: looking and taking a turn are one round trip.
        straight = session.new and self._genauth.ready
        if not straight and (found := self._fresh(session, self._recall(session), asked_since, Source.CACHE)):
            return self._answer(found)
        try:
            found = self._find(session, deadline, asked_since, straight=straight)
        except UpstreamFailure as trouble:
            return self._stand_in(session, trouble)
        if refresh:
            self._changed(session.user_id)
        return self._answer(found)

    def _recall(self, session: Session) -> Lookup:
        """What is known of the session's user and token. One round trip; raises TokenRefused or UserBlocked."""
        self._refusals.check(session.digest)
        seen = self._cache.recall(session)
        seen.heed()
        return seen

    def _find(self, session: Session, deadline: Deadline, asked_since: float, *, straight: bool) -> Found:
        """What GenAuth says, asked by one caller for all. Raises UpstreamFailure, waiting in vain included."""
        while True:
            try:
                found, shared = self._flights.do(
                    # By token, not by user: GenAuth has to accept every single one of them.
                    session.digest,
                    lambda: self._ask_in_turn(session, deadline, asked_since, straight=straight),
                    deadline,
                )
            except TimeoutError:
                raise UpstreamTimeout(note="waited for another caller's question") from None
            except BulkheadFull:
                raise UpstreamUnavailable(note="too many wait", retry_after=1) from None
            if not shared:
                return found
            if found.entry.at > asked_since:
                return found if found.source is Source.CACHE else structs.replace(found, source=Source.COLLAPSED)
            # That question was put before the caller wished for a fresh answer: once more.

    def _ask_in_turn(self, session: Session, deadline: Deadline, asked_since: float, *, straight: bool) -> Found:
        """Ask GenAuth, or wait for another process that is asking on behalf of the same token.

        ``straight``: without having looked, so that it takes no turn before it did.
        """
        self._genauth.heed()  # before any turn is taken that would lead to nothing
        self._refusals.check(session.digest)
        awaited = ""
        forward: Forward | None = None
        with ExitStack() as waiting:
            free_until = time.monotonic() + self._room.free_seconds
            while True:
                with self._cache.asking(session, awaited, unless_known=straight) as asking:
                    asking.seen.heed()
                    if found := self._fresh(session, asking.seen, asked_since, Source.COLLAPSED if awaited else Source.CACHE):
                        return structs.replace(found, forward=forward)
                    if asking.trouble:
                        raise asking.trouble
                    forward = forward or self._forward(asking.seen, asked_since)
                    if asking.go:
                        waiting.close()
                        entry = self._ask(session, deadline, asking)
                        return Found(entry, Source.GENAUTH, entry.at, forward)
                if straight and not asking.awaiting:
                    straight = False  # there was something, but nothing that would do
                    continue
                if deadline.passed:
                    raise UpstreamTimeout(note="waited for another process's question")
                if not awaited:
                    waiting.enter_context(self._room.watched())
                if free_until and time.monotonic() > free_until:
                    waiting.enter_context(self._room.seat())
                    free_until = 0.0
                awaited = asking.awaiting
                with outside_the_gate():
                    time.sleep(min(deadline.remaining(), _POLL_SECONDS * random.uniform(0.5, 1.5)))  # noqa: S311 - spreads load

    def _ask(self, session: Session, deadline: Deadline, asking: Asking) -> Entry:
        asked_at = self._clock()
        try:
            answered = self._genauth.identities(session.token, deadline)
        except (TokenRefused, UserBlocked) as refusal:
            self._refusals.remember(session.digest, refusal)
            self._cache.refuse(session, refusal)
            self._changed(session.user_id)
            raise
        accounts, stopped = guarded(link(answered.rows), [*answered.secrets, session.token])
        tell(stopped, self._recorder)
        return self._cache.remember(session, accounts, asked_at, asking)

    def _stand_in(self, session: Session, trouble: UpstreamFailure) -> Answer:
        """The last good answer, for a token that GenAuth accepted within the stale window and has not refused since."""
        # Looked up again: while we waited, somebody may have learned that the token is refused.
        seen = self._recall(session)
        horizon = self._clock() - self._lifetimes.ttl - self._lifetimes.stale
        if seen.entry is None or seen.entry.at < horizon or self._accepted_at(session, seen) < horizon:
            raise trouble
        return self._answer(Found(seen.entry, Source.STALE, 0.0))

    def _fresh(self, session: Session, seen: Lookup, asked_since: float, source: Source) -> Found | None:
        """What was remembered, if it is fresh, young enough for the caller, and GenAuth accepted the token lately."""
        now = self._clock()
        accepted_at = self._accepted_at(session, seen)
        if seen.entry is None or accepted_at <= now - self._lifetimes.accepted:
            return None
        fresh = seen.entry.at > asked_since and now < seen.entry.fresh_until
        return Found(seen.entry, source, accepted_at) if fresh else None

    def _accepted_at(self, session: Session, seen: Lookup) -> float:
        """When GenAuth last accepted the token; never, if it refused it since, whatever Redis could be told."""
        at = seen.accepted_at
        return at if at is not None and at > self._refusals.last(session.digest) else float("-inf")

    def _answer(self, found: Found) -> Answer:
        now = self._clock()
        entry, accepted_until = found.entry, found.accepted_at + self._lifetimes.accepted
        good_until = min(entry.fresh_until, accepted_until) if found.accepted_at else 0.0
        return Answer(entry, found.source, entry.fresh_until - now, entry.age(now), good_until, found.forward)

    def _forward(self, seen: Lookup, asked_since: float) -> Forward:
        if seen.entry is None or seen.accepted_at is None:
            return Forward.MISS
        too_old = seen.entry.at <= asked_since and self._clock() < seen.entry.fresh_until
        return Forward.REQUEST if too_old else Forward.STALE
