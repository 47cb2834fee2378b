"""Writes log lines to stdout from one thread, so that no request waits for a log.

An asynchronous appender: lines go into a bounded queue, and a daemon thread writes them, several at a time. A line that finds the
queue full, or that cannot be written, is dropped and counted; once there is room again, a line says how many are missing.
"""

import os
import select
import sys
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from multiprocessing.util import Finalize
from queue import Empty, SimpleQueue

from bff.observability.recorder import Recorder

CAPACITY = 8192
FLUSH_SECONDS = 1.0
# The thread waits this long for more lines to write with the first one.
_GATHER_SECONDS = 0.05


def to_stdout(data: bytes) -> None:
    """Write everything, for as long as it takes. Not through ``sys.stdout.buffer``, whose lock the end of the process wants."""
    descriptor = sys.stdout.fileno()
    while data:
        try:
            data = data[os.write(descriptor, data) :]
        except BlockingIOError:  # whoever shares the pipe with us made it non-blocking
            select.select([], [descriptor], [])


class LogWriter:
    """Takes lines from many threads. ``output`` writes one or more whole lines, and may block or raise."""

    def __init__(
        self,
        report: Callable[[int], bytes],
        output: Callable[[bytes], None] = to_stdout,
        *,
        capacity: int = CAPACITY,
    ) -> None:
        """``report`` makes the line that says how many lines were dropped."""
        self.output = output
        self.recorder = Recorder()
        self._report = report
        self._capacity = capacity
        self._begin()
        os.register_at_fork(after_in_child=self._begin)

    def _begin(self) -> None:
        # What is in the queue at a fork is the parent's to write.
        self._queue: SimpleQueue[bytes | threading.Event] = SimpleQueue()
        self._lock = threading.Lock()
        self._thread: threading.Thread | None = None
        self._hurry = threading.Event()
        self._unreported = 0

    def write(self, line: bytes) -> None:
        """Write the line soon, or drop and count it. Never blocks."""
        # Not `queue.Queue`, whose lock all requests and the thread that writes would share.
        if self._queue.qsize() < self._capacity:
            self._queue.put(line)
        else:
            self._drop(1)
        if self._thread is None:
            self._start()

    debug = info = warning = error = critical = write  # as structlog calls it

    def flush(self, seconds: float = FLUSH_SECONDS) -> None:
        """Wait until everything so far is written, at most this long."""
        if self._thread is None and self._queue.empty():
            return
        reached = threading.Event()
        self._queue.put(reached)
        self._start()
        self._hurry.set()
        reached.wait(seconds)

    def _start(self) -> None:
        with self._lock:
            if self._thread is not None:
                return
            thread = threading.Thread(target=self._run, name="log", daemon=True)
            try:
                thread.start()
            except RuntimeError:  # no more threads to be had; the next line tries again
                return
            self._thread = thread
        # Not atexit, which multiprocessing's children, a server's workers among them, end without.
        Finalize(None, self.flush, exitpriority=0)

    def _run(self) -> None:
        while True:
            taken = [self._queue.get()]
            self._hurry.wait(_GATHER_SECONDS)
            self._hurry.clear()
            with suppress(Empty):
                while len(taken) < self._capacity:
                    taken.append(self._queue.get_nowait())
            for page in _pages([line for line in taken if isinstance(line, bytes)]):
                if not self._is_written(b"".join(page)):
                    self._drop(len(page))
            self._report_dropped()
            for reached in taken:
                if isinstance(reached, threading.Event):
                    reached.set()

    def _is_written(self, data: bytes) -> bool:
        try:
            self.output(data)
        except Exception:  # noqa: BLE001 - stdout is closed, broken or none at all; nobody's answer depends on a log
            return False
        return True

    def _drop(self, lines: int) -> None:
        with self._lock:
            self._unreported += lines
        self.recorder.log_lines_dropped(lines)

    def _report_dropped(self) -> None:
        with self._lock:
            lines, self._unreported = self._unreported, 0
        if lines and not self._is_written(self._report(lines)):
            with self._lock:
                self._unreported += lines


def _pages(lines: Iterable[bytes]) -> Iterator[list[bytes]]:
    # POSIX: what several processes write to one pipe is not mixed up as long as each write has at most PIPE_BUF bytes.
    page: list[bytes] = []
    for line in lines:
        if page and sum(map(len, page)) + len(line) > select.PIPE_BUF:
            yield page
            page = []
        page.append(line)
    if page:
        yield page
