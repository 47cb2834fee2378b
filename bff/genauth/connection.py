"""Connections that keep a total deadline: each connect, send and read is given what is left of the call's time, and no more.

http.client, and requests above it, know a timeout for a single read only: a server that sends a byte a second holds its caller
for ever. `transport` mounts these classes below requests; they are http.client's own, with the socket's timeout set anew.
"""

import http.client
import io
import re
import socket
import ssl
import time
from contextlib import suppress
from contextvars import ContextVar
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from urllib3 import HTTPConnectionPool, HTTPSConnectionPool
from urllib3.connection import HTTPConnection, HTTPSConnection

from bff.resilience import Deadline, Resolver, arm, open_connection, released

# A connection that was quiet for longer may have been dropped by a firewall in between, without notice.
QUIET_AT_MOST = 30.0
HEAD_AT_MOST = 64 * 1024
# What the framing of a chunked body may add to it, and what a body may measure before `transport` refuses it.
WIRE_AT_MOST = 4 * 1024 * 1024
_BUFFER = 16 * 1024

_CONTROLS = re.compile(r"[\x00-\x08\x0a-\x1f\x7f]")
_DIGITS = re.compile("[0-9]{1,15}")


class ProtocolError(http.client.HTTPException):
    """What came is no HTTP, or not all of it."""


class ResponseTooLarge(ProtocolError):
    """The response is larger than any honest one."""


@dataclass(slots=True)
class CallContext:
    """The call that this thread makes: its deadlines, who looks names up, and how far it came."""

    deadline: Deadline
    connect_deadline: Deadline
    resolver: Resolver
    connected: bool = False
    sent: bool = False
    received: bool = False

    @property
    def met_silence(self) -> bool:
        """Whether nothing came back over a connection that had been kept: it may be dead, and the server well."""
        return self.sent and not self.connected and not self.received


call_context: ContextVar[CallContext] = ContextVar("call_context")


class _DeadlineReader(io.RawIOBase):
    """A socket to read from, by the deadline; no admission permit is held meanwhile. ``at_most`` bounds what may arrive."""

    def __init__(self, sock: socket.socket, file: io.RawIOBase) -> None:
        self._sock = sock
        self._file = file
        self._context = call_context.get()
        self._received = 0
        self.at_most = HEAD_AT_MOST
        self.ends_with_connection = False
        self.complete = False

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int | None:  # noqa: ANN401 - any writable buffer
        """Read what has arrived. None (nothing is there yet) when the response is complete."""
        if self.complete:
            return None
        if self._received >= self.at_most:
            raise ResponseTooLarge
        arm(self._sock, self._context.deadline)
        with released():
            count = self._file.readinto(buffer)
            self._context.received = self._context.received or bool(count)
        # Without a first byte this is a closed connection, which http.client reports itself.
        if not count and self._received and not self.ends_with_connection:
            raise ProtocolError("cut off")
        self._received += count or 0
        return count

    def close(self) -> None:
        self._file.close()
        super().close()

    def abandon(self) -> None:
        """End the connection, so that the pool finds it closed and does not use it again."""
        with suppress(OSError):  # it may have ended already
            self._sock.shutdown(socket.SHUT_RDWR)


class _ResponseFile(io.BufferedReader):
    """What http.client reads a response from. Bytes beyond the response's end must not become the beginning of the next one."""

    raw: _DeadlineReader

    def close(self) -> None:
        if not self.closed:
            self.raw.complete = True
            if self.peek(1):
                self.raw.abandon()
        super().close()


class DeadlineResponse(http.client.HTTPResponse):
    """http.client's response: read by the deadline, bounded in size, and stricter about where it ends (RFC 9112 6)."""

    fp: _ResponseFile
    headers: http.client.HTTPMessage | None  # type: ignore[assignment]

    def __init__(self, sock: socket.socket, *args: Any, **kwargs: Any) -> None:  # noqa: ANN401 - http.client's own
        super().__init__(sock, *args, **kwargs)
        self.fp = _ResponseFile(_DeadlineReader(sock, self.fp.detach()), _BUFFER)

    def begin(self) -> None:
        """Read the head; interim ones (100, 103) are passed over (RFC 9110 15.2)."""
        super().begin()
        while 100 <= self.status < 200:
            if self.status == http.HTTPStatus.SWITCHING_PROTOCOLS:
                raise ProtocolError("switches protocols")
            self.headers = None  # http.client reads another head then
            super().begin()
        assert self.headers is not None  # noqa: S101 - for the type checker: `begin` has read them
        _check_head(self.headers)
        self.fp.raw.at_most = WIRE_AT_MOST
        self.fp.raw.ends_with_connection = not self.chunked and self.length is None


def _check_head(headers: http.client.HTTPMessage) -> None:
    """Raise ProtocolError where two readers could disagree about what the head says (RFC 9112 5 and 6.3)."""
    if headers.defects or headers.get_payload():
        raise ProtocolError("a line that is no field")
    if any(_CONTROLS.search(value) for value in headers.values()):
        raise ProtocolError("a control character in a field")
    codings = headers.get_all("Transfer-Encoding", [])
    lengths = {length.strip() for length in headers.get_all("Content-Length", [])}
    if codings and (lengths or [coding.strip().lower() for coding in codings] != ["chunked"]):
        raise ProtocolError("a transfer coding that we do not know")
    if len(lengths) > 1 or not all(_DIGITS.fullmatch(length) for length in lengths):
        raise ProtocolError("a length that is none")


if TYPE_CHECKING:
    _Base = HTTPConnection
else:
    _Base = object


class _Deadlined(_Base):
    """To be mixed into urllib3's connections: connects and sends by the deadline, and is not reused after a long silence."""

    response_class = DeadlineResponse
    _last_used = 0.0

    def connect(self) -> None:
        """Connect, the TLS handshake included, without an admission permit."""
        context = call_context.get()
        with released():
            sock = open_connection(self.host, self.port, context.connect_deadline, context.resolver)
            self.sock = self.secured(sock)
        context.connected = True

    def secured(self, sock: socket.socket) -> socket.socket:
        """The socket to speak HTTP over."""
        return sock

    def send(self, data: Any) -> None:  # noqa: ANN401 - http.client's own
        """Send by the deadline."""
        if self.sock is None:
            self.connect()
        context = call_context.get()
        context.sent = True
        arm(self.sock, context.deadline)
        self._last_used = time.monotonic()
        super().send(data)

    @property
    def is_connected(self) -> bool:
        """Whether the pool may hand it out again: nothing has arrived since, nor its end."""
        return super().is_connected and time.monotonic() - self._last_used < QUIET_AT_MOST


class PlainConnection(_Deadlined, HTTPConnection):
    """HTTP."""


class SecureConnection(_Deadlined, HTTPSConnection):
    """HTTPS. The pool's context alone knows whom to trust; nothing is loaded per connection."""

    def secured(self, sock: socket.socket) -> socket.socket:
        """The TLS handshake, in which certificate and host name are verified."""
        context = self.ssl_context or ssl.create_default_context()
        try:
            wrapped = context.wrap_socket(sock, server_hostname=self.host)
        except BaseException:
            sock.close()
            raise
        self.is_verified = True
        return wrapped


class PlainPool(HTTPConnectionPool):
    """urllib3's pool of our connections."""

    ConnectionCls = PlainConnection


class SecurePool(HTTPSConnectionPool):
    """urllib3's pool of our TLS connections."""

    ConnectionCls = SecureConnection
