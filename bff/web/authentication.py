"""Who may come in. A guard stands beside each blueprint's registration, the open ones too.

The session token comes as ``Authorization: Bearer`` (RFC 6750 2.1) or, in cookie mode, in a cookie. Bearer wins. A browser
sends a cookie by itself, so a request that relies on one must show that a page of ours sent it.
"""

import time
from collections.abc import Mapping
from typing import Any

from flask import g, request

from bff.errors import CsrfHeaderMissing, InvalidTokenRequest, OriginNotAllowed, TokenInvalid, TokenMissing
from bff.models import Session
from bff.resilience import ARRIVED, Deadline
from bff.services import Services
from bff.web.client_ip import counted_address
from bff.web.context import services


def requires_no_session() -> None:
    """Open to everybody, on purpose."""


def requires_session() -> None:
    """Let in who shows a valid session token; a preflight shows none and is answered without (Fetch standard, CORS preflight)."""
    if request.method == "OPTIONS":
        return
    bff = services()
    g.deadline = deadline_of(request.environ, bff)
    token = bearer() or _cookie(bff.settings.session_cookie_name, bff.settings.cors_origins)
    if not token:
        raise TokenMissing
    g.session = admitted(bff, token, request.remote_addr, g.deadline)
    if bff.user_limit:
        g.standing = bff.user_limit.hit(g.session.user_id)


def deadline_of(environ: Mapping[str, Any], bff: Services) -> Deadline:
    """When a request has to be answered, counted from its arrival."""
    return Deadline(environ.get(ARRIVED, time.monotonic()) + bff.settings.request_deadline_seconds)


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


def admitted(bff: Services, token: str, address: str | None, deadline: Deadline) -> Session:
    """Whose session it is. An ``address`` from which too many bad tokens came has to wait with tokens that we do not know.

    Those that were good here before are asked about as ever: neighbours behind one address do not lock each other out.
    """
    limit = bff.address_limit
    if limit is None or bff.sessions.recognises(token):
        return bff.sessions.of(token, deadline)
    counted = counted_address(address)
    limit.check(counted)
    try:
        return bff.sessions.of(token, deadline)
    except TokenInvalid:
        # An expired token was a good one, and costs nobody a call: no reason to suspect an address.
        limit.hit(counted)
        raise
