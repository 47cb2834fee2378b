"""Many callers at one moment: every connection is open before the first request is sent."""

import asyncio
import time
from collections.abc import Sequence
from dataclasses import dataclass
from urllib.parse import urlsplit

_PATIENCE_SECONDS = 15.0


@dataclass(frozen=True, slots=True)
class Reply:
    """One caller's answer, and how long it took from the common start."""

    status: int
    body: bytes
    seconds: float


def volley(url: str, tokens: Sequence[str]) -> list[Reply]:
    """Ask once with each of the tokens, all at the same time."""
    return asyncio.run(_volley(url, tokens))


async def _volley(url: str, tokens: Sequence[str]) -> list[Reply]:
    parts = urlsplit(url)
    connections = [await asyncio.open_connection(parts.hostname, parts.port) for _ in tokens]
    start_of_head = f"GET {parts.path} HTTP/1.1\r\nHost: {parts.netloc}\r\nConnection: close\r\nAuthorization: Bearer "
    heads = [f"{start_of_head}{token}\r\n\r\n".encode() for token in tokens]
    start = time.perf_counter()
    try:
        for (_, writer), head in zip(connections, heads, strict=True):
            writer.write(head)
        replies = [_reply(reader, writer, start) for reader, writer in connections]
        return await asyncio.wait_for(asyncio.gather(*replies), _PATIENCE_SECONDS)
    finally:
        for _, writer in connections:
            writer.close()


async def _reply(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, start: float) -> Reply:
    answer = await reader.read()
    seconds = time.perf_counter() - start
    writer.close()  # at once: a server of one thread waits for that
    head, _, body = answer.partition(b"\r\n\r\n")
    return Reply(int(head.split(b" ", 2)[1]), body, seconds)
