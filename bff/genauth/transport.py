"""HTTP to GenAuth: one request out, one response in, by the deadline. With `connection` all that knows requests and urllib3.

One `requests.Session` for the process, made safe for many people at once: no cookies are kept, no environment is read
(``~/.netrc`` would replace the token, ``HTTP_PROXY`` receive it), no redirect is followed. What goes wrong becomes one of our
errors; its note is made of types and numbers, because a library's text may quote the token (``Invalid header value 'Bearer …'``).
"""

import gzip
import http.client
import io
import logging
import re
import ssl
import threading
import zlib
from collections.abc import Iterator
from contextlib import closing
from http.cookiejar import DefaultCookiePolicy
from typing import Any

import certifi
import requests
from requests.adapters import HTTPAdapter
from urllib3.exceptions import HTTPError

from bff.errors import BffError, InternalError, UpstreamMalformed, UpstreamTimeout, UpstreamUnavailable
from bff.genauth.connection import CallContext, PlainPool, ResponseTooLarge, SecurePool, call_context
from bff.genauth.envelope import UnreadableData
from bff.genauth.messages import Request, Response
from bff.resilience import Deadline, Resolver, Unconnected, memoised

BODY_AT_MOST = 1024 * 1024
_HOSTS = 4  # GENAUTH_HOST, and what discovery names
_SENDABLE_URL = re.compile(r"[!-~]+")
_A_MOMENT = 0.005  # a timer may ring this much before the deadline it was set for


class ConnectError(UpstreamUnavailable):
    """No connection came about: the request was not sent."""


class ConnectionClosed(UpstreamUnavailable):
    """The connection ended before a response began, as when a server closes one that it had kept for us."""


class ConnectionSilent(UpstreamTimeout):
    """A connection that had been kept brought nothing until the deadline: somebody in between forgot it, or GenAuth hangs."""


class _Session(requests.Session):
    """A session that never looks where a redirect leads: requests would read its whole body first, unpacked and unbounded."""

    def get_redirect_target(self, resp: requests.Response) -> None:  # noqa: ARG002 - requests' own
        return None


class _Adapter(HTTPAdapter):
    """requests' adapter over connections that keep a deadline, with a TLS context that is made once."""

    def __init__(self, context: ssl.SSLContext, pool_size: int) -> None:
        self._context = context
        super().__init__(pool_connections=_HOSTS, pool_maxsize=pool_size, max_retries=0, pool_block=False)

    def init_poolmanager(self, *args: Any, **kwargs: Any) -> None:  # noqa: ANN401 - requests' own
        super().init_poolmanager(*args, ssl_context=self._context, **kwargs)
        self.poolmanager.pool_classes_by_scheme = {"http": PlainPool, "https": SecurePool}


def _session(context: ssl.SSLContext, pool_size: int) -> _Session:
    adapter = _Adapter(context, pool_size)
    session = _Session()
    session.trust_env = False
    session.cookies.set_policy(DefaultCookiePolicy(allowed_domains=[]))
    session.mount("https://", adapter)
    session.mount("http://", adapter)
    return session


class Transport:
    """Connections to GenAuth, kept and shared by all threads; nothing about a person is kept with them.

    ``ca_bundle`` is a PEM file to trust instead of the system's and certifi's; not to verify is not on offer.
    ``pool_size`` is how many idle connections are kept: as many as threads may call at once.
    """

    def __init__(
        self,
        *,
        ca_bundle: str | None = None,
        connect_seconds: float = 1.0,
        pool_size: int = 64,
        resolver: Resolver | None = None,
    ) -> None:
        context = ssl.create_default_context(cafile=ca_bundle)
        if ca_bundle is None:
            context.load_verify_locations(certifi.where())
        self._context = context
        self._session = _session(context, pool_size)
        self._connect_seconds = connect_seconds
        self._generation = 0  # of the idle connections
        self._renewing = threading.Lock()
        self._resolver = resolver or Resolver()
        # It logs URLs, in which an id token may travel, and header lines that it cannot read.
        logging.getLogger("urllib3").setLevel(logging.CRITICAL)

    def send(self, url: str, request: Request, deadline: Deadline) -> Response:
        """The response, whatever its status. ``url`` is absolute. An error says of itself whether anything was sent.

        Raises ConnectError, ConnectionClosed, UpstreamUnavailable, UpstreamTimeout; UpstreamMalformed for a response that is
        cut off, too large, compressed in an unknown way or no HTTP.
        """
        context = CallContext(deadline, deadline.within(self._connect_seconds), self._resolver)
        generation, current = self._generation, call_context.set(context)
        try:
            outcome = self._outcome(url, request, deadline)
        finally:
            call_context.reset(current)
        # Not inside an `except`: the error would carry the library's own along, and with it the request and its token.
        if not isinstance(outcome, BffError):
            return outcome
        if context.sent and isinstance(outcome, ConnectError):
            outcome = ConnectionClosed(note=outcome.note)  # as when TCP gave up waiting for an acknowledgement
        outcome.unsent = not context.sent
        if context.met_silence:
            self._renew(generation)
            if isinstance(outcome, UpstreamTimeout):
                raise ConnectionSilent(note=outcome.note)
        raise outcome

    def close(self) -> None:
        """Close the idle connections."""
        self._session.close()

    def _renew(self, generation: int) -> None:
        """Close the idle connections, once for all calls that began with them: where one is dead the others may be, too."""
        with self._renewing:
            if generation == self._generation:
                self._generation += 1
                self._session.close()

    def _outcome(self, url: str, request: Request, deadline: Deadline) -> Response | BffError:
        response = None
        session = _session(self._context, 1) if request.once else self._session
        try:
            _check_sendable(url, request)
            prepared = _prepared(request.method, url)
            prepared.headers.update(request.headers)
            if request.once:
                prepared.headers["Connection"] = "close"
            if request.body is not None:
                prepared.prepare_body(request.body, None)
            seconds = deadline.remaining()
            if seconds <= 0:
                return UpstreamTimeout(note="no time left to ask")
            response = session.send(prepared, stream=True, allow_redirects=False, timeout=seconds)
            with closing(response):
                return _read(response)
        except Exception as error:  # noqa: BLE001 - whatever it is, its text stays here
            return _failure(error, deadline, answered=response is not None)
        finally:
            if request.once:
                session.close()


