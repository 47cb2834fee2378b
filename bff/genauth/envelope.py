"""GenAuth's envelope: whether a response is a success, and if not, which of our errors it is.

The status that counts is in the body: "an HTTP 200 response cannot be regarded as success", success is ``statusCode`` 200 and
nothing else (GenAuth's error-code page, docs/genauth.md 1.4). Real HTTP errors occur too, from gateways before it. Its
``message`` comes in the language of the request, is never the same twice, and is not read.
"""

from collections.abc import Mapping
from types import MappingProxyType

from bff.errors import (
    BffError,
    TokenRefused,
    UpstreamForbidden,
    UpstreamMalformed,
    UpstreamRejected,
    UpstreamThrottled,
    UpstreamUnavailable,
    UserBlocked,
)
from bff.genauth.messages import Response, asked_to_wait
from schemas.genauth import number

# docs/genauth.md 1.7: locked; deactivated or not of this tenant; may not log in to this tenant.
_BLOCKED = frozenset({2005, 2120008, 2130010})
# Not logged in (current list); login expired, login wrong (older list, still seen in 2025); user not found.
_REFUSED = frozenset({2020, 2206, 2207, 2004})
# Linked already; linked to another user; not linked; the only way to sign in.
_ABOUT_LINKS = frozenset({2213, 2215, 2216, 2217})
_BUSY, _NO_PERMISSION = 1000, 1001  # "system busy", "no permission"
_NO_CODE = 10**7


class TransientError(UpstreamUnavailable):
    """502, 503 or 504 that names no time to come back: a second try may find another server."""


class UnreadableData(UpstreamMalformed):
    """The envelope is a success, what is in it cannot be read: one person's data, it says nothing about GenAuth's health."""


def opened(response: Response, refusals: Mapping[int, type[BffError]] = MappingProxyType({})) -> object:
    """The data of a success; everything else raises the error that it is.

    ``refusals`` has the errors of this call alone, by apiCode, whatever the statusCode beside it is, and by statusCode.
    """
    raise_for_http_status(response)
    body = json_object(response)
    status = number(body.get("statusCode")) if body else None
    if body is None or status is None:
        # A proxy's page, most often. It does not come from GenAuth, whatever its status: a gateway that turns us away with a
        # 401 or 403 must not sign everybody out.
        raise UpstreamMalformed(note=note(response, "no envelope"))
    code = number(body.get("apiCode"))
    if status != 200 or code in _BLOCKED or code in refusals:
        raise _error(response, status, code, refusals)
    if not 200 <= response.status < 300:
        raise UpstreamMalformed(note=note(response, "statusCode 200"))  # they disagree: no success, and nobody's word
    return body.get("data")


def raise_for_http_status(response: Response) -> None:
    """Raise what the HTTP status alone decides: redirects, throttling, gateways and servers in trouble."""
    if response.status < 200 or 300 <= response.status < 400 or response.status >= 700:
        raise UpstreamMalformed(note=note(response))  # redirects are not followed: a token goes to GENAUTH_HOST only
    raise_if_unavailable(response, response.status)


def raise_if_unavailable(response: Response, status: int, *words: str) -> None:
    """Raise for a status, of HTTP or of the envelope, that asks us to come back later. ``words`` are the note's."""
    if status not in {408, 429} and not 500 <= status < 700:
        return
    text, seconds = note(response, *words), asked_to_wait(response)
    if status == 429:
        raise UpstreamThrottled(note=text, retry_after=seconds)
    if seconds is None and status in {502, 503, 504}:
        raise TransientError(note=text)
    raise UpstreamUnavailable(note=text, retry_after=seconds)  # 601-603: its pipelines and custom databases


def json_object(response: Response) -> dict[str, object] | None:
    """The body as an object; None when it is none."""
    if response.json is RecursionError:
        raise UnreadableData(note=note(response, "nested too deeply or too often"))  # as in somebody's crafted profile
    return response.json if isinstance(response.json, dict) else None


def note(response: Response, *words: str) -> str:
    """What our log says of a response: numbers, our own words and GenAuth's request id, never its text."""
    id_ = response.request_id
    return ", ".join([f"HTTP {response.status}", *words, *([f"request {id_}"] if id_ else [])])


def code_word(name: str, value: int) -> str:
    """A code of GenAuth's for a note. The longest that there is has seven digits; a token may be a number, too."""
    return f"{name} {value}" if abs(value) < _NO_CODE else f"{name} of more than seven digits"


def _error(response: Response, status: int, code: int | None, refusals: Mapping[int, type[BffError]]) -> BffError:
    words = [code_word("statusCode", status), *([] if code is None else [code_word("apiCode", code)])]
    text = note(response, *words)
    if code in _BLOCKED:
        return UserBlocked(note=text)
    if code is not None and (code in refusals or code in _ABOUT_LINKS):
        return refusals.get(code, UpstreamRejected)(note=text)  # whatever the status: none of them is about the session
    if status == 401 or code in _REFUSED:
        return TokenRefused(note=text)
    raise_if_unavailable(response, status, *words)
    if code == _BUSY:
        raise_if_unavailable(response, 500, *words)
    if status in refusals:
        return refusals[status](note=text)
    # What a person may not do has a code of its own, `_BLOCKED`. Any other prohibition is the application's.
    return (UpstreamForbidden if status == 403 or code == _NO_PERMISSION else UpstreamRejected)(note=text)
