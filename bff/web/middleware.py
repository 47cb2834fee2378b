"""The outermost middleware and the innermost: what every response gets, and how many requests compute at once.

The one between them is `response_cache`.
"""

import random
import re
import sys
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import structlog
from structlog.contextvars import bind_contextvars, clear_contextvars

from bff.errors import BffError, UpstreamUnavailable
from bff.genauth import echoes_credential
from bff.observability import Recorder
from bff.resilience import BulkheadFull, Deadline, FairSemaphore, Shares, admitted, begin_change
from bff.settings import Settings
from bff.web.authentication import presented_credentials
from bff.web.context import RECORD, Application, Environ, FinishedResponse, Headers, RequestRecord, finish, is_change, record_of
from bff.web.problems import defect, problem

log = structlog.get_logger()

# The answer depends on who asks, from where, and in which language.
VARY = "Authorization, Cookie, Origin, Accept-Language"
HSTS = "max-age=31536000"
# An orchestrator asks every few seconds, for ever: a line for each good answer would be most of the log.
_PROBES = frozenset({"/livez", "/readyz"})
_QUEUEING, _EVENTS = "/me/", "events"
_RETRY_SECONDS = 1.0
_METHODS = frozenset({"GET", "HEAD", "OPTIONS", "POST", "PUT", "PATCH", "DELETE"})
_REQUEST_ID = re.compile(r"[A-Za-z0-9._-]{8,128}", re.ASCII)


class RequestContext:
    """A WSGI application around ``application``: every response, whatever made it, gets its id, headers, a log line and a metric.

    ``flask`` renders the errors that a middleware between the two raises. Nothing that a caller sends gets into the log line but
    the request id, which has its form: the route is the rule that matched, the method one of the known ones.
    """

    def __init__(self, application: Application, flask: Application, settings: Settings, recorder: Recorder) -> None:
        self._application = application
        self._flask = flask
        self._settings = settings
        self._recorder = recorder
        self._first_forwarded = threading.Lock()  # taken once, and kept

    def __call__(self, environ: Environ, start_response: Callable[..., Any]) -> Iterable[bytes]:
        """The response, as a WSGI application."""
        arrived = time.monotonic()
        deadline = self._deadline(environ, arrived)
        record = environ[RECORD] = RequestRecord(self._request_id(environ), arrived, deadline)
        clear_contextvars()
        bind_contextvars(request_id=record.request_id)
        forwarded = environ.get("HTTP_X_FORWARDED_FOR")
        if forwarded is not None and not 0 < self._settings.trusted_proxies <= forwarded.count(",") + 1:
            self._warn_of_proxies()
        response = self._respond(environ, record)
        start_response(response.status, _marked(response, environ, record))
        self._log(environ, record, int(response.status[:3]))
        return [response.body]

    def _deadline(self, environ: Environ, arrived: float) -> Deadline:
        if not is_change(environ):
            return Deadline(arrived + self._settings.request_deadline_seconds)
        deadline = Deadline(arrived + self._settings.change_deadline_seconds)
        begin_change(deadline)
        return deadline

    def _respond(self, environ: Environ, record: RequestRecord) -> FinishedResponse:
        try:
            try:
                return finish(self._application, environ)
            except BffError as error:
                # Flask knows the route and the CORS headers; `raise_refusal` raises the error there before any guard or view.
                record.refusal = error
                return finish(self._flask, environ)
        except Exception as exc:  # noqa: BLE001 - whatever it is, the caller sees no traceback
            return finish(problem(defect(exc), environ, self._settings.session_cookie_name), environ)

    def _warn_of_proxies(self) -> None:
        if self._first_forwarded.acquire(blocking=False):
            fewer = "fewer proxies add to X-Forwarded-For than are trusted: " if self._settings.trusted_proxies else ""
            hint = f"{fewer}behind a proxy all clients count as one address"
            log.warning("forwarded_for_ignored", setting="TRUSTED_PROXIES", hint=hint)

    def _request_id(self, environ: Environ) -> str:
        """The id that the caller offers, if it has the form of one and nothing of the caller's credentials; else a new one.

        An opaque token has the form of an id too, and ids are sent back and logged.
        """
        offered = environ.get("HTTP_X_REQUEST_ID", "")
        if (
            _REQUEST_ID.fullmatch(offered)
            and not offered.startswith("eyJ")  # a signed token, sent elsewhere too or not
            and not echoes_credential(offered, presented_credentials(environ, self._settings.session_cookie_name))
        ):
            return str(offered)
        return f"{random.getrandbits(128):032x}"  # an id has to be unlike others, not unguessable

    def _log(self, environ: Environ, record: RequestRecord, status: int) -> None:
        method = environ["REQUEST_METHOD"]
        seconds = time.monotonic() - record.arrived
        self._recorder.answered(record.route, status, record.source, seconds)
        error = {}
        if record.code:
            self._recorder.refused(record.code, record.note)
            error = {"code": record.code, "note": record.note} if record.note else {"code": record.code}
        write = log.debug if record.route in _PROBES and status == 200 else log.info
        write(
            "request",
            method=method if method in _METHODS else "other",
            route=record.route,
            status=status,
            source=record.source,
            milliseconds=round(seconds * 1000, 2),
            **error,
        )


