"""Every request has an id, the caller's or one of ours, in its answer and its log line."""

import random
import re
from collections.abc import Iterable, Mapping

from flask import Flask, Response, g, request
from structlog.contextvars import bind_contextvars, clear_contextvars

from bff.web import credentials as presented

HEADER = "X-Request-Id"
_WORDS = re.compile(r"[\s,;=]+")
_ACCEPTABLE = re.compile(r"[A-Za-z0-9._-]{8,128}", re.ASCII)


def carry_request_ids(app: Flask) -> None:
    """Give each request its id before anything else happens, and send it back whatever happens."""
    app.before_request(_begin)
    app.after_request(_send)


def carried(offered: str, credentials: Iterable[str] = ()) -> str:
    """The id to go by: the one offered, if it is one and nothing of the caller's ``credentials``.

    An opaque token has the form of an id too, and ids are sent back and logged.
    """
    if offered and _ACCEPTABLE.fullmatch(offered) and not presented.repeats(offered, credentials):
        return offered
    # Told apart is all that they have to be; asking the system would give the interpreter away in the middle of a request.
    return f"{random.getrandbits(128):032x}"


def of_environ(environ: Mapping[str, str]) -> str:
    """The id of a request that Flask has not seen."""
    offered = environ.get("HTTP_X_REQUEST_ID", "")
    if not offered:
        return carried("")
    return carried(offered, _WORDS.split(f"{environ.get('HTTP_AUTHORIZATION', '')};{environ.get('HTTP_COOKIE', '')}"))


def _begin() -> None:
    offered = request.headers.get(HEADER, "")
    g.request_id = carried(offered, presented.credentials() if offered else ())
    clear_contextvars()
    bind_contextvars(request_id=g.request_id)


def _send(response: Response) -> Response:
    response.headers[HEADER] = g.request_id
    return response
