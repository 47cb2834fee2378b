"""Log, metrics, readiness and the audit."""

from bff.observability.audit import Action, Audit
from bff.observability.circuits import circuit_log
from bff.observability.logging import request_id
from bff.observability.metrics import CONTENT_TYPE, Metrics
from bff.observability.readiness import Readiness, Reason, Status
from bff.observability.recorder import Recorder

__all__ = [
    "CONTENT_TYPE",
    "Action",
    "Audit",
    "Metrics",
    "Readiness",
    "Reason",
    "Recorder",
    "Status",
    "circuit_log",
    "request_id",
]
