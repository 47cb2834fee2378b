"""Bulkheads: a slow dependency may hold this many threads and no more, and one person's requests a few of them."""

import sys
import threading
from collections import Counter
from collections.abc import Callable, Hashable, Iterator
from contextlib import contextmanager

from bff.resilience.admission import is_crowded, released


class BulkheadFull(Exception):
    """Every place is taken, and none came free within the short wait."""


class Bulkhead:
    """At most ``places`` calls at once. ``wait_seconds`` evens out a burst, for at most ``line`` callers: it is no queue.

    ``on_use(in_use)`` is called at every arrival and departure.
    """

    def __init__(self, places: int, *, wait_seconds: float, line: int, on_use: Callable[[int], None]) -> None:
        self._places = places
        self._wait_seconds = wait_seconds
        self._line = line
        self._waiting = 0
        self._on_use = on_use
        self._in_use = 0
        self._changed = threading.Condition()

    @property
    def in_use(self) -> int:
        """How many calls are inside."""
        return self._in_use

    @property
    def full(self) -> bool:
        """Whether `place` would refuse at once."""
        return is_crowded(for_a_call=True) or (not self._is_free() and self._waiting >= self._line)

    @contextmanager
    def place(self) -> Iterator[None]:
        """One place for the length of the block, or BulkheadFull. Whoever waits for one holds no admission permit meanwhile."""
        if is_crowded(for_a_call=True):
            raise BulkheadFull
        entered = self._enter(wait=False)
        try:
            if not entered:
                with released():
                    entered = self._enter(wait=True)
            if not entered:
                raise BulkheadFull
            yield
        finally:
            if entered:
                with self._changed:
                    self._count(-1)
                    self._changed.notify()

    def _enter(self, *, wait: bool) -> bool:
        with self._changed:
            entered = self._is_free() or (wait and self._is_free_soon())
            if entered:
                self._count(1)
            return entered

    def _count(self, change: int) -> None:
        # Reported under the lock: of two reports out of order, the older number would stand.
        self._in_use += change
        self._on_use(self._in_use)

    def _is_free(self) -> bool:
        return self._in_use < self._places

    def _is_free_soon(self) -> bool:
        if self._waiting >= self._line:
            return False
        self._waiting += 1
        try:
            return self._changed.wait_for(self._is_free, self._wait_seconds)
        finally:
            self._waiting -= 1


class Shares:
    """Places of which one holder may have ``each`` at a time, so that nobody takes all of them. ``places``: how many in all."""

    def __init__(self, each: int, *, places: int = sys.maxsize) -> None:
        self._each = each
        self._places = places
        self._lock = threading.Lock()
        self._held: Counter[Hashable] = Counter()

    @contextmanager
    def place(self, holder: Hashable) -> Iterator[None]:
        """One place for the length of the block, or BulkheadFull at once."""
        with self._lock:
            if self._held[holder] >= self._each or self._held.total() >= self._places:
                raise BulkheadFull
            self._held[holder] += 1
        try:
            yield
        finally:
            with self._lock:
                self._held[holder] -= 1
                if not self._held[holder]:
                    del self._held[holder]
