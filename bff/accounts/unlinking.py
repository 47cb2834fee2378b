"""The use case: an account is unlinked, and only GenAuth's own list says that it was.

lock ── one change of a person at a time, over all workers and replicas; without Redis nothing is changed
  └─ fresh list ── not in it ─▶ NotLinkedHere
       └─ the rule ── not allowed ─▶ LastLoginMethod, ManagedByOrganization
            └─ hold ── from here on nothing is kept that was asked for before the change is settled
                 └─ POST, exactly once ── GenAuth's clear no ─▶ passed on
                      └─ read back, once more if it is still there ── gone ─▶ kept for everybody, an event added ─▶ Unlinked
                           └─ still there, nobody can say, or no event added ─▶ ChangeUnconfirmed; the hold ends by itself

GenAuth's success proves nothing: it says so of what was not linked, too. And its list may show a removal late: what was asked to
be removed lately does not count as an account that the person keeps. Whoever looks later and finds it gone adds the event.
"""

import random
import time
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from threading import Event

from bff.accounts.inclusions import linked_sources
from bff.accounts.providers import Providers
from bff.accounts.security_facts import SecurityFacts
from bff.accounts.service import Answer, LinkedAccounts, redis_needed
from bff.accounts.unlink_rule import LinkedSource, needs_facts, permission
from bff.cache import CacheUnavailable, Entry, StoreLock
from bff.errors import (
    BffError,
    ChangeUnconfirmed,
    LastLoginMethod,
    ManagedByOrganization,
    NotLinked,
    TokenRefused,
    UpstreamUnavailable,
    UserBlocked,
)
from bff.genauth import GenAuthClient
from bff.models import Session
from bff.observability import Audit
from bff.resilience import BulkheadFull, Deadline, released

UNCONFIRMED_SECONDS = 30.0  # for so long GenAuth is believed to carry out, or to show, what it was asked for
_LOCK_MARGIN_SECONDS = 2.0  # the lock never ends before its change does
_POLL_SECONDS = 0.05
_AGAIN_SECONDS = 0.3
_LONGEST_ID = 256
Undo = Callable[[str, str], None]
_REFUSALS = {"last_login_method": LastLoginMethod, "managed_by_organization": ManagedByOrganization}


class NotLinkedHere(NotLinked):
    """The person has linked no such account; ``answer`` is what they have linked, None where nobody had to ask."""

    def __init__(self, answer: Answer | None, *, note: str = "") -> None:
        super().__init__(note=note)
        self.answer = answer


@dataclass(frozen=True, slots=True)
class Unlinked:
    """The account at ``index`` of the list ``before`` is gone from the list ``after``."""

    before: Answer
    index: int
    type: str
    after: Answer


