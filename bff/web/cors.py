"""Which pages on other origins may ask (Fetch standard, CORS): exact origins, and the cookie only where cookie mode is on."""

import re

from flask import Flask
from flask_cors import CORS

from bff.settings import Settings

EXPOSED = ("ETag", "X-Request-Id", "Cache-Status", "Retry-After", "RateLimit", "RateLimit-Policy", "Age")
_ALLOWED = ("Authorization", "X-Requested-With", "X-Request-Id", "Cache-Control", "If-None-Match", "Content-Type")
_PREFLIGHT_SECONDS = 600


def allow_origins(app: Flask, settings: Settings) -> None:
    """Answer preflights and mark answers for the origins in CORS_ORIGINS; without any, no page on another origin may ask."""
    if not settings.cors_origins:
        return
    origins = settings.cors_origins
    CORS(
        app,
        resources=r"/me/.*",
        # flask-cors takes what looks like a regular expression for one, and an IPv6 origin does.
        origins="*" if "*" in origins else [re.compile(re.escape(origin) + r"\Z") for origin in origins],
        methods=["GET", "HEAD", "OPTIONS"],
        allow_headers=list(_ALLOWED),
        expose_headers=list(EXPOSED),
        supports_credentials=settings.session_cookie_name is not None,
        max_age=_PREFLIGHT_SECONDS,
        vary_header=False,  # `RequestContext` sends the whole list, whoever asks
    )
