"""The plain question in front of Flask, from token to answer: what all mobile apps and most pages send, at half of the price.

Plain is a GET or HEAD with one Bearer token and no condition, from no page on another origin. Whatever is not plain is Flask's.
What is answered here is what Flask would answer, header for header (tests/web/test_express.py sends the same requests both
ways), refusals and failures included: use case, guard, rate limit, problems and log line are the same.
"""

import time
from collections.abc import Callable, Iterable
from typing import Any

from structlog.contextvars import bind_contextvars

from bff.cache import KEEP
from bff.errors import BffError
from bff.services import Services
from bff.web import authentication as auth
from bff.web import credentials as presented
from bff.web import problems
from bff.web.access_log import NO_ERROR, record
from bff.web.representation import Said, answered, language
from bff.web.request_id import HEADER as REQUEST_ID
from bff.web.request_id import of_environ
from bff.web.security_headers import HSTS, VARY
from bff.web.wsgi import PATH, Application, Environ, Headers, bearer, idle, is_bare

_NOT_PLAIN = frozenset({"HTTP_ORIGIN", "HTTP_COOKIE", "HTTP_IF_NONE_MATCH"})
_INCLUDE = {"": False, "include=identities": True}


class Express:
    """A WSGI application in front of another one."""

    def __init__(self, application: Application, services: Services) -> None:
        self._application = application
        self._bff = services
        settings = services.settings
        self._not_plain = _NOT_PLAIN - idle(settings)
        self._plain_hosts = not settings.allowed_hosts

    def __call__(self, environ: Environ, start_response: Callable[..., Any]) -> Iterable[bytes]:
        """The answer, as a WSGI application."""
        token = self._token(environ)
        if not token:
            return self._application(environ, start_response)
        started = time.perf_counter()
        request_id = of_environ(environ)
        bind_contextvars(request_id=request_id)
        standing: Headers = []
        try:
            said = self._said(environ, token, standing)
            status, headers, body = "200 OK", said.headers, said.body
            source, failure = said.source.value, NO_ERROR
        except Exception as exc:  # noqa: BLE001 - whatever it is, nobody sees a traceback
            error = exc if isinstance(exc, BffError) else problems.defect(exc)
            instance = "/" if presented.repeats(PATH, [token]) else PATH
            status, headers, body = problems.told(error, instance, request_id)
            source, failure = "none", (error.code, error.note)
        headers += (("X-Content-Type-Options", "nosniff"), ("Vary", VARY), ("Content-Length", str(len(body))))
        headers += (*standing, (REQUEST_ID, request_id))
        if environ["wsgi.url_scheme"] == "https":
            headers.append(("Strict-Transport-Security", HSTS))
        method = environ["REQUEST_METHOD"]
        start_response(status, headers)
        record(
            self._bff.metrics,
            method=method,
            route=PATH,
            status=int(status[:3]),
            source=source,
            seconds=time.perf_counter() - started,
            request_id=request_id,
            error=failure,
        )
        return [b"" if method == "HEAD" else body]

    def _token(self, environ: Environ) -> str:
        """The token of a plain question, empty for any other."""
        plain = (
            is_bare(environ)
            and self._plain_hosts
            and environ.keys().isdisjoint(self._not_plain)
            and environ.get("QUERY_STRING", "") in _INCLUDE
        )
        token = bearer(environ)
        return token if plain and " " not in token and "," not in token else ""

    def _said(self, environ: Environ, token: str, standing: Headers) -> Said:
        bff = self._bff
        deadline = auth.deadline_of(environ, bff)
        session = auth.admitted(bff, token, environ.get("REMOTE_ADDR"), deadline)
        if bff.user_limit:
            standing += bff.user_limit.hit(session.user_id).headers.items()
        said = answered(
            bff,
            session,
            deadline,
            spoken=language(environ.get("HTTP_ACCEPT_LANGUAGE", "")),
            identities=_INCLUDE[environ.get("QUERY_STRING", "")],
        )
        environ[KEEP] = said.keepsake
        return said
