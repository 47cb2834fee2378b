"""Whether the process lives, and whether it should be sent requests. Open: an orchestrator has no session."""

from datetime import UTC, datetime

from flask import Response
from flask_smorest import Blueprint
from orjson import dumps

from bff.observability import Status
from bff.resilience import is_draining
from bff.web.context import services
from schemas.health import LivenessSchema, ReadinessSchema

health = Blueprint("health", __name__, description="For whoever runs the service.")

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


def _described(dependency: Status) -> dict[str, object]:
    reason = dependency.reason
    if reason is None:
        return {"status": "up"}
    status = "misconfigured" if reason.kind == "misconfigured" else "down"
    return {"status": status, "reason": reason.word, "since": datetime.fromtimestamp(dependency.since, UTC)}
