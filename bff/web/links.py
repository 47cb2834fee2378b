"""Linking another account: begin, come back, ask what came of it."""

from base64 import b64encode
from hashlib import sha256
from typing import Any, cast

import orjson
from flask import Response, render_template, request
from flask_smorest import Blueprint
from markupsafe import Markup
from marshmallow import ValidationError
from werkzeug.exceptions import MethodNotAllowed, UnsupportedMediaType

from bff.accounts import LINK_SECONDS
from bff.errors import InvalidRequest
from bff.models import Language
from bff.web.authentication import one_cookie, require_recent_sign_in
from bff.web.context import record, sent_body, services, session
from bff.web.openapi import problem_responses
from bff.web.problems import CONTENT_TYPE
from bff.web.representation import language, listed
from schemas.linked_accounts import HEADERS, USUAL_HEADERS, USUAL_PARAMETERS
from schemas.links import BEGIN_LINK, BeginLinkSchema, LinkBegunSchema, LinkOutcomeSchema
from schemas.oidc import strict_json
from schemas.problem import ProblemSchema

links = Blueprint("links", __name__, description="Linking another account.")
link_returns = Blueprint(
    "link_returns", __name__, description="Where the browser comes back to, without a session.", template_folder="pages"
)

_LARGEST_BODY, _LARGEST_FORM = 16 * 1024, 64 * 1024
_JSON = [("Content-Type", "application/json")]
_STATE = {
    "in": "path",
    "name": "state",
    "required": True,
    "description": "The `state` of the answer that began it.",
    "schema": {"type": "string"},
}
_SECURITY: list[dict[str, list[str]]] = [{"bearer": []}, {"cookie": []}]
_BEGIN, _BEGUN = BeginLinkSchema(), LinkBegunSchema()
_TITLES = {
    "en": "You can close this page and go back to where you came from.",
    "zh": "您可以关闭此页面。请返回原来的页面。",
}
# In a popup, whose opener asks for the outcome itself; nowhere else does it do anything.
_CLOSE = Markup("window.close()")
_HASH = b64encode(sha256(_CLOSE.encode()).digest()).decode()
_POLICY = (
    f"default-src 'none'; script-src 'sha256-{_HASH}'; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'; "
    "frame-ancestors 'none'"
)
_NO = frozenset({"false", "0", "no"})
_MEMBERS = tuple(str(field.data_key) for field in _BEGIN.load_fields.values())
_HTML = {"text/html": {"schema": {"type": "string"}}}
_PAGE_OR_PROBLEM = {**_HTML, CONTENT_TYPE: {"schema": ProblemSchema}}
_FORM = {
    "description": "What GenAuth appends, at most 64 KiB.",
    "content": {"application/x-www-form-urlencoded": {"schema": {"type": "object"}}},
}
_WRONG = (
    ("400", "`invalid_request`"),
    ("410", "`link_expired`"),
    ("413", "`invalid_request`"),
    ("503", "`upstream_unavailable`"),
    ("default", "Any other error"),
)
_RETURNED: dict[str, Any] = {
    "200": {"description": "No address was named to send the browser to: a page that can be closed.", "content": _HTML},
    "303": {
        "description": "To `returnTo`, with `link=returned` or `link=failed` and `state` in its query.",
        "headers": {"Location": {"required": True, "schema": {"type": "string"}}},
    },
    **{
        status: {"description": f"{what}: a page for people, or a problem.", "content": _PAGE_OR_PROBLEM}
        for status, what in _WRONG
    },
}


@links.post("/me/linked-accounts/links")
@links.doc(
    operationId="beginLink",
    parameters=USUAL_PARAMETERS,
    requestBody=BEGIN_LINK,
    security=_SECURITY,
    responses=problem_responses(400, 401, 403, 404, 409, 413, 415, 429, 500, 502, 503, 504),
)
@links.response(201, LinkBegunSchema, headers=USUAL_HEADERS, description="A link has begun: send the browser to `url`.")
def begin() -> Response:
    """Begin to link another account.

    The outcome is asked for with the `state`, by the same person's session.
    """
    bff, deadline = services(), record().deadline
    asked = _asked()
    bff.links.check_return(asked["return_to"])
    sent = asked["id_token"] or one_cookie(bff.settings.id_token_cookie_name) or ""
    if not sent:
        raise InvalidRequest("Send the person's id_token as idToken.", note="id_token, missing")
    id_token = bff.id_tokens.of(sent, session(), deadline)
    require_recent_sign_in("link_started", id_token)
    begun = bff.links.begin(
        session(), deadline, connection=asked["provider"], id_token=id_token.token, return_to=asked["return_to"]
    )
    body = _BEGUN.dump({"url": begun.url, "state": begun.state, "expires_in": LINK_SECONDS})
    return Response(orjson.dumps(body), 201, headers=_JSON)


