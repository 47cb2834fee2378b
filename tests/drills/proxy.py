"""A wire that can be cut: TCP between the service and what it leans on, with the faults of networks and not of servers."""

import asyncio
import socket
import struct
import threading
from collections import Counter
from contextlib import suppress

QUESTIONS = (b"GET /api/v3/get-identities", b"GET /oidc/", b"GET /api/v3/get-application-enabled-extidps")


class Proxy:
    """Passes bytes on to ``host:port`` until told otherwise; every method may be called from any thread.

    What a black hole holds back is delivered late when it ends, as TCP does after a partition: the answer that nobody waits for
    any more is the nastiest part of it.
    """

    def __init__(self, port, host="127.0.0.1"):
        self._target = (host, port)
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="fault-proxy", daemon=True)
        self._open = asyncio.Event()
        self._open.set()
        self._reset = False
        self._truncate_at = None
        self._drip = self._latency = 0.0
        self._writers = set()
        self._forgotten = set()
        self._server = None
        self.asked = Counter()
        self.port = None

    def __enter__(self):
        self._thread.start()
        self._in_loop(self._listen())
        return self

    def __exit__(self, *_):
        self._in_loop(self._shut())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    @property
    def url(self):
        return f"http://127.0.0.1:{self.port}"

    # Faults -----------------------------------------------------------------------------------------

    def heal(self):
        """Everything passes again."""
        self._reset, self._truncate_at, self._drip, self._latency = False, None, 0.0, 0.0
        self._in_loop(self._listen())
        self._loop.call_soon_threadsafe(self._open.set)

    def refuse(self):
        """Nobody listens, and whoever was connected is cut off."""
        self._in_loop(self._stop_listening())

    def black_hole(self):
        """Connections are taken and kept, and nothing comes through, as behind a firewall that drops packets."""
        self._loop.call_soon_threadsafe(self._open.clear)

    def forget(self):
        """Connections of before stay open and carry nothing any more, as when a firewall forgot them; new ones work."""
        self._forgotten |= self._writers

    def lead_to(self, port):
        """New connections go to that port, those of before stay where they are, as a failover behind one address has it."""
        self._target = (self._target[0], port)

    def reset(self):
        """Every connection ends with RST as soon as something is asked on it."""
        self._reset = True

    def truncate(self, after):
        """Every answer ends after so many bytes."""
        self._truncate_at = after

    def drip(self, seconds):
        """So long before each byte of an answer."""
        self._drip = seconds

    def slow(self, seconds):
        """So long before each piece of an answer."""
        self._latency = seconds

    # ------------------------------------------------------------------------------------------------

    def _in_loop(self, work):
        asyncio.run_coroutine_threadsafe(work, self._loop).result(10)

    async def _listen(self):
        if self._server is None:
            self._server = await asyncio.start_server(self._serve, "127.0.0.1", self.port or 0, backlog=4096)
            self.port = self._server.sockets[0].getsockname()[1]

    async def _stop_listening(self):
        if self._server is not None:
            self._server.close()
            self._server = None
        for writer in list(self._writers):
            abort(writer)

    async def _shut(self):
        await self._stop_listening()
        others = [task for task in asyncio.all_tasks() if task is not asyncio.current_task()]
        for task in others:
            task.cancel()
        await asyncio.gather(*others, return_exceptions=True)

    async def _serve(self, reader, writer):
        self._writers.add(writer)
        undelayed(writer)
        there = None
        try:
            back, there = await asyncio.open_connection(*self._target)
            undelayed(there)
            await asyncio.gather(self._forth(reader, writer, there), self._back(back, writer, there))
        except (OSError, EOFError, asyncio.CancelledError):
            pass
        finally:
            self._writers.discard(writer)
            self._forgotten.discard(writer)
            for each in (writer, there):
                if each is not None:
                    each.close()

    async def _forth(self, reader, writer, there):
        while chunk := await reader.read(65536):
            if writer in self._forgotten:
                continue
            for question in QUESTIONS:
                if chunk.startswith(question):
                    self.asked[question.split(b" ")[1].decode()] += 1
            if self._reset:
                abort(writer)
                raise ConnectionResetError
            await self._open.wait()
            there.write(chunk)
            await there.drain()
        there.close()
        raise EOFError

    async def _back(self, back, writer, there):
        passed = 0
        while chunk := await back.read(65536):
            if writer in self._forgotten:
                continue
            await self._open.wait()
            if self._latency:
                await asyncio.sleep(self._latency)
            if self._truncate_at is not None:
                chunk = chunk[: max(0, self._truncate_at - passed)]
                if not chunk:
                    break
            passed += len(chunk)
            for piece in [bytes([byte]) for byte in chunk] if self._drip else [chunk]:
                writer.write(piece)
                await writer.drain()
                if self._drip:
                    await asyncio.sleep(self._drip)
            if self._truncate_at is not None and passed >= self._truncate_at:
                break
        there.close()
        raise EOFError


def undelayed(writer):
    # Nagle's algorithm and delayed acknowledgements would add 40 ms that no network had.
    with suppress(OSError):
        writer.get_extra_info("socket").setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)


def abort(writer):
    """Close with RST instead of FIN."""
    with suppress(OSError):
        writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    writer.transport.abort()
