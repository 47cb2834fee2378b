"""What goes to GenAuth and what comes back, as values. Neither shows what it carries."""

import re
from collections.abc import Mapping
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

from msgspec import Struct

WAIT_AT_MOST = 3600.0

_REQUEST_ID = re.compile(r"[A-Za-z0-9._:/+=-]{1,128}")


class Request(Struct, frozen=True):
    """One HTTP request. ``path`` is below GENAUTH_HOST; the headers and the body hold credentials."""

    method: str
    path: str
    headers: Mapping[str, str]
    body: bytes | None = None

    def __repr__(self) -> str:
        """Without credentials."""
        return f"Request({self.method} {self.path})"


class Response(Struct, frozen=True):
    """One HTTP answer. ``headers`` by lower-case name; the body holds providers' tokens."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    def __repr__(self) -> str:
        """Without tokens."""
        return f"Response({self.status})"


def asked_to_wait(answer: Response, now: datetime | None = None) -> float | None:
    """Seconds that the answer's Retry-After asks for, between 0 and an hour; None when it says nothing readable.

    Both forms of RFC 9110 10.2.3: seconds and an HTTP date.
    """
    value = answer.headers.get("retry-after", "").strip()
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
