"""Sockets that keep a deadline: connecting, sending and every single read end when the time is up.

http.client, and requests above it, know a timeout per read only: a server that sends a byte a second holds its caller for ever
(19.8 s measured with timeouts of 0.5 s). `transport` mixes `Connection` and `Reply` into what requests uses.
"""

import http.client
import io
import socket
import time
from contextvars import ContextVar
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from bff.deadline import Deadline
from bff.genauth.addresses import Resolver, arm, connect

HEAD_AT_MOST = 64 * 1024
# What the framing of a chunked body may add to it, and what a body may measure before `transport` refuses it.
WIRE_AT_MOST = 4 * 1024 * 1024
# A connection that was quiet for longer may have been forgotten by a firewall in between, which nobody tells us.
QUIET_AT_MOST = 30.0


class TooMuch(http.client.HTTPException):
    """The answer is larger than any honest one."""


@dataclass(frozen=True, slots=True)
class Exchange:
    """The request that this thread is making: how long it may take, and who knows the way."""

    deadline: Deadline
    connect_deadline: Deadline
    resolver: Resolver


exchange: ContextVar[Exchange] = ContextVar("exchange")


class _Reader(io.RawIOBase):
    """Reads a socket until the deadline and up to a number of bytes."""

    def __init__(self, sock: socket.socket, raw: io.RawIOBase, deadline: Deadline) -> None:
        self.sock = sock
        self.allowance = HEAD_AT_MOST
        self.finished = False
        self._raw = raw
        self._deadline = deadline

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any, /) -> int | None:  # noqa: ANN401 - any buffer
        if self.finished:
            return 0
        arm(self.sock, self._deadline)
        count = self._raw.readinto(buffer)
        self.allowance -= count or 0
        if self.allowance < 0:
            raise TooMuch
        return count

    def close(self) -> None:
        super().close()
        self._raw.close()


class Reply(http.client.HTTPResponse):
    """An answer whose status line, headers and body all end by the deadline of the exchange."""

    def __init__(self, sock: socket.socket, *args: Any, **kwargs: Any) -> None:  # noqa: ANN401 - http.client's own
        super().__init__(sock, *args, **kwargs)
        self._reader = _Reader(sock, self.fp.detach(), exchange.get().deadline)
        self.fp = io.BufferedReader(self._reader)

    def begin(self) -> None:
        """Read the head, 100 header fields (http.client's own limit) and 64 KiB at most."""
        super().begin()
        self._reader.allowance = WIRE_AT_MOST

    def _close_conn(self) -> None:
        # Bytes beyond the end of the answer belong to nobody we know. The next person's answer must not begin with them,
        # so the connection ends here; the pool sees that when it takes it out again.
        self._reader.finished = True
        fp = self.fp
        try:
            if not fp.closed and fp.peek(1):
                self._reader.sock.shutdown(socket.SHUT_RDWR)
        except OSError:
            pass  # it is closed already
        super()._close_conn()  # type: ignore[misc]


if TYPE_CHECKING:
    from urllib3.connection import HTTPConnection as _Base
else:
    _Base = object


class Connection(_Base):
    """To be mixed into urllib3's connections: connects, sends and answers within the exchange, and is not kept for too long."""

    response_class = Reply
    _last_used = 0.0

    def _new_conn(self) -> socket.socket:
        current = exchange.get()
        return connect(self._dns_host, self.port, current.connect_deadline, current.resolver)

    def send(self, data: Any) -> None:  # noqa: ANN401 - bytes, or whatever http.client sends
        """Send, by the deadline."""
        if self.sock is None:
            self.connect()
        arm(self.sock, exchange.get().deadline)
        self._last_used = time.monotonic()
        super().send(data)

    @property
    def is_connected(self) -> bool:
        """Whether the pool may hand it out again."""
        return super().is_connected and time.monotonic() - self._last_used < QUIET_AT_MOST
