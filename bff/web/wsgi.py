"""What stands in front of Flask knows of a request: its environ (PEP 3333), and whether it is the question and nothing else."""

from collections.abc import Callable, Iterable
from typing import Any

from werkzeug.sansio.http import parse_cookie

from bff.settings import Settings

Environ = dict[str, Any]
Headers = list[tuple[str, str]]
Application = Callable[[Environ, Callable[..., Any]], Iterable[bytes]]

PATH = "/me/linked-accounts"
_METHODS = frozenset({"GET", "HEAD"})
# A fresh answer is asked for, or there is more to the request than a question.
_MORE = frozenset({"HTTP_CACHE_CONTROL", "HTTP_PRAGMA", "HTTP_TRANSFER_ENCODING", "HTTP_RANGE", "HTTP_IF_RANGE"})


def idle(settings: Settings) -> frozenset[str]:
    """The headers that decide nothing under these settings, and need not tell requests apart."""
    cookies = settings.session_cookie_name is not None
    unread = set() if cookies else {"HTTP_COOKIE", "HTTP_X_REQUESTED_WITH"}
    return frozenset(unread | (set() if cookies or settings.cors_origins else {"HTTP_ORIGIN"}))


def bearer(environ: Environ) -> str:
    """What follows ``Bearer``, empty if the credentials are others or none. It may be no token at all."""
    scheme, _, token = environ.get("HTTP_AUTHORIZATION", "").partition(" ")
    return token if scheme == "Bearer" else ""


def credential(environ: Environ, settings: Settings) -> str:
    """The session token that came, in the header or else as the cookie, empty if none did. Who may rely on it `auth` says."""
    name = settings.session_cookie_name
    return bearer(environ) or (parse_cookie(environ.get("HTTP_COOKIE")).get(name, "") if name else "")


def is_bare(environ: Environ) -> bool:
    """Whether this is a GET or HEAD of `PATH` without a body, to which any answer of late will do."""
    return (
        environ["PATH_INFO"] == PATH
        and environ["REQUEST_METHOD"] in _METHODS
        and environ.get("CONTENT_LENGTH", "0") in {"", "0"}
        and environ.keys().isdisjoint(_MORE)  # the other way round looks at everything that is in there
    )
