"""GenAuth's OpenID Connect endpoints as data: discovery, key set, introspection (genauth-api.md 4.2).

Ordinary OAuth with real HTTP statuses. A refusal here is about us, our settings and our secret, never about a person's token.
"""

from base64 import b64encode
from dataclasses import dataclass
from typing import Any, cast
from urllib.parse import quote_plus, urlencode

from marshmallow import Schema

from bff.errors import UpstreamMalformed, UpstreamRejected, UpstreamThrottled, UpstreamUnavailable
from bff.genauth.envelope import PATIENCE_SECONDS, at_http_level, json_object, note
from bff.genauth.messages import Request, Response
from bff.genauth.protocol import PLAIN
from schemas.genauth import DiscoverySchema, IntrospectionSchema, number

DISCOVERY_PATH = "/oidc/.well-known/openid-configuration"
INTROSPECTION_PATH = "/oidc/token/introspection"

_INTROSPECTION, _DISCOVERY = IntrospectionSchema(), DiscoverySchema()


@dataclass(frozen=True, slots=True)
class Discovery:
    """What GenAuth's OpenID Connect discovery says. ``introspection_auth_methods`` is empty where it is silent."""

    issuer: str
    jwks_uri: str
    introspection_endpoint: str | None
    introspection_auth_methods: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Introspection:
    """What GenAuth says of a token (RFC 7662). ``exp`` in seconds since 1970, ``scope`` separated by spaces."""

    active: bool
    sub: str | None = None
    exp: int | None = None
    client_id: str | None = None
    scope: str | None = None
    iss: str | None = None


def discovery_request() -> Request:
    """What the discovery document is asked with."""
    return Request("GET", DISCOVERY_PATH, PLAIN)


def key_set_request(url: str) -> Request:
    """What the JSON Web Key Set is asked with; ``url`` is absolute, as discovery gives it."""
    return Request("GET", url, PLAIN)


def introspection_request(
    url: str, app_id: str, app_secret: str | None, token: str, *, basic: bool = False, strict: bool = True
) -> Request:
    """What a token is introspected with; ``strict`` also refuses tokens of deleted and deactivated users (4.2).

    ``basic`` sends our secret as ``client_secret_basic``, encoded first as RFC 6749 2.3.1 asks, instead of in the form.
    """
    form = {"token": token, "token_type_hint": "access_token"}
    headers = {**PLAIN, "Content-Type": "application/x-www-form-urlencoded"}
    if basic and app_secret:
        pair = f"{quote_plus(app_id)}:{quote_plus(app_secret)}"
        headers["Authorization"] = f"Basic {b64encode(pair.encode()).decode()}"
    else:
        form["client_id"] = app_id
        if app_secret:
            form["client_secret"] = app_secret
    if strict:
        form["strict"] = "true"
    return Request("POST", url, headers, urlencode(form, errors="replace").encode())


def read_discovery(answer: Response) -> Discovery:
    """The discovery document, which must name an issuer and a key set. UpstreamRejected for a 4xx."""
    found = _load(_DISCOVERY, _object(answer))
    if not found["issuer"] or not found["jwks_uri"]:
        raise UpstreamMalformed(note=note(answer, "no issuer or no key set"))
    return Discovery(**found)


def read_key_set(answer: Response) -> dict[str, Any]:
    """The JSON Web Key Set as it came: an object with a list of objects under ``keys``."""
    key_set = _object(answer)
    keys = key_set.get("keys")
    if not isinstance(keys, list) or not all(isinstance(key, dict) for key in keys):
        raise UpstreamMalformed(note=note(answer, "no key set"))
    return key_set


def read_introspection(answer: Response) -> Introspection:
    """What an introspection says. UpstreamRejected if GenAuth refuses *us*: that is no word about the token."""
    body = _object(answer)
    if not isinstance(body.get("active"), bool):
        raise UpstreamMalformed(note=note(answer, "no introspection"))
    return Introspection(**_load(_INTROSPECTION, body))


def _object(answer: Response) -> dict[str, Any]:
    """The body of an ``/oidc/`` endpoint: ordinary OAuth with real HTTP statuses, yet in front may stand the envelope."""
    at_http_level(answer)
    if answer.status >= 400:
        raise UpstreamRejected(note=note(answer))
    body = json_object(answer)
    if body is None:
        raise UpstreamMalformed(note=note(answer, "no object"))
    verdict = number(body.get("statusCode"))
    if verdict is None or verdict == 200:
        return body
    said = note(answer, codes={"statusCode": verdict})
    if verdict == 429:
        raise UpstreamThrottled(note=said, retry_after=PATIENCE_SECONDS)
    if verdict >= 500:
        raise UpstreamUnavailable(note=said, retry_after=PATIENCE_SECONDS)
    raise UpstreamRejected(note=said)


def _load(schema: Schema, raw: dict[str, Any]) -> dict[str, Any]:
    return cast("dict[str, Any]", schema.load(raw))
