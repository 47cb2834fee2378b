"""Linking and unlinking as GenAuth does it: the URL, the page it leads to, the way back, and taking a link away.

Shapes from docs/genauth.md 3. The page stands for the provider's, where the person signs in and agrees.
"""

import html
from collections.abc import Callable, Mapping
from typing import Any
from urllib.parse import quote, urlencode, urlsplit

import orjson

from bff.sandbox import sources
from bff.sandbox.application import Application
from bff.sandbox.messages import (
    BOUND_ELSEWHERE,
    CANCELLED,
    HTML,
    NO_APP_TO_LINK_IN,
    NO_SUCH_CONNECTION,
    NO_SUCH_USER,
    NOT_LOGGED_IN,
    Answer,
    Refusal,
    Refused,
    Request,
    invalid_argument,
    success,
)
from bff.sandbox.people import Person, Row
from bff.sandbox.sources import Source

_PATH = "/api/v3/link-extidp"
_ARGUMENTS = ("need_url_redirect", "only_redirect_token", "need_form_post", "target_url")
# The values of the consent page's buttons.
CONTINUE, CANCEL, SOMEBODY_ELSE = "continue", "cancel", "somebody-else"
_BUTTONS = {CONTINUE: "Continue", CANCEL: "Cancel", SOMEBODY_ELSE: "This account is somebody else's"}
_NO = {CANCEL: CANCELLED, SOMEBODY_ELSE: BOUND_ELSEWHERE}


def generate_url(application: Application, request: Request) -> Answer:
    """Where to send the browser to link another account."""
    application.check_named(request)
    _target(application, request)
    asked = request.arguments
    names = ("ext_idp_conn_identifier", "app_id", "id_token", *_ARGUMENTS)
    query = urlencode({name: asked[name] for name in names if name in asked})
    return success({"url": f"{application.base_url}{_PATH}?{query}"}, request)


def consent(application: Application, request: Request) -> Answer:
    """Where that browser arrives: a page with a button for each way this can end. Without that page, linked at once."""
    try:
        person, source = _target(application, request)
    except Refused as no:
        return _way_back(request, _failed(no.refusal))
    if not application.people.linking.consent_page:
        return _decided(application, request, CONTINUE)
    buttons = "".join(f'<button name="decision" value="{value}">{html.escape(text)}</button>' for value, text in _BUTTONS.items())
    return _page(
        f"{source.english} asks",
        f"<p>May {html.escape(person.key)} sign in with {html.escape(source.english)} from now on?</p>"
        f'<form method="post" action="{_PATH}?{html.escape(request.query)}">{buttons}</form>',
    )


def decide(application: Application, request: Request) -> Answer:
    """What one of that page's buttons does: ``decision`` in a form."""
    decision = request.form.get("decision", "")
    if decision not in _BUTTONS:
        raise Refused(invalid_argument("decision"))
    return _decided(application, request, decision)


def unlink(application: Application, request: Request) -> Answer:
    """Forget a linked account, by the id of its identity *source*. 200 also for what is not linked."""
    person, _ = application.signed_in(request)
    source_id = request.json().get("extIdpId")
    if not isinstance(source_id, str) or not source_id:
        raise Refused(invalid_argument("extIdpId"))
    application.people.unlink(person, source_id)
    return success({"success": True}, request)


def _target(application: Application, request: Request) -> tuple[Person, Source]:
    """The person and the source to link; the query's id_token identifies the person."""
    asked = request.arguments
    for name in ("ext_idp_conn_identifier", "app_id", "id_token"):
        if not asked.get(name):
            raise Refused(invalid_argument(name))
    if asked["app_id"] != application.app_id:
        raise Refused(NO_APP_TO_LINK_IN)
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


def _decided(application: Application, request: Request, decision: str) -> Answer:
    """Link, or do not; and the way back with the outcome: on success with the new records and tokens of the session."""
    try:
        person, source = _target(application, request)
        # The loop that answers this request also answers what the webhook asks: nothing waits for that here.
        new = application.link(person, source, wait=False) if decision == CONTINUE else ()
    except Refused as no:
        return _way_back(request, _failed(no.refusal))
    if decision in _NO:
        return _way_back(request, _failed(_NO[decision]))
    tokens = application.tokens
    session = {"access_token": tokens.mint(person.id, 3600), "id_token": tokens.mint(person.id, 3600, "id")}
    return _way_back(request, {"success": True, "errMsg": "", "identities": list(new)}, session)


def _failed(no: Refusal) -> Row:
    return {"success": False, "errMsg": no.english, "identities": []}


def _way_back(request: Request, outcome: Row, session: Mapping[str, str] | None = None) -> Answer:
    """To ``target_url`` in its query (``need_url_redirect``) or by a form (``need_form_post``); else a message to the opener.

    ``target_url`` gets everything, the provider's tokens and the session's included; with ``only_redirect_token``
    no more than the session's.
    """
    asked = request.arguments
    target = asked.get("target_url")
    by_form = _is_true(asked, "need_form_post")
    if not target or not (by_form or _is_true(asked, "need_url_redirect")):
        return _message(outcome)
    returned: dict[str, Any] = {"success": orjson.dumps(outcome["success"]).decode()}
    if not _is_true(asked, "only_redirect_token"):
        returned |= {"errMsg": outcome["errMsg"], "identities": orjson.dumps(outcome["identities"]).decode()}
    returned |= session or {}
    if by_form:
        fields = "".join(f'<input type="hidden" name="{name}" value="{html.escape(value)}">' for name, value in returned.items())
        form = f'<form method="post" action="{html.escape(target)}">{fields}<button>Continue</button></form>'
        return _page("Back", f"{form}<script>document.forms[0].submit()</script>")
    parts = urlsplit(target)
    back = parts._replace(query="&".join(filter(None, (parts.query, urlencode(returned))))).geturl()
    # Whatever is in it stays one line of the header, and ASCII.
    return Answer(302, b"", HTML, (("Location", quote(back, safe="%/:=&?~#+!$,;'@()*[]")),))


def _is_true(asked: Mapping[str, str], name: str) -> bool:
    """The clients pass on whatever they are given, and Python writes its true as True."""
    return asked.get(name, "").lower() == "true"


def _message(outcome: Row) -> Answer:
    hidden = ("accessToken", "refreshToken", "userInfoInIdp")
    shown = [{name: value for name, value in row.items() if name not in hidden} for row in outcome["identities"]]
    message = orjson.dumps(outcome | {"identities": shown}).decode().replace("<", "\\u003c")
    script = f"window.opener?.postMessage({message}, '*'); window.close()"
    return _page("Linked", f"<p>{html.escape(outcome['errMsg'] or 'Linked.')}</p><script>{script}</script>")


def _page(title: str, content: str) -> Answer:
    return Answer(200, f"<!doctype html><meta charset=utf-8><title>{html.escape(title)}</title>{content}".encode(), HTML)


ROUTES: dict[tuple[str, str], Callable[[Application, Request], Answer]] = {
    ("GET", "/api/v3/generate-link-extidp-url"): generate_url,
    ("GET", _PATH): consent,
    ("POST", _PATH): decide,
    ("POST", "/api/v3/unlink-extidp"): unlink,
}
