"""The use case: another account is linked. Where the browser goes, and what came of it.

begin ── the connection is known, its source not linked yet ─▶ GenAuth makes the address to go to ─▶ the link is noted
returned ── the browser is back ─▶ what is stored of the person is void ─▶ where to send the browser
outcome ── a fresh list, compared with the one at the beginning ─▶ pending, unchanged, failed
   └─ linked, for the first time ─▶ what is stored of the person is void, an event added ─▶ linked

GenAuth's list alone decides whether an account was linked: anybody can write the address that a browser comes back to. And who
goes to GenAuth may be another person than the one who began and passed the address on: GenAuth links the account to the one who
began (cross-user session fixation). So the outcome is for their session alone, and to any other it is a warning.
"""

import re
import time
from collections.abc import Callable, Collection
from dataclasses import astuple, dataclass, replace
from secrets import token_urlsafe
from urllib.parse import unquote_plus, urlencode

import orjson

from bff.accounts.inclusions import linked_sources
from bff.accounts.providers import Catalogue, Providers
from bff.accounts.service import Answer, LinkedAccounts, Source, redis_needed
from bff.cache import SKEW_SECONDS, BriefValues
from bff.errors import (
    AlreadyLinked,
    BffError,
    InvalidRequest,
    LinkExpired,
    LinkOfAnotherPerson,
    NotFound,
    TokenRefused,
    UpstreamUnavailable,
    UserBlocked,
)
from bff.genauth import GenAuthClient
from bff.models import LINKED, AccountEvent, Session
from bff.observability import Audit
from bff.resilience import Deadline
from bff.setting_addresses import may_return_to
from schemas.oidc import is_identifier, is_numeric_date

LINK_SECONDS = 600
_STATE_BYTES = 32  # 43 characters
_STATE = re.compile(r"[A-Za-z0-9_-]{43}", re.ASCII)


@dataclass(frozen=True, slots=True)
class Begun:
    """A link that has begun: where the browser goes, and by which name it is asked for."""

    url: str
    state: str


@dataclass(frozen=True, slots=True)
class Outcome:
    """What came of a link to ``connection``, by the list in ``answer``."""

    status: str
    connection: str
    answer: Answer


@dataclass(frozen=True, slots=True)
class _Link:
    """What is noted of a link that began at ``began_at``, in epoch seconds.

    ``source_id`` and ``provider`` (a type) are those of its connection, None where they were not known. ``linked`` are the ids of
    the sources that were linked at the beginning. ``succeeded``: what GenAuth said when the browser came back, None before.
    """

    user_id: str
    began_at: float
    connection: str
    source_id: str | None
    provider: str | None
    linked: tuple[str, ...]
    return_to: str | None
    succeeded: bool | None = None

    def is_new(self, source_id: str | None) -> bool:
        """Whether a source that is linked now is what came of it."""
        return source_id is not None and source_id not in self.linked and self.source_id in (None, source_id)

    def status(self, now: Collection[str]) -> str:
        """What came of it, where the sources with these ids are linked now."""
        if any(map(self.is_new, now)):
            return "linked"
        return {None: "pending", True: "unchanged", False: "failed"}[self.succeeded]


