"""Headers that every answer carries, so that nobody between takes it for something else; and a limit on bodies."""

from flask import Flask, Response, current_app, g, request
from werkzeug.exceptions import RequestEntityTooLarge

# The answer depends on who asks, from where, and in which language.
VARY = "Authorization, Cookie, Origin, Accept-Language"
HSTS = "max-age=31536000"


def tidy_headers(app: Flask) -> None:
    """Mark every answer of this application, errors and 304 included, and turn large bodies away unread."""
    app.before_request(_refuse_large_bodies)
    app.after_request(_mark)


def _refuse_large_bodies() -> None:
    # The framework looks when a body is read. Nobody reads that of a GET, which means nothing (RFC 9110 9.3.1).
    if (request.content_length or 0) > (current_app.config["MAX_CONTENT_LENGTH"] or 0):
        raise RequestEntityTooLarge


def _mark(response: Response) -> Response:
    headers = response.headers
    headers["X-Content-Type-Options"] = "nosniff"
    if request.path.startswith("/me/"):
        headers["Vary"] = VARY
        headers.setdefault("Cache-Control", "private, no-store")
    if standing := g.get("standing"):
        headers.update(standing.headers)
    if request.is_secure:
        headers["Strict-Transport-Security"] = HSTS
    return response