@links.get("/me/linked-accounts/links/<state>")
@links.doc(
    operationId="getLinkOutcome",
    parameters=[_STATE, *USUAL_PARAMETERS],
    security=_SECURITY,
    responses=problem_responses(400, 401, 403, 410, 429, 500, 502, 503, 504),
)
@links.response(
    200,
    LinkOutcomeSchema,
    headers={"Content-Language": HEADERS["Content-Language"], **USUAL_HEADERS},
    description="What came of it so far, and the accounts that are linked now.",
)
def outcome(state: str) -> Response:
    """What came of a link.

    For the person who began it. Ask again while it is `pending`, every two seconds at most.
    """
    bff = services()
    found = bff.links.outcome(session(), state, record().deadline)
    spoken = _language()
    accounts = listed(bff, session(), found.answer, spoken)
    head = orjson.dumps({"status": found.status, "provider": found.connection})
    return Response(b'%b,"linkedAccounts":%b}' % (head[:-1], accounts), headers=[*_JSON, ("Content-Language", spoken)])


@link_returns.get("/me/linked-accounts/links/<state>/return")
@link_returns.doc(operationId="returnFromLink", responses=_RETURNED)
def return_by_address(state: str) -> Response:
    """Come back from linking.

    GenAuth sends the browser here, once. What it appends is dropped unread, but for its yes or no.
    """
    if request.method == "HEAD":
        raise MethodNotAllowed(["GET", "POST", "OPTIONS"])  # who looks where an address leads is not the browser that comes back
    return _returned(state)


@link_returns.post("/me/linked-accounts/links/<state>/return")
@link_returns.doc(operationId="returnFromLinkByForm", requestBody=_FORM, responses=_RETURNED)
def return_by_form(state: str) -> Response:
    """Come back from linking, with a form.

    The same.
    """
    return _returned(state)


@link_returns.after_request
def _for_people(response: Response) -> Response:
    """Have no answer say where the browser was, and show people a page instead of a problem."""
    response.headers["Referrer-Policy"] = "no-referrer"
    if response.mimetype == CONTENT_TYPE and request.accept_mimetypes.best_match([CONTENT_TYPE, "text/html"]) == "text/html":
        page = _page(orjson.loads(response.data)["title"])
        response.data = page.data
        response.headers.update(dict(page.headers))
    return response


def _returned(state: str) -> Response:
    address = services().links.returned(state, _success)
    return Response(status=303, headers={"Location": address}) if address else _page(_TITLES[_language()], script=_CLOSE)


def _page(title: str, script: Markup | None = None) -> Response:
    spoken = _language()
    text = render_template("returned.html", title=title, script=script, language=spoken)
    page = Response(text, content_type="text/html; charset=utf-8")
    page.headers["Content-Security-Policy"] = _POLICY
    page.headers["Content-Language"] = spoken
    return page


def _success() -> bool:
    """GenAuth's yes or no, from the query or the form; yes where it says neither, as its list decides anyway."""
    sent_body(_LARGEST_FORM)
    return request.values.get("success", "").strip().lower() not in _NO


def _asked() -> Any:  # noqa: ANN401 - what the schema loads
    """What the body asks for; InvalidRequest with a sentence that quotes nothing of it."""
    if request.mimetype != "application/json":
        raise UnsupportedMediaType
    try:
        return _BEGIN.load(cast("Any", strict_json(sent_body(_LARGEST_BODY).decode())))
    except (ValueError, RecursionError):
        raise InvalidRequest("The body is not JSON, or has a member twice.", note="body") from None
    except ValidationError as error:
        wrong = error.messages_dict
    names = [name for name in _MEMBERS if name in wrong]
    detail = f"{' and '.join(names)}: expected text, neither empty nor overlong."
    if not names:
        detail = f"The body is no object of {', '.join(_MEMBERS)} alone."
    raise InvalidRequest(detail, note="body")


def _language() -> Language:
    return language(request.headers.get("Accept-Language", ""))
