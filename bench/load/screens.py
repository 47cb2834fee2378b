"""Open screens: each asks again a while after it was answered, with that answer's ETag, over whichever connection is free."""

import asyncio
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import NamedTuple
from urllib.parse import urlsplit

from bench.answers import check
from bench.load.wrk import WrongAnswer


@dataclass(frozen=True, slots=True)
class Screens:
    """One screen for each of ``tokens``, those of the users 0, 1, 2 and so on. Times in seconds.

    The screens open one after the other during ``opening``. All of them stay for ``staying`` after that, and ask ``every`` so
    long after their last answer. As behind a proxy a screen has no connection of its own: they share ``connections``.
    """

    url: str
    tokens: Sequence[str]
    every: float
    opening: float
    staying: float
    connections: int = 128


class Reply(NamedTuple):
    """One answer: when it was asked for (`time.monotonic`), how long it took, and whether it came without asking GenAuth."""

    asked: float
    seconds: float
    hit: bool


def watch(screens: Screens) -> list[Reply]:
    """Everything that was answered. Raises `WrongAnswer` unless each screen got its user's accounts once, and 304 ever after."""
    return asyncio.run(_Watching(screens).all())


class _Watching:
    def __init__(self, screens: Screens) -> None:
        self._screens = screens
        self._free: asyncio.Queue[tuple[asyncio.StreamReader, asyncio.StreamWriter]] = asyncio.Queue()
        self._replies: list[Reply] = []

    async def all(self) -> list[Reply]:
        parts = urlsplit(self._screens.url)
        connections = [await asyncio.open_connection(parts.hostname, parts.port) for _ in range(self._screens.connections)]
        for connection in connections:
            self._free.put_nowait(connection)
        start = f"GET {parts.path} HTTP/1.1\r\nHost: {parts.netloc}\r\n"
        opened = time.monotonic()
        end, apart = opened + self._screens.opening + self._screens.staying, self._screens.opening / len(self._screens.tokens)
        asking = [
            self._one(user, f"{start}Authorization: Bearer {token}\r\n", opened + user * apart, end)
            for user, token in enumerate(self._screens.tokens)
        ]
        try:
            await asyncio.gather(*asking)
        except (OSError, asyncio.IncompleteReadError) as error:
            raise WrongAnswer("a connection ended without an answer") from error
        finally:
            for _, writer in connections:
                writer.close()
                with suppress(OSError):
                    await writer.wait_closed()
        return self._replies

    async def _one(self, user: int, request: str, due: float, end: float) -> None:
        condition = ""
        while due < end:
            await asyncio.sleep(due - time.monotonic())
            asked = time.monotonic()
            status, head, body = await self._ask(f"{request}{condition}\r\n".encode())
            answered = time.monotonic()
            if not condition:
                check("a screen", status, body, user)
                condition = f"If-None-Match: {head['etag']}\r\n"
            elif status != 304:
                raise WrongAnswer(f"a screen that was open got {status}: {body[:300]!r}")
            self._replies.append(Reply(asked, answered - asked, "; hit" in head["cache-status"]))
            due = answered + self._screens.every

    async def _ask(self, request: bytes) -> tuple[int, dict[str, str], bytes]:
        """Status, header fields and body."""
        reader, writer = await self._free.get()
        writer.write(request)
        head = await reader.readuntil(b"\r\n\r\n")
        first, *lines = head.decode("latin-1").strip().split("\r\n")
        fields = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
        status = int(first.split(" ", 2)[1])
        body = await reader.readexactly(int(fields.get("content-length", 0))) if status != 304 else b""
        self._free.put_nowait((reader, writer))
        return status, fields, body
