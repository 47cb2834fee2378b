"""How the services we lean on are doing, for readiness. Asked at most every few seconds, however often we are asked."""

import threading
import time
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor

_BELIEVED_SECONDS = 3.0


class Dependencies:
    """Named checks, each of which says whether its dependency answers right now."""

    def __init__(self, checks: Mapping[str, Callable[[], bool]], clock: Callable[[], float] = time.monotonic) -> None:
        self._checks = checks
        self._clock = clock
        self._lock = threading.Lock()
        self._asked_at = float("-inf")
        self._statuses: dict[str, bool] = {}

    def statuses(self) -> dict[str, bool]:
        """Whether each dependency is up, as of a few seconds ago at most, or of the time before while somebody else asks.

        Takes as long as the slowest check.
        """
        if not self._lock.acquire(blocking=not self._statuses):
            return self._statuses
        try:
            if self._clock() - self._asked_at >= _BELIEVED_SECONDS:
                with ThreadPoolExecutor(len(self._checks), "readiness") as pool:
                    self._statuses = dict(zip(self._checks, pool.map(lambda check: check(), self._checks.values()), strict=True))
                self._asked_at = self._clock()
            return self._statuses
        finally:
            self._lock.release()
