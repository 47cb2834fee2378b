"""Where lines go: stdout, each at once or, for the one line of every request, several at a time.

A write costs more than the line in it: it gives the interpreter away, and the next thread takes it. So the line of a request may
wait for `_LATEST_SECONDS`, and until then for a page of others; whatever else is told goes out behind those that wait, at once.
What ends as Python programs end loses none of them; what is killed loses those of its last moment.
"""

import sys
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from typing import BinaryIO

_LATEST_SECONDS = 0.05
# POSIX: what several processes write to one pipe stays whole up to PIPE_BUF, which is a page at the least on Linux.
_PAGE = 4096
_UNWRITABLE = (OSError, ValueError, AttributeError)  # broken, closed, or none at all


class Stdout:
    """Takes lines from many threads. One that cannot be written is lost: nobody's answer depends on a log."""

    def __init__(self, stream: Callable[[], BinaryIO] = lambda: sys.stdout.buffer) -> None:
        self._stream = stream  # asked for each time: whoever runs us may replace it
        self._lock = threading.Lock()
        self._waiting = 0  # bytes, in stdout's own buffer, which is twice a page and is emptied when the process ends
        self._someone_waits = threading.Event()
        self._flusher: threading.Thread | None = None

    def write(self, line: bytes) -> None:
        """Now, behind those that wait."""
        with self._lock:
            self._put(line)
            self._flush()

    debug = info = warning = error = critical = write  # as structlog calls it

    def write_soon(self, line: bytes) -> None:
        """In a moment, with others."""
        with self._lock:
            self._put(line)
            first = self._waiting == len(line)
        if first:
            if self._flusher is None or not self._flusher.is_alive():  # as after a fork
                self._flusher = threading.Thread(target=self._flush_now_and_then, name="stdout", daemon=True)
                self._flusher.start()
            self._someone_waits.set()

    def _put(self, line: bytes) -> None:
        if self._waiting + len(line) > _PAGE:
            self._flush()
        self._waiting += len(line)
        try:  # noqa: SIM105 - `suppress` costs as much as the writing
            self._stream().write(line)
        except _UNWRITABLE:
            pass

    def _flush(self) -> None:
        self._waiting = 0
        with suppress(*_UNWRITABLE):
            self._stream().flush()

    def _flush_now_and_then(self) -> None:
        while True:
            self._someone_waits.wait()
            self._someone_waits.clear()
            time.sleep(_LATEST_SECONDS)
            with self._lock:
                self._flush()
