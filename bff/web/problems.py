"""Every error as problem details (RFC 9457), the framework's own included, and what a frontend does about each.

No text of GenAuth, of a library or of the framework gets into a problem.
"""

from collections import defaultdict
from collections.abc import Iterator
from http import HTTPStatus
from math import ceil
from urllib.parse import quote

import orjson
import structlog
from flask import Flask, Request, Response, current_app, request
from werkzeug.exceptions import HTTPException, RequestEntityTooLarge
from werkzeug.exceptions import MethodNotAllowed as WerkzeugMethodNotAllowed
from werkzeug.exceptions import NotFound as WerkzeugNotFound

from bff.errors import BffError, InternalError, InvalidRequest, InvalidTokenRequest, MethodNotAllowed, NotFound, Unauthenticated
from bff.genauth import echoes_credential
from bff.web.authentication import presented_credentials
from bff.web.context import Environ, record, record_of, services
from bff.web.representation import language
from schemas.problem import ProblemSchema

CONTENT_TYPE = "application/problem+json"
REMEDIES = {
    "invalid_request": "Fix the call; `detail` says what is wrong with it.",
    "token_missing": "Sign in.",
    "token_expired": "Refresh the session token and ask again.",
    "token_invalid": "Sign in again. Refresh once before, if your tokens are opaque: an expired one looks the same.",
    "reauthentication_required": "Have the person sign in again, no longer than `maxAgeSeconds` ago, and repeat the change.",
    "webhook_secret_invalid": "Of GenAuth's events alone: have its console send the secret that is in WEBHOOK_SECRET.",
    "user_blocked": "Tell the person that their account is blocked; another try will not help.",
    "csrf_header_missing": "Fix the call: send `X-Requested-With`, with any value, along with the cookie.",
    "origin_not_allowed": "Fix the call, or have the page's origin added to CORS_ORIGINS.",
    "managed_by_organization": "Tell the person that their organization manages this account; another try will not help.",
    "link_of_another_person": "Warn the person: somebody else may have sent them this link. Show nothing as linked.",
    "not_found": "Fix the call: nothing lives at this path. After a change: show the `linkedAccounts` that came with it.",
    "method_not_allowed": "Fix the call; `Allow` names the methods that there are.",
    "last_login_method": "Have the person set a password or link another account first.",
    "already_linked": "Show the account as linked; there is nothing to do.",
    "linked_to_another_person": "Tell the person that the account belongs to somebody else here; they can unlink it there.",
    "link_expired": "Ask for the linked accounts with `refresh=true`, as it may have been linked late, and offer to begin anew.",
    "rate_limited": "Wait as many seconds as `Retry-After` says, then ask again.",
    "upstream_forbidden": "Show that the accounts cannot be read, and tell us: signing in again will not help.",
    "upstream_malformed": "Show that the accounts cannot be read at the moment, and offer another try later.",
    "upstream_unavailable": "Show that the accounts are unavailable at the moment; ask again after `Retry-After` seconds.",
    "upstream_timeout": "Show that the accounts are unavailable at the moment, and offer another try later.",
    "change_unconfirmed": "Ask again with `refresh=true` before offering the change again: it may have been made.",
    "internal_error": "Apologise, and tell us the `requestId`.",
}
_SCHEMA = ProblemSchema()
_DEFAULT_RETRY_SECONDS = {429: 5, 502: 2, 503: 2, 504: 2}
_LONGEST_INSTANCE = 256
_DETAILS = {413: "The body is too long.", 415: "Send the body as application/json."}
# "*" alone would not stand for Authorization (Fetch standard, CORS-preflight fetch).
_FOR_ANY_PAGE = {
    "Access-Control-Allow-Origin": "*",
    "Access-Control-Allow-Headers": "*, Authorization",
    "Access-Control-Allow-Methods": "*",
}

log = structlog.get_logger()


def answer_problems(app: Flask) -> None:
    """Answer every error of this application as a problem, and find early what Flask would find while the view runs."""
    app.before_request(_begin)
    app.register_error_handler(BffError, _problem)
    app.register_error_handler(HTTPException, _framework_problem)
    app.register_error_handler(Exception, lambda exc: _problem(defect(exc)))


def problem_type(code: str) -> str:
    """The page that explains a code."""
    return f"/problems/{code.replace('_', '-')}"


