"""Admission control: few threads compute at once, and a thread that waits for somebody else's server lets another one compute.

Waiting for GenAuth needs many threads. If all of them compute at once they compete for the interpreter lock, and requests that
could be answered at once are late. Hence many threads and few permits (docs/adr/0013).
"""

import sys
import threading
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager

from bff.errors import UpstreamTimeout, UpstreamUnavailable
from bff.resilience.deadline import Deadline

_RETRY_SECONDS = 1.0
_LARGE = 64 * 1024  # many times what one person's data usually is
# Of the threads that may wait, those that wait for another caller leave so many, or two of three, to those that call somebody
# else's server.
_LEFT_TO_CALLERS = 32


class NotAdmittedAgain(UpstreamTimeout):
    """A thread that gave its permit back got none again before the deadline: this process is busy."""


class FairSemaphore:
    """A semaphore that serves threads in the order in which they came, so that none waits while others pass again and again.

    It counts the threads that have stepped outside, who hold no permit and want it back; ``outside_at_most`` is how many of them
    the process can bear: a thread that waits is one less for what needs no waiting.
    """

    def __init__(self, permits: int, *, outside_at_most: int = sys.maxsize) -> None:
        self.outside = 0
        self.outside_at_most = outside_at_most
        self._permits = permits
        self._lock = threading.Lock()
        self._queue: deque[threading.Event] = deque()

    def acquire(self, timeout: float) -> bool:
        """Take a permit, or return False after ``timeout`` seconds."""
        with self._lock:
            if self._permits:
                self._permits -= 1
                return True
            granted = threading.Event()
            self._queue.append(granted)
        if granted.wait(timeout):
            return True
        with self._lock:
            if granted.is_set():  # between the end of the wait and here
                return True
            self._queue.remove(granted)
            return False

    def release(self) -> None:
        """Hand the permit to the thread that waits longest, if there is one."""
        with self._lock:
            if self._queue:
                self._queue.popleft().set()
            else:
                self._permits += 1

    def step_outside(self) -> None:
        """Release the permit, to take it back later."""
        with self._lock:
            self.outside += 1
        self.release()

    def step_inside(self, timeout: float) -> bool:
        """`acquire` the permit again."""
        try:
            return self.acquire(timeout)
        finally:
            with self._lock:
                self.outside -= 1


_large_work = FairSemaphore(1)


class _Thread(threading.local):
    """``admission`` is what this thread was admitted with, while it holds the permit."""

    admission: tuple[FairSemaphore, Deadline] | None = None


_this = _Thread()


@contextmanager
def admitted(semaphore: FairSemaphore, deadline: Deadline) -> Iterator[None]:
    """Hold a permit for the length of the block, or raise UpstreamUnavailable if there is none before the deadline."""
    if not semaphore.acquire(deadline.remaining()):
        raise UpstreamUnavailable(note="not admitted before the deadline", retry_after=_RETRY_SECONDS)
    _this.admission = semaphore, deadline
    try:
        yield
    finally:
        if _this.admission is not None:
            _this.admission = None
            semaphore.release()


@contextmanager
def released() -> Iterator[None]:
    """Let another thread compute while this one waits, for the length of the block. Without a permit it does nothing.

    Raises NotAdmittedAgain if no permit is to be had again before the request's deadline.
    """
    admission, _this.admission = _this.admission, None
    if admission is not None:
        admission[0].step_outside()
    try:
        yield
    finally:
        if admission is not None:
            semaphore, deadline = admission
            if not semaphore.step_inside(deadline.remaining()):
                raise NotAdmittedAgain(note="not admitted again before the deadline")
            _this.admission = admission


@contextmanager
def set_apart(size: int, deadline: Deadline) -> Iterator[None]:
    """Work on so many bytes, for the length of the block: if they are many, by one thread at a time, which holds no permit.

    One person's large data then delays nobody but others whose data is as large. Raises NotAdmittedAgain at the deadline.
    """
    if size <= _LARGE:
        yield
        return
    with released():
        if not _large_work.acquire(deadline.remaining()):
            raise NotAdmittedAgain(note="waited for other large work")
        try:
            yield
        finally:
            _large_work.release()


def is_crowded(*, for_a_call: bool = False, for_a_stranger: bool = False) -> bool:
    """Whether too many threads wait already for this one to wait too; never for a thread without a permit.

    ``for_a_call``: to call somebody else's server, as opposed to waiting for another thread's call. ``for_a_stranger``: whose
    request may be made up; half of the threads that may wait are left to the others.
    """
    if _this.admission is None:
        return False
    semaphore, _ = _this.admission
    if for_a_stranger and 2 * semaphore.outside >= semaphore.outside_at_most:
        return True
    left = 0 if for_a_call else min(_LEFT_TO_CALLERS, 2 * semaphore.outside_at_most // 3)
    return semaphore.outside + left >= semaphore.outside_at_most
