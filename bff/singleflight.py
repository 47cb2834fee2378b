"""One caller goes, the others wait for what it brings.

Ours, because flask-caching has no stampede lock and functools' caches do not wait on one another. This is the half inside one
process; `leases` is the half between processes.
"""

import copy
import threading
from collections.abc import Callable, Hashable, Iterator
from concurrent.futures import Future
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Generic, TypeVar

from bff.bulkhead import Bulkhead
from bff.deadline import Deadline
from bff.gate import waiting

T = TypeVar("T")


class WaitingRoom:
    """How many threads may wait long for somebody else, so that some are left to answer what needs no waiting.

    A short wait is free: while GenAuth is well, a thousand callers may want one answer and all of them get it. Only who waits
    longer than ``free_seconds`` needs one of the ``places``, and gets `BulkheadFull` when there is none.
    """

    def __init__(
        self,
        places: int,
        *,
        free_seconds: float = 1.0,
        watched: Callable[[], AbstractContextManager[None]] = nullcontext,
    ) -> None:
        """``watched`` is entered for as long as somebody waits, short or long."""
        self.free_seconds = free_seconds
        self._seats = Bulkhead("waiting", places, wait_seconds=0.0)
        self._watched = watched

    @contextmanager
    def watched(self) -> Iterator[None]:
        """Somebody waits, for the length of the block."""
        with self._watched():
            yield

    @contextmanager
    def seat(self) -> Iterator[None]:
        """One of the places, or `BulkheadFull`."""
        with self._seats.place():
            yield


class SingleFlight(Generic[T]):
    """At most one call for a key at a time in this process. Without a ``room``, waiting is not bounded but by the deadline."""

    def __init__(self, room: WaitingRoom | None = None) -> None:
        self._room = room
        self._lock = threading.Lock()
        self._flights: dict[Hashable, Future[T]] = {}

    def do(self, key: Hashable, call: Callable[[], T], deadline: Deadline) -> tuple[T, bool]:
        """What ``call`` returns or raises, and whether somebody else's call was shared.

        Waits no longer than ``deadline``, then raises TimeoutError; BulkheadFull when too many wait. A failure is shared too:
        those who waited do not go and fail one after the other.
        """
        with self._lock:
            flight = self._flights.get(key)
            if leading := flight is None:
                flight = self._flights[key] = Future()
        if not leading:
            self._await(flight, deadline)
            return _outcome(flight), True
        try:
            result = call()
        except BaseException as exc:
            self._land(key)
            flight.set_exception(exc)
            raise
        # Landed first: who comes from here on would be given an answer to an older question.
        self._land(key)
        flight.set_result(result)
        return result, False

    def _land(self, key: Hashable) -> None:
        with self._lock:
            del self._flights[key]

    def _await(self, flight: "Future[T]", deadline: Deadline) -> None:
        if self._room is None:
            arrived = _arrives(flight, deadline.remaining())
        else:
            with self._room.watched():
                arrived = _arrives(flight, min(self._room.free_seconds, deadline.remaining()))
                if not arrived and not deadline.passed:
                    with self._room.seat():
                        arrived = _arrives(flight, deadline.remaining())
        if not arrived:
            raise TimeoutError


def _arrives(flight: "Future[T]", seconds: float) -> bool:
    try:
        with waiting():
            flight.exception(timeout=seconds)
    except TimeoutError:
        return flight.done()
    return True


def _outcome(flight: "Future[T]") -> T:
    error = flight.exception()
    if error is None:
        return flight.result()
    if isinstance(error, Exception):
        # One exception object raised in many threads would grow one shared traceback.
        raise copy.copy(error).with_traceback(None) from None
    raise TimeoutError  # the thread that went was told to end; that is no message to the others
