"""The question that was asked a moment ago: answered from memory, in front of everything else.

    request ─▶ everything that decides its answer, as one digest ─▶ finished a moment ago? ─▶ said again, age and ttl as of now
                     └─▶ the application, which says what of its answer may be kept

Also in front of the gate: who can be answered at once waits for nobody. What is said here is what the application would say,
header for header (tests/web/test_express.py sends the same requests both ways), counted, limited and logged.
"""

import time
from collections.abc import Callable, Iterable
from hashlib import sha256
from typing import Any

from bff.cache import KEEP, CachedResponse, CachedResponses, Freshness
from bff.services import Services
from bff.web.access_log import record
from bff.web.request_id import HEADER as REQUEST_ID
from bff.web.request_id import of_environ
from bff.web.wsgi import PATH, Application, Environ, Headers, idle, is_bare

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
# Said anew each time.
_TOLD_ANEW = frozenset({"age", "cache-status", "ratelimit", "ratelimit-policy", "date", REQUEST_ID.lower()})


class Repeats:
    """A WSGI application in front of another one, over its micro-cache."""

    def __init__(self, application: Application, services: Services, micro_cache: CachedResponses) -> None:
        self._application = application
        self._bff = services
        self._micro_cache = micro_cache
        unread = idle(services.settings)
        self._decisive = tuple(name for name in _DECISIVE if name not in unread)

    def __call__(self, environ: Environ, start_response: Callable[..., Any]) -> Iterable[bytes]:
        """The answer, as a WSGI application."""
        if not is_bare(environ) or not self._bff.announcements.connected:
            return self._application(environ, start_response)
        started = time.perf_counter()
        key = self._digest(environ)
        kept = self._micro_cache.find(key)
        headers = self._again(kept, environ, started) if kept else None
        if kept is None or headers is None:
            return self._first(key, environ, start_response)
        start_response(kept.status, headers)
        return [kept.body]

    def _again(self, kept: CachedResponse, environ: Environ, started: float) -> Headers | None:
        """What is said anew around the kept answer; None to somebody over the limit, which is the application's to say."""
        headers = list(kept.headers)
        if limit := self._bff.user_limit:
            standing = limit.standing(kept.user_id)
            if standing is None:
                return None
            headers += standing.headers.items()
        now = time.time()
        request_id = of_environ(environ)
        headers += (
            ("Cache-Status", f"linked-accounts; hit; ttl={int(kept.fresh_until - now)}"),
            ("Age", str(int(max(0.0, now - kept.at)))),
            (REQUEST_ID, request_id),
        )
        record(
            self._bff.metrics,
            method=environ["REQUEST_METHOD"],
            route=PATH,
            status=int(kept.status[:3]),
            source="memory",
            seconds=time.perf_counter() - started,
            request_id=request_id,
        )
        return headers

    def _first(self, key: bytes, environ: Environ, start_response: Callable[..., Any]) -> Iterable[bytes]:
        """The application's answer, kept if it says so."""
        changes = self._micro_cache.changes
        said: list[tuple[str, Headers]] = []

        def listen(status: str, headers: Headers, *rest: Any) -> Any:  # noqa: ANN401 - WSGI's own shape
            said.append((status, headers))
            return start_response(status, headers, *rest)

        answer = self._application(environ, listen)
        keepsake: Freshness | None = environ.pop(KEEP, None)
        if keepsake is None:
            return answer
        body = b"".join(answer)
        if close := getattr(answer, "close", None):
            close()
        status, headers = said[-1]
        lasting = tuple((name, value) for name, value in headers if name.lower() not in _TOLD_ANEW)
        self._micro_cache.keep(key, keepsake, status, lasting, body, changes)
        return [body]

    def _digest(self, environ: Environ) -> bytes:
        parts = [environ.get(name, "") for name in self._decisive]
        return sha256("\0".join(parts).encode("utf-8", "surrogateescape")).digest()
