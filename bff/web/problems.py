"""Every error as problem details (RFC 9457), the framework's own included. Nobody else's text slips out."""

from collections.abc import Iterator
from http import HTTPStatus
from math import ceil
from urllib.parse import quote

import orjson
import structlog
from flask import Flask, Response, g, request
from werkzeug.exceptions import HTTPException
from werkzeug.exceptions import MethodNotAllowed as WerkzeugMethodNotAllowed
from werkzeug.exceptions import NotFound as WerkzeugNotFound

from bff.errors import BffError, InternalError, InvalidRequest, InvalidTokenRequest, MethodNotAllowed, NotFound, Unauthenticated
from bff.web import credentials as presented
from schemas.problem import ProblemSchema

CONTENT_TYPE = "application/problem+json"
_SCHEMA = ProblemSchema()
_DEFAULT_RETRY_SECONDS = {429: 5, 503: 2}
_LONGEST_INSTANCE = 256

log = structlog.get_logger()


def speak_problems(app: Flask) -> None:
    """Answer every error of this application as a problem."""
    app.register_error_handler(BffError, problem)
    app.register_error_handler(HTTPException, _framework_problem)
    app.register_error_handler(Exception, _defect)


def problem_type(code: str) -> str:
    """Where the meaning of a code is told."""
    return f"/problems/{code.replace('_', '-')}"


def told(error: BffError, instance: str, request_id: str, status: int | None = None) -> tuple[str, list[tuple[str, str]], bytes]:
    """Status line, headers and body for one of our errors; ``status`` overrides its own for the framework's rarer ones."""
    code = status or error.status
    body = {
        "type": problem_type(error.code),
        "title": error.title,
        "status": code,
        "code": error.code,
        "instance": instance,
        "request_id": request_id,
    }
    if error.detail:
        body["detail"] = error.detail
    headers = [("Content-Type", CONTENT_TYPE), ("Cache-Control", "private, no-store"), *_headers(error)]
    return f"{code} {HTTPStatus(code).phrase}", headers, orjson.dumps(_SCHEMA.dump(body))


def problem(error: BffError, status: int | None = None) -> Response:
    """The same as Flask's answer."""
    g.error = (error.code, error.note)
    line, headers, body = told(error, _instance(), g.request_id, status)
    return Response(body, line, headers)


def defect(exc: Exception) -> InternalError:
    """What an exception that should not be is to the caller; our log hears more."""
    log.error("defect", exc_info=exc)
    return InternalError(note=type(exc).__name__)


def _headers(error: BffError) -> Iterator[tuple[str, str]]:
    yield from error.headers.items()
    if isinstance(error, (Unauthenticated, InvalidTokenRequest)):
        yield "WWW-Authenticate", error.challenge
    if error.status in _DEFAULT_RETRY_SECONDS:
        seconds = error.retry_after if error.retry_after is not None else _DEFAULT_RETRY_SECONDS[error.status]
        yield "Retry-After", str(max(1, ceil(seconds)))


def _framework_problem(exc: HTTPException) -> Response:
    match exc:
        case WerkzeugNotFound():
            return problem(NotFound())
        case WerkzeugMethodNotAllowed():
            response = problem(MethodNotAllowed())
            response.headers["Allow"] = ", ".join(sorted(exc.valid_methods or ()))
            return response
        case _ if exc.code and 400 <= exc.code < 500:
            return problem(InvalidRequest(f"{exc.name}.", note=type(exc).__name__), status=exc.code)
        case _:
            return _defect(exc)


def _defect(exc: Exception) -> Response:
    return problem(defect(exc))


def _instance() -> str:
    """The path as a URI reference; "/" for one that is no use to anybody, or has a credential in it."""
    path = request.path
    # Whoever tried "/me/eyJ…" gets no token back, sent elsewhere too or not.
    if len(path) > _LONGEST_INSTANCE or "eyJ" in path or presented.repeats(path, presented.credentials()):
        return "/"
    return quote(path, safe="/:@!$&'()*+,;=~")
