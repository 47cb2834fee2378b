"""How the services we lean on are doing, for readiness. Asked at most every few seconds, however often we are asked."""

import threading
import time
from collections.abc import Callable, Mapping

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
        """Whether each dependency is up, as of a few seconds ago at most."""
        with self._lock:
            if self._clock() - self._asked_at >= _BELIEVED_SECONDS:
                self._statuses = {name: check() for name, check in self._checks.items()}
                self._asked_at = self._clock()
            return self._statuses
