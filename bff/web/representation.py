"""An answer as bytes and headers: the contract's JSON, its ETag, and where it came from (RFC 9211)."""

from base64 import urlsafe_b64encode
from collections.abc import Iterable
from datetime import UTC, datetime
from functools import lru_cache
from hashlib import blake2b
from typing import NamedTuple

import msgspec
import orjson
from werkzeug.datastructures import LanguageAccept
from werkzeug.http import parse_accept_header

from bff.accounts import Answer, Catalogue, Language, LeakGuard, Source, contains, tell
from bff.cache import Freshness
from bff.models import Session, restored
from bff.observability import Recorder
from bff.resilience import Deadline
from bff.services import Services
from schemas.linked_accounts import LinkedAccountSchema, MetaSchema

_ACCOUNT = LinkedAccountSchema()
_META = MetaSchema()


class Said(NamedTuple):
    """A success: what goes out, and ``keepsake``, under which it may be said again."""

    body: bytes
    headers: list[tuple[str, str]]
    etag: str
    source: Source
    keepsake: Freshness | None


def answered(
    bff: Services, session: Session, deadline: Deadline, *, spoken: Language, identities: bool, refresh: bool = False
) -> Said:
    """The answer to the one question. Raises what `LinkedAccounts.of` raises."""
    bff.providers.freshen(session.token)
    answer = bff.linked_accounts.of(session, deadline, refresh=refresh)
    catalogue = bff.providers.catalogue(deadline)
    content, etag = body(answer, session.token, spoken, catalogue, bff.metrics, identities=identities)
    keepsake = Freshness(session, answer.entry.at, answer.entry.fresh_until, answer.good_until) if answer.good_until else None
    return Said(content, headers(answer, etag), etag, answer.source, keepsake)


def body(
    answer: Answer, token: str, spoken: Language, catalogue: Catalogue, recorder: Recorder, *, identities: bool
) -> tuple[bytes, str]:
    """The contract's JSON and its weak ETag: over the data, since ``meta`` changes with every question.

    The caller's own ``token`` is looked for once more: accounts remembered for one session may be served to another.
    """
    accounts, etag, total = _rendered(bytes(answer.entry.raw), spoken, catalogue, identities)
    if contains(accounts, token):
        cleaned, stopped = LeakGuard([token]).clean(orjson.loads(accounts))
        tell(stopped, recorder)
        accounts = orjson.dumps(cleaned)
    meta = _meta(total, answer.stale, int(answer.entry.at))
    return b'{"linkedAccounts":%b,"meta":%b}' % (accounts, meta), etag


def headers(answer: Answer, etag: str) -> list[tuple[str, str]]:
    """What is said about the body."""
    return [
        ("Content-Type", "application/json"),
        ("ETag", f'W/"{etag}"'),
        ("Cache-Control", "private, no-store"),
        ("Cache-Status", cache_status(answer)),
        ("Age", str(int(answer.age))),
    ]


@lru_cache(maxsize=256)
def language(accepted: str) -> Language:
    """The language of the answer for an ``Accept-Language`` field: zh where that is preferred, else en."""
    best = parse_accept_header(accepted, LanguageAccept).best_match(("en", "zh"), default="en")
    return "zh" if best == "zh" else "en"


def cache_status(answer: Answer) -> str:
    """The ``Cache-Status`` field's value."""
    match answer.source:
        case Source.CACHE:
            parts: Iterable[str] = ("hit", f"ttl={int(answer.ttl)}")
        case Source.STALE:
            parts = ("hit", f"ttl={int(answer.ttl)}", "detail=stale-if-error")
        case Source.COLLAPSED:
            parts = (f"fwd={answer.forward}", "collapsed")
        case Source.GENAUTH:
            parts = (f"fwd={answer.forward}",)
    return "; ".join(("linked-accounts", *parts))


# The same accounts are asked for again and again; what a schema made of them once need not be made twice.
@lru_cache(maxsize=512)
def _rendered(raw: bytes, spoken: Language, catalogue: Catalogue, identities: bool) -> tuple[bytes, str, int]:  # noqa: FBT001
    """The accounts' JSON, a digest of it, and how many they are."""
    views = [msgspec.structs.asdict(account) | {"provider": catalogue.provider_of(account, spoken)} for account in restored(raw)]
    if not identities:
        for view in views:
            del view["identities"]
    rendered = _snug(orjson.dumps([_ACCOUNT.write(view) for view in views]))
    return rendered, urlsafe_b64encode(blake2b(rendered, digest_size=12).digest()).decode(), len(views)


@lru_cache(maxsize=1024)
def _meta(total: int, stale: bool, fetched_at: int) -> bytes:  # noqa: FBT001 - memoised by position
    meta = {"total": total, "stale": stale, "fetched_at": datetime.fromtimestamp(fetched_at, UTC)}
    return _snug(orjson.dumps(_META.dump(meta)))


def _snug(kept: bytes) -> bytes:
    """The same bytes without the room behind them: orjson writes into some 4 KB, all of which is kept as long as they are."""
    return b"%b" % kept
