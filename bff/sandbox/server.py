"""The sandbox's sockets: h11 reads requests, asyncio carries plans out byte by byte if need be.

Answers are written by hand, because some of them have to be wrong: cut short, dripped, never finished.
Thousands of connections may hang at the same time: each is one object and one file descriptor.
"""

import asyncio
import contextlib
import logging
import socket
import struct
from collections.abc import Callable
from http import HTTPStatus
from typing import TypeVar

import h11

from bff.sandbox.faults import Plan
from bff.sandbox.messages import Answer, Request, as_json

log = logging.getLogger(__name__)

Result = TypeVar("Result", Plan | Answer, Answer)

_REASONS = {status.value: status.phrase for status in HTTPStatus}
_LONGEST_HEAD = 64 * 1024
# SO_LINGER with no time to linger: close() sends a reset.
_RESET = struct.pack("ii", 1, 0)


def head_of(answer: Answer, *, close: bool = False) -> bytes:
    """The status line and headers of an answer."""
    lines = [
        f"HTTP/1.1 {answer.status} {_REASONS.get(answer.status, 'Unknown')}",
        f"Content-Type: {answer.content_type}",
        f"Content-Length: {len(answer.body)}",
        *(f"{name}: {value}" for name, value in answer.headers),
    ]
    if close:
        lines.append("Connection: close")
    return "\r\n".join((*lines, "\r\n")).encode("latin-1")


class Server:
    """Listens, and hands each request to ``handle``; those under ``/sandbox/`` go to ``control``, in a thread."""

    def __init__(self, handle: Callable[[Request], Plan | Answer], control: Callable[[Request], Answer]) -> None:
        self.handle = handle
        self.control = control
        self.connections: set[Connection] = set()
        self.accepted = 0
        self._listener: asyncio.Server | None = None

    async def listen(self, sock: socket.socket) -> None:
        """Take connections from this bound socket."""
        loop = asyncio.get_running_loop()
        self._listener = await loop.create_server(lambda: Connection(self), sock=sock, backlog=4096)

    async def stop_listening(self) -> None:
        """Close the port and every connection, so that all that clients get is a refusal."""
        if self._listener is not None:
            for sock in self._listener.sockets:
                asyncio.get_running_loop().remove_reader(sock.fileno())
            # What asyncio has accepted is a connection three turns of the loop later, and nobody's if the port is closed before.
            for _ in range(3):
                await asyncio.sleep(0)
            self._listener.close()
            self._listener = None
        await self.drop()

    async def drop(self) -> None:
        """Close every connection, answered or not."""
        for connection in tuple(self.connections):
            connection.abort()
        while self.connections:  # noqa: ASYNC110  # connection_lost comes in the loop's next turn, or the one after
            await asyncio.sleep(0)


