"""Finished responses to ``GET /me/linked-accounts``, sent again from this worker's memory: the second middleware.

A request is answered from memory if an identical one was answered lately: identical in everything that decides the response's
status, headers or bytes. Whose response it is, how long it holds and what ends it earlier is `bff.cache.memory`'s.
"""

import time
from collections.abc import Callable, Iterable
from hashlib import sha256
from typing import Any

from bff.cache import CachedResponse, CachedResponses
from bff.resilience import RateLimit
from bff.web.context import Application, Environ, Headers, finish, record_of
from bff.web.representation import language

PATH = "/me/linked-accounts"
_METHODS = frozenset({"GET", "HEAD"})
# Each asks for something else than what was answered a moment ago. Cache-Control and Pragma do not: browsers add them by
# themselves to a fetch with a condition (Fetch standard, HTTP-network-or-cache fetch). What `refresh=true` gets is not kept.
_BYPASSING = frozenset({"HTTP_TRANSFER_ENCODING", "HTTP_RANGE", "HTTP_IF_RANGE"})
_DECISIVE = (
    "REQUEST_METHOD",
    "QUERY_STRING",
    "wsgi.url_scheme",
    "HTTP_HOST",  # one that cannot be is refused, whatever the settings are
    "HTTP_AUTHORIZATION",
    "HTTP_X_REQUESTED_WITH",
    "HTTP_ORIGIN",
    "HTTP_IF_NONE_MATCH",
    "HTTP_ACCESS_CONTROL_REQUEST_PRIVATE_NETWORK",  # Flask-CORS answers it on every method
)
# They depend on the moment of the answer.
_MOMENTARY = frozenset({"age", "cache-status", "date"})


class ResponseCache:
    """A WSGI application around ``application``, over its worker's cached responses."""

    def __init__(
        self,
        application: Application,
        responses: CachedResponses,
        *,
        connected: Callable[[], bool],
        limit: RateLimit | None = None,
        cookies: bool = False,
        sessions_version: Callable[[], int] = lambda: 0,
        clock: Callable[[], float] = time.time,
    ) -> None:
        """``connected`` says whether invalidations arrive; else nothing is served from memory, and nothing kept.

        ``cookies``: whether the settings let the Cookie header decide anything. ``sessions_version`` changes when sessions have
        to be verified anew.
        """
        self._application = application
        self._responses = responses
        self._connected = connected
        self._limit = limit
        self._decisive = (*_DECISIVE, *(["HTTP_COOKIE"] if cookies else ()))
        self._sessions_version = sessions_version
        self._clock = clock

    def __call__(self, environ: Environ, start_response: Callable[..., Any]) -> Iterable[bytes]:
        """The response, as a WSGI application. Raises RateLimited for a person who asks too often."""
        if not _is_cacheable(environ) or not self._connected():
            return self._application(environ, start_response)
        key = self._key(environ)
        cached = self._responses.get(key)
        if cached:
            return self._send_again(cached, environ, start_response)
        # Read before the application reads anything: whatever is invalidated from here on may be in its answer.
        invalidations = self._responses.invalidations
        response = finish(self._application, environ)
        if freshness := record_of(environ).freshness:
            lasting = tuple((name, value) for name, value in response.headers if name.lower() not in _MOMENTARY)
            self._responses.put(key, freshness, response.status, lasting, response.body, invalidations)
        start_response(response.status, response.headers)
        return [response.body]

    def _send_again(self, cached: CachedResponse, environ: Environ, start_response: Callable[..., Any]) -> Iterable[bytes]:
        record = record_of(environ)
        if self._limit:
            record.rate_limit = self._limit.hit(cached.user_id)
        record.route, record.source = PATH, "memory"
        now = self._clock()
        headers: Headers = [
            *cached.headers,
            ("Cache-Status", f"linked-accounts; hit; ttl={int(cached.fresh_until - now)}"),
            ("Age", str(int(max(0.0, now - cached.at)))),
        ]
        start_response(cached.status, headers)
        return [cached.body]

    def _key(self, environ: Environ) -> bytes:
        """A digest, so that no token stays in memory, of everything that decides the response."""
        # The language and not the field, which can be spelt in any number of ways.
        spoken = language(environ.get("HTTP_ACCEPT_LANGUAGE", ""))
        parts = [self._sessions_version(), spoken, *map(environ.get, self._decisive)]
        # The repr of a list of texts and None is unambiguous: texts are quoted, and quotes within them escaped.
        return sha256(repr(parts).encode()).digest()


def _is_cacheable(environ: Environ) -> bool:
    """Whether this is a GET or HEAD of `PATH` without a body, which any response of late would answer."""
    return (
        environ["PATH_INFO"] == PATH
        and environ["REQUEST_METHOD"] in _METHODS
        and environ.get("CONTENT_LENGTH", "0") in {"", "0"}
        and environ.keys().isdisjoint(_BYPASSING)
    )
