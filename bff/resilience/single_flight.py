"""Single flight: for each key one thread makes the call, the others wait for its outcome.

Ours, because flask-caching has no stampede lock and functools' caches do not wait for one another. This is the half inside one
process; `bff.cache.lock` is the half between processes.
"""

import copy
import sys
import threading
import time
from collections.abc import Callable, Hashable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext
from dataclasses import dataclass, field
from math import inf
from typing import Generic, TypeVar, cast

from bff.resilience.admission import is_crowded, released
from bff.resilience.bulkhead import BulkheadFull, Shares
from bff.resilience.deadline import Deadline

T = TypeVar("T")

# A call that began this lately is mostly over in a moment: the whole crowd that wants its outcome may wait so long.
_CROWD_SECONDS = 0.5


class WaitingRoom:
    """How many threads may wait long for another caller, so that some are left to answer what needs no waiting.

    A short wait is free: while GenAuth is well, a thousand callers may want one answer and all of them get it. Only who waits
    longer than ``free_seconds`` needs one of the ``places``, and gets `BulkheadFull` when there is none, or when one visitor has
    ``each`` of them. While the process `is_crowded`, nobody waits for what began half a second ago or longer.
    """

    def __init__(
        self,
        places: int,
        *,
        each: int | None = None,
        free_seconds: float = 1.0,
        watched: Callable[[], AbstractContextManager[None]] = nullcontext,
    ) -> None:
        """``watched`` is entered for as long as a thread waits, short or long."""
        self.free_seconds = free_seconds
        self._places = Shares(each or places, places=places)
        self._watched = watched

    @contextmanager
    def visit(
        self, visitor: Hashable, *, begun: float | None = None, stranger: bool = False
    ) -> Iterator[Callable[[threading.Event, float], bool]]:
        """One thread's wait, for the length of the block: ``wait(event, seconds)`` returns whether the event came.

        ``begun``: when that which is waited for began, by `time.monotonic`; now, if it is not given. ``stranger``: the request
        may be made up, and must not crowd others out.
        """
        arrived = time.monotonic()
        crowd_until = (arrived if begun is None else begun) + _CROWD_SECONDS if is_crowded(for_a_stranger=stranger) else inf
        if (stranger and crowd_until < inf) or crowd_until <= arrived:
            raise BulkheadFull
        free_until = arrived + self.free_seconds
        with self._watched(), ExitStack() as place:

            def wait(event: threading.Event, seconds: float) -> bool:
                nonlocal free_until, crowd_until
                until = time.monotonic() + seconds
                if until > crowd_until:
                    if _wait(event, crowd_until):
                        return True
                    if is_crowded():
                        raise BulkheadFull
                    crowd_until = inf
                if until > free_until:
                    if _wait(event, free_until):
                        return True
                    place.enter_context(self._places.place(visitor))
                    free_until = inf
                return _wait(event, until)

            yield wait


@dataclass(slots=True)
class _Flight(Generic[T]):
    """One call and its outcome. ``number``: as it was handed in."""

    number: int = 0
    landed: threading.Event = field(default_factory=threading.Event)
    begun: float = field(default_factory=time.monotonic)
    error: BaseException | None = None
    result: T | None = None


class SingleFlight(Generic[T]):
    """At most one call for a key at a time in this process. Without a ``room``, waiting is not bounded but by the deadline."""

    def __init__(self, room: WaitingRoom | None = None) -> None:
        self._room = room or WaitingRoom(sys.maxsize)
        self._lock = threading.Lock()
        self._flights: dict[Hashable, _Flight[T]] = {}

    def do(
        self,
        key: Hashable,
        call: Callable[[], T],
        deadline: Deadline,
        *,
        visitor: Hashable = None,
        stranger: bool = False,
        number: int = 0,
        since: int = 0,
    ) -> tuple[T, bool]:
        """What ``call`` returns or raises, and whether somebody else's call was shared.

        One that began at a ``number`` below ``since`` is not: it ends for those that wait for it by now, and a new one begins.

        Waits no longer than ``deadline``, then raises TimeoutError; BulkheadFull when too many wait, or too many for the
        ``visitor``, which is the key if none is named; ``stranger`` as in `WaitingRoom.visit`. A failure is shared too: those who
        waited do not make the call and fail one after the other.
        """
        with self._lock:
            flight = self._flights.get(key)
            if flight is not None and flight.number < since:
                flight = None
            if flight is None:
                ours = self._flights[key] = _Flight(number)
        if flight is not None:
            whose = key if visitor is None else visitor
            with self._room.visit(whose, begun=flight.begun, stranger=stranger) as wait:
                if not wait(flight.landed, deadline.remaining()):
                    raise TimeoutError
            return _outcome(flight), True
        try:
            result = ours.result = call()
        except BaseException as exc:
            ours.error = exc
            raise
        finally:
            # Before the others go on: whoever comes from here on would share the outcome of an older call.
            with self._lock:
                if self._flights.get(key) is ours:
                    del self._flights[key]
            ours.landed.set()
            del ours  # its error refers to this frame: the two would wait for the garbage collector
        return result, False


def _wait(event: threading.Event, until: float) -> bool:
    with released():
        return event.wait(max(0.0, until - time.monotonic()))


def _outcome(flight: _Flight[T]) -> T:
    if flight.error is None:
        return cast("T", flight.result)
    if isinstance(flight.error, Exception):
        # One exception object raised in many threads would grow one shared traceback.
        raise copy.copy(flight.error).with_traceback(None) from None
    raise TimeoutError  # the thread that made the call had to end (SystemExit); that is no outcome for the others