def _prepared(method: str, url: str) -> requests.PreparedRequest:
    """A request without headers and body. One with a query is kept nowhere: an id_token may be in it."""
    return requests.Request(method, url).prepare() if "?" in url else _prepared_before(method, url).copy()


@memoised("prepared_requests")
def _prepared_before(method: str, url: str) -> requests.PreparedRequest:
    """A request to one of GenAuth's few addresses, without anything of a person."""
    return requests.Request(method, url).prepare()


def _check_sendable(url: str, request: Request) -> None:
    """Raise InternalError for what HTTP cannot carry. requests' own error would quote it."""
    if not _SENDABLE_URL.fullmatch(url):
        raise InternalError(note="a URL that no request can carry")
    for name, value in request.headers.items():
        if not (value.isascii() and value.isprintable()):
            raise InternalError(note=f"a {name} that no header can carry")


def _read(response: requests.Response) -> Response | BffError:
    body = response.raw.read(BODY_AT_MOST + 1)
    if len(body) > BODY_AT_MOST:
        return UnreadableData(note=f"HTTP {response.status_code}, more than {BODY_AT_MOST} bytes")
    # We ask for plain, and some gateways compress all the same.
    named = [coding.strip().lower() for coding in response.headers.get("Content-Encoding", "").split(",")]
    if codings := [coding for coding in named if coding not in {"", "identity"}]:
        try:
            body = _inflated(body, *codings)
        except (zlib.error, OSError, EOFError):
            if response.status_code >= 400:
                return Response(response.status_code, dict(response.headers.lower_items()), b"")  # the status says enough
            return UpstreamMalformed(note=f"HTTP {response.status_code}, compressed so that it cannot be read")
        if len(body) > BODY_AT_MOST:
            return UnreadableData(note=f"HTTP {response.status_code}, compressed, more than {BODY_AT_MOST} bytes")
    return Response(response.status_code, dict(response.headers.lower_items()), body)


def _inflated(body: bytes, coding: str, *others: str) -> bytes:
    """The body without its coding, or its first BODY_AT_MOST + 1 bytes; zlib.error, OSError or EOFError if there are none."""
    if others or coding not in {"gzip", "x-gzip", "deflate"}:
        raise zlib.error
    if coding != "deflate":
        return gzip.GzipFile(fileobj=io.BytesIO(body)).read(BODY_AT_MOST + 1)
    # RFC 9110 8.4.1.2: zlib's format; some send what is inside it alone.
    in_zlib = len(body) > 1 and body[0] & 15 == zlib.DEFLATED and int.from_bytes(body[:2]) % 31 == 0
    inflate = zlib.decompressobj(zlib.MAX_WBITS if in_zlib else -zlib.MAX_WBITS)
    plain = inflate.decompress(body, BODY_AT_MOST + 1)
    if not inflate.eof and len(plain) <= BODY_AT_MOST:
        raise EOFError
    return plain


# What an error means before and after a response has begun; the first that fits counts.
_MEANINGS: tuple[tuple[type[BaseException], type[BffError], type[BffError]], ...] = (
    (Unconnected, ConnectError, ConnectError),
    (ssl.SSLCertVerificationError, UpstreamUnavailable, UpstreamUnavailable),
    (TimeoutError, ConnectError, UpstreamTimeout),  # before the deadline only the TLS handshake ends, with the connect budget
    (ConnectionError, ConnectionClosed, UpstreamUnavailable),
    (ResponseTooLarge, UpstreamMalformed, UnreadableData),
    (http.client.HTTPException, UpstreamMalformed, UpstreamMalformed),
    (OSError, UpstreamUnavailable, UpstreamUnavailable),
)


def _failure(error: Exception, deadline: Deadline, *, answered: bool) -> BffError:
    """What an error means, decided by its type and never by its text, but for `Unconnected`'s, which is ours."""
    if isinstance(error, BffError):  # no admission permit was to be had again
        return type(error)(note=error.note)
    causes = list(_causes(error))
    for kind, before, after in _MEANINGS:
        for cause in causes:
            if isinstance(cause, kind):
                return _error(cause, after if answered else before, deadline)
    if answered or isinstance(error, (requests.RequestException, HTTPError)):
        return UpstreamMalformed(note=type(error).__name__)
    return InternalError(note=type(error).__name__)


def _error(cause: BaseException, meaning: type[BffError], deadline: Deadline) -> BffError:
    note = str(cause) if isinstance(cause, Unconnected) else type(cause).__name__
    if isinstance(cause, (Unconnected, TimeoutError)) and deadline.remaining() <= _A_MOMENT:
        return UpstreamTimeout(note=note)
    return meaning(note=note)


def _causes(error: BaseException) -> Iterator[BaseException]:
    """What lies behind the errors of requests and urllib3, which only wrap it."""
    cause: BaseException | None = error
    while cause is not None:
        if not isinstance(cause, (requests.RequestException, HTTPError)):
            yield cause
        cause = cause.__cause__ or cause.__context__
