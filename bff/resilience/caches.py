"""A dict for many threads that cannot grow beyond its size."""

import threading
from collections import OrderedDict
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
        # A plain dict, whose order would do, looks past all that ever left it since it last grew to find who leaves next.
        self._values: OrderedDict[K, V] = OrderedDict()
        self._lock = threading.Lock()

    def get(self, key: K) -> V | None:
        """The value, which thereby becomes the last to leave; None when there is none. Takes no lock."""
        value = self._values.get(key)
        if value is not None:
            try:  # noqa: SIM105 - `suppress` costs twice as much as all the rest
                self._values.move_to_end(key)
            except KeyError:
                pass  # it has left just now
        return value

    def put(self, key: K, value: V) -> tuple[K, V] | None:
        """Remember the value, at the price of the one not read for longest, which is handed out with its key."""
        with self._lock:
            self._values[key] = value
            self._values.move_to_end(key)
            return self._values.popitem(last=False) if len(self._values) > self._size else None

    def drop(self, key: K) -> None:
        """Forget the value, if there is one."""
        with self._lock:
            self._values.pop(key, None)

    def __len__(self) -> int:
        """How many values are remembered."""
        return len(self._values)
