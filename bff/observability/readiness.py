"""How the services we lean on are doing, for readiness. Asked at most every few seconds, however often we are asked.

Whoever asks us does not wait for them: a probe that hangs with GenAuth would have every instance taken out, and GenAuth's
trouble would be everybody's.
"""

import threading
import time
from collections.abc import Callable, Mapping

_BELIEVED_SECONDS = 3.0
# Long enough for what is well to say so, short enough for any orchestrator's probe (Kubernetes gives it a second).
_PATIENCE_SECONDS = 0.3


class Readiness:
    """Named checks, each of which says whether its dependency answers right now; one that never has counts as down."""

    def __init__(self, checks: Mapping[str, Callable[[], bool]], clock: Callable[[], float] = time.monotonic) -> None:
        self._checks = checks
        self._clock = clock
        self._lock = threading.Lock()
        self._asked_at = float("-inf")
        self._checking: threading.Thread | None = None
        self._statuses = dict.fromkeys(checks, False)

    def statuses(self) -> dict[str, bool]:
        """Whether each dependency is up, as of a few seconds ago at most, or as it last was while one takes its time to say."""
        with self._lock:
            due = self._clock() - self._asked_at >= _BELIEVED_SECONDS
            if due and (self._checking is None or not self._checking.is_alive()):
                self._asked_at = self._clock()
                checking = threading.Thread(target=self._check, name="dependencies", daemon=True)
                checking.start()
                self._checking = checking
        if self._checking is not None:
            self._checking.join(_PATIENCE_SECONDS)
        return self._statuses

    def _check(self) -> None:
        self._statuses = {name: check() for name, check in self._checks.items()}
