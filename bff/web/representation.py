"""An answer as bytes and headers: the contract's JSON, its ETag, and where it came from (RFC 9211)."""

import re
from base64 import urlsafe_b64encode
from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from hashlib import blake2b
from typing import Any

import orjson
from werkzeug.http import parse_accept_header

from bff.accounts import REVOKE_URLS, Answer, LeakGuard, Part, Source, Unlinked, contains, redact, redact_linkable, report
from bff.cache import Freshness
from bff.models import LANGUAGES, Language, Session
from bff.observability import Recorder
from bff.resilience import Deadline, memoised
from bff.services import Services
from schemas.linked_accounts import MetaSchema

_META = MetaSchema()
_LONGEST_LANGUAGES = 256
Redact = Callable[[list[dict[str, Any]], LeakGuard], tuple[list[dict[str, Any]], Sequence[str]]]
_REDACT: dict[str, Redact] = {"linkedAccounts": redact, "linkableProviders": redact_linkable}


@dataclass(frozen=True, slots=True)
class Representation:
    """A success. ``freshness`` says what may be stored of it and until when, None if nothing may."""

    body: bytes
    headers: list[tuple[str, str]]
    etag: str
    source: Source
    freshness: Freshness | None


def represent(
    services: Services,
    session: Session,
    deadline: Deadline,
    answer: Answer,
    *,
    language: Language,
    include: Collection[str] = (),
    refresh: bool = False,
    unlinked: bytes | None = None,
) -> Representation:
    """A person's linked accounts as the contract has them. ``unlinked``: what a change took away, as JSON."""
    accounts = Part(answer.entry.accounts.json(language, identities="identities" in include), answer.good_until)
    if "unlink" in include:
        changed = unlinked is not None
        accounts = services.inclusions.with_unlink(session, answer, accounts.json, deadline, refresh=refresh, changed=changed)
    parts = {"linkedAccounts": accounts}
    if "providers" in include:
        parts["linkableProviders"] = services.inclusions.linkable(session, answer.entry.accounts, language, deadline)
    etag = urlsafe_b64encode(blake2b(b",".join([part.json for part in parts.values()]), digest_size=12).digest()).decode()
    shown = {name: _without(session.token, part.json, services.metrics, _REDACT[name]) for name, part in parts.items()}
    if unlinked is not None:
        shown["unlinked"] = unlinked
    shown["meta"] = _meta(answer.entry.accounts.total, answer.stale, int(answer.entry.at))
    good_until = min(part.good_until for part in parts.values())
    return Representation(
        body=b"{%b}" % b",".join([b'"%b":%b' % (name.encode(), value) for name, value in shown.items()]),
        headers=_headers(answer, etag, language),
        etag=etag,
        source=answer.source,
        freshness=Freshness(session, answer.entry.at, answer.entry.fresh_until, good_until) if good_until else None,
    )


def listed(services: Services, session: Session, answer: Answer, language: Language) -> bytes:
    """The accounts alone, as a JSON array."""
    return _without(session.token, answer.entry.accounts.json(language, identities=False), services.metrics, redact)


def unlinked(services: Services, session: Session, change: Unlinked, language: Language) -> bytes:
    """What a change took away: the account's id and provider as they were shown before, and the provider's own page."""
    account = orjson.loads(listed(services, session, change.before, language))[change.index]
    return orjson.dumps(
        {"id": account["id"], "provider": account["provider"], "revokeUrl": REVOKE_URLS.get(account["provider"]["type"])}
    )


@memoised("languages")
def language(accepted: str) -> Language:
    """The language of the answer for an ``Accept-Language`` field, by the lookup of RFC 4647 3.4; en where nothing fits.

    The reader's ranges are tried in their order of preference, each cut back to what we have: zh-Hant-HK is zh. A field that no
    browser sends counts as none (RFC 9110 12.5.4), for reading it takes time.
    """
    if len(accepted) > _LONGEST_LANGUAGES:
        return "en"
    preferred = [ranged for ranged, quality in parse_accept_header(accepted) if quality > 0]
    primary = [re.split("[-_]", ranged, maxsplit=1)[0].lower() for ranged in preferred]
    return next((each for tag in primary for each in LANGUAGES if tag == each), "en")


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


def _without(token: str, part: bytes, recorder: Recorder, redact_part: Redact) -> bytes:
    """The part without the caller's own token: it may have been stored for another session, with another token."""
    if not contains(part, token):
        return part
    redacted, emptied = redact_part(orjson.loads(part), LeakGuard([token]))
    report(emptied, recorder)
    return orjson.dumps(redacted)


def _headers(answer: Answer, etag: str, language: Language) -> list[tuple[str, str]]:
    return [
        ("Content-Type", "application/json"),
        ("Content-Language", language),
        ("ETag", f'W/"{etag}"'),  # weak: over the accounts, since `meta` changes with every answer
        ("Cache-Control", "private, no-store"),
        ("Cache-Status", cache_status(answer)),
        ("Age", str(int(answer.age))),
    ]


@memoised("metas")
def _meta(total: int, stale: bool, fetched_at: int) -> bytes:  # noqa: FBT001 - memoised by position
    meta = {"total": total, "stale": stale, "fetched_at": datetime.fromtimestamp(fetched_at, UTC)}
    # A copy: orjson leaves its whole buffer behind what it wrote, and this is kept in memory.
    return b"%b" % orjson.dumps(_META.dump(meta))
