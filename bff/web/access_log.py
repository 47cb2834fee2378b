"""One log line and one metric observation for each request, whatever its end.

Nothing that a caller sends gets in, but for the request id, which has its form: the route is the rule that matched, the method
one of the known ones.
"""

import time

import structlog
from flask import Flask, Response, g, request

from bff.observability import Metrics
from bff.web.context import services

log = structlog.get_logger()

NO_ERROR = ("", "")
_METHODS = frozenset({"GET", "HEAD", "OPTIONS", "POST", "PUT", "PATCH", "DELETE"})


def observe(app: Flask) -> None:
    """Watch every request of this application."""
    app.before_request(_begin)
    app.after_request(_end)


def _begin() -> None:
    g.started = time.perf_counter()


def _end(response: Response) -> Response:
    seconds = time.perf_counter() - g.started
    record(
        services().metrics,
        method=request.method if request.method in _METHODS else "other",
        route=request.url_rule.rule if request.url_rule else "unmatched",
        status=response.status_code,
        source=g.get("source", "none"),
        seconds=seconds,
        request_id=g.request_id,
        error=g.get("error", NO_ERROR),
    )
    return response


def record(
    metrics: Metrics,
    *,
    method: str,
    route: str,
    status: int,
    source: str,
    seconds: float,
    request_id: str,
    error: tuple[str, str] = NO_ERROR,
) -> None:
    """Count and log a request that was answered. ``error`` is the code and the note of one."""
    metrics.answered(route, status, source, seconds)
    code, note = error
    if code:
        metrics.refused(code)
    log.info(
        "request",
        method=method,
        route=route,
        status=status,
        source=source,
        milliseconds=round(seconds * 1000, 2),
        request_id=request_id,
        **({"code": code} if code else {}),
        **({"note": note} if note else {}),
    )
