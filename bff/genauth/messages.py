"""What goes to GenAuth and what comes back, as values. Their repr shows no credentials."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

WAIT_AT_MOST = 3600.0

_REQUEST_ID = re.compile(r"[A-Za-z0-9._:/+=-]{1,128}")


@dataclass(frozen=True, slots=True)
class Request:
    """One HTTP request; headers and body hold credentials. ``path`` is below GENAUTH_HOST, or an absolute URL.

    ``only_reads`` marks a POST that changes nothing, as introspection is.
    """

    method: str
    path: str
    headers: Mapping[str, str] = field(repr=False)
    body: bytes | None = field(default=None, repr=False)
    only_reads: bool = field(default=False, repr=False)


@dataclass(frozen=True, slots=True)
class Response:
    """One HTTP response. ``headers`` by lower-case name; the body holds providers' tokens."""

    status: int
    headers: Mapping[str, str] = field(repr=False)
    body: bytes = field(repr=False)


def asked_to_wait(response: Response, now: datetime | None = None) -> float | None:
    """Seconds that the response's Retry-After asks for, between 0 and an hour; None when there is none that can be read.

    Both forms of RFC 9110 10.2.3: seconds and an HTTP date.
    """
    value = response.headers.get("retry-after", "").strip()
    if not value:
        return None
    if re.fullmatch(r"[0-9]{1,9}(\.[0-9]{1,9})?", value):
        return min(float(value), WAIT_AT_MOST)
    try:
        then = parsedate_to_datetime(value)
    except (ValueError, TypeError, OverflowError):
        return None
    # "-0000" gives a time without a zone; it is UTC all the same (RFC 5322 3.3).
    then = then.replace(tzinfo=UTC) if then.tzinfo is None else then
    return min(max((then - (now or datetime.now(UTC))).total_seconds(), 0.0), WAIT_AT_MOST)


def readable_id(value: object) -> str | None:
    """GenAuth's request id, if it is one: our log takes no other text of GenAuth's."""
    return value if isinstance(value, str) and _REQUEST_ID.fullmatch(value) else None
