"""Every error as problem details (RFC 9457), the framework's own included. Nobody else's text slips out."""

from collections.abc import Iterator
from math import ceil

import orjson
import structlog
from flask import Flask, Response, g, request
from werkzeug.exceptions import HTTPException
from werkzeug.exceptions import MethodNotAllowed as WerkzeugMethodNotAllowed
from werkzeug.exceptions import NotFound as WerkzeugNotFound

from bff.errors import BffError, InternalError, InvalidRequest, MethodNotAllowed, NotFound, Unauthenticated
from schemas.problem import ProblemSchema

CONTENT_TYPE = "application/problem+json"
_SCHEMA = ProblemSchema()
_DEFAULT_RETRY_SECONDS = {429: 5, 503: 2}

log = structlog.get_logger()


def speak_problems(app: Flask) -> None:
    """Answer every error of this application as a problem."""
    app.register_error_handler(BffError, problem)
    app.register_error_handler(HTTPException, _framework_problem)
    app.register_error_handler(Exception, _defect)


def problem(error: BffError, status: int | None = None) -> Response:
    """The answer for one of our errors; ``status`` overrides its own for the framework's rarer ones."""
    g.error_code, g.error_note = error.code, error.note
    body = {
        "type": f"/problems/{error.code.replace('_', '-')}",
        "title": error.title,
        "status": status or error.status,
        "code": error.code,
        "instance": _instance(),
        "request_id": g.request_id,
    }
    if error.detail:
        body["detail"] = error.detail
    response = Response(orjson.dumps(_SCHEMA.dump(body)), status or error.status, content_type=CONTENT_TYPE)
    response.headers["Cache-Control"] = "private, no-store"
    response.headers.extend(_headers(error))
    return response


def _headers(error: BffError) -> Iterator[tuple[str, str]]:
    yield from error.headers.items()
    if isinstance(error, Unauthenticated):
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
            return problem(InvalidRequest(note=type(exc).__name__), status=exc.code)
        case _:
            return _defect(exc)


def _defect(exc: Exception) -> Response:
    log.error("defect", exc_info=exc)
    return problem(InternalError(note=type(exc).__name__))


def _instance() -> str:
    # Whoever puts the session token into the path does not get it back.
    token = g.get("token")
    return "/" if token and token in request.path else request.path
