"""What those who run the service ask: whether it lives, whether it should be sent requests, and what it counted.

Health is open, since an orchestrator has no session. Metrics have a token of their own; where METRICS_TOKEN is not set there is
no such path.
"""

from datetime import UTC, datetime
from hmac import compare_digest

from flask import Response, request
from flask_smorest import Blueprint
from orjson import dumps

from bff.errors import TokenInvalid, TokenMissing
from bff.observability import CONTENT_TYPE, Status
from bff.resilience import is_draining
from bff.web.authentication import bearer
from bff.web.context import services
from bff.web.openapi import problem_responses
from schemas.health import LivenessSchema, ReadinessSchema

health = Blueprint("health", __name__, description="For whoever runs the service.")
metrics = Blueprint("metrics", __name__, description="For whoever watches the service.")

_NOT_READY = """\
`draining`: in-flight requests are being finished, send no more. `not_ready`: nobody can be answered here, for a dependency is \
`misconfigured` or was not checked yet; its `reason` says what to mend.
"""


@health.get("/livez")
@health.doc(operationId="getLiveness")
@health.response(200, LivenessSchema)
def livez() -> dict[str, str]:
    """Whether the process is alive.

    Whatever else is away, it is as long as it answers.
    """
    return {"status": "alive"}


@health.get("/readyz")
@health.doc(operationId="getReadiness")
@health.response(200, ReadinessSchema, description="Send requests. `degraded` when Redis or GenAuth is away: answers go on.")
@health.alt_response(503, schema=ReadinessSchema, description=_NOT_READY)
def readyz() -> Response:
    """Whether requests should be sent here.

    And how each dependency was last seen.
    """
    dependencies = services().readiness.statuses()
    if is_draining():
        status = "draining"
    elif any(each.blocking for each in dependencies.values()):
        status = "not_ready"
    else:
        status = "ready" if all(each.up for each in dependencies.values()) else "degraded"
    body = {"status": status, "dependencies": {name: _described(each) for name, each in dependencies.items()}}
    dumped = dumps(ReadinessSchema().dump(body))
    return Response(dumped, 200 if status in {"ready", "degraded"} else 503, content_type="application/json")


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


def _described(dependency: Status) -> dict[str, object]:
    reason = dependency.reason
    if reason is None:
        return {"status": "up"}
    status = "misconfigured" if reason.kind == "misconfigured" else "down"
    return {"status": status, "reason": reason.word, "since": datetime.fromtimestamp(dependency.since, UTC)}
