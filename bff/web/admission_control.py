"""Few requests of signed-in people compute at once; the third middleware. Health, metrics and docs never queue."""

import sys
from collections.abc import Callable, Iterable
from typing import Any

from bff.resilience import FairSemaphore, admitted
from bff.web.context import Application, Environ, finish, record_of

_QUEUEING = "/me/"


class AdmissionControl:
    """A WSGI application around ``application``: ``permits`` threads are in there at a time, but for those that wait.

    ``waiting`` is how many may: health, metrics and what the response cache holds need threads too.
    """

    def __init__(self, application: Application, permits: int, *, waiting: int = sys.maxsize) -> None:
        self._application = application
        self._semaphore = FairSemaphore(permits, outside_at_most=waiting)

    def __call__(self, environ: Environ, start_response: Callable[..., Any]) -> Iterable[bytes]:
        """The response, as a WSGI application. Raises UpstreamUnavailable for a request that the deadline finds in the queue."""
        if not environ["PATH_INFO"].startswith(_QUEUEING):
            return self._application(environ, start_response)
        with admitted(self._semaphore, record_of(environ).deadline):
            response = finish(self._application, environ)
        start_response(response.status, response.headers)
        return [response.body]
