"""Few run, many wait: a thread that computes holds a permit and gives it back while it waits for GenAuth.

Waiting for GenAuth needs many threads. When as many of them answer from memory, they fight for the interpreter lock at every
reply, and the same core answers half as much (docs/performance.md). Hence many threads and few permits.
"""

import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from queue import SimpleQueue
from typing import Any

_holding = threading.local()


class Gate:
    """Lets ``permits`` threads of a WSGI application compute at a time."""

    def __init__(self, application: Callable[..., Iterable[bytes]], permits: int) -> None:
        self._application = application
        # A queue as a semaphore: in C, where threading's own is a lock and a list in Python.
        self._permits: SimpleQueue[None] = SimpleQueue()
        for _ in range(permits):
            self._permits.put(None)

    def __call__(self, environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        """The application's whole answer as a list, which granian sends as it is, as a WSGI application."""
        self._permits.get()
        _holding.permits = self._permits
        try:
            answer = self._application(environ, start_response)
            body = [b"".join(answer)]
            if close := getattr(answer, "close", None):
                close()
            return body
        finally:
            _holding.permits = None
            self._permits.put(None)


@contextmanager
def waiting() -> Iterator[None]:
    """Let another thread compute while this one waits for somebody else's server."""
    permits: SimpleQueue[None] | None = getattr(_holding, "permits", None)
    if permits is None:
        yield
        return
    _holding.permits = None
    permits.put(None)
    try:
        yield
    finally:
        permits.get()
        _holding.permits = permits
