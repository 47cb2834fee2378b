"""Headers that every answer carries, so that no browser and no cache between takes it for something else."""

from flask import Flask, Response, g, request

# The answer depends on who asks, from where, and in which language.
VARY = "Authorization, Cookie, Origin, Accept-Language"
_HSTS = "max-age=31536000; includeSubDomains"


def tidy_headers(app: Flask) -> None:
    """Mark every answer of this application, errors and 304 included."""
    app.after_request(_mark)


def _mark(response: Response) -> Response:
    headers = response.headers
    headers["X-Content-Type-Options"] = "nosniff"
    if request.path.startswith("/me/"):
        headers["Vary"] = VARY
        headers.setdefault("Cache-Control", "private, no-store")
    if standing := g.get("standing"):
        headers.update(standing.headers)
    if request.is_secure:
        headers["Strict-Transport-Security"] = _HSTS
    return response
