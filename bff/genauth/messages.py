"""What goes to GenAuth and what comes back, as values. Their repr shows no credentials."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from functools import cached_property

from bff.genauth.credentials import echoes_credential, secrets_in
from schemas.genauth import parsed

WAIT_AT_MOST = 3600.0

_LONGEST_FAILURE = 64 * 1024  # bytes of an answer that is no success; GenAuth's own have a few hundred
# Lists and objects in a body, those in JSON in its texts included. A thousand identity records have fewer.
MOST_COMPOUNDS = 30_000
_REQUEST_ID = re.compile(r"[A-Za-z0-9._:/+=-]{1,128}")


@dataclass(frozen=True, slots=True, repr=False)
class Request:
    """One HTTP request; headers, query and body hold the ``credentials``. ``path`` is below GENAUTH_HOST, or an absolute URL.

    ``only_reads`` marks a POST that changes nothing, as introspection is. ``once``: it is sent over a connection of its own, and
    whatever becomes of it, never again.
    """

    method: str
    path: str
    headers: Mapping[str, str]
    body: bytes | None = None
    only_reads: bool = False
    once: bool = False
    credentials: tuple[str, ...] = ()

    def __repr__(self) -> str:
        return f"Request({self.method} {self.path.partition('?')[0]})"


@dataclass(frozen=True)
class Response:
    """One HTTP response. ``headers`` by lower-case name; the body holds providers' tokens. ``credentials``: the request's."""

    status: int
    headers: Mapping[str, str] = field(repr=False)
    body: bytes = field(repr=False)
    credentials: tuple[str, ...] = field(default=(), repr=False)

    @cached_property
    def json(self) -> object:
        """What the body says as JSON.

        ValueError, the class itself, where it says nothing; RecursionError where it is nested too deeply or too often.
        """
        if self.body.count(b"[") + self.body.count(b"{") > MOST_COMPOUNDS:
            return RecursionError
        try:
            return parsed(self.body)
        except ValueError:
            return ValueError
        except RecursionError:
            return RecursionError

    @cached_property
    def request_id(self) -> str | None:
        """GenAuth's id of the request, from the body or else the header, for our log.

        None for what has not the form of one or is part of a credential, and where a body is too long to look for credentials.
        """
        if len(self.body) > _LONGEST_FAILURE:
            return None
        named = self.json.get("requestId") if isinstance(self.json, dict) else None
        id_ = _readable_id(named) or _readable_id(self.headers.get("x-request-id"))
        return None if id_ and echoes_credential(id_, [*self.credentials, *secrets_in(self.json)]) else id_


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


def _readable_id(value: object) -> str | None:
    # Our log takes no other text of GenAuth's.
    return value if isinstance(value, str) and _REQUEST_ID.fullmatch(value) else None
