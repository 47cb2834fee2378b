"""GenAuth's OpenID Connect endpoints as data: discovery, key set, introspection (docs/genauth.md 4.2).

Ordinary OAuth with real HTTP statuses. A refusal here concerns our settings and our secret, never a person's token.
"""

from base64 import b64encode
from dataclasses import dataclass
from typing import Any, cast
from urllib.parse import quote_plus, urlencode

from marshmallow import Schema

from bff.errors import UpstreamMalformed, UpstreamRejected, UpstreamThrottled, UpstreamUnavailable
from bff.genauth.envelope import DEFAULT_RETRY_SECONDS, json_object, note, raise_for_http_status
from bff.genauth.messages import Request, Response
from bff.genauth.protocol import COMMON_HEADERS
from schemas.genauth import DiscoverySchema, IntrospectionSchema, number

DISCOVERY_PATH = "/oidc/.well-known/openid-configuration"
INTROSPECTION_PATH = "/oidc/token/introspection"

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
    """Whether GenAuth accepts a token, and whose it is (RFC 7662).

    ``exp`` in seconds since 1970, ``scope`` separated by spaces.
    """

    active: bool
    sub: str | None = None
    exp: int | None = None
    client_id: str | None = None
    scope: str | None = None
    iss: str | None = None


def discovery_request() -> Request:
    """The request for the discovery document."""
    return Request("GET", DISCOVERY_PATH, COMMON_HEADERS)


def key_set_request(url: str) -> Request:
    """The request for the JSON Web Key Set; ``url`` is absolute, as discovery gives it."""
    return Request("GET", url, COMMON_HEADERS)


def introspection_request(
    url: str, app_id: str, app_secret: str | None, token: str, *, basic: bool = False, strict: bool = True
) -> Request:
    """The request that introspects a token.

    ``strict`` also refuses tokens of deleted and deactivated users (docs/genauth.md 4.2).
    ``basic`` sends our secret as ``client_secret_basic``, encoded first as RFC 6749 2.3.1 asks, instead of in the form.
    """
    form = {"token": token, "token_type_hint": "access_token"}
    headers = {**COMMON_HEADERS, "Content-Type": "application/x-www-form-urlencoded"}
    if basic and app_secret:
        pair = f"{quote_plus(app_id)}:{quote_plus(app_secret)}"
        headers["Authorization"] = f"Basic {b64encode(pair.encode()).decode()}"
    else:
        form["client_id"] = app_id
        if app_secret:
            form["client_secret"] = app_secret
    if strict:
        form["strict"] = "true"
    return Request("POST", url, headers, urlencode(form, errors="replace").encode(), only_reads=True)


def read_discovery(response: Response) -> Discovery:
    """The discovery document, which must name an issuer and a key set. UpstreamRejected for a 4xx."""
    found = _load(_DISCOVERY, _object(response))
    if not found["issuer"] or not found["jwks_uri"]:
        raise UpstreamMalformed(note=note(response, "no issuer or no key set"))
    return Discovery(**found)


def read_key_set(response: Response) -> dict[str, Any]:
    """The JSON Web Key Set as it came: an object with a list of objects under ``keys``."""
    key_set = _object(response)
    keys = key_set.get("keys")
    if not isinstance(keys, list) or not all(isinstance(key, dict) for key in keys):
        raise UpstreamMalformed(note=note(response, "no key set"))
    return key_set


def read_introspection(response: Response) -> Introspection:
    """The result of an introspection. UpstreamRejected if GenAuth refuses *us*, which says nothing about the token."""
    body = _object(response)
    if not isinstance(body.get("active"), bool):
        raise UpstreamMalformed(note=note(response, "no introspection"))
    return Introspection(**_load(_INTROSPECTION, body))


def _object(response: Response) -> dict[str, Any]:
    """The body of an ``/oidc/`` endpoint: ordinary OAuth with real HTTP statuses, but an envelope is possible."""
    raise_for_http_status(response)
    if response.status >= 400:
        raise UpstreamRejected(note=note(response))
    body = json_object(response)
    if body is None:
        raise UpstreamMalformed(note=note(response, "no object"))
    status = number(body.get("statusCode"))
    if status is None or status == 200:
        return body
    text = note(response, codes={"statusCode": status})
    if status == 429:
        raise UpstreamThrottled(note=text, retry_after=DEFAULT_RETRY_SECONDS)
    if status >= 500:
        raise UpstreamUnavailable(note=text, retry_after=DEFAULT_RETRY_SECONDS)
    raise UpstreamRejected(note=text)


def _load(schema: Schema, raw: dict[str, Any]) -> dict[str, Any]:
    return cast("dict[str, Any]", schema.load(raw))
