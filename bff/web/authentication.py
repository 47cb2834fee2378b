"""Who may come in. A guard stands beside each blueprint's registration, the open ones too.

The session token comes as ``Authorization: Bearer`` (RFC 6750 2.1) or, in cookie mode, in a cookie. Bearer wins. A browser
sends a cookie by itself, so a request that relies on one must show that a page of ours sent it, and a change of which origin
that page is.
"""

import re
import time
from collections.abc import Collection, Iterator
from ipaddress import IPv6Address, ip_address, ip_network

from flask import g, request
from werkzeug.sansio.http import parse_cookie

from bff.auth import B64TOKEN, HOW_TO_SEND, LEEWAY_SECONDS, IdToken
from bff.errors import (
    BffError,
    CsrfHeaderMissing,
    InvalidRequest,
    InvalidTokenRequest,
    OriginNotAllowed,
    ReauthenticationRequired,
    TokenInvalid,
    TokenMissing,
    Unauthenticated,
)
from bff.models import Session
from bff.observability import Action
from bff.resilience import Deadline, RateLimit, memoised
from bff.services import Services
from bff.settings import Settings
from bff.web.context import Environ, is_change, record, services, session

_UNKNOWN_ADDRESS = "unknown"
# In characters. Longer cookies take time to read, whatever is in them.
_LONGEST_COOKIES = 8192
_REFUSALS = (Unauthenticated, InvalidRequest, CsrfHeaderMissing, OriginNotAllowed)
_LEFT_OUT = re.compile(r"(?:^|;)(?:;|$)")  # the server joins the lines of a header by a semicolon alone
# A name, or an address in brackets; the dot of the root and a port say nothing of whose it is (RFC 9110 4.2.3, RFC 3986 3.2.2).
_HOST = re.compile(r"([a-z0-9._-]*[a-z0-9_-]|\[[a-f0-9:.]+\])\.?(?::[0-9]{0,5})?", re.ASCII)
_MOST_WORDS = 8  # of an Authorization field are looked at one by one, the rest as one


def requires_no_session() -> None:
    """Open to everybody, on purpose."""


def requires_session() -> None:
    """Let in who shows a valid session token; a preflight shows none and is answered without (Fetch standard, CORS preflight)."""
    if not is_one_of(request.environ.get("HTTP_HOST", ""), services().settings.allowed_hosts):
        raise InvalidRequest("This host is none of those that ALLOWED_HOSTS names.", note="host")
    if request.method == "OPTIONS":
        return
    bff, request_record = services(), record()
    try:
        g.session = _authenticate(bff, request_record.deadline)
    except BffError as error:
        if _is_counted(error):
            for limit, member in _limits(bff):
                limit.hit(member)
        raise
    limits = (bff.user_limit, bff.change_limit if is_change(request.environ) else None)
    for limit in filter(None, limits):
        shown = limit.hit(g.session.user_id)
        before = request_record.rate_limit or {}
        request_record.rate_limit = {name: ", ".join(filter(None, (before.get(name), shown[name]))) for name in shown}


def require_recent_sign_in(action: Action, id_token: IdToken | None = None) -> None:
    """Let pass whose person signed in no longer than STEP_UP_SECONDS ago, where that is set: for changes (RFC 9470).

    The access token's ``auth_time`` says when, else that of the ``id_token`` if its signature was checked here, else when the
    access token was made, which a refreshed one was just now. Without ``id_token`` the one of the header or the cookie is read.
    Raises ReauthenticationRequired, which is audited as the end of the ``action``, and what `IdTokens.of` raises.
    """
    bff = services()
    longest = bff.settings.step_up_seconds
    if longest is None:
        return
    moment = session().signed_in_at
    if moment is None:
        id_token = id_token or _id_token(bff)
        moment = id_token.auth_time if id_token and id_token.verified else None
    if moment is None:
        moment = session().issued_at
    if moment is None or not -LEEWAY_SECONDS <= time.time() - moment <= longest:
        bff.audit.record(action, ReauthenticationRequired.code, session().user_id)
        raise ReauthenticationRequired(longest, note="no recent sign-in")


def _id_token(bff: Services) -> IdToken | None:
    if sent := request.headers.get("X-Id-Token"):
        return bff.id_tokens.of(sent, session(), record().deadline)
    sent = one_cookie(bff.settings.id_token_cookie_name)
    try:
        return bff.id_tokens.of(sent, session(), record().deadline) if sent else None
    except InvalidRequest:
        # Browsers go on sending it, expired or a former person's: no page's mistake, and a sign-in makes another one.
        return IdToken(sent or "", auth_time=float("-inf"), verified=True)


def is_one_of(host: str, allowed: Collection[str]) -> bool:
    """Whether a Host field names one of the ``allowed`` hosts, or one below an entry that begins with a dot; any if none is."""
    if not allowed:
        return True
    name = _host_name(host)
    names = {entry: _host_name(entry.removeprefix(".")) for entry in allowed}
    return name != "" and any(name == own or (entry[0] == "." and name.endswith(f".{own}")) for entry, own in names.items())


def _host_name(host: str) -> str:
    match = _HOST.fullmatch(host.lower())
    return match[1] if match else ""


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


def one_cookie(name: str | None) -> str | None:
    """The value of the cookie of that name, None where there is none or no name; InvalidRequest where it is not clear which."""
    sent = _session_cookies(request.environ, name) if name else []
    if len(sent) > 1:
        raise InvalidRequest(f"Send one {name} cookie.", note="doubled credentials")
    return sent[0] if sent else None


