"""The providers that people may link, their names and logos: the application's own list from GenAuth, else a table of names.

The list belongs to the application, not to a person, and is fetched by a thread of its own: the first request waits a moment for
it, later ones get what is known.
"""

import threading
import time
from collections.abc import Callable, Collection, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import orjson
import structlog

from bff.accounts.leak_guard import LeakGuard
from bff.accounts.linking import safe_avatar
from bff.accounts.provider_names import PROVIDER_NAMES
from bff.cache import Snapshot
from bff.errors import BffError, TokenRefused, UserBlocked
from bff.genauth import ExtIdp, ExtIdps, GenAuthClient
from bff.models import Language, LinkedAccount
from bff.resilience import Deadline, in_background, released

log = structlog.get_logger()

_FRESH_SECONDS = 600.0
_RETRY_SECONDS = 30.0
_NEXT_CALLER_SECONDS = 1.0  # the list was refused to one token, which says nothing of the next
_FIRST_WAIT_SECONDS = 0.5
# People of a directory sign in with its password at GenAuth's own form.
_WITHOUT_A_PAGE = frozenset({"ldap", "ad"})


@dataclass(frozen=True, slots=True)
class Provider:
    """A provider as a frontend shows it. ``category`` is social, enterprise or None."""

    type: str
    name: str
    category: str | None
    logo_url: str | None


@dataclass(frozen=True, slots=True)
class LinkableProvider(Provider):
    """An identity source that a person may link, by one of its connections."""

    id: str
    identifiers: tuple[str, ...]

    @property
    def identifier(self) -> str:
        """The first connection's, which speaks for the source."""
        return self.identifiers[0]


class Catalogue:
    """The application's identity sources in GenAuth's order, each with its connections. Immutable."""

    def __init__(self, connections: Sequence[ExtIdp] | None = None) -> None:
        """None for ``connections``: nobody could say which there are."""
        self.is_known = connections is not None
        self._sources: dict[str, list[ExtIdp]] = {}
        for connection in connections or ():
            if connection.ext_idp_id:
                self._sources.setdefault(connection.ext_idp_id, []).append(connection)

    def provider_of(self, account: LinkedAccount, language: Language) -> Provider:
        """The provider as it is shown beside an account."""
        source = self._source(account.id)
        return Provider(
            type=account.provider,
            name=_name(account.provider, source, language),
            category=_category(account.provider, source),
            logo_url=safe_avatar(source.logo_url),
        )

    def linkable(self, linked_ids: Collection[str | None], language: Language) -> list[LinkableProvider] | None:
        """The sources that are not linked, and have a page to sign in at; None where nobody could say which there are."""
        if not self.is_known:
            return None
        return [
            LinkableProvider(
                type=source.type,
                name=_name(source.type, source, language),
                category=_category(source.type, source),
                logo_url=safe_avatar(source.logo_url),
                id=id_,
                identifiers=identifiers,
            )
            for id_ in self._sources
            if id_ not in linked_ids
            and (source := self._source(id_)).type.lower() not in _WITHOUT_A_PAGE
            and (identifiers := self._identifiers(id_))
        ]

    def source_of(self, identifier: str) -> ExtIdp | None:
        """The connection of that identifier, if it has a page to sign in at."""
        for connection in (connection for each in self._sources.values() for connection in each):
            if connection.identifier == identifier and connection.type.lower() not in _WITHOUT_A_PAGE:
                return connection
        return None

    def category_of(self, source_id: str | None, type_: str) -> str | None:
        """social, enterprise, or None where that cannot be said for sure.

        While the application's own list is not to be had, a type that is social elsewhere may be an enterprise's here.
        """
        category = _category(type_, self._source(source_id))
        return category if self.is_known or category == "enterprise" else None

    def _source(self, id_: str | None) -> ExtIdp:
        """The source's first connection, which speaks for it."""
        return self._sources.get(id_ or "", [_NO_SOURCE])[0]

    def _identifiers(self, id_: str) -> tuple[str, ...]:
        return tuple(dict.fromkeys([each.identifier for each in self._sources[id_] if each.identifier]))


