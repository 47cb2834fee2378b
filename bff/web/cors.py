"""What pages on other origins may ask and read (Fetch standard, CORS).

For a person's accounts these are the listed origins, with the cookie only where cookie mode is on. For the contract, which is
anybody's to read, it is any page.
"""

import re
from typing import Any

from flask import Flask
from flask_cors import CORS

from bff.settings import Settings

EXPOSED = (
    *("ETag", "X-Request-Id", "Cache-Status", "Age", "Content-Language"),
    *("Allow", "Retry-After", "RateLimit", "RateLimit-Policy", "WWW-Authenticate"),
)
_READING = ["GET", "HEAD", "OPTIONS"]
_CHANGING = ["POST", "DELETE"]
_OF_THE_CONTRACT = (
    "Accept Accept-Language Authorization Cache-Control Content-Type If-None-Match Pragma X-Id-Token X-Request-Id"
    " X-Requested-With"
)
# Scripts that measure pages put them on every call, and a preflight that refuses one of them ends the call. They say what a call
# is part of, not who makes it.
_OF_TRACING = (
    "traceparent tracestate baggage"  # W3C Trace Context and Baggage: OpenTelemetry and others
    r" sentry-trace newrelic x-newrelic-[a-z-]+ x-datadog-[a-z-]+ elastic-apm-traceparent x-honeycomb-trace"
    r" b3 x-b3-[a-z]+ uber-trace-id sw8 sw8-[a-z-]+ eagleeye-[a-z-]+"  # Zipkin, Jaeger, SkyWalking, ARMS
    r" x-amzn-trace-id x-cloud-trace-context request-id request-context x-dt[a-z]+ x-correlation-id"
)
_CONTRACT = r"/(?:openapi\.json|docs)\Z|/problems/"
_PREFLIGHT_SECONDS = 600


def allow_origins(app: Flask, settings: Settings) -> None:
    """Answer preflights and mark answers; without CORS_ORIGINS no page on another origin may ask for anybody's accounts."""
    resources: dict[str | re.Pattern[str], dict[str, Any]] = {
        _CONTRACT: {"origins": "*", "send_wildcard": True, "supports_credentials": False}
    }
    if origins := settings.cors_origins:
        resources[r"/me/.*"] = {
            # flask-cors takes what looks like a regular expression for one, and an IPv6 origin does.
            "origins": "*" if "*" in origins else [re.compile(re.escape(origin) + r"\Z") for origin in origins],
            "methods": [*_READING, *_CHANGING],
            "supports_credentials": settings.session_cookie_name is not None,
        }
    patterns = [*_OF_THE_CONTRACT.split(), *_OF_TRACING.split(), *map(re.escape, settings.cors_allow_headers)]
    CORS(
        app,
        resources=resources,
        methods=_READING,
        allow_headers=[re.compile(rf"(?:{'|'.join(patterns)})\Z", re.IGNORECASE)],
        expose_headers=list(EXPOSED),
        max_age=_PREFLIGHT_SECONDS,
        vary_header=False,  # `RequestContext` sends the whole list, whoever asks
    )
