"""A dict for many threads that cannot grow beyond its size."""

import threading
from collections.abc import Hashable
from typing import Generic, TypeVar

K = TypeVar("K", bound=Hashable)
V = TypeVar("V")


class Memo(Generic[K, V]):
    """Remembers up to ``size`` values; the one not read for longest leaves first.

    It knows no clock: a value that ends at some time says so itself, and its reader looks.
    """

    def __init__(self, size: int) -> None:
        self._size = size
        self._values: dict[K, V] = {}
        self._lock = threading.Lock()

    def get(self, key: K) -> V | None:
        """The value, which thereby becomes the last to leave; None when there is none."""
        if key not in self._values:
            return None
        with self._lock:
            # A dict keeps the order of insertion: taken out and put back is moved to the end.
            value = self._values.pop(key, None)
            if value is not None:
                self._values[key] = value
            return value

    def put(self, key: K, value: V) -> None:
        """Remember the value, at the price of the one not read for longest."""
        with self._lock:
            self._values.pop(key, None)
            self._values[key] = value
            if len(self._values) > self._size:
                del self._values[next(iter(self._values))]

    def drop(self, key: K) -> None:
        """Forget the value, if there is one."""
        with self._lock:
            self._values.pop(key, None)

    def __len__(self) -> int:
        """How many values are remembered."""
        return len(self._values)
