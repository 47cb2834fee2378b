"""What the service says of itself: log, metrics, readiness."""

from bff.observability.logging import Answered, tell
from bff.observability.metrics import CONTENT_TYPE, Metrics
from bff.observability.readiness import Readiness
from bff.observability.recorder import NullRecorder, Recorder

__all__ = [
    "CONTENT_TYPE",
    "Answered",
    "Metrics",
    "NullRecorder",
    "Readiness",
    "Recorder",
    "tell",
]
