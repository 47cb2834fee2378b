"""The short way for the question that is asked all the time: answered from memory in front of Flask, or handed to Flask.

    request ─▶ everything that decides its answer, as one digest ─▶ finished a moment ago? ─▶ said again, age and ttl as of now
                     └─▶ plain, and its token known? ─▶ remembered in Redis? ─▶ answered
                                └─▶ Flask, which says what may be kept

Whatever is not plain is Flask's: every refusal, every error, every way to send a token but one. What is answered here is what
Flask would answer, header for header (tests/web/test_express.py sends the same requests both ways), counted, limited and logged.
"""

import re
import time
from collections.abc import Callable, Iterable
from hashlib import sha256
from typing import Any

from structlog.contextvars import bind_contextvars

from bff.errors import BffError
from bff.linked_accounts import Source
from bff.microcache import KEEP, Keepsake, Kept
from bff.services import Services
from bff.sessions import Session
from bff.web import presenting
from bff.web.context import SEEN
from bff.web.hygiene import HSTS, VARY
from bff.web.observing import record
from bff.web.request_id import HEADER as REQUEST_ID
from bff.web.request_id import carried

Environ = dict[str, Any]
Headers = list[tuple[str, str]]
Application = Callable[[Environ, Callable[..., Any]], Iterable[bytes]]

PATH = "/me/linked-accounts"
# Everything in a request that decides its answer's status, headers or bytes.
_DECISIVE = (
    "REQUEST_METHOD",
    "QUERY_STRING",
    "HTTP_AUTHORIZATION",
    "HTTP_COOKIE",
    "HTTP_X_REQUESTED_WITH",
    "HTTP_ORIGIN",
    "HTTP_ACCEPT_LANGUAGE",
    "HTTP_IF_NONE_MATCH",
    "HTTP_HOST",
    "wsgi.url_scheme",
)
# A fresh answer is asked for, or there is more to the request than a question.
_FOR_FLASK = ("HTTP_CACHE_CONTROL", "HTTP_PRAGMA", "HTTP_TRANSFER_ENCODING", "HTTP_RANGE", "HTTP_IF_RANGE")
_NOT_PLAIN = ("HTTP_ORIGIN", "HTTP_COOKIE", "HTTP_IF_NONE_MATCH")
_WORDS = re.compile(r"[\s,;=]+")
_INCLUDE = {"": False, "include=identities": True}
# Said anew each time.
_TOLD_ANEW = frozenset({"age", "cache-status", "ratelimit", "ratelimit-policy", "date", REQUEST_ID.lower()})


