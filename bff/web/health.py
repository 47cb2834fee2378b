"""Whether the process lives, and whether it should be sent requests. Open: an orchestrator has no session."""

from flask import Response
from flask_smorest import Blueprint
from orjson import dumps

from bff.resilience import is_draining
from bff.web.context import services
from schemas.health import LivenessSchema, ReadinessSchema

health = Blueprint("health", __name__, description="For whoever runs the service.")


@health.get("/livez")
@health.response(200, LivenessSchema)
def livez() -> dict[str, str]:
    """Whether the process is alive."""
    return {"status": "alive"}


@health.get("/readyz")
@health.response(200, ReadinessSchema, description="Send requests. `degraded` when Redis or GenAuth is away: answers go on.")
@health.alt_response(503, schema=ReadinessSchema, description="`draining`: in-flight requests are being finished, send no more.")
def readyz() -> Response:
    """Whether requests should be sent here."""
    dependencies = services().readiness.statuses()
    status = "draining" if is_draining() else "ready" if all(dependencies.values()) else "degraded"
    detail = {name: {"status": "up" if up else "down"} for name, up in dependencies.items()}
    body = ReadinessSchema().dump({"status": status, "dependencies": detail})
    return Response(dumps(body), 503 if status == "draining" else 200, content_type="application/json")
