"""``GET /metrics`` for Prometheus, with a token of its own. Where METRICS_TOKEN is not set there is no such path."""

from hmac import compare_digest

from flask import Response, request
from flask_smorest import Blueprint

from bff.errors import TokenInvalid, TokenMissing
from bff.observability import CONTENT_TYPE
from bff.web.authentication import bearer
from bff.web.context import services
from bff.web.openapi import problem_responses

metrics = Blueprint("metrics", __name__, description="For whoever watches the service.")


def requires_metrics_token() -> None:
    """Let in who shows METRICS_TOKEN. How long the comparison takes says nothing about how much was right."""
    if request.method == "OPTIONS":
        return
    token = bearer()
    if not token:
        raise TokenMissing
    if not compare_digest(token.encode(errors="replace"), (services().settings.metrics_token or "").encode()):
        raise TokenInvalid(note="metrics token")


@metrics.get("/metrics")
@metrics.doc(operationId="getMetrics", security=[{"metrics": []}], responses=problem_responses(400, 401, 500))
@metrics.response(200, {"type": "string"}, content_type="text/plain", description="Prometheus' text format, over all workers.")
def exposition() -> Response:
    """What happened, counted.

    docs/observability.md explains each metric.
    """
    return Response(services().metrics.render(), content_type=CONTENT_TYPE)