class LinkFlow:
    """Links accounts. ``return_targets`` is RETURN_TO_ORIGINS, ``public_url`` PUBLIC_URL."""

    def __init__(
        self,
        genauth: GenAuthClient,
        accounts: LinkedAccounts,
        providers: Providers,
        notes: BriefValues,
        audit: Audit,
        *,
        public_url: str | None,
        return_targets: Collection[str],
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._genauth = genauth
        self._accounts = accounts
        self._providers = providers
        self._notes = notes
        self._audit = audit
        self._public_url = public_url
        self._return_targets = return_targets
        self._clock = clock

    def check_return(self, return_to: str | None) -> None:
        """Raise InvalidRequest for an address that no browser is sent to."""
        if return_to is not None and not may_return_to(return_to, self._return_targets):
            raise InvalidRequest(
                "returnTo is neither below an origin that RETURN_TO_ORIGINS lists, to the letter and without a fragment, nor an "
                "address that it lists in full.",
                note="returnTo",
            )

    def begin(self, session: Session, deadline: Deadline, *, connection: str, id_token: str, return_to: str | None) -> Begun:
        """A link to the connection of that identifier; ``return_to`` was checked, as was the id_token.

        Raises NotFound, AlreadyLinked, LinkedToAnotherPerson, UpstreamUnavailable while Redis is away, and whatever GenAuth's
        failures are: a list that is only stale will not do.
        """
        source_id = provider = None
        try:
            self._accounts.raise_if_refused(session)
            self._providers.freshen(session.token)
            catalogue = self._providers.catalogue(deadline)
            source = catalogue.source_of(connection)
            if not is_identifier(connection) or (source is None and catalogue.is_known):
                raise NotFound(note="no such connection")
            if source:
                source_id, provider = source.ext_idp_id, source.type
            linked = _source_ids(self._accounts.now(session, deadline))
            if source_id in linked:
                raise AlreadyLinked(note="known before")
            state = token_urlsafe(_STATE_BYTES)
            url = self._link_url(session, deadline, connection, id_token, self._return_address(state) or return_to)
            self._put(state, _Link(session.user_id, self._clock(), connection, source_id, provider, linked, return_to))
        except BffError as error:
            if type(error) is NotFound:
                error.detail = "provider is no connection of this application: send an identifier of linkableProviders."
            self._audit.record("link_started", error.code, session.user_id, source_id=source_id, provider=provider)
            raise
        self._audit.record("link_started", "ok", session.user_id, source_id=source_id, provider=provider)
        return Begun(url, state)

    def _return_address(self, state: str) -> str | None:
        return f"{self._public_url}/me/linked-accounts/links/{state}/return" if self._public_url else None

    def _link_url(self, session: Session, deadline: Deadline, connection: str, id_token: str, return_to: str | None) -> str:
        try:
            return self._genauth.link_url(
                session.token,
                connection,
                id_token,
                deadline,
                return_to=return_to,
                # To us, what GenAuth appends comes in a body: addresses are logged on the way.
                form_post=self._public_url is not None,
                whose=session.digest,
            )
        except TokenRefused:
            # The session was accepted a moment ago, for the list. Nobody is to be signed out for an id_token.
            raise InvalidRequest("GenAuth refuses the id_token; sign in for another one.", note="id_token, refused") from None
        except UserBlocked as blocked:
            self._accounts.refuse(session, blocked)
            raise

    def returned(self, state: str, success: Callable[[], bool]) -> str | None:
        """The browser is back, once: void what is stored of the person. Where to send the browser, None if nowhere was named.

        ``success`` reads what the browser came with, and is not called before the link is known. Raises LinkExpired, and
        UpstreamUnavailable while Redis is away.
        """
        link = self._get(state)
        if link.succeeded is not None:
            raise LinkExpired(note="used link")
        succeeded = success()
        with redis_needed():
            self._accounts.changes.forget(link.user_id, cause="link_returned")
            if not self._notes.is_first(state, "returned"):
                raise LinkExpired(note="used link")
        self._put(state, replace(link, succeeded=succeeded))
        result = "ok" if succeeded else "failed"
        self._audit.record("link_returned", result, link.user_id, source_id=link.source_id, provider=link.provider)
        # Once more by today's settings, which may be others; nobody else's word either, where Redis is open to others.
        if link.return_to is None or not may_return_to(link.return_to, self._return_targets):
            return None
        return _with_query(link.return_to, link="returned" if succeeded else "failed", state=state)

    def outcome(self, session: Session, state: str, deadline: Deadline) -> Outcome:
        """What came of the link so far.

        Raises LinkExpired, LinkOfAnotherPerson, UpstreamUnavailable while Redis is away, and what `LinkedAccounts.of` raises.
        """
        link = self._get(state)
        if link.user_id != session.user_id:
            self._accounts.raise_if_refused(session)
            self._audit.record(
                "link_outcome", "another_person", session.user_id, source_id=link.source_id, provider=link.provider
            )
            raise LinkOfAnotherPerson
        asked_at = self._clock()
        answer = self._accounts.of(session, deadline, refresh=True)
        if link.status(_source_ids(answer)) != "linked" and answer.source is Source.CACHE:
            # What is fresh for others may be a second older than the account.
            answer = self._accounts.of(session, deadline, refresh=True, since=asked_at)
        if answer.stale:
            raise UpstreamUnavailable(note="no more than a stale list")
        status = link.status(_source_ids(answer))
        with redis_needed():
            if status == "linked":
                self._settle(state, link, answer)
            if status != "pending" and self._notes.is_first(state, status):
                self._audit.record("link_outcome", status, link.user_id, source_id=link.source_id, provider=link.provider)
        return Outcome(status, link.connection, answer)

    def _settle(self, state: str, link: _Link, answer: Answer) -> None:
        """Once for each link, or again where nobody can know whether it was done. Raises `CacheUnavailable`."""
        noted, seconds = f"{state}:linked", link.began_at + LINK_SECONDS - self._clock()
        if self._notes.get(noted) is not None:
            return
        linked = [each for each in linked_sources(answer.entry.accounts, Catalogue()) if link.is_new(each.source_id)]
        since = link.began_at - SKEW_SECONDS  # by the clock of a replica that received GenAuth's event
        events = [AccountEvent(LINKED, link.user_id, each.source_id or "", each.type, since) for each in linked]
        self._accounts.changes.settle(
            link.user_id, None, answer.entry, locked=False, events=events, cause="link_outcome", wait=True
        )
        self._notes.put(noted, b"1", seconds)

    def _put(self, state: str, link: _Link) -> None:
        with redis_needed():
            self._notes.put(state, orjson.dumps(astuple(link)), link.began_at + LINK_SECONDS - self._clock())

    def _get(self, state: str) -> _Link:
        if not _STATE.fullmatch(state):
            raise LinkExpired(note="no state")
        with redis_needed():
            link = _read(self._notes.get(state))
        if link is None or self._clock() - link.began_at >= LINK_SECONDS:
            raise LinkExpired(note="unknown or old link")
        return link


def _source_ids(answer: Answer) -> tuple[str, ...]:
    return tuple(each for each in answer.entry.accounts.sources if each is not None)


def _with_query(address: str, **ours: str) -> str:
    """The address with these parameters, in the place of any of their names."""
    page, _, query = address.partition("?")
    theirs = [each for each in query.split("&") if each and unquote_plus(each.partition("=")[0]) not in ours]
    return f"{page}?{'&'.join([*theirs, urlencode(ours)])}"


def _read(stored: bytes | None) -> _Link | None:
    """The link, None for anything that we would not have noted."""
    try:
        user_id, began_at, connection, source_id, provider, linked, return_to, succeeded = orjson.loads(stored or b"")
        texts = [user_id, connection, *linked, *(each for each in (source_id, provider, return_to) if each is not None)]
    except (ValueError, TypeError):
        return None
    if not all(isinstance(each, str) for each in texts) or not is_numeric_date(began_at) or succeeded not in (None, True, False):
        return None
    return _Link(user_id, began_at, connection, source_id, provider, tuple(linked), return_to, succeeded)