def presented_credentials(environ: Environ, cookie_name: str | None) -> list[str]:
    """The words of the Authorization header, the session cookie in cookie mode, and the id_token's header, good or not."""
    others = [*_session_cookies(environ, cookie_name)] if cookie_name else []
    if id_token := environ.get("HTTP_X_ID_TOKEN"):
        others.append(id_token)
    return [*re.split(r"[\s,]+", environ.get("HTTP_AUTHORIZATION", ""), maxsplit=_MOST_WORDS), *others]


@memoised("addresses")
def counted_address(address: str | None) -> tuple[str, str | None]:
    """What the rate limits count by: the address, and the network that it is in.

    Of IPv6 a customer gets at least a /64, which counts as one address, and may get a /48. An IPv4 address is counted alone.

    Some proxies write the port along (``192.0.2.7:4711``, ``[2001:db8::1]:4711``); it would make each connection another client.
    """
    text = (address or "").strip()
    bare = text[1:].partition("]")[0] if text.startswith("[") else text
    if bare.count(":") == 1:
        bare = bare.partition(":")[0]
    try:
        found = ip_address(bare.partition("%")[0])
    except ValueError:
        return _UNKNOWN_ADDRESS, None
    if not isinstance(found, IPv6Address):
        return str(found), None
    if found.ipv4_mapped:
        return str(found.ipv4_mapped), None
    return str(ip_network((found, 64), strict=False)), str(ip_network((found, 48), strict=False))


def _session_cookies(environ: Environ, name: str) -> list[str]:
    """The values of the session cookie; of more than one, two. No other cookie is taken apart, however many there are.

    Browsers send a cookie that was set for two paths twice, and a page cannot mend that: one value is one cookie.
    """
    values = re.findall(rf"(?:^|;)[ \t]*{re.escape(name)}[ \t]*=([^;]*)", environ.get("HTTP_COOKIE", ""))
    different = [*dict.fromkeys(value.strip(' \t"') for value in values)]
    return parse_cookie(";".join(f"{name}={value}" for value in different[:2])).getlist(name)


def _lacks_a_line(cookies: str | None) -> bool:
    """Whether the server left something out: it passes on nothing of a header line that has a character outside of ASCII."""
    return cookies is not None and bool(_LEFT_OUT.search(cookies))


def _check_origin(settings: Settings) -> None:
    """Whether a request with a cookie comes from a page that may use it: of a listed origin, or served with us from our own.

    Browsers name the page's origin with everything that may change something, and with little else on their own (Fetch
    standard, append a request Origin header).
    """
    origin = request.headers.get("Origin")
    if origin is None:
        if is_change(request.environ):
            raise OriginNotAllowed("A change with the session cookie has to name its page's Origin.", note="no origin")
    elif origin not in settings.cors_origins and origin != (settings.public_origin or f"{request.scheme}://{request.host}"):
        raise OriginNotAllowed(note="origin not on the list")


def _cookie(settings: Settings) -> str | None:
    name = settings.session_cookie_name
    if name is None:
        return None
    sent = _session_cookies(request.environ, name)
    if len(sent) > 1:
        raise InvalidTokenRequest(f"Send one {name} cookie.", note="doubled credentials")
    if not sent and _lacks_a_line(request.headers.get("Cookie")):
        # The session may have been in it: nobody is to be signed out by what a neighbour of ours stores.
        raise InvalidRequest(
            f"No {name} cookie arrived, and a part of the Cookie header is empty. Either it was sent so: leave it out. Or it had "
            "a cookie with characters outside of ASCII: percent-encode that one where it is set, or remove it.",
            note="cookies not in ASCII",
        )
    if not sent or not sent[0]:
        return None
    _check_origin(settings)
    if not request.headers.get("X-Requested-With", "").strip():
        raise CsrfHeaderMissing
    if not B64TOKEN.fullmatch(sent[0]):
        raise TokenInvalid(f"The {name} cookie holds no token. Store the access token alone, without `Bearer`.", note="charset")
    return sent[0]


def _authenticate(bff: Services, deadline: Deadline) -> Session:
    """Whose session it is.

    A good signature is its own proof: what is verified here is verified first, and an address from which too many bad tokens
    came gets 429 for the next bad one. Only where verifying takes a call does it have to wait before, with tokens that
    were not accepted here yet.
    """
    token = bearer() or _cookie(bff.settings)
    if not token:
        # Many clients send the token alone, or with a scheme of their own.
        raise TokenMissing(HOW_TO_SEND if "Authorization" in request.headers else None)
    if bff.sessions.would_call(token):
        for limit, member in _limits(bff):
            limit.check(member)
    return bff.sessions.of(token, deadline)


def _limits(bff: Services) -> Iterator[tuple[RateLimit, str]]:
    """The limits that the request's failure counts for, each with the member that it counts by."""
    address, network = counted_address(request.remote_addr)
    if bff.address_limit:
        yield bff.address_limit, address
    if bff.network_limit and network:
        yield bff.network_limit, network


def _is_counted(error: BffError) -> bool:
    """Whether the request counts as a failure of its address: a bad token, a call or a wait for one in vain, or much to read.

    An expired token was a good one, and to send none is no attempt: neither makes an address suspect.
    """
    return error.counted or (isinstance(error, _REFUSALS) and len(request.headers.get("Cookie", "")) > _LONGEST_COOKIES)
