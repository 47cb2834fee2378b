"""GenAuth's envelope: whether it is a success, and if not, whose trouble it is.

The verdict is in the body: "an HTTP 200 response cannot be regarded as success", success is ``statusCode`` 200 and nothing
else (GenAuth's error-code page, genauth-api.md 1.4). Real HTTP errors occur too, from gateways before it. Its ``message`` comes
in the language of the request, is never the same twice, and is not read.
"""

from collections.abc import Mapping

from msgspec import Struct

from bff.errors import (
    BffError,
    TokenRefused,
    UpstreamMalformed,
    UpstreamRejected,
    UpstreamThrottled,
    UpstreamUnavailable,
    UserBlocked,
)
from bff.genauth.messages import Response, asked_to_wait, readable_id
from schemas.genauth import json_value, number, parsed

PATIENCE_SECONDS = 5.0  # where GenAuth does not say how long to wait

# genauth-api.md 1.7: locked; deactivated or not of this tenant; may not log in to this tenant.
_BLOCKED = frozenset({2005, 2120008, 2130010})
# Not logged in (current list); login expired, login wrong (older list, still seen in 2025); user not found.
_REFUSED = frozenset({2020, 2206, 2207, 2004})
_BUSY = 1000  # "system busy"


class TransientError(UpstreamUnavailable):
    """502, 503 or 504 without a word on when to come back: a second try may find another server."""


class UnreadableData(UpstreamMalformed):
    """The envelope is a success, what is in it cannot be read: one person's data, it says nothing about GenAuth's health."""


class Envelope(Struct, frozen=True):
    """A success. ``data`` holds providers' tokens; ``request_id`` is GenAuth's, for our log."""

    data: object
    request_id: str | None

    def __repr__(self) -> str:
        """Without tokens."""
        return f"Envelope({self.request_id})"


def opened(answer: Response) -> Envelope:
    """The data of a success; everything else raises the error that it is."""
    at_http_level(answer)
    if answer.status == 401:
        raise TokenRefused(note=note(answer))
    body = json_object(answer)
    verdict = number(body.get("statusCode")) if body else None
    if body is None or verdict is None:
        raise _unreadable(answer)
    code = number(body.get("apiCode"))
    if verdict != 200 or code in _BLOCKED:
        raise _error(answer, verdict, code)
    if not 200 <= answer.status < 300:
        raise _error(answer, answer.status, code)  # HTTP and the envelope disagree: no success
    return Envelope(body.get("data"), readable_id(body.get("requestId")))


def at_http_level(answer: Response) -> None:
    """Raise what the HTTP status alone settles: redirects, throttling, gateways and servers in trouble."""
    wait = asked_to_wait(answer)
    if answer.status < 200 or 300 <= answer.status < 400:
        raise UpstreamMalformed(note=note(answer))  # redirects are not followed: a token goes to GENAUTH_HOST only
    if answer.status == 429:
        raise UpstreamThrottled(note=note(answer), retry_after=PATIENCE_SECONDS if wait is None else wait)
    if answer.status >= 500 or answer.status == 408:
        raise _unavailable(answer, answer.status)


def json_object(answer: Response) -> dict[str, object] | None:
    """The body as an object; None when it is none."""
    try:
        value = parsed(answer.body)
    except ValueError:
        return None
    except RecursionError:
        raise UnreadableData(note=note(answer, "nested too deeply")) from None  # as in somebody's crafted profile
    return value if isinstance(value, dict) else None


def _unreadable(answer: Response) -> UpstreamMalformed:
    """A body that is no envelope: a proxy's page, most often.

    Not GenAuth's word, whatever its status: a firewall that turns us away with a 403 must not sign everybody out.
    """
    return UpstreamMalformed(note=note(answer, "no envelope"))


def request_id(answer: Response) -> str | None:
    """GenAuth's id of the request, from the body or else the header, None when there is none to be trusted."""
    body = json_value(answer.body)
    named = body.get("requestId") if isinstance(body, dict) else None
    return readable_id(named) or readable_id(answer.headers.get("x-request-id"))


def note(answer: Response, *words: str, codes: Mapping[str, int | None] | None = None) -> str:
    """What our log says of an answer: numbers, our own words and GenAuth's request id, never its text."""
    parts = [f"HTTP {answer.status}", *(f"{name} {code}" for name, code in (codes or {}).items() if code is not None), *words]
    id_ = request_id(answer)
    return ", ".join(parts + ([f"request {id_}"] if id_ else []))


def _error(answer: Response, status: int, code: int | None) -> BffError:
    said = note(answer, codes={"statusCode": status, "apiCode": code})
    if code in _BLOCKED:
        return UserBlocked(note=said)
    if status == 401 or code in _REFUSED:
        return TokenRefused(note=said)
    if status == 429:
        wait = asked_to_wait(answer)
        return UpstreamThrottled(note=said, retry_after=PATIENCE_SECONDS if wait is None else wait)
    if 500 <= status < 700 or code == _BUSY:  # 601-603: its pipelines and custom databases
        return _unavailable(answer, status, said)
    if status == 403:
        return TokenRefused(note=said)
    return UpstreamRejected(note=said)


def _unavailable(answer: Response, status: int, said: str | None = None) -> UpstreamUnavailable:
    wait = asked_to_wait(answer)
    kind = TransientError if wait is None and status in {502, 503, 504} else UpstreamUnavailable
    return kind(note=said or note(answer), retry_after=PATIENCE_SECONDS if wait is None else wait)
