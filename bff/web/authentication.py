"""Who may come in. A guard stands beside each blueprint's registration, the open ones too.

The session token comes as ``Authorization: Bearer`` (RFC 6750 2.1) or, in cookie mode, in a cookie. Bearer wins. A browser
sends a cookie by itself, so a request that relies on one must show that a page of ours sent it.
"""

import re
from collections.abc import Iterable
from ipaddress import IPv6Address, ip_address, ip_network

from flask import Request, g, request

from bff.errors import (
    BffError,
    CsrfHeaderMissing,
    InvalidRequest,
    InvalidTokenRequest,
    OriginNotAllowed,
    TokenMissing,
    Unauthenticated,
)
from bff.models import Session
from bff.resilience import Deadline, memoised
from bff.services import Services
from bff.web.context import Environ, record, services

_UNKNOWN_ADDRESS = "unknown"
# In characters. Longer cookies take time to read, whatever is in them.
_LONGEST_COOKIES = 8192
_REFUSALS = (Unauthenticated, InvalidRequest, CsrfHeaderMissing, OriginNotAllowed)
# Shorter credentials are found in innocent text by chance.
_SHORTEST_CREDENTIAL = 8


def requires_no_session() -> None:
    """Open to everybody, on purpose."""


def requires_session() -> None:
    """Let in who shows a valid session token; a preflight shows none and is answered without (Fetch standard, CORS preflight)."""
    if request.method == "OPTIONS":
        return
    bff, request_record = services(), record()
    try:
        g.session = _authenticate(bff, request_record.deadline)
    except BffError as error:
        if bff.address_limit and _is_counted(error):
            bff.address_limit.hit(counted_address(request.remote_addr))
        raise
    if bff.user_limit:
        request_record.rate_limit = bff.user_limit.hit(g.session.user_id)


def bearer() -> str | None:
    """The token in the Authorization header, if one was sent with that scheme; InvalidTokenRequest if it is not clear which."""
    sent = request.headers.getlist("Authorization")
    header = sent[0] if sent else ""
    if len(sent) > 1 or ("," in header and "bearer" in header.lower()):
        # Servers join two headers with a comma, and no b64token has one: the choice would be ours, or an attacker's.
        raise InvalidTokenRequest("Send one Authorization header.", note="doubled credentials")
    scheme, _, token = header.partition(" ")
    # RFC 6750 3.1: another scheme is no credential of ours, as if none was sent.
    return token.strip(" ") if scheme.lower() == "bearer" else None


def presented_credentials(environ: Environ, cookie_name: str | None) -> list[str]:
    """The words of the Authorization header, and the session cookie in cookie mode, good or not."""
    cookies = Request(environ).cookies.getlist(cookie_name) if cookie_name else []
    return [*re.split(r"[\s,]+", environ.get("HTTP_AUTHORIZATION", "")), *cookies]


def echoes_credential(text: str, credentials: Iterable[str]) -> bool:
    """Whether the text is, has or is part of a credential. Such a text is neither sent back nor logged."""
    return any(len(secret) >= _SHORTEST_CREDENTIAL and (secret in text or text in secret) for secret in credentials)


@memoised("addresses")
def counted_address(address: str | None) -> str:
    """What the rate limit counts by: the address, or for IPv6 its /64 network, which is what one customer gets.

    Some proxies write the port along (``192.0.2.7:4711``, ``[2001:db8::1]:4711``); it would make each connection another client.
    """
    text = (address or "").strip()
    bare = text[1:].partition("]")[0] if text.startswith("[") else text
    if bare.count(":") == 1:
        bare = bare.partition(":")[0]
    try:
        found = ip_address(bare.partition("%")[0])
    except ValueError:
        return _UNKNOWN_ADDRESS
    if not isinstance(found, IPv6Address):
        return str(found)
    return str(found.ipv4_mapped or ip_network((found, 64), strict=False))


def _cookie(name: str | None, origins: tuple[str, ...]) -> str | None:
    if name is None:
        return None
    sent = request.cookies.getlist(name)
    if len(sent) > 1:
        raise InvalidTokenRequest(f"Send one {name} cookie.", note="doubled credentials")
    if not sent or not sent[0]:
        return None
    origin = request.headers.get("Origin")
    if origin is not None and origin not in origins:
        raise OriginNotAllowed(note="origin not on the list")
    if not request.headers.get("X-Requested-With", "").strip():
        raise CsrfHeaderMissing
    return sent[0]


def _authenticate(bff: Services, deadline: Deadline) -> Session:
    """Whose session it is.

    A good signature is its own proof: what is verified here is verified first, and an address from which too many bad tokens
    came gets 429 for the next bad one. Only where verifying takes a call does it have to wait before, with tokens that
    were not accepted here yet.
    """
    token = bearer() or _cookie(bff.settings.session_cookie_name, bff.settings.cors_origins)
    if not token:
        raise TokenMissing
    if bff.address_limit and bff.sessions.would_call(token):
        bff.address_limit.check(counted_address(request.remote_addr))
    return bff.sessions.of(token, deadline)


def _is_counted(error: BffError) -> bool:
    """Whether the request counts as a failure of its address: a bad token, or much to read in vain.

    An expired token was a good one, and to send none is no attempt: neither makes an address suspect.
    """
    return error.counted or (isinstance(error, _REFUSALS) and len(request.headers.get("Cookie", "")) > _LONGEST_COOKIES)
