"""Few run, many wait: a thread that computes holds a permit and gives it back while it waits for GenAuth.

Waiting for GenAuth needs many threads. When as many of them compute at once they fight for the interpreter lock, until an answer
of Redis that is there is read too late. Hence many threads and few permits.

Redis answers sooner than a thread falls asleep and wakes, and talking to it costs as much as all that is computed for an answer.
So those who are about to ask it do so together, and one of them goes for all.
"""

import threading
import time
from collections.abc import Callable, Iterable, Sequence
from math import inf
from typing import Any, TypeVar

from bff.resilience.permits import Permits

W = TypeVar("W")
R = TypeVar("R")

# When the request came, in monotonic seconds: waiting for a permit is part of its time.
ARRIVED = "linked_accounts.arrived"
_COMPANY = 16  # who asks Redis lets so many go first; one takes 30 µs, or 200 if its token is a new one
_COMPANY_BACK = 8  # as many of those who came back from GenAuth; one takes 300 µs
_BESIDE_SECONDS = 0.01  # while one who is known came within them, more are likely to come

_held = threading.local()


class Gate:
    """Lets ``permits`` threads of a WSGI application compute at a time, beside them ``newcomers``, and one that has waited.

    Newcomers, and those who come back from GenAuth, come in crowds, each with ten times as much to do as an answer from memory
    has: they stand in lines of their own, and nobody else waits behind them.
    """

    def __init__(
        self,
        application: Callable[..., Iterable[bytes]],
        permits: int,
        *,
        newcomers: int = 1,
        is_new: Callable[[dict[str, Any]], bool] = lambda _environ: False,
        pace: Callable[[], None] = lambda: None,
    ) -> None:
        """``is_new`` tells a newcomer's request from one that most likely has little to do.

        ``pace`` is what newcomers go through, to come evenly, while others come that they could disturb.
        """
        self._application = application
        self._is_new = is_new
        self._pace = pace
        self._known_came = -inf
        self._known = Permits(permits, company=_COMPANY)
        self._new = Permits(newcomers, company=_COMPANY)
        self._returning = Permits(1, company=_COMPANY_BACK)

    def __call__(self, environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        """The application's whole answer as a list, which granian sends as it is, as a WSGI application."""
        arrived: float = environ.setdefault(ARRIVED, time.monotonic())
        if self._is_new(environ):
            permits = self._new
            if arrived - self._known_came < _BESIDE_SECONDS:
                self._pace()
        else:
            permits = self._known
            self._known_came = arrived
        permits.get()
        _held.permit, _held.next = permits, self._returning
        try:
            answer = self._application(environ, start_response)
            body = [b"".join(answer)]
            if close := getattr(answer, "close", None):
                close()
            return body
        finally:
            permit: Permits = _held.permit
            _held.permit = _held.next = None
            permit.put()


class waiting:  # noqa: N801 - a context manager, as in contextlib; a generator would cost as much as what it does
    """Let another thread compute while this one waits for somebody else's server."""

    __slots__ = ("_gave",)

    def __enter__(self) -> None:
        permit: Permits | None = getattr(_held, "permit", None)
        self._gave = permit is not None
        if permit is not None:
            _held.permit = None
            permit.put()

    def __exit__(self, *_: object) -> None:
        if self._gave:
            _held.next.get()
            _held.permit = _held.next


def together(what: W, do: Callable[[Sequence[W]], Sequence[R]]) -> R:
    """What ``do`` makes of ``what``, along with what other threads bring for it: outcomes in the order of what was brought.

    If somebody else does it and raises, this raises ConnectionError.
    """
    permits: Permits | None = getattr(_held, "permit", None)
    if permits is None:
        return do([what])[0]
    if errand := permits.put_off(what, do):
        if errand.outcome is None:
            raise ConnectionError("who went for all did not come back")
        return errand.outcome
    company = permits.company_for(do)
    if not company:
        return do([what])[0]
    try:
        ours, *theirs = do([what, *(other.what for other in company)])
        for other, outcome in zip(company, theirs, strict=True):
            other.outcome = outcome
    finally:
        permits.go_on(company)
    return ours
