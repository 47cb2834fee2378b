"""HTTP to GenAuth: one request out, one answer in, by the deadline. The only module that knows requests and urllib3.

Sent by requests' adapter without its Session, which would share cookies between people, replace the token by one from
``~/.netrc``, hand it to ``HTTP_PROXY``, and follow redirects with it. What goes wrong becomes one of our errors; its note is
made of types and numbers, because a library's text may quote the token (``Invalid header value 'Bearer …'``).
"""

import logging
import re
import ssl
from functools import lru_cache
from queue import Empty, Full, LifoQueue
from typing import Any
from urllib.parse import urlsplit

import certifi
import requests
from requests.adapters import HTTPAdapter
from urllib3 import HTTPConnectionPool, HTTPSConnectionPool
from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.exceptions import HTTPError

from bff.errors import BffError, InternalError, UpstreamMalformed, UpstreamTimeout, UpstreamUnavailable
from bff.genauth.connection import Connection, Exchange, exchange
from bff.genauth.dns import Resolver, Unconnected
from bff.genauth.envelope import UnreadableData
from bff.genauth.messages import Answer, Request
from bff.genauth.replies import Garbled, Reply, TooMuch
from bff.resilience import Deadline

BODY_AT_MOST = 1024 * 1024
_HOSTS = 4  # GENAUTH_HOST, and what discovery names
_SENDABLE_URL = re.compile(r"[!-~]+")
_A_MOMENT = 0.005  # a timer may ring this much before the deadline it was set for


class ConnectError(UpstreamUnavailable):
    """No connection came about: the request was not sent."""


class ConnectionClosed(UpstreamUnavailable):
    """The connection ended before an answer began, as when a server closes one that it had kept for us."""


class _Plain(Connection, HTTPConnection):
    pass


class _Secure(Connection, HTTPSConnection):
    pass


class _Idle(LifoQueue[Any]):
    """Connections that nobody uses. Nobody waits for one, so the ends of a list, safe between threads, will do without a lock."""

    def get(self, block: bool = False, timeout: float | None = None) -> Any:  # noqa: ANN401, ARG002, FBT001, FBT002 - queue's own
        try:
            return self.queue.pop()
        except IndexError:
            raise Empty from None

    def put(self, item: Any, block: bool = False, timeout: float | None = None) -> None:  # noqa: ANN401, ARG002, FBT001, FBT002
        if len(self.queue) >= self.maxsize:
            raise Full
        self.queue.append(item)


class _PlainPool(HTTPConnectionPool):
    ConnectionCls = _Plain  # type: ignore[assignment]
    QueueCls = _Idle


class _SecurePool(HTTPSConnectionPool):
    ConnectionCls = _Secure  # type: ignore[assignment]
    QueueCls = _Idle


class _Adapter(HTTPAdapter):
    """requests' own, with our connections and a TLS context that is made once instead of being loaded per connection.

    What requests and urllib3 do around a connection for proxies, redirects, retries and their own timeouts is left out: we have
    none of them, and it cost as much as talking does.
    """

    def __init__(self, context: ssl.SSLContext, pool_size: int) -> None:
        self._context = context
        self._pool_at = lru_cache(maxsize=_HOSTS)(self._new_pool_at)
        super().__init__(pool_connections=_HOSTS, pool_maxsize=pool_size, pool_block=False)

    def init_poolmanager(self, *args: Any, **kwargs: Any) -> None:  # noqa: ANN401 - requests' own
        super().init_poolmanager(*args, ssl_context=self._context, **kwargs)
        self.poolmanager.pool_classes_by_scheme = {"http": _PlainPool, "https": _SecurePool}

    def send(self, request: requests.PreparedRequest, *_: object, **__: object) -> Reply:  # type: ignore[override]
        """The answer, of which the head is there. What goes wrong with the connection is raised as it is."""
        address = urlsplit(request.url or "")
        pool = self._pool_at(address.scheme, address.netloc)
        connection = pool._get_conn()  # noqa: SLF001 - urllib3 lends them to nobody but its own `urlopen`
        try:
            connection.request(request.method, request.path_url, request.body, request.headers)
            reply: Reply = connection.getresponse()
        except BaseException:
            connection.close()
            raise
        reply.lent(connection, pool)
        return reply

    def _new_pool_at(self, scheme: str, place: str) -> Any:  # noqa: ANN401 - a pool of urllib3's, of which we use what is private
        request = requests.PreparedRequest()
        request.url = f"{scheme}://{place}"
        return self.get_connection_with_tls_context(request, verify=True)

    def close(self) -> None:
        self._pool_at.cache_clear()
        super().close()


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
        self._adapter = _Adapter(context, pool_size)
        self._connect_seconds = connect_seconds
        self._resolver = resolver or Resolver()
        # It logs URLs, in which an id token may travel, and header lines that it cannot read.
        logging.getLogger("urllib3").setLevel(logging.CRITICAL)

    def send(self, url: str, request: Request, deadline: Deadline) -> Answer:
        """The answer, whatever its status. ``url`` is absolute.

        Raises ConnectError, ConnectionClosed, UpstreamUnavailable, UpstreamTimeout; UpstreamMalformed for an answer that is
        compressed, cut off, too large or no HTTP.
        """
        prepared = _prepared(url, request)
        current = exchange.set(Exchange(deadline, deadline.within(self._connect_seconds), self._resolver))
        try:
            outcome = self._sent(prepared, deadline)
        finally:
            exchange.reset(current)
        # Not inside an `except`: the error would carry the library's own along, and with it the request and its token.
        if isinstance(outcome, BffError):
            raise outcome
        return outcome

    def close(self) -> None:
        """Close the idle connections."""
        self._adapter.close()

    def _sent(self, prepared: requests.PreparedRequest, deadline: Deadline) -> Answer | BffError:
        if deadline.passed:
            return UpstreamTimeout(note="no time left to ask")
        reply = None
        try:
            reply = self._adapter.send(prepared)
            return _read(reply)
        except Exception as error:  # noqa: BLE001 - whatever it is, its text stays here
            return _failure(error, deadline, answered=reply is not None)
        finally:
            if reply is not None:
                reply.release_conn()


