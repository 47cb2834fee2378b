"""Evenly, not all at once: who comes in a crowd goes on one by one, some milliseconds apart (traffic shaping, a leaky bucket)."""

import threading
import time
from collections.abc import Callable


class Pace:
    """Keeps callers ``seconds`` apart, and lets them closer the more of them wait.

    At most ``crowd`` callers wait, none much longer than ``seconds * crowd / 2``; whoever comes beyond those goes on at once.
    Hence it limits no rate, and holds few threads however many come.
    """

    def __init__(
        self,
        seconds: float,
        crowd: int,
        *,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._seconds = seconds
        self._crowd = crowd
        self._clock = clock
        self._sleep = sleep
        self._lock = threading.Lock()
        self._next = clock()
        self._waiting = 0

    def keep(self) -> None:
        """Go on when it is time."""
        with self._lock:
            if self._waiting >= self._crowd:
                return
            now = self._clock()
            seconds = max(0.0, self._next - now)
            self._next = now + seconds + self._seconds * (1 - self._waiting / self._crowd)
            if not seconds:
                return
            self._waiting += 1
        self._sleep(seconds)
        with self._lock:
            self._waiting -= 1
