"""GenAuth's OpenID Connect endpoints as data: discovery, key set, introspection (docs/genauth.md 4.2).

Ordinary OAuth with real HTTP statuses. A refusal here concerns our settings and our secret, never a person's token. What is said
is read to the letter (`schemas.oidc`).
"""

import re
from base64 import b64encode
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote_plus, urlencode

from bff.errors import BffError, UpstreamMalformed, UpstreamRejected
from bff.genauth.envelope import UnreadableData, code_word, json_object, note, raise_for_http_status, raise_if_unavailable
from bff.genauth.messages import Request, Response
from bff.genauth.protocol import COMMON_HEADERS
from bff.setting_addresses import is_permitted_url
from schemas.genauth import number
from schemas.oidc import DiscoverySchema, IntrospectionSchema, UnexpectedShape, strict_json

DISCOVERY_PATH = "/oidc/.well-known/openid-configuration"
INTROSPECTION_PATH = "/oidc/token/introspection"

_OAUTH_ERROR = re.compile("[a-z_]+")  # RFC 6749 5.2; gateways say "Forbidden" there, or nothing
_INTROSPECTION, _DISCOVERY = IntrospectionSchema(), DiscoverySchema()


@dataclass(frozen=True, slots=True)
class Discovery:
    """GenAuth's OpenID Connect discovery document. ``introspection_auth_methods`` is empty where it names none."""

    issuer: str
    jwks_uri: str
    introspection_endpoint: str | None
    introspection_auth_methods: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Introspection:
    """Whether GenAuth accepts a token, whose it is and for whom (RFC 7662). All times in seconds since 1970.

    None is what was not sent; of a token that is not active nothing is read. ``signed_in_at`` is ``auth_time`` (RFC 9470 6.2).
    """

    active: bool
    sub: str | None = None
    exp: float | None = None
    client_id: str | None = None
    audience: tuple[str, ...] | None = None
    not_before: float | None = None
    token_type: str | None = None
    issued_at: float | None = None
    signed_in_at: float | None = None


def issuer_of(host: str) -> str:
    """The issuer that belongs to GENAUTH_HOST: its discovery document is at `DISCOVERY_PATH` (RFC 8414 3.1)."""
    return f"{host.rstrip('/')}/oidc"


def discovery_request() -> Request:
    """The request for the discovery document."""
    return Request("GET", DISCOVERY_PATH, COMMON_HEADERS)


def key_set_request(url: str) -> Request:
    """The request for the JSON Web Key Set; ``url`` is absolute, as discovery gives it."""
    return Request("GET", url, COMMON_HEADERS)


def introspection_request(url: str, app_id: str, app_secret: str | None, token: str, *, basic: bool = False) -> Request:
    """The request that introspects a token; those of deleted and deactivated users are to be inactive (docs/genauth.md 4.2).

    ``basic`` sends our secret as ``client_secret_basic``, encoded first as RFC 6749 2.3.1 asks, instead of in the form.
    """
    form = {"token": token, "token_type_hint": "access_token", "strict": "true"}
    headers = {**COMMON_HEADERS, "Content-Type": "application/x-www-form-urlencoded"}
    if basic and app_secret:
        pair = f"{quote_plus(app_id)}:{quote_plus(app_secret)}"
        headers["Authorization"] = f"Basic {b64encode(pair.encode()).decode()}"
    else:
        form["client_id"] = app_id
        if app_secret:
            form["client_secret"] = app_secret
    body = urlencode(form, errors="replace").encode()
    return Request("POST", url, headers, body, only_reads=True, credentials=(token, app_secret or ""))


def read_discovery(response: Response) -> Discovery:
    """The discovery document, which must name an issuer and a key set. UpstreamRejected for a 4xx."""
    try:
        return Discovery(**_DISCOVERY.load(_object(response)))
    except UnexpectedShape as error:
        raise UpstreamMalformed(note=note(response, f"discovery with another {error}")) from None


def read_key_set(response: Response) -> dict[str, Any]:
    """The JSON Web Key Set as it came: an object with a list under ``keys``, of which something is an object if it has any."""
    key_set = _object(response)
    keys = key_set.get("keys")
    if not isinstance(keys, list) or (keys and not any(isinstance(key, dict) for key in keys)):
        raise UpstreamMalformed(note=note(response, "no key set"))
    return key_set


def read_introspection(response: Response) -> Introspection:
    """The result of an introspection. UpstreamRejected if GenAuth refuses *us*, which says nothing about the token.

    UnreadableData for an active token of which something has another shape: that is no ground to accept or to refuse it.
    """
    raise_for_http_status(response)
    if response.status >= 400:
        raise _refusal(response)
    body = _object(response)
    active = body.get("active")
    if not isinstance(active, bool):
        raise UpstreamMalformed(note=note(response, "no introspection"))
    if not active:
        return Introspection(active=False)
    try:
        return Introspection(active=True, **_INTROSPECTION.load(body))
    except UnexpectedShape as error:
        raise UnreadableData(note=note(response, f"introspection with another {error}")) from None


def permitted_url(url: str, host: str) -> str:
    """A URL that discovery names, or UpstreamMalformed: plain http only for loopback, and only where GENAUTH_HOST has it."""
    if not is_permitted_url(url) or (url.startswith("http:") and not host.startswith("http:")):
        raise UpstreamMalformed(note="discovery names a URL that is not permitted")
    return url


def _refusal(response: Response) -> BffError:
    """What a 4xx says: that GenAuth refuses us, in its envelope or as OAuth has it, or nothing, if it is a gateway's page."""
    body = json_object(response) or {}
    status, error = number(body.get("statusCode")), body.get("error")
    if status is not None:
        raise_if_unavailable(response, status, code_word("statusCode", status))
    elif not (isinstance(error, str) and _OAUTH_ERROR.fullmatch(error)):
        return UpstreamMalformed(note=note(response, "no envelope"))
    return UpstreamRejected(note=note(response))


def _object(response: Response) -> dict[str, Any]:
    """The body of an ``/oidc/`` endpoint: ordinary OAuth with real HTTP statuses, but an envelope is possible."""
    raise_for_http_status(response)
    if response.status >= 400:
        raise UpstreamRejected(note=note(response))
    try:
        body = strict_json(response.body.decode("utf-8-sig"))
    except ValueError:
        body = None
    except RecursionError:
        raise UnreadableData(note=note(response, "nested too deeply")) from None
    if not isinstance(body, dict):
        raise UpstreamMalformed(note=note(response, "no object"))
    status = number(body.get("statusCode"))
    if status is None or status == 200:
        return body
    words = code_word("statusCode", status)
    raise_if_unavailable(response, status, words)
    raise UpstreamRejected(note=note(response, words))
