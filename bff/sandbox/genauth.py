"""GenAuth's /api/v3 endpoints: a request in, an answer out, nothing about sockets.

Paths and shapes from docs/genauth.md 2 and 3. Every answer is HTTP 200 with the verdict in its envelope.
"""

from collections.abc import Callable
from typing import Any

from bff.sandbox import linking, oidc, sources
from bff.sandbox.application import Application
from bff.sandbox.messages import Answer, Refused, Request, not_found, refused, success


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
    sign_in = application.people.sign_in(person)
    scope = str(claims["scope"]).split()
    profile: dict[str, Any] = {
        "userId": person.id,
        "createdAt": "2022-08-09T07:17:22.000Z",
        "updatedAt": "2022-08-09T07:17:22.000Z",
        "status": "Activated",
        "workStatus": "Active",
        "gender": "U",
        "emailVerified": sign_in.email,
        "phoneVerified": sign_in.phone,
        "userSourceType": "register",
        "passwordSecurityLevel": 2 if sign_in.password else 0,
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
    """GetSecurityInfoDto: how well the account is protected; its facts are those that unlinking goes by."""
    person, _ = application.signed_in(request)
    sign_in = application.people.sign_in(person)
    info = {
        "passwordSecurityLevel": 2 if sign_in.password else 0,
        "mfaEnrolled": False,
        "passwordSet": sign_in.password,
        "emailBinded": sign_in.email,
        "phoneBinded": sign_in.phone,
        "securityScore": 60 if sign_in.password else 40,
    }
    return success(info, request)


ROUTES: dict[tuple[str, str], Callable[[Application, Request], Answer]] = {
    **oidc.ROUTES,
    **linking.ROUTES,
    ("GET", "/api/v3/get-identities"): get_identities,
    ("GET", "/api/v3/get-application-enabled-extidps"): get_enabled_sources,
    ("GET", "/api/v3/get-profile"): get_profile,
    ("GET", "/api/v3/get-security-info"): get_security_info,
}