class AdmissionControl:
    """A WSGI application around ``application``: ``permits`` threads are in there at a time, but for those that wait.

    ``waiting`` is how many may: health, metrics and what the response cache holds need threads too. Only requests of signed-in
    people queue. GenAuth's events compute one at a time, and as many may be here: nobody else waits for them. ``is_event``
    knows them by their secret, so that they do not wait for what strangers send.
    """

    def __init__(
        self,
        application: Application,
        permits: int,
        *,
        waiting: int = sys.maxsize,
        is_event: Callable[[Environ], bool] = lambda _environ: False,
    ) -> None:
        self._application = application
        self._is_event = is_event
        self._semaphore = FairSemaphore(permits, outside_at_most=waiting)
        self._events = FairSemaphore(1)
        self._event_places = Shares(waiting)

    def __call__(self, environ: Environ, start_response: Callable[..., Any]) -> Iterable[bytes]:
        """The response, as a WSGI application. Raises UpstreamUnavailable for a request that the deadline finds in the queue."""
        path, deadline = environ["PATH_INFO"], record_of(environ).deadline
        if path.startswith(_QUEUEING):
            admission = admitted(self._semaphore, deadline)
        elif self._is_event(environ):
            admission = self._admitted_event(deadline)
        else:
            return self._application(environ, start_response)
        with admission:
            response = finish(self._application, environ)
        start_response(response.status, response.headers)
        return [response.body]

    @contextmanager
    def _admitted_event(self, deadline: Deadline) -> Iterator[None]:
        """The same for an event, or UpstreamUnavailable where too many are here."""
        with ExitStack() as held:
            try:
                held.enter_context(self._event_places.place(_EVENTS))
            except BulkheadFull:
                raise UpstreamUnavailable(note="too many events", retry_after=_RETRY_SECONDS) from None
            held.enter_context(admitted(self._events, deadline))
            yield


def _marked(response: FinishedResponse, environ: Environ, record: RequestRecord) -> Headers:
    """The response's headers and those that every response has."""
    headers = [*response.headers, ("X-Request-Id", record.request_id), ("X-Content-Type-Options", "nosniff")]
    if environ["PATH_INFO"].startswith("/me/"):
        headers.append(("Vary", VARY))
        if not any(name == "Cache-Control" for name, _ in response.headers):
            headers.append(("Cache-Control", "private, no-store"))
    elif record.code:
        headers.append(("Vary", "Accept-Language"))  # of a problem, its title
    if record.rate_limit:
        headers += record.rate_limit.items()
    if environ["wsgi.url_scheme"] == "https":
        headers.append(("Strict-Transport-Security", HSTS))
    return headers