class Express:
    """A WSGI application in front of another one."""

    def __init__(self, application: Application, services: Services) -> None:
        self._application = application
        self._bff = services
        self._micro_cache = services.micro_cache
        settings = services.settings
        # What does not matter under these settings need not tell requests apart, nor make one less plain.
        idle = {"HTTP_COOKIE", "HTTP_X_REQUESTED_WITH"} if settings.session_cookie_name is None else set()
        idle |= set() if settings.cors_origins or settings.session_cookie_name else {"HTTP_ORIGIN"}
        self._decisive = tuple(name for name in _DECISIVE if name not in idle)
        self._not_plain = tuple(name for name in _NOT_PLAIN if name not in idle)
        self._plain_hosts = not settings.allowed_hosts

    def __call__(self, environ: Environ, start_response: Callable[..., Any]) -> Iterable[bytes]:
        """The answer, as a WSGI application."""
        if (
            environ["PATH_INFO"] != PATH
            or environ["REQUEST_METHOD"] not in {"GET", "HEAD"}
            or environ.get("CONTENT_LENGTH", "0") not in {"", "0"}
            or any(name in environ for name in _FOR_FLASK)
        ):
            return self._application(environ, start_response)
        started = time.perf_counter()
        repeatable = self._micro_cache is not None and self._bff.announcements.alive
        key = self._digest(environ) if repeatable else b""
        kept = self._micro_cache.find(key) if self._micro_cache and repeatable else None
        if kept is not None:
            said = self._again(kept, environ, started)
        else:
            said = self._remembered(environ, key, started) if self._plain(environ) else None
        if said is not None:
            status, headers, body = said
            start_response(status, headers)
            return [body]
        return self._through_flask(key, environ, start_response) if repeatable else self._application(environ, start_response)

    def _again(self, kept: Kept, environ: Environ, started: float) -> tuple[str, Headers, bytes] | None:
        standing = self._count(kept.user_id)
        if standing is None:
            return None
        now = time.time()
        request_id = self._request_id(environ)
        headers = [
            *kept.headers,
            ("Cache-Status", f"linked-accounts; hit; ttl={int(kept.fresh_until - now)}"),
            ("Age", str(int(max(0.0, now - kept.at)))),
            *standing,
            (REQUEST_ID, request_id),
        ]
        self._record(environ, kept.status, "memory", request_id, started)
        return kept.status, headers, kept.body

    def _remembered(self, environ: Environ, key: bytes, started: float) -> tuple[str, Headers, bytes] | None:
        session = self._session(environ)
        catalogue = self._bff.providers.known()
        if session is None or catalogue is None:
            return None
        request_id = self._request_id(environ)
        bind_contextvars(request_id=request_id)
        changes = self._micro_cache.changes if self._micro_cache else 0
        try:
            seen = environ[SEEN] = self._bff.linked_accounts.recall(session)
        except BffError:
            return None  # refused, which is Flask's to say
        answer = self._bff.linked_accounts.remembered(session, seen)
        standing = self._count(session.user_id) if answer else None
        if answer is None or standing is None:
            return None
        self._bff.providers.freshen(session.token)
        spoken = presenting.language(environ.get("HTTP_ACCEPT_LANGUAGE", ""))
        body, etag = presenting.body(
            answer, session.token, spoken, catalogue, self._bff.metrics, identities=_INCLUDE[environ.get("QUERY_STRING", "")]
        )
        about = presenting.headers(answer, etag)
        same: Headers = [("X-Content-Type-Options", "nosniff"), ("Vary", VARY), ("Content-Length", str(len(body)))]
        if environ["wsgi.url_scheme"] == "https":
            same.append(("Strict-Transport-Security", HSTS))
        if environ["REQUEST_METHOD"] == "HEAD":
            body = b""
        if key and self._micro_cache:
            keepsake = Keepsake(session, answer.entry.at, answer.entry.fresh_until, answer.good_until)
            self._micro_cache.keep(key, keepsake, "200 OK", _lasting(about + same), body, changes)
        self._record(environ, "200 OK", Source.CACHE, request_id, started)
        return "200 OK", [*about, *same, *standing, (REQUEST_ID, request_id)], body

    def _through_flask(self, key: bytes, environ: Environ, start_response: Callable[..., Any]) -> Iterable[bytes]:
        changes = self._micro_cache.changes if self._micro_cache else 0
        said: list[tuple[str, Headers]] = []

        def listen(status: str, headers: Headers, *rest: Any) -> Any:  # noqa: ANN401 - WSGI's own shape
            said.append((status, headers))
            return start_response(status, headers, *rest)

        answer = self._application(environ, listen)
        keepsake: Keepsake | None = environ.pop(KEEP, None)
        if keepsake is None or self._micro_cache is None:
            return answer
        body = b"".join(answer)
        if close := getattr(answer, "close", None):
            close()
        status, headers = said[-1]
        self._micro_cache.keep(key, keepsake, status, _lasting(headers), body, changes)
        return [body]

    def _plain(self, environ: Environ) -> bool:
        return (
            self._plain_hosts
            and not any(name in environ for name in self._not_plain)
            and environ.get("QUERY_STRING", "") in _INCLUDE
        )

    def _session(self, environ: Environ) -> Session | None:
        scheme, _, token = environ.get("HTTP_AUTHORIZATION", "").partition(" ")
        return self._bff.sessions.known(token) if scheme == "Bearer" else None

    def _count(self, user_id: str) -> Headers | None:
        """The headers that say where the user stands; None when it is one too many, which is Flask's to say."""
        if self._bff.user_limit is None:
            return []
        standing = self._bff.user_limit.standing(user_id)
        return list(standing.headers.items()) if standing else None

    def _request_id(self, environ: Environ) -> str:
        offered = environ.get("HTTP_X_REQUEST_ID", "")
        sent = environ.get("HTTP_AUTHORIZATION", "") + ";" + environ.get("HTTP_COOKIE", "")
        return carried(offered, _WORDS.split(sent) if offered else ())

    def _record(self, environ: Environ, status: str, source: str, request_id: str, started: float) -> None:
        record(
            self._bff.metrics,
            method=environ["REQUEST_METHOD"],
            route=PATH,
            status=int(status[:3]),
            source=source,
            seconds=time.perf_counter() - started,
            request_id=request_id,
        )

    def _digest(self, environ: Environ) -> bytes:
        parts = [environ.get(name, "") for name in self._decisive]
        return sha256("\0".join(parts).encode("utf-8", "surrogateescape")).digest()


def _lasting(headers: Headers) -> tuple[tuple[str, str], ...]:
    return tuple((name, value) for name, value in headers if name.lower() not in _TOLD_ANEW)
