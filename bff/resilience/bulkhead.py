"""A bulkhead: a slow dependency may hold this many threads and no more."""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from math import inf


class BulkheadFull(Exception):
    """Every place is taken, and none came free within the short wait."""


class Bulkhead:
    """At most ``places`` calls at once. ``wait_seconds`` evens out a burst, for at most ``line`` callers: it is no queue.

    ``on_use(name, in_use)`` hears of every arrival and departure.
    """

    def __init__(
        self,
        name: str,
        places: int,
        *,
        wait_seconds: float = 0.05,
        line: float = inf,
        on_use: Callable[[str, int], None] | None = None,
    ) -> None:
        if places < 1:
            raise ValueError("a bulkhead needs at least one place")
        self.name = name
        self._places = places
        self._wait_seconds = wait_seconds
        self._line = line
        self._waiting = 0
        self._on_use = on_use or (lambda _name, _in_use: None)
        self._in_use = 0
        self._lock = threading.Lock()
        self._free = threading.Condition(self._lock)

    @property
    def in_use(self) -> int:
        """How many calls are inside."""
        return self._in_use

    @property
    def full(self) -> bool:
        """Whether `place` would refuse at once."""
        return not self._free_now() and self._waiting >= self._line

    @contextmanager
    def place(self) -> Iterator[None]:
        """One place for the length of the block, or BulkheadFull."""
        self.enter()
        try:
            yield
        finally:
            self.leave()

    def enter_now(self) -> bool:
        """Take a place if one is free: whether one was. Whoever has one is to `leave`."""
        with self._lock:
            if free := self._free_now():
                self._count(1)
            return free

    def enter(self) -> None:
        """Take a place, after a short wait if need be, or raise BulkheadFull."""
        with self._lock:
            if not self._free_now() and not self._free_soon():
                raise BulkheadFull
            self._count(1)

    def leave(self) -> None:
        """Give a place back."""
        with self._lock:
            self._count(-1)
            if self._waiting:
                self._free.notify()

    def _count(self, change: int) -> None:
        # Reported under the lock: of two reports out of order, the older number would stand.
        self._in_use += change
        self._on_use(self.name, self._in_use)

    def _free_now(self) -> bool:
        return self._in_use < self._places

    def _free_soon(self) -> bool:
        if self._waiting >= self._line:
            return False
        self._waiting += 1
        try:
            return self._free.wait_for(self._free_now, self._wait_seconds)
        finally:
            self._waiting -= 1
