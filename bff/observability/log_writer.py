"""Where lines go: stdout, each at once or, for the one line of every request, several at a time.

Making a line and writing it cost more than whatever it tells of: a write gives the interpreter away, and the next thread takes
it. So what a request says may wait for `_LATEST_SECONDS`, and until then for a few others; they are made lines and written
together. Whatever else is told goes out behind those that wait, at once. What ends as Python programs end loses none of them;
what is killed loses those of its last moment.
"""

import os
import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import suppress
from multiprocessing.util import Finalize
from typing import BinaryIO, Generic, TypeVar

T = TypeVar("T")

_LATEST_SECONDS = 0.05
_TOGETHER = 18  # of a usual length, they fill a page
# POSIX: what several processes write to one pipe stays whole up to PIPE_BUF, which is a page at the least on Linux.
_PAGE = 4096
_UNWRITABLE = (OSError, ValueError, AttributeError)  # broken, closed, or none at all


class Stdout(Generic[T]):
    """Takes lines from many threads. One that cannot be written is lost: nobody's answer depends on a log."""

    def __init__(
        self, finish: Callable[[Sequence[T]], bytes], stream: Callable[[], BinaryIO] = lambda: sys.stdout.buffer
    ) -> None:
        """``finish`` makes lines of what was told, each with its end, and raises nothing."""
        self._finish = finish
        self._stream = stream  # asked for each time: whoever runs us may replace it
        self._begin()
        os.register_at_fork(after_in_child=self._begin)

    def _begin(self) -> None:
        self._lock = threading.Lock()
        self._waiting: deque[T] = deque()
        self._someone_waits = threading.Event()
        self._flusher: threading.Thread | None = None

    def write(self, line: bytes) -> None:
        """Now, behind those that wait."""
        with self._lock:
            self._put(self._drawn() + line)

    debug = info = warning = error = critical = write  # as structlog calls it

    def write_soon(self, told: T) -> None:
        """A line of this, in a moment, with others."""
        self._waiting.append(told)
        if len(self._waiting) >= _TOGETHER:
            self.flush()
        elif not self._someone_waits.is_set():
            try:
                self._wake_flusher()
            except RuntimeError:  # no more threads to be had
                self.flush()

    def _wake_flusher(self) -> None:
        with self._lock:
            if self._flusher is None:
                flusher = threading.Thread(target=self._flush_now_and_then, name="stdout", daemon=True)
                flusher.start()
                self._flusher = flusher
                # As atexit, which multiprocessing's children, a server's workers among them, end without.
                Finalize(None, self.flush, exitpriority=0)
        self._someone_waits.set()

    def _flush_now_and_then(self) -> None:
        while True:
            self._someone_waits.wait()
            time.sleep(_LATEST_SECONDS)
            self._someone_waits.clear()  # first: who comes from here on sets it again
            self.flush()

    def flush(self) -> None:
        """Write what waits."""
        with self._lock:
            self._put(self._drawn())

    def _drawn(self) -> bytes:
        return self._finish([self._waiting.popleft() for _ in range(len(self._waiting))])

    def _put(self, lines: bytes) -> None:
        # In whole lines, also where one alone is more than a page.
        while len(lines) > _PAGE:
            end = lines.rfind(b"\n", 0, _PAGE) + 1 or lines.find(b"\n", _PAGE) + 1 or len(lines)
            self._write(lines[:end])
            lines = lines[end:]
        if lines:
            self._write(lines)

    def _write(self, page: bytes) -> None:
        with suppress(*_UNWRITABLE):
            stream = self._stream()
            stream.write(page)
            stream.flush()