def problem(error: BffError, environ: Environ, cookie_name: str | None, status: int | None = None) -> Response:
    """The response to an error of ours; ``status`` overrides its own for the framework's rarer ones."""
    request_record = record_of(environ)
    request_record.code, request_record.note = error.code, error.note
    code = status or error.status
    credentials = presented_credentials(environ, cookie_name)
    spoken = language(environ.get("HTTP_ACCEPT_LANGUAGE", ""))
    body = {
        "type": problem_type(error.code),
        "title": error.title_in(spoken),
        "status": code,
        "code": error.code,
        "instance": _instance(environ, credentials),
        "request_id": request_record.request_id,
    }
    if error.detail and not echoes_credential(error.detail, credentials):
        body["detail"] = error.detail
    dumped = _SCHEMA.dump(body) | dict(error.members)
    headers = [
        ("Content-Type", CONTENT_TYPE),
        ("Content-Language", spoken),
        ("Cache-Control", "private, no-store"),
        *_headers(error),
    ]
    if not environ["PATH_INFO"].startswith("/me/"):
        # Nothing of anybody's is in it: a page with a wrong address is to learn that. The rest of CORS is in `cors`.
        headers.append(("Access-Control-Allow-Origin", "*"))
    return Response(orjson.dumps(dumped), f"{code} {HTTPStatus(code).phrase}", headers)


def defect(exc: Exception) -> InternalError:
    """What an exception that should not be is to the caller; the log gets its type and our own lines."""
    log.error("defect", exc_info=exc)
    return InternalError(note=type(exc).__name__)


def errors_by_code() -> dict[str, type[BffError]]:
    """Every error there is, by its code, by status; where several share a code, the one that others are a kind of."""
    found: dict[str, type[BffError]] = {}
    for kind in _kinds(BffError):
        if "code" in vars(kind):
            found.setdefault(kind.code, kind)
    return dict(sorted(found.items(), key=lambda item: item[1].status))


def codes_by_status() -> dict[int, list[str]]:
    """Every code there is, by its HTTP status."""
    codes: defaultdict[int, list[str]] = defaultdict(list)
    for code, kind in errors_by_code().items():
        codes[kind.status].append(code)
    return codes


def _kinds(kind: type[BffError]) -> Iterator[type[BffError]]:
    for below in kind.__subclasses__():
        yield below
        yield from _kinds(below)


def _begin() -> None:
    """Note the route; raise the error of a middleware, and what is wrong with a body or a query that nobody has read yet."""
    request_record = record()
    request_record.route = request.url_rule.rule if request.url_rule else "unmatched"
    if request_record.refusal:
        raise request_record.refusal
    # The framework looks when a body is read. Nobody reads that of a GET, which means nothing (RFC 9110 9.3.1). That of an event
    # may be longer, and is looked at after the secret.
    if request.blueprint != "webhooks" and (request.content_length or 0) > (current_app.config["MAX_CONTENT_LENGTH"] or 0):
        raise RequestEntityTooLarge
    try:
        request.query_string.decode()  # werkzeug decodes it on first use, and raises what would be a defect of ours
    except UnicodeDecodeError:
        raise InvalidRequest("The query is not UTF-8: percent-encode it.", note="query") from None


def _problem(error: BffError, status: int | None = None) -> Response:
    return problem(error, request.environ, services().settings.session_cookie_name, status)


def _framework_problem(exc: HTTPException) -> Response:
    match exc:
        case WerkzeugNotFound():
            return _yes_to_a_preflight() if _is_preflight() else _problem(NotFound())
        case WerkzeugMethodNotAllowed():
            response = _problem(MethodNotAllowed())
            response.headers["Allow"] = ", ".join(sorted(exc.valid_methods or ()))
            return response
        case _ if exc.code and 400 <= exc.code < 500:
            return _problem(InvalidRequest(_DETAILS.get(exc.code, f"{exc.name}."), note=type(exc).__name__), status=exc.code)
        case _:
            return _problem(defect(exc))


def _is_preflight() -> bool:
    return request.method == "OPTIONS" and "Access-Control-Request-Method" in request.headers


def _yes_to_a_preflight() -> Response:
    """Let a page ask for what is not there: where its preflight fails it never sees the problem that says so."""
    return Response(headers={} if request.path.startswith("/me/") else _FOR_ANY_PAGE)


def _headers(error: BffError) -> Iterator[tuple[str, str]]:
    yield from error.headers.items()
    if isinstance(error, (Unauthenticated, InvalidTokenRequest)):
        yield "WWW-Authenticate", error.challenge
    if error.status in _DEFAULT_RETRY_SECONDS:
        seconds = error.retry_after if error.retry_after is not None else _DEFAULT_RETRY_SECONDS[error.status]
        yield "Retry-After", str(max(1, ceil(seconds)))


def _instance(environ: Environ, credentials: list[str]) -> str:
    """The path as a URI reference; "/" for one that is no use to anybody, or has a credential in it."""
    path = Request(environ).path
    # A path with a token in it, as in "/me/eyJ…", is not repeated, whether the token was sent elsewhere too or not.
    if len(path) > _LONGEST_INSTANCE or "eyJ" in path or echoes_credential(path, credentials):
        return "/"
    return quote(path, safe="/:@!$&'()*+,;=~")
