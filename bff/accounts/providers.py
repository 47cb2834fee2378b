"""What to call the providers, and their logos: the application's own list from GenAuth, else a table of names.

The list belongs to the application, not to a person, and is fetched by a thread of its own: the first request waits a moment for
it, later ones get what is known.
"""

import threading
import time
from collections.abc import Callable, Sequence
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


@dataclass(frozen=True, slots=True)
class Provider:
    """A provider as a frontend shows it. ``category`` is social, enterprise or None."""

    type: str
    name: str
    category: str | None
    logo_url: str | None


class Catalogue:
    """The application's identity sources by id. Immutable."""

    def __init__(self, sources: Sequence[ExtIdp] = ()) -> None:
        # Several connections may share a source; the first one speaks for it, as GenAuth lists them.
        self._sources = {source.ext_idp_id: source for source in reversed(sources) if source.ext_idp_id}

    def provider_of(self, account: LinkedAccount, language: Language) -> Provider:
        """Names fall back from the application's own to the brand's to the type itself.

        GenAuth's ``name`` is in whatever language the console was used in, ``name_en`` is optional: an English reader is shown
        a brand rather than characters.
        """
        source = self._sources.get(account.id, _NO_SOURCE)
        known = PROVIDER_NAMES.get(account.provider)
        if language == "zh":
            names = [source.name, source.name_en, known and known.zh]
        else:
            names = [source.name_en, source.name if (source.name or "").isascii() else None, known and known.en, source.name]
        return Provider(
            type=account.provider,
            name=next((name for name in names if name), account.provider),
            category=source.category or (known.category if known else None),
            logo_url=safe_avatar(source.logo_url),
        )


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

    def _fetch(self, token: str) -> None:
        try:
            sources = _without(token, self._genauth.ext_idps(token, Deadline.after(self._fetch_seconds)))
        except BffError as error:  # the client has logged why
            if isinstance(error, (TokenRefused, UserBlocked)):
                self._due = self._clock() + _NEXT_CALLER_SECONDS
            if self._catalogue is None and self._snapshot:
                self._catalogue = _parsed(self._snapshot.get())
        else:
            self._catalogue = Catalogue(sources)
            self._due = self._clock() + _FRESH_SECONDS
            if self._snapshot:
                self._snapshot.put(orjson.dumps([asdict(source) for source in sources]))
        finally:
            self._fetched.set()


def _parsed(stored: bytes | None) -> Catalogue | None:
    """The catalogue of an earlier process; None for anything that none of them would have stored."""
    try:
        return Catalogue([_source(fields) for fields in orjson.loads(stored)]) if stored else None
    except (ValueError, TypeError):
        return None


def _source(fields: Any) -> ExtIdp:  # noqa: ANN401 - what JSON can say
    """The source with these fields, which may have been read from Redis; raises TypeError if they are none of a source."""
    if not isinstance(fields, dict) or not all(value is None or isinstance(value, str) for value in fields.values()):
        raise TypeError
    return ExtIdp(**fields | {"type": fields.get("type") or "unknown"})


def _without(token: str, found: ExtIdps) -> list[ExtIdp]:
    """The sources as everybody may see them: a field that holds one of their own secrets, or the token asked with, is emptied."""
    guard = LeakGuard([token, *found.secrets])
    cleaned, stopped = guard.clean([asdict(source) for source in found.sources], ours=_FIELDS)
    for field in stopped:
        log.warning("leak_stopped", field=f"ext_idps{field}")
    return [_source(fields) for fields in cleaned]
