"""A GenAuth that costs next to nothing: the sandbox's people, tokens and keys behind the smallest HTTP there is.

The sandbox itself reads requests with h11 and verifies tokens, as GenAuth would; on a machine that also runs what is measured it
would be the bottleneck. This one takes a token's word for whose it is. It knows numbered people only (WeChat and GitHub each),
and from `FIRST_OF_THE_WORST` on one person for each of the shapes in `worst_data`.
"""

import asyncio
import base64
import multiprocessing
import os
import socket
from collections import Counter
from collections.abc import Callable, Iterable
from functools import lru_cache
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from types import TracebackType
from typing import Any, Self

import orjson

from bench.load import worst_data
from bff.sandbox import genauth
from bff.sandbox.application import Application
from bff.sandbox.messages import Answer, Request
from bff.sandbox.people import People, numbered
from bff.sandbox.sandbox import APP_ID, APP_SECRET
from bff.sandbox.server import head_of
from bff.sandbox.tokens import Tokens, first_key
from bff.server.child_processes import end_with_parent

IDENTITIES = b"/api/v3/get-identities"
FIRST_OF_THE_WORST = 90_000_000
_DAY = 86_400
_fork = multiprocessing.get_context("fork")


class StandIn:
    """A GenAuth in a process of its own, pinned to ``core``; a context manager. Minting shares its keys through the fork."""

    app_id = APP_ID

    def __init__(self, core: int | None = None) -> None:
        first_key("RS256")
        self._core = core
        self._socket = socket.create_server(("127.0.0.1", 0), backlog=4096)
        self.url = f"http://127.0.0.1:{self._socket.getsockname()[1]}"
        self.issuer = f"{self.url}/oidc"
        self._tokens = Tokens(APP_ID, APP_SECRET, ("RS256",))
        self._tokens.issuer = self.issuer
        self._pipe, theirs = _fork.Pipe()
        self._process: BaseProcess = _fork.Process(target=_serve, args=(self._socket, self._tokens, theirs, core), daemon=True)

    def __enter__(self) -> Self:
        self._process.start()
        self._ask("ready")
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._process.terminate()
        self._process.join()
        self._socket.close()

    @property
    def pid(self) -> int:
        """Its process."""
        return self._process.pid or 0

    def takes(self, seconds: float) -> None:
        """From now on every answer to get-identities comes after ``seconds``."""
        self._ask("latency", seconds)

    def calls(self) -> int:
        """How often get-identities was asked since `forget`."""
        return int(self._ask("calls"))

    def forget(self) -> None:
        """Count from nought."""
        self._ask("forget")

    def tokens(self, users: Iterable[int]) -> list[str]:
        """A session token for each of those numbered people, good for a day, signed on every core there is."""
        wanted = list(users)
        if len(wanted) < 500:
            return [_mint(self._tokens, user) for user in wanted]
        with _fork.Pool(os.cpu_count(), initializer=_become_a_mint, initargs=(self._tokens,)) as pool:
            return pool.map(_minted, wanted, chunksize=250)

    def _ask(self, *what: object) -> Any:  # noqa: ANN401 - a number or nothing, as `_control` says
        self._pipe.send(what)
        return self._pipe.recv()


def _mint(tokens: Tokens, user: int) -> str:
    return tokens.mint(numbered(user).id, _DAY)


# Keys cannot be sent to a process, only inherited by it.
_inherited: list[Tokens] = []


def _become_a_mint(tokens: Tokens) -> None:
    _inherited[:] = [tokens]
    # A fork inherits our core, too, but not for this.
    os.sched_setaffinity(0, range(os.cpu_count() or 1))


def _minted(user: int) -> str:
    return _mint(_inherited[0], user)


class _State:
    """What the process serves and counts."""

    def __init__(self, tokens: Tokens, url: str) -> None:
        application = Application(APP_ID, APP_SECRET, People([]), tokens, url)
        self.calls: Counter[str] = Counter()
        self.latency = 0.0
        self.fixed = {
            path.encode(): _bytes(genauth.answer(application, Request("GET", path, "", {})))
            for path in (
                "/oidc/.well-known/openid-configuration",
                "/oidc/.well-known/jwks.json",
                "/api/v3/get-application-enabled-extidps",
            )
        }


def _serve(listener: socket.socket, tokens: Tokens, pipe: Connection, core: int | None) -> None:
    end_with_parent()
    if core is not None:
        os.sched_setaffinity(0, {core})
    asyncio.run(_run(listener, _State(tokens, tokens.issuer.removesuffix("/oidc")), pipe))


async def _run(listener: socket.socket, state: _State, pipe: Connection) -> None:
    loop = asyncio.get_running_loop()
    server = await loop.create_server(lambda: _Caller(state), sock=listener, backlog=4096)
    loop.add_reader(pipe.fileno(), _control, state, pipe)
    async with server:
        await server.serve_forever()


def _control(state: _State, pipe: Connection) -> None:
    answer = 0
    match pipe.recv():
        case ("latency", float(seconds)):
            state.latency = seconds
        case ("calls",):
            answer = state.calls["identities"]
        case ("forget",):
            state.calls.clear()
    pipe.send(answer)


class _Caller(asyncio.Protocol):
    """A kept connection. Requests have no body here and are not pipelined."""

    def __init__(self, state: _State) -> None:
        self._state = state
        self._arrived = b""
        self._write: Callable[[bytes], None]

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """asyncio: a client arrived."""
        assert isinstance(transport, asyncio.Transport)
        transport.get_extra_info("socket").setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._write = transport.write

    def data_received(self, data: bytes) -> None:
        """asyncio: bytes arrived."""
        self._arrived += data
        if not self._arrived.endswith(b"\r\n\r\n"):
            return
        head, self._arrived = self._arrived, b""
        path = head.split(b" ", 2)[1]
        if path != IDENTITIES:
            self._write(self._state.fixed.get(path.partition(b"?")[0], _NOT_FOUND))
            return
        self._state.calls["identities"] += 1
        answer = _identities(_holder(head))
        if self._state.latency:
            asyncio.get_running_loop().call_later(self._state.latency, self._write, answer)
        else:
            self._write(answer)


def _holder(head: bytes) -> int:
    """Whose the token says it is; it is not verified."""
    start = head.lower().index(b"\nauthorization:") + 15
    claims = head[start : head.index(b"\r", start)].split(b".")[1]
    subject: str = orjson.loads(base64.urlsafe_b64decode(claims + b"=" * (-len(claims) % 4)))["sub"]
    return int(subject.removeprefix("5f"), base=16)


@lru_cache(50_000)
def _identities(user: int) -> bytes:
    worst = user - FIRST_OF_THE_WORST
    rows = list(worst_data.shapes().values())[worst] if worst >= 0 else numbered(user).rows
    envelope = {"statusCode": 200, "message": "Operation successful", "requestId": "bench", "data": rows}
    return _bytes(Answer(200, orjson.dumps(envelope)))


def _bytes(answer: Answer) -> bytes:
    return head_of(answer) + answer.body


_NOT_FOUND = b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n"
