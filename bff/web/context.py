"""What a request carries, typed: its record, which every middleware and the view share, the services, the session."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, cast

from flask import Flask, current_app, g, request
from werkzeug.exceptions import ClientDisconnected, RequestEntityTooLarge

from bff.cache import Freshness
from bff.models import Session
from bff.resilience import Deadline, released
from bff.services import Services

Environ = dict[str, Any]
Headers = list[tuple[str, str]]
Application = Callable[[Environ, Callable[..., Any]], Iterable[bytes]]

RECORD = "linked_accounts.request"
LONGEST_FIELD = 2048  # characters
# What we, or a library for us, take apart item by item.
_LISTS = (
    "HTTP_ACCEPT",
    "HTTP_ACCEPT_LANGUAGE",
    "HTTP_ACCESS_CONTROL_REQUEST_HEADERS",
    "HTTP_IF_NONE_MATCH",
    "HTTP_X_FORWARDED_FOR",
    "HTTP_X_FORWARDED_PROTO",
)
_SERVICES = "linked-accounts"
_CHANGING = frozenset({"POST", "DELETE"})


@dataclass(slots=True)
class RequestRecord:
    """One request, from its arrival. What is inside of `RequestContext` fills in the rest; the log line is made of it.

    ``route`` is the rule that matched, ``source`` where the accounts came from, ``code`` and ``note`` are those of an error.
    With ``freshness`` the response may be kept. ``refusal`` is the error with which a middleware ended the request.
    """

    request_id: str
    arrived: float
    deadline: Deadline
    route: str = "unmatched"
    source: str = "none"
    code: str = ""
    note: str = ""
    rate_limit: Mapping[str, str] | None = None
    freshness: Freshness | None = None
    refusal: Exception | None = None


@dataclass(frozen=True, slots=True)
class FinishedResponse:
    """The whole of an application's response."""

    status: str
    headers: Headers
    body: bytes


def bounded(application: Application) -> Application:
    """A WSGI application around ``application``, for which a field that lists more than anybody needs begins later.

    The end counts: proxies add theirs there, and in the other fields the order means nothing.
    """

    def call(environ: Environ, start_response: Callable[..., Any]) -> Iterable[bytes]:
        for name in _LISTS:
            if len(sent := environ.get(name, "")) > LONGEST_FIELD:
                environ[name] = sent[-LONGEST_FIELD:].partition(",")[2]
        return application(environ, start_response)

    return call


def finish(application: Application, environ: Environ) -> FinishedResponse:
    """Run a WSGI application to its end (PEP 3333)."""
    started: list[tuple[str, Headers]] = []

    def start_response(status: str, headers: Headers, _exc_info: object = None) -> None:
        started.append((status, headers))

    chunks = application(environ, start_response)
    try:
        body = b"".join(chunks)
    finally:
        if close := getattr(chunks, "close", None):
            close()
    status, headers = started[-1]
    return FinishedResponse(status, headers, body)


def sent_body(at_most: int) -> bytes:
    """The whole body, of so many bytes at most; the framework cuts one off that comes in chunks, and takes what was cut off."""
    request.max_content_length = at_most + 1
    with released():  # a client may take its time to send it
        body = request.get_data()
    if len(body) > at_most:
        raise RequestEntityTooLarge
    if len(body) < (request.content_length or 0):
        raise ClientDisconnected
    return body


def is_change(environ: Environ) -> bool:
    """Whether the request asks to change something of somebody's, which is several calls to GenAuth after each other."""
    return environ["REQUEST_METHOD"] in _CHANGING and environ["PATH_INFO"].startswith("/me/")


def record_of(environ: Environ) -> RequestRecord:
    """The record that `RequestContext` began."""
    return cast("RequestRecord", environ[RECORD])


def record() -> RequestRecord:
    """The record of the request that Flask dispatches."""
    return record_of(request.environ)


def provide(app: Flask, services: Services) -> None:
    """Hand the services to an application."""
    app.extensions[_SERVICES] = services


def services_of(app: Flask) -> Services:
    """The services that an application was handed."""
    return cast("Services", app.extensions[_SERVICES])


def services() -> Services:
    """The services of the application that dispatches this request."""
    return services_of(current_app)


def session() -> Session:
    """The session that the guard let in."""
    return cast("Session", g.session)
