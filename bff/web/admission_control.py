"""Few requests of signed-in people compute at once; the third middleware. Health, metrics and docs never queue."""

from collections.abc import Callable, Iterable
from typing import Any

from bff.resilience import FairSemaphore, admitted
from bff.web.context import Application, Environ, finish, record_of

_QUEUEING = "/me/"


class AdmissionControl:
    """A WSGI application around ``application``: ``permits`` threads are in there at a time, but for those that wait."""

    def __init__(self, application: Application, permits: int) -> None:
        self._application = application
        self._semaphore = FairSemaphore(permits)

    def __call__(self, environ: Environ, start_response: Callable[..., Any]) -> Iterable[bytes]:
        """The response, as a WSGI application. Raises UpstreamUnavailable for a request that the deadline finds in the queue."""
        if not environ["PATH_INFO"].startswith(_QUEUEING):
            return self._application(environ, start_response)
        with admitted(self._semaphore, record_of(environ).deadline):
            response = finish(self._application, environ)
        start_response(response.status, response.headers)
        return [response.body]
