"""HTTP, and the only place that knows Flask.

The middlewares, from the outside, are `RequestContext`, `ResponseCache` and `AdmissionControl`. Behind them the blueprints read
as the contract; what a request carries is in `context`.
"""

from bff.web.authentication import requires_no_session, requires_session
from bff.web.context import bounded, provide, services_of
from bff.web.cors import allow_origins
from bff.web.docs import docs
from bff.web.linked_accounts import me
from bff.web.links import link_returns, links
from bff.web.middleware import AdmissionControl, RequestContext
from bff.web.openapi import openapi
from bff.web.operators import health, metrics, requires_metrics_token
from bff.web.problems import answer_problems
from bff.web.response_cache import ResponseCache
from bff.web.webhooks import requires_webhook_secret, shows_secret, webhooks

__all__ = [
    "AdmissionControl",
    "RequestContext",
    "ResponseCache",
    "allow_origins",
    "answer_problems",
    "bounded",
    "docs",
    "health",
    "link_returns",
    "links",
    "me",
    "metrics",
    "openapi",
    "provide",
    "requires_metrics_token",
    "requires_no_session",
    "requires_session",
    "requires_webhook_secret",
    "services_of",
    "shows_secret",
    "webhooks",
]