class Connection(asyncio.Protocol):
    """One client's connection: one request after the other, kept alive as HTTP/1.1 has it."""

    def __init__(self, server: Server) -> None:
        self._server = server
        self._reader = h11.Connection(h11.SERVER, _LONGEST_HEAD)
        self._answering = False
        self._task: asyncio.Task[None] | None = None
        self._head: h11.Request | None = None
        self._body: list[bytes] = []
        self._transport: asyncio.Transport

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """asyncio: a client arrived."""
        assert isinstance(transport, asyncio.Transport)  # noqa: S101  # TCP gives no other
        self._transport = transport
        # asyncio does so only for sockets whose protocol is named; that of accepted ones is 0. Without it a
        # drip would come in gulps, and two writes would wait for the client's delayed acknowledgement.
        transport.get_extra_info("socket").setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._server.connections.add(self)
        self._server.accepted += 1

    def connection_lost(self, _exc: Exception | None) -> None:
        """asyncio: it is over; nobody is left to answer."""
        self._server.connections.discard(self)
        if self._task is not None:
            self._task.cancel()

    def data_received(self, data: bytes) -> None:
        """asyncio: bytes arrived. While a request is being answered, later ones wait."""
        try:
            self._reader.receive_data(data)
            if not self._answering:
                self._read()
        except h11.RemoteProtocolError as error:
            self._refuse(error)

    def abort(self) -> None:
        """Be gone at once."""
        self._transport.abort()

    def _read(self) -> None:
        """Take requests from what has arrived until one has to wait."""
        while not self._answering and not self._transport.is_closing():
            event = self._reader.next_event()
            if isinstance(event, h11.Request):
                self._head = event
                self._body = []
                if self._reader.they_are_waiting_for_100_continue:
                    self._transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")
            elif isinstance(event, h11.Data):
                self._body.append(bytes(event.data))
            elif isinstance(event, h11.EndOfMessage) and self._head is not None:
                self._answer(self._head)
            else:
                return

    def _answer(self, head: h11.Request) -> None:
        request = _request(head, b"".join(self._body))
        if request.path.startswith("/sandbox/"):
            self._later(self._control(request))
            return
        result = _without_fail(self._server.handle, request)
        if isinstance(result, Answer):
            self._write(result)
        else:
            self._later(self._carry_out(request, result))

    def _later(self, work: "asyncio._CoroutineLike[None]") -> None:
        self._answering = True
        self._task = asyncio.get_running_loop().create_task(work)

    async def _control(self, request: Request) -> None:
        # In a thread: generating RSA keys would hold up the requests under way.
        self._write(await asyncio.to_thread(_without_fail, self._server.control, request))
        self._resume()

    async def _carry_out(self, request: Request, plan: Plan) -> None:
        answer = await self._worked(request, plan) if plan.delay else plan.answer()
        if plan.latency:
            await asyncio.sleep(plan.latency)
        head, body = head_of(answer), answer.body
        match plan.ending:
            case "hang":
                return
            case "close":
                self._transport.close()
                return
            case "reset":
                self._reset()
                return
            case "truncate":
                body = body[: len(body) // 2]
            case "hang-after-headers":
                body = b""
        await self._drip(head, plan.drip_headers)
        await self._drip(b"" if self._wants_no_body() else body, plan.drip_body)
        if plan.ending == "hang-after-headers":
            return
        if plan.ending == "truncate":
            self._transport.close()
            return
        self._next_request()
        self._resume()

    async def _worked(self, request: Request, plan: Plan) -> Answer:
        """The endpoint's answer once it has done its work, which it also does when the client has gone by then."""
        loop = asyncio.get_running_loop()
        answered: asyncio.Future[Answer] = loop.create_future()

        def work() -> None:
            answer = _without_fail(lambda _: plan.answer(), request)
            if not answered.done():
                answered.set_result(answer)

        loop.call_later(plan.delay, work)
        return await answered

    async def _drip(self, data: bytes, pause: float) -> None:
        if not pause:
            self._transport.write(data)
            return
        for position in range(len(data)):
            await asyncio.sleep(pause)
            self._transport.write(data[position : position + 1])

    def _write(self, answer: Answer) -> None:
        close = self._reader.their_state is h11.MUST_CLOSE
        head = head_of(answer, close=close)
        self._transport.write(head if self._wants_no_body() else head + answer.body)
        self._next_request()

    def _next_request(self) -> None:
        """Be ready for the request after this one, or close if the client wants no more."""
        if self._reader.their_state is h11.MUST_CLOSE:
            self._transport.close()
            return
        waiting, _ = self._reader.trailing_data
        self._reader = h11.Connection(h11.SERVER, _LONGEST_HEAD)
        if waiting:
            self._reader.receive_data(waiting)

    def _resume(self) -> None:
        self._answering, self._task = False, None
        try:
            self._read()
        except h11.RemoteProtocolError as error:
            self._refuse(error)

    def _refuse(self, error: h11.RemoteProtocolError) -> None:
        answer = as_json({"statusCode": 400, "message": str(error)}, error.error_status_hint)
        self._transport.write(head_of(answer, close=True) + answer.body)
        self._transport.close()

    def _reset(self) -> None:
        sock = self._transport.get_extra_info("socket")
        with contextlib.suppress(OSError):
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
        self._transport.abort()

    def _wants_no_body(self) -> bool:
        return self._head is not None and self._head.method == b"HEAD"


def _without_fail(do: Callable[[Request], Result], request: Request) -> Result | Answer:
    try:
        return do(request)
    except Exception:
        log.exception("%s %s could not be answered", request.method, request.path)
        return as_json({"statusCode": 500, "message": "The sandbox has a defect; see its log."}, 500)


def _request(head: h11.Request, body: bytes) -> Request:
    path, _, query = head.target.decode("latin-1").partition("?")
    headers: dict[str, str] = {}
    for raw_name, raw_value in head.headers:
        name, value = raw_name.decode("latin-1"), raw_value.decode("latin-1")
        headers[name] = f"{headers[name]}, {value}" if name in headers else value
    return Request(head.method.decode("latin-1"), path, query, headers, body)
