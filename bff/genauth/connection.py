"""Connections that keep a deadline: connecting, sending and every single read end when the time is up.

http.client, and requests above it, know a timeout per read only: a server that sends a byte a second holds its caller for ever
(19.8 s measured with timeouts of 0.5 s). `transport` mixes `Connection` into what requests uses; answers are `replies`'.
"""

import select
import socket
import time
from collections.abc import Mapping
from contextvars import ContextVar
from functools import cached_property
from typing import TYPE_CHECKING, NamedTuple

from bff.genauth.dns import Resolver, arm, connect
from bff.genauth.replies import Reply
from bff.resilience import Deadline, waiting

# A connection that was quiet for longer may have been forgotten by a firewall in between, which nobody tells us.
QUIET_AT_MOST = 30.0


class Exchange(NamedTuple):
    """The request that this thread is making: how long it may take, and who knows the way."""

    deadline: Deadline
    connect_deadline: Deadline
    resolver: Resolver


exchange: ContextVar[Exchange] = ContextVar("exchange")


if TYPE_CHECKING:
    from urllib3.connection import HTTPConnection as _Base
else:
    _Base = object


class Connection(_Base):
    """To be mixed into urllib3's connections: connects, sends and answers within the exchange, and is not kept for too long."""

    _last_used = 0.0

    def _new_conn(self) -> socket.socket:
        current = exchange.get()
        return connect(self._dns_host, self.port, current.connect_deadline, current.resolver)

    def connect(self) -> None:
        """Connect, the TLS handshake included; others compute meanwhile."""
        with waiting():
            super().connect()
        # Made once: urllib3 makes one each time it looks.
        self._arrivals = select.poll()
        self._arrivals.register(self.sock, select.POLLIN)

    def request(  # type: ignore[override]
        self, method: str, url: str, body: bytes | None = None, headers: Mapping[str, str] | None = None, **_: object
    ) -> None:
        """Send, by the deadline. ``url`` and ``headers`` are such as a request can carry: `transport` sees to that."""
        if self.sock is None:
            self.connect()
        fields = "".join([f"{name}: {value}\r\n" for name, value in (headers or {}).items()])
        head = f"{method} {url} HTTP/1.1\r\nHost: {self._place}\r\n{fields}\r\n".encode("ascii")
        arm(self.sock, exchange.get().deadline)
        self._last_used = time.monotonic()
        self.sock.sendall(head + body if body else head)

    def getresponse(self) -> Reply:  # type: ignore[override]
        """The answer, of which the head is there."""
        reply = Reply(self.sock, exchange.get().deadline)
        reply.head()
        return reply

    @cached_property
    def _place(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return host if self.port == self.default_port else f"{host}:{self.port}"

    @property
    def is_connected(self) -> bool:
        """Whether the pool may hand it out again: nothing has arrived since, nor its end."""
        quiet = self.sock is not None and not self._arrivals.poll(0)
        return quiet and time.monotonic() - self._last_used < QUIET_AT_MOST