def _name(type_: str, source: ExtIdp, language: Language) -> str:
    """Names fall back from the application's own to the brand's to the type itself.

    GenAuth's ``name`` is in whatever language the console was used in, ``name_en`` is optional: an English reader is shown
    a brand rather than characters.
    """
    known = PROVIDER_NAMES.get(type_)
    if language == "zh":
        names = [source.name, source.name_en, known and known.zh]
    else:
        names = [source.name_en, source.name if (source.name or "").isascii() else None, known and known.en, source.name]
    return next((name for name in names if name), type_)


def _category(type_: str, source: ExtIdp) -> str | None:
    known = PROVIDER_NAMES.get(type_)
    return source.category or (known.category if known else None)


_NO_SOURCE = ExtIdp(None, "", None, None, None, None)
_FIELDS = frozenset(asdict(_NO_SOURCE))
_UNKNOWN = Catalogue()


class Providers:
    """The catalogue, kept current behind the requests."""

    def __init__(
        self,
        genauth: GenAuthClient,
        fetch_seconds: float,
        snapshot: Snapshot | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """``fetch_seconds`` bounds one fetch. The ``snapshot`` serves a process that starts while GenAuth is away."""
        self._genauth = genauth
        self._fetch_seconds = fetch_seconds
        self._snapshot = snapshot
        self._clock = clock
        self._lock = threading.Lock()
        self._due = float("-inf")
        self._catalogue: Catalogue | None = None
        self._fetched = threading.Event()
        self._first_until = float("inf")

    def freshen(self, token: str) -> None:
        """See to it that the catalogue is fetched when it is due. Returns at once."""
        if self._clock() < self._due:
            return
        with self._lock:
            now = self._clock()
            if now < self._due:
                return
            self._due = now + _RETRY_SECONDS
            self._first_until = now + _FIRST_WAIT_SECONDS
        in_background(self._fetch, token, name="providers")  # if not, the next caller after the pause

    def catalogue(self, deadline: Deadline) -> Catalogue:
        """What is known; the very first fetch is waited for, half a second at most."""
        if self._catalogue is None:
            with released():
                self._fetched.wait(min(deadline.remaining(), max(0.0, self._first_until - self._clock())))
        return self._catalogue or _UNKNOWN

    @property
    def fresh_seconds(self) -> float:
        """For how long what is known is not asked for again."""
        return max(0.0, self._due - self._clock())

    def _fetch(self, token: str) -> None:
        try:
            connections = _without(token, self._genauth.ext_idps(token, Deadline.after(self._fetch_seconds)))
        except BffError as error:  # the client has logged why
            if isinstance(error, (TokenRefused, UserBlocked)):
                self._due = self._clock() + _NEXT_CALLER_SECONDS
            if self._catalogue is None and self._snapshot:
                self._catalogue = _parsed(self._snapshot.get())
        else:
            self._catalogue = Catalogue(connections)
            self._due = self._clock() + _FRESH_SECONDS
            if self._snapshot:
                self._snapshot.put(orjson.dumps([asdict(each) for each in connections]))
        finally:
            self._fetched.set()


def _parsed(stored: bytes | None) -> Catalogue | None:
    """The catalogue of an earlier process; None for anything that none of them would have stored."""
    try:
        return Catalogue([_source(fields) for fields in orjson.loads(stored)]) if stored else None
    except (ValueError, TypeError):
        return None


def _source(fields: Any) -> ExtIdp:  # noqa: ANN401 - what JSON can say
    """The connection with these fields, which may have been read from Redis; raises TypeError if they are none of a source."""
    if not isinstance(fields, dict) or not all(value is None or isinstance(value, str) for value in fields.values()):
        raise TypeError
    return ExtIdp(**fields | {"type": fields.get("type") or "unknown"})


def _without(token: str, found: ExtIdps) -> list[ExtIdp]:
    """The connections as everybody may see them: without fields that hold one of their own secrets, or the token asked with."""
    guard = LeakGuard([token, *found.secrets])
    cleaned, stopped = guard.clean([asdict(source) for source in found.sources], ours=_FIELDS)
    for field in stopped:
        log.warning("leak_stopped", field=f"ext_idps{field}")
    return [_source(fields) for fields in cleaned]
