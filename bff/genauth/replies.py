"""HTTP/1 off a socket: an answer's head, its body and where it ends, all by a deadline. The only module that knows httptools.

httptools' parser is Node.js's own, llhttp: strict about where an answer ends, and a fraction of http.client's price.
"""

import socket
from typing import Any

from httptools import HttpParserError, HttpParserUpgrade, HttpResponseParser

from bff.genauth.dns import arm
from bff.resilience import Deadline, waiting

HEAD_AT_MOST = 64 * 1024
FIELDS_AT_MOST = 100  # http.client's own limit
# What the framing of a chunked body may add to it, and what a body may measure before `transport` refuses it.
WIRE_AT_MOST = 4 * 1024 * 1024
_AT_ONCE = 16 * 1024


class Garbled(Exception):
    """What came is no HTTP, or not all of it. Its text tells nothing of what came."""


class TooMuch(Garbled):
    """The answer is larger than any honest one."""


class Reply:
    """One answer, waited for outside the gate. ``headers`` by lower-case name; of one name, joined by commas (RFC 9110 5.3)."""

    def __init__(self, sock: socket.socket, deadline: Deadline) -> None:
        self.status = 0
        self.headers: dict[str, str] = {}
        self._sock = sock
        self._deadline = deadline
        self._parser = HttpResponseParser(self)
        self._allowance = HEAD_AT_MOST
        self._fields = 0
        self._begun = self._in_body = self._ended = False
        self._to_be_kept = self._surplus = False
        self._parts: list[bytes] = []
        self._size = 0

    def lent(self, connection: Any, pool: Any) -> None:  # noqa: ANN401 - urllib3's, in which we take part
        """It comes over this connection of the pool's."""
        self._connection, self._pool = connection, pool

    def head(self) -> None:
        """Read status and headers. ConnectionError if the connection ends before the first byte, else Garbled or TooMuch."""
        with waiting():
            while not self._in_body:
                self._read()
        self._allowance = WIRE_AT_MOST

    def body(self, at_most: int) -> bytes:
        """All of the body, or more than ``at_most`` bytes of it if it is longer. Raises Garbled or TooMuch."""
        if not self._ended:  # as a rule it came with the head
            self._rest(at_most)
        return b"".join(self._parts)

    def release_conn(self) -> None:
        """Give the connection back: to be used again only if the answer ended in order, and nothing lies behind it."""
        if not (self._ended and self._to_be_kept) or self._surplus:
            self._connection.close()
        self._pool._put_conn(self._connection)  # noqa: SLF001 - as urllib3's own responses do
        del self._parser  # which knows us: the two would wait for the garbage collector, the body with them

    def _rest(self, at_most: int) -> None:
        with waiting():
            while not self._ended and self._size <= at_most:
                self._read()

    def _read(self) -> None:
        arm(self._sock, self._deadline)
        data = self._sock.recv(_AT_ONCE)
        if not data:
            self._cut_off()
            return
        self._begun = True
        self._allowance -= len(data)
        if self._allowance < 0:
            raise TooMuch
        try:
            # What has ended before the last byte has something behind it, which must not become the beginning of the next answer.
            self._parser.feed_data(data[:-1])
            self._surplus = self._ended
            self._parser.feed_data(data[-1:])
        except (HttpParserError, HttpParserUpgrade) as error:
            self._surplus = True
            if not self._ended:
                raise (TooMuch if isinstance(error.__context__, TooMuch) else Garbled) from None

    def _cut_off(self) -> None:
        if not self._begun:
            raise ConnectionAbortedError
        if not self._in_body or "content-length" in self.headers or "transfer-encoding" in self.headers:
            raise Garbled
        self._ended = True  # its end was to be the connection's (RFC 9112 6.3, 8), which the parser says is not to be kept

    # What the parser calls.

    def on_header(self, name: bytes, value: bytes | None) -> None:
        """A field of the head, or of the trailer, which says nothing to us."""
        self._fields += 1
        if self._fields > FIELDS_AT_MOST:
            raise TooMuch
        if not self._in_body:
            key, text = name.decode("latin-1").lower(), (value or b"").decode("latin-1").strip(" \t")
            self.headers[key] = f"{self.headers[key]}, {text}" if key in self.headers else text

    def on_headers_complete(self) -> None:
        """The head is complete, if it is not an interim one."""
        if self._ended:
            return
        self.status = self._parser.get_status_code()
        if self.status < 200:
            self.headers.clear()
        else:
            self._in_body, self._to_be_kept = True, self._parser.should_keep_alive()

    def on_body(self, data: bytes) -> None:
        """A piece of the body."""
        if not self._ended:
            self._parts.append(data)
            self._size += len(data)

    def on_message_complete(self) -> None:
        """The end, unless an interim answer's."""
        self._ended = self._in_body
