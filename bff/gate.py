"""Few run, many wait: a thread that computes holds a permit and gives it back while it waits for GenAuth.

Waiting for GenAuth needs many threads. When as many of them compute at once they fight for the interpreter lock, until an answer
of Redis that is there is read too late. Hence many threads and few permits.
"""

import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any

# When the request came, in monotonic seconds: waiting for a permit is part of its time.
ARRIVED = "linked_accounts.arrived"
# That it was answered from memory a moment ago, and most likely will be.
BRIEF = "linked_accounts.brief"
_BRIEF_TURNS = 4  # of five go to those who are brief, as long as there are any

_held = threading.local()


class Gate:
    """Lets ``permits`` threads of a WSGI application compute at a time, and beside them one that has waited.

    Those who come back from GenAuth come in crowds, each with more to do than an answer from memory has: one after the other,
    and never before somebody who has not waited.
    """

    def __init__(self, application: Callable[..., Iterable[bytes]], permits: int) -> None:
        self._application = application
        self._permits = _Permits(permits)
        self._returning = _Permits(1)

    def __call__(self, environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        """The application's whole answer as a list, which granian sends as it is, as a WSGI application."""
        environ.setdefault(ARRIVED, time.monotonic())
        self._permits.get(brief=BRIEF in environ)
        _held.permit, _held.next = self._permits, self._returning
        try:
            answer = self._application(environ, start_response)
            body = [b"".join(answer)]
            if close := getattr(answer, "close", None):
                close()
            return body
        finally:
            permit: _Permits = _held.permit
            _held.permit = _held.next = None
            permit.put()


class _Permits:
    """A semaphore that serves who came first, and of two lines mostly the brief one.

    With one that serves whoever is quickest, a thread that has just answered takes the next request before those that sleep can
    wake, and some of them wait for fifty others (docs/adr/0008).
    """

    def __init__(self, permits: int) -> None:
        self._free = permits
        self._lock = threading.Lock()
        self._brief: deque[threading.Lock] = deque()
        self._others: deque[threading.Lock] = deque()
        self._turns = 0

    def get(self, *, brief: bool = False) -> None:
        """A permit, in turn."""
        with self._lock:
            if self._free:
                self._free -= 1
                return
            turn = threading.Lock()
            turn.acquire()
            (self._brief if brief else self._others).append(turn)
        turn.acquire()

    def put(self) -> None:
        """Hand the permit on, or leave it for whoever comes."""
        with self._lock:
            self._turns += 1
            first, then = self._brief, self._others
            if self._turns % (_BRIEF_TURNS + 1) == 0:
                first, then = then, first
            if line := first or then:
                line.popleft().release()
            else:
                self._free += 1


@contextmanager
def waiting() -> Iterator[None]:
    """Let another thread compute while this one waits for somebody else's server."""
    permit: _Permits | None = getattr(_held, "permit", None)
    if permit is None:
        yield
        return
    _held.permit = None
    permit.put()
    try:
        yield
    finally:
        _held.next.get()
        _held.permit = _held.next
