"""Whether the services that we depend on answer, for the readiness probe. Checked every few seconds at most.

A probe does not wait for a check that hangs: otherwise a GenAuth that hangs would have every instance taken out of service. Of
many probes one waits, if only for a moment: the others would hold threads that requests need.
"""

import threading
import time
from collections.abc import Callable, Mapping

_VALID_SECONDS = 3.0
# Long enough for a healthy service to answer, short enough for any orchestrator's probe (Kubernetes waits one second).
_WAIT_SECONDS = 0.3


class Readiness:
    """Named checks, each of which returns whether its service answers right now; one that has not returned yet counts as down."""

    def __init__(
        self,
        checks: Mapping[str, Callable[[], bool]],
        clock: Callable[[], float] = time.monotonic,
        *,
        wait_seconds: float = _WAIT_SECONDS,
    ) -> None:
        """``wait_seconds``: for how long the probe that begins a check waits for its result."""
        self._wait_seconds = wait_seconds
        self._checks = checks
        self._clock = clock
        self._lock = threading.Lock()
        self._checked_at = float("-inf")
        self._checking: threading.Thread | None = None
        self._statuses = dict.fromkeys(checks, False)

    def statuses(self) -> dict[str, bool]:
        """Whether each service is up, a few seconds old at most, or the last result while a check takes long."""
        begun = None
        with self._lock:
            due = self._clock() - self._checked_at >= _VALID_SECONDS
            if due and (self._checking is None or not self._checking.is_alive()):
                self._checked_at = self._clock()
                begun = self._checking = threading.Thread(target=self.check, name="dependencies", daemon=True)
                begun.start()
        if begun is not None:
            begun.join(self._wait_seconds)
        return self._statuses

    def check(self) -> None:
        """Call every check now, however long they take."""
        self._statuses = {name: check() for name, check in self._checks.items()}
