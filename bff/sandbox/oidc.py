"""GenAuth's /oidc endpoints: ordinary OAuth, with real statuses (docs/genauth.md 1.4 and 4.2)."""

import base64
import binascii
import hmac
from collections.abc import Callable
from urllib.parse import unquote_plus

from bff.sandbox.application import Application
from bff.sandbox.messages import Answer, Request, as_json, oauth_error

_AUTH_METHODS = ["client_secret_post", "client_secret_basic"]


def discovery(application: Application, _request: Request) -> Answer:
    """OpenID Connect discovery."""
    oidc = f"{application.base_url}/oidc"
    return as_json(
        {
            "issuer": application.tokens.issuer,
            "authorization_endpoint": f"{oidc}/auth",
            "token_endpoint": f"{oidc}/token",
            "userinfo_endpoint": f"{oidc}/me",
            "jwks_uri": f"{oidc}/.well-known/jwks.json",
            "end_session_endpoint": f"{oidc}/session/end",
            "introspection_endpoint": f"{oidc}/token/introspection",
            "introspection_endpoint_auth_methods_supported": _AUTH_METHODS,
            "revocation_endpoint": f"{oidc}/token/revocation",
            "revocation_endpoint_auth_methods_supported": _AUTH_METHODS,
            "token_endpoint_auth_methods_supported": _AUTH_METHODS,
            "scopes_supported": ["openid", "profile", "email", "phone", "offline_access"],
            "response_types_supported": ["code"],
            "response_modes_supported": ["query", "fragment", "form_post"],
            "grant_types_supported": ["authorization_code", "refresh_token"],
            "subject_types_supported": ["public"],
            "id_token_signing_alg_values_supported": ["HS256", "RS256"],
            "code_challenge_methods_supported": ["S256"],
            "claim_types_supported": ["normal"],
            "claims_supported": ["sub", "name", "nickname", "email", "email_verified", "iss", "aud", "exp", "iat"],
        }
    )


def jwks(application: Application, _request: Request) -> Answer:
    """The public keys."""
    return Answer(200, application.tokens.jwks)


def introspection(application: Application, request: Request) -> Answer:
    """RFC 7662. ``strict=true`` also counts a token inactive when its user is blocked."""
    form = request.form
    if refusal := _unauthenticated(application, request, form):
        return refusal
    claims = application.tokens.accepted(form["token"])
    person = application.people.by_id(claims["sub"]) if claims else None
    if claims is None or person is None or (form.get("strict") == "true" and application.people.blocked(person)):
        return as_json({"active": False})
    shown = ("sub", "exp", "iat", "auth_time", "iss", "jti", "scope")
    state = {name: claims[name] for name in shown if name in claims}
    return as_json({"active": True, "client_id": application.app_id, "token_type": "Bearer"} | state)


def revocation(application: Application, request: Request) -> Answer:
    """RFC 7009: an unknown token is revoked too, so the answer is always 200 and empty."""
    form = request.form
    if refusal := _unauthenticated(application, request, form):
        return refusal
    application.tokens.revoke(form["token"])
    return Answer(200, b"")


def userinfo(application: Application, request: Request) -> Answer:
    """OIDC claims, as far as the token's scope goes; no identities."""
    token = request.credential
    claims = application.tokens.accepted(token) if token else None
    person = application.people.by_id(claims["sub"]) if claims else None
    if claims is None or person is None or application.people.blocked(person):
        return oauth_error(401, "invalid_token", "The access token is invalid or has expired.")
    scope = str(claims["scope"]).split()
    about: dict[str, object] = {"sub": person.id}
    if "profile" in scope:
        about |= {"name": person.key.title(), "nickname": person.key, "picture": None, "gender": "U"}
    if "email" in scope:
        about |= {"email": person.email, "email_verified": application.people.sign_in(person).email}
    if "phone" in scope:
        about |= {"phone_number": None, "phone_number_verified": False}
    return as_json(about)


def _unauthenticated(application: Application, request: Request, form: dict[str, str]) -> Answer | None:
    """The refusal for a client that is not the application, or that sent no token; None if all is well."""
    client_id, secret = form.get("client_id", ""), form.get("client_secret", "")
    scheme, _, encoded = request.headers.get("authorization", "").partition(" ")
    if scheme.lower() == "basic":
        try:
            client_id, _, secret = base64.b64decode(encoded, validate=True).decode().partition(":")
        except (binascii.Error, UnicodeDecodeError):
            return oauth_error(401, "invalid_client", "The client could not be authenticated.")
        # RFC 6749 2.3.1: both halves are form-encoded before they are joined.
        client_id, secret = unquote_plus(client_id), unquote_plus(secret)
    if client_id != application.app_id or not hmac.compare_digest(secret.encode(), application.app_secret.encode()):
        return oauth_error(401, "invalid_client", "The client could not be authenticated.")
    if not form.get("token"):
        return oauth_error(400, "invalid_request", "The parameter token is missing.")
    return None


ROUTES: dict[tuple[str, str], Callable[[Application, Request], Answer]] = {
    ("GET", "/oidc/.well-known/openid-configuration"): discovery,
    ("GET", "/oidc/.well-known/jwks.json"): jwks,
    ("POST", "/oidc/token/introspection"): introspection,
    ("POST", "/oidc/token/revocation"): revocation,
    ("GET", "/oidc/me"): userinfo,
    ("POST", "/oidc/me"): userinfo,
}
