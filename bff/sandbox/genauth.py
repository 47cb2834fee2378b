"""GenAuth's /api/v3 endpoints: a request in, an answer out, nothing about sockets.

Paths and shapes from docs/genauth.md 2 and 3. Every answer is HTTP 200 with the verdict in its envelope.
"""

import html
from collections.abc import Callable
from typing import Any
from urllib.parse import urlencode

import orjson

from bff.sandbox import oidc, sources
from bff.sandbox.application import Application
from bff.sandbox.messages import (
    HTML,
    NO_SUCH_APP,
    NO_SUCH_CONNECTION,
    NO_SUCH_USER,
    NOT_LOGGED_IN,
    Answer,
    Refused,
    Request,
    invalid_argument,
    not_found,
    refused,
    success,
)
from bff.sandbox.people import Person
from bff.sandbox.sources import Source

_LINK_ARGUMENTS = ("need_url_redirect", "only_redirect_token", "need_form_post", "target_url")


def answer(application: Application, request: Request) -> Answer:
    """What GenAuth answers to this."""
    route = ROUTES.get((request.method, request.path))
    if route is None:
        return not_found(request)
    try:
        return route(application, request)
    except Refused as no:
        return refused(no.refusal, request)


def get_identities(application: Application, request: Request) -> Answer:
    """The person's identity records, provider tokens included, as the documentation's samples show."""
    person, _ = application.signed_in(request)
    return success(application.people.identities(person), request)


def get_enabled_sources(application: Application, request: Request) -> Answer:
    """The application's identity sources, one entry a connection; needs no session."""
    application.check_named(request)
    return success(sources.enabled(application.base_url, application.app_id), request)


def get_profile(application: Application, request: Request) -> Answer:
    """UserDto, with what the token's scope admits."""
    person, claims = application.signed_in(request)
    asked = request.arguments
    scope = str(claims["scope"]).split()
    profile: dict[str, Any] = {
        "userId": person.id,
        "createdAt": "2022-08-09T07:17:22.000Z",
        "updatedAt": "2022-08-09T07:17:22.000Z",
        "status": "Activated",
        "workStatus": "Active",
        "gender": "U",
        "emailVerified": True,
        "phoneVerified": False,
        "userSourceType": "register",
        "passwordSecurityLevel": 2 if person.has_password else 0,
    }
    if "profile" in scope:
        profile |= {"username": person.key, "name": person.key.title(), "nickname": person.key, "photo": None}
    if "email" in scope:
        profile["email"] = person.email
    if "phone" in scope:
        profile["phone"] = None
    if asked.get("withCustomData") in ("true", "True"):
        profile["customData"] = {}
    if asked.get("withIdentities") in ("true", "True"):
        profile["identities"] = application.people.identities(person)
    if asked.get("withDepartmentIds") in ("true", "True"):
        profile["departmentIds"] = []
    return success(profile, request)


def get_security_info(application: Application, request: Request) -> Answer:
    """GetSecurityInfoDto: how well the account is protected."""
    person, _ = application.signed_in(request)
    info = {
        "passwordSecurityLevel": 2 if person.has_password else 0,
        "mfaEnrolled": False,
        "passwordSet": person.has_password,
        "emailBinded": True,
        "phoneBinded": False,
        "securityScore": 60 if person.has_password else 40,
    }
    return success(info, request)


def generate_link_url(application: Application, request: Request) -> Answer:
    """Where to send the browser to link another account."""
    application.check_named(request)
    _link_target(application, request)
    asked = request.arguments
    names = ("ext_idp_conn_identifier", "app_id", "id_token", *_LINK_ARGUMENTS)
    query = urlencode({name: asked[name] for name in names if name in asked})
    return success({"url": f"{application.base_url}/api/v3/link-extidp?{query}"}, request)


def link(application: Application, request: Request) -> Answer:
    """Where that browser arrives: GenAuth would go to the provider; here the account is linked at once.

    The outcome goes to the opener by ``postMessage``, or to ``target_url`` if ``need_url_redirect`` was asked.
    """
    outcome: dict[str, Any]
    try:
        person, source = _link_target(application, request)
        new = application.people.link(person, source)
        hidden = ("accessToken", "refreshToken", "userInfoInIdp")
        shown = [{name: value for name, value in row.items() if name not in hidden} for row in new]
        outcome = {"success": True, "errMsg": "", "identities": shown}
    except Refused as no:
        outcome = {"success": False, "errMsg": no.refusal.english, "identities": []}
    asked = request.arguments
    if asked.get("need_url_redirect") and asked.get("target_url"):
        query = urlencode({name: orjson.dumps(value).decode() for name, value in outcome.items()})
        return Answer(302, b"", HTML, (("Location", f"{asked['target_url']}?{query}"),))
    script = f"window.opener?.postMessage({orjson.dumps(outcome).decode()}, '*'); window.close()".replace("<", "\\u003c")
    page = f"<!doctype html><title>Linked</title><p>{html.escape(outcome['errMsg'] or 'Linked.')}</p><script>{script}</script>"
    return Answer(200, page.encode(), HTML)


def unlink(application: Application, request: Request) -> Answer:
    """Forget a linked account, by the id of its identity *source*."""
    person, _ = application.signed_in(request)
    source_id = request.json().get("extIdpId")
    if not isinstance(source_id, str) or not source_id:
        raise Refused(invalid_argument("extIdpId"))
    application.people.unlink(person, source_id)
    return success({"success": True}, request)


def _link_target(application: Application, request: Request) -> tuple[Person, Source]:
    """The person and the source to link; the query's id_token identifies the person."""
    asked = request.arguments
    for name in ("ext_idp_conn_identifier", "app_id", "id_token"):
        if not asked.get(name):
            raise Refused(invalid_argument(name))
    if asked["app_id"] != application.app_id:
        raise Refused(NO_SUCH_APP)
    claims = application.tokens.identifies(asked["id_token"])
    if claims is None:
        raise Refused(NOT_LOGGED_IN)
    person = application.people.by_id(claims["sub"])
    if person is None:
        raise Refused(NO_SUCH_USER)
    source = sources.BY_CONNECTION.get(asked["ext_idp_conn_identifier"])
    if source is None:
        raise Refused(NO_SUCH_CONNECTION)
    return person, source


ROUTES: dict[tuple[str, str], Callable[[Application, Request], Answer]] = {
    **oidc.ROUTES,
    ("GET", "/api/v3/get-identities"): get_identities,
    ("GET", "/api/v3/get-application-enabled-extidps"): get_enabled_sources,
    ("GET", "/api/v3/get-profile"): get_profile,
    ("GET", "/api/v3/get-security-info"): get_security_info,
    ("GET", "/api/v3/generate-link-extidp-url"): generate_link_url,
    ("GET", "/api/v3/link-extidp"): link,
    ("POST", "/api/v3/unlink-extidp"): unlink,
}