class Unlinking:
    """Unlinks accounts. ``denied`` and ``methods`` as in `unlink_rule.permission`."""

    def __init__(
        self,
        genauth: GenAuthClient,
        accounts: LinkedAccounts,
        providers: Providers,
        facts: SecurityFacts,
        audit: Audit,
        *,
        denied: Collection[str],
        methods: Collection[str],
    ) -> None:
        self._genauth = genauth
        self._accounts = accounts
        self._changes = accounts.changes
        self._providers = providers
        self._facts = facts
        self._audit = audit
        self._denied = denied
        self._methods = methods

    def unlink(self, session: Session, account_id: str, deadline: Deadline) -> Unlinked:
        """Unlink the session's account of that id, an identity source's.

        Nothing was changed: NotLinkedHere, LastLoginMethod, ManagedByOrganization, TokenRefused, UserBlocked, an UpstreamRejected
        or UpstreamFailure (also while Redis is away). Else ChangeUnconfirmed where it is not known whether it was.
        """
        chosen: LinkedSource | None = None
        try:
            if not (0 < len(account_id) <= _LONGEST_ID and account_id.isprintable()):
                raise NotLinkedHere(None, note="no id")
            with redis_needed(), self._locked(session, deadline) as lock:
                before = self._accounts.now(session, deadline)
                pending = self._changes.unconfirmed(session.user_id, before.entry)
                sources = linked_sources(before.entry.accounts, self._providers.catalogue(deadline))
                chosen = next((each for each in sources if each.source_id == account_id), None)
                if chosen is None:
                    raise NotLinkedHere(before)
                self._check(session, sources, chosen, pending, deadline)
                # What was asked for before may come about all the same, whatever becomes of this.
                undo = self._undo if account_id not in pending else _leave
                self._prepare(session, chosen, deadline, lock, undo)
                after = self._remove(session, account_id, deadline, undo)
        except BffError as error:
            self._record(session, error.code, chosen)
            raise
        self._record(session, "ok", chosen)
        return Unlinked(before, sources.index(chosen), chosen.type, after)

    @contextmanager
    def _locked(self, session: Session, deadline: Deadline) -> Iterator[StoreLock]:
        """The right to change the person's accounts, for the block. Raises `CacheUnavailable`, UpstreamUnavailable."""
        lock = self._changes.lock(session.user_id, deadline.remaining() + _LOCK_MARGIN_SECONDS)
        with ExitStack() as waiting:
            wait = None
            while not lock.acquire():
                if deadline.passed:
                    raise UpstreamUnavailable(note="waited for another change", retry_after=1)
                try:
                    wait = wait or waiting.enter_context(self._accounts.waiting_room.visit(session.user_id))
                    pause = _POLL_SECONDS * random.uniform(0.5, 1.5)  # noqa: S311 - spreads load
                    wait(Event(), min(deadline.remaining(), pause))
                except BulkheadFull:
                    raise UpstreamUnavailable(note="too many wait", retry_after=1) from None
        try:
            yield lock
        finally:
            lock.release()

    def _check(
        self,
        session: Session,
        sources: Sequence[LinkedSource],
        chosen: LinkedSource,
        pending: Collection[str],
        deadline: Deadline,
    ) -> None:
        """Raise what forbids to unlink the account, or UpstreamUnavailable where nobody can say."""
        staying = [each for each in sources if each is chosen or each.source_id not in pending]
        needed = needs_facts(staying, chosen, denied=self._denied, methods=self._methods)
        facts = self._facts.now(session, deadline).info if needed else None
        found = permission(staying, chosen, facts, denied=self._denied, methods=self._methods)
        if found.allowed:
            return
        if permission(sources, chosen, facts, denied=self._denied, methods=self._methods).allowed:
            raise UpstreamUnavailable(note="an earlier change is not confirmed", retry_after=UNCONFIRMED_SECONDS / 2)
        refusal = _REFUSALS.get(found.reason or "")
        raise refusal() if refusal else UpstreamUnavailable(note="nobody can say whether it may be unlinked", retry_after=2)

    def _prepare(self, session: Session, chosen: LinkedSource, deadline: Deadline, lock: StoreLock, undo: Undo) -> None:
        """Have every process hold back what is asked for from now on. Raises `CacheUnavailable`, UpstreamUnavailable."""
        source_id, seconds = chosen.source_id or "", deadline.remaining() + UNCONFIRMED_SECONDS
        try:
            self._changes.hold(session.user_id, source_id, seconds, provider_type=chosen.type)
        except CacheUnavailable:
            undo(session.user_id, source_id)
            raise
        if not lock.extend():
            undo(session.user_id, source_id)
            raise UpstreamUnavailable(note="lost the lock", retry_after=1)

    def _remove(self, session: Session, source_id: str, deadline: Deadline, undo: Undo) -> Answer:
        """The person's accounts without that source, read back from GenAuth."""
        unconfirmed: ChangeUnconfirmed | None = None
        try:
            self._genauth.unlink(session.token, source_id, deadline, whose=session.digest)
        except ChangeUnconfirmed as error:
            unconfirmed = error
        except NotLinked:
            answer = self._accounts.now(session, deadline)
            if source_id not in answer.entry.accounts.sources:  # else the list may only be late
                self._confirm(session.user_id, source_id, answer.entry)
            raise NotLinkedHere(answer, note="GenAuth says so") from None
        except BffError as refusal:  # GenAuth's clear no, or it was never asked
            undo(session.user_id, source_id)
            if isinstance(refusal, (TokenRefused, UserBlocked)):
                self._accounts.refuse(session, refusal)
            raise
        for pause in (0.0, _AGAIN_SECONDS):
            with released():
                time.sleep(min(pause, deadline.remaining()))
            try:
                after = self._accounts.now(session, deadline)
            except BffError as failure:
                raise ChangeUnconfirmed(note=f"not read back: {failure.note or failure.code}") from None
            if source_id not in after.entry.accounts.sources:
                self._confirm(session.user_id, source_id, after.entry)
                return after
        raise unconfirmed or ChangeUnconfirmed(note="still there")

    def _confirm(self, user_id: str, source_id: str, entry: Entry) -> None:
        """The source is gone. Raises ChangeUnconfirmed where others are to learn of it and cannot."""
        try:
            self._changes.settle(user_id, source_id, entry, wait=True)
        except CacheUnavailable:
            # Without events nobody is misled: the hold ends by itself, and nothing is kept until then.
            if self._changes.adds_events:
                raise ChangeUnconfirmed(note="gone, but no event was added") from None

    def _undo(self, user_id: str, source_id: str) -> None:
        """The source is not being removed; while Redis is away the hold ends by itself."""
        with suppress(CacheUnavailable):
            self._changes.settle(user_id, source_id)

    def _record(self, session: Session, result: str, chosen: LinkedSource | None) -> None:
        self._audit.record(
            "unlink",
            result,
            session.user_id,
            source_id=chosen.source_id if chosen else None,
            provider=chosen.type if chosen else None,
        )


def _leave(_user_id: str, _source_id: str) -> None:
    """Let the hold end by itself."""
