"""One caller goes, the others wait for what it brings.

Ours, because flask-caching has no stampede lock and functools' caches do not wait on one another. This is the half inside one
process; `lease` is the half between processes.
"""

import copy
import threading
from collections.abc import Callable, Hashable
from concurrent.futures import Future
from concurrent.futures import TimeoutError as FutureTimeoutError
from typing import Generic, TypeVar

from bff.deadline import Deadline

T = TypeVar("T")


class SingleFlight(Generic[T]):
    """At most one call for a key at a time in this process."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._flights: dict[Hashable, Future[T]] = {}

    def do(self, key: Hashable, call: Callable[[], T], deadline: Deadline) -> tuple[T, bool]:
        """What ``call`` returns or raises, and whether somebody else's call was shared.

        Waits no longer than ``deadline``, then raises TimeoutError. A failure is shared too: those who waited do not go and
        fail one after the other.
        """
        with self._lock:
            flight = self._flights.get(key)
            if leading := flight is None:
                flight = self._flights[key] = Future()
        if not leading:
            return self._wait(flight, deadline), True
        try:
            result = call()
        except BaseException as exc:
            flight.set_exception(exc)
            raise
        else:
            flight.set_result(result)
            return result, False
        finally:
            with self._lock:
                del self._flights[key]

    @staticmethod
    def _wait(flight: "Future[T]", deadline: Deadline) -> T:
        try:
            return flight.result(timeout=deadline.remaining())
        except FutureTimeoutError:
            raise
        except Exception as exc:  # noqa: BLE001 - whatever it is, it is raised again
            # One exception object raised in many threads would grow one shared traceback.
            raise copy.copy(exc).with_traceback(None) from None
