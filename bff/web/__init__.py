"""HTTP, and the only place that knows Flask. Routes read as the contract; what they ask of is in `context`."""

from bff.web.access_log import observe
from bff.web.authentication import requires_no_session, requires_session
from bff.web.cors import allow_origins
from bff.web.docs import docs
from bff.web.express import Express
from bff.web.health import health
from bff.web.linked_accounts import me
from bff.web.metrics import metering, requires_metrics_token
from bff.web.openapi import openapi
from bff.web.problems import speak_problems
from bff.web.queries import refuse_unreadable_queries
from bff.web.request_id import carry_request_ids
from bff.web.response_cache import Repeats
from bff.web.security_headers import tidy_headers
from bff.web.wsgi import Environ, credential

__all__ = [
    "Environ",
    "Express",
    "Repeats",
    "allow_origins",
    "carry_request_ids",
    "credential",
    "docs",
    "health",
    "me",
    "metering",
    "observe",
    "openapi",
    "refuse_unreadable_queries",
    "requires_metrics_token",
    "requires_no_session",
    "requires_session",
    "speak_problems",
    "tidy_headers",
]