def _prepared(url: str, request: Request) -> requests.PreparedRequest:
    """The request as requests sends it, without `prepare`, which costs as much as the sending."""
    if not _SENDABLE_URL.fullmatch(url):
        raise InternalError(note="a URL that no request can carry")
    for name, value in request.headers.items():
        if not (value.isascii() and value.isprintable()):
            raise InternalError(note=f"a {name} that no header can carry")
    prepared = requests.PreparedRequest()
    prepared.method, prepared.url, prepared.body = request.method, url, request.body
    # A dict will do, and is copied at once; theirs is a case-insensitive one in Python.
    prepared.headers = dict(request.headers)  # type: ignore[assignment]
    if request.body is not None:
        prepared.headers["Content-Length"] = str(len(request.body))
    return prepared


def _read(reply: Reply) -> Answer | BffError:
    encoding = reply.headers.get("content-encoding", "identity").strip().lower()
    if encoding not in {"", "identity"}:
        return UpstreamMalformed(note=f"HTTP {reply.status}, compressed though we asked for plain")
    body = reply.body(BODY_AT_MOST)
    if len(body) > BODY_AT_MOST:
        return UnreadableData(note=f"HTTP {reply.status}, more than {BODY_AT_MOST} bytes")
    return Answer(reply.status, reply.headers, body)


# What an error means before and after an answer has begun; the first that fits counts.
_MEANINGS: tuple[tuple[type[BaseException], type[BffError], type[BffError]], ...] = (
    (requests.RequestException, UpstreamMalformed, UpstreamMalformed),  # a URL that leads nowhere; OSErrors, all of them
    (Unconnected, ConnectError, ConnectError),
    (ssl.SSLCertVerificationError, UpstreamUnavailable, UpstreamUnavailable),
    (TimeoutError, ConnectError, UpstreamTimeout),  # before the deadline only the TLS handshake ends, with the connect budget
    (ConnectionError, ConnectionClosed, UpstreamUnavailable),
    (TooMuch, UpstreamMalformed, UnreadableData),
    (Garbled, UpstreamMalformed, UpstreamMalformed),
    (OSError, UpstreamUnavailable, UpstreamUnavailable),
    (HTTPError, UpstreamMalformed, UpstreamMalformed),
)


def _failure(error: Exception, deadline: Deadline, *, answered: bool) -> BffError:
    """What an error means, told by its type and never by its text, but for `Unconnected`'s, which is ours."""
    note = str(error) if isinstance(error, Unconnected) else type(error).__name__
    if isinstance(error, (Unconnected, TimeoutError)) and deadline.remaining() <= _A_MOMENT:
        return UpstreamTimeout(note=note)
    for kind, before, after in _MEANINGS:
        if isinstance(error, kind):
            meaning = after if answered else before
            return meaning(note=note, retry_after=1 if issubclass(meaning, UpstreamUnavailable) else None)
    return InternalError(note=note)
