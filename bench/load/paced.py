"""Callers who ask every so often, whatever the last answer took: each on a kept connection, in a process of their own."""

import asyncio
import os
import time
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from multiprocessing import get_context
from typing import Self
from urllib.parse import urlsplit


@dataclass(frozen=True, slots=True)
class Reply:
    """One answer, and how long it took. Status 0: the connection ended without one."""

    status: int
    seconds: float


@dataclass(frozen=True, slots=True)
class Pace:
    """One caller for each of ``tokens``, who asks ``every`` so many seconds, for ``seconds``."""

    url: str
    tokens: Sequence[str]
    every: float
    seconds: float


class Callers:
    """A process that asks, pinned to ``core``: many callers here would delay those whose time is taken. A context manager."""

    def __init__(self, core: int) -> None:
        self._pool = ProcessPoolExecutor(1, get_context("spawn"), initializer=os.sched_setaffinity, initargs=(0, {core}))
        self.start = self._pool.submit
        self.pid = 0

    def __enter__(self) -> Self:
        self.pid = self._pool.submit(os.getpid).result()
        return self

    def __exit__(self, *_: object) -> None:
        self._pool.shutdown()


def ask(pace: Pace) -> list[Reply]:
    """Everything that was answered."""
    return asyncio.run(_all(pace))


async def _all(pace: Pace) -> list[Reply]:
    start = time.perf_counter()
    each = pace.every / max(1, len(pace.tokens))
    replies = await asyncio.gather(*(_one(pace, token, start + number * each) for number, token in enumerate(pace.tokens)))
    return [reply for some in replies for reply in some]


async def _one(pace: Pace, token: str, due: float) -> list[Reply]:
    parts = urlsplit(pace.url)
    request = f"GET {parts.path} HTTP/1.1\r\nHost: {parts.netloc}\r\nAuthorization: Bearer {token}\r\n\r\n".encode()
    end = due + pace.seconds
    reader, writer = await asyncio.open_connection(parts.hostname, parts.port)
    replies = []
    while due < end:
        await asyncio.sleep(max(0.0, due - time.perf_counter()))
        asked = time.perf_counter()
        try:
            writer.write(request)
            head = await reader.readuntil(b"\r\n\r\n")
            length = next(line for line in head.lower().split(b"\r\n") if line.startswith(b"content-length:"))
            await reader.readexactly(int(length.partition(b":")[2]))
            status = int(head.split(b" ", 2)[1])
        except (OSError, asyncio.IncompleteReadError):
            writer.close()
            reader, writer = await asyncio.open_connection(parts.hostname, parts.port)
            status = 0
        replies.append(Reply(status, time.perf_counter() - asked))
        due = max(due + pace.every, time.perf_counter())
    writer.close()
    return replies
