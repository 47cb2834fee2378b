"""Who may come in. A guard stands beside each blueprint's registration, the open ones too.

The session token comes as ``Authorization: Bearer`` (RFC 6750 2.1) or, in cookie mode, in a cookie. Bearer wins. A browser
sends a cookie by itself, so a request that relies on one must show that a page of ours sent it.
"""

from flask import g, request

from bff.deadline import Deadline
from bff.errors import CsrfHeaderMissing, InvalidRequest, OriginNotAllowed, TokenMissing, Unauthenticated
from bff.web.context import services


def requires_no_session() -> None:
    """Open to everybody, on purpose."""


def requires_session() -> None:
    """Let in who shows a valid session token; a preflight shows none and is answered without (Fetch standard, CORS preflight)."""
    if request.method == "OPTIONS":
        return
    bff = services()
    g.deadline = Deadline.after(bff.settings.request_deadline_seconds)
    g.token = None
    g.token = _bearer() or _cookie(bff.settings.session_cookie_name, bff.settings.cors_origins)
    if not g.token:
        raise TokenMissing
    address = request.remote_addr or ""
    if bff.address_limit:
        bff.address_limit.check(address)
    try:
        g.session = bff.sessions.of(g.token, g.deadline)
    except Unauthenticated:
        if bff.address_limit:
            bff.address_limit.hit(address)
        raise
    if bff.user_limit:
        g.standing = bff.user_limit.hit(g.session.user_id)


def _bearer() -> str | None:
    sent = request.headers.getlist("Authorization")
    header = sent[0] if sent else ""
    if len(sent) > 1 or "," in header:
        # b64token has no comma: this is two headers, which servers join.
        raise InvalidRequest("Send one Authorization header.", note="doubled credentials")
    scheme, _, token = header.partition(" ")
    # RFC 6750 3.1: another scheme is no credential of ours, as if none was sent.
    return token.strip(" ") if scheme.lower() == "bearer" else None


def _cookie(name: str | None, origins: tuple[str, ...]) -> str | None:
    if name is None:
        return None
    sent = request.cookies.getlist(name)
    if len(sent) > 1:
        raise InvalidRequest(f"Send one {name} cookie.", note="doubled credentials")
    if not sent or not sent[0]:
        return None
    origin = request.headers.get("Origin")
    if origin is not None and origin not in origins:
        raise OriginNotAllowed(note="origin not on the list")
    if not request.headers.get("X-Requested-With", "").strip():
        raise CsrfHeaderMissing
    return sent[0]
