"""Whether the services that we depend on do their work, for the readiness probe. Checked every few seconds at most.

A probe does not wait for a check that hangs: otherwise a GenAuth that hangs would have every instance taken out of service. Of
many probes one waits, if only for a moment: the others would hold threads that requests need.
"""

import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Literal

_VALID_SECONDS = 3.0
# Long enough for a healthy service to answer, short enough for any orchestrator's probe (Kubernetes waits one second).
_WAIT_SECONDS = 0.3
_FIRST_WAIT_SECONDS = 0.8


@dataclass(frozen=True, slots=True)
class Reason:
    """Why a dependency is not up; ``word`` is one of a few fixed ones.

    ``down`` is one that did its work and is away, or that answers go on without; ``misconfigured`` one that never did its work or
    refuses us, so that nobody can be answered; ``starting`` one whose first check has not ended.
    """

    word: str
    kind: Literal["starting", "down", "misconfigured"] = "down"


@dataclass(frozen=True, slots=True)
class Status:
    """How a dependency was last seen. ``since``: when it was first seen so, up or not, in epoch seconds."""

    reason: Reason | None
    since: float

    @property
    def up(self) -> bool:
        """Whether it does its work."""
        return self.reason is None

    @property
    def blocking(self) -> bool:
        """Whether no request should be sent here."""
        return self.reason is not None and self.reason.kind != "down"


class Readiness:
    """Named checks, each of which returns what is wrong with its dependency right now, or None."""

    def __init__(
        self,
        checks: Mapping[str, Callable[[], Reason | None]],
        monotonic: Callable[[], float] = time.monotonic,
        *,
        clock: Callable[[], float] = time.time,
        wait_seconds: float = _WAIT_SECONDS,
        first_wait_seconds: float = _FIRST_WAIT_SECONDS,
    ) -> None:
        """``wait_seconds``: for how long the probe that begins a check waits for it; the first has nothing else to tell."""
        self._wait_seconds = first_wait_seconds
        self._later_wait_seconds = wait_seconds
        self._checks = checks
        self._monotonic = monotonic
        self._clock = clock
        self._lock = threading.Lock()
        self._checked_at = float("-inf")
        self._checking: threading.Thread | None = None
        self._statuses = dict.fromkeys(checks, Status(Reason("starting", "starting"), clock()))

    def statuses(self) -> dict[str, Status]:
        """The status of each dependency, a few seconds old at most, or the last one while a check takes long."""
        begun = None
        with self._lock:
            due = self._monotonic() - self._checked_at >= _VALID_SECONDS
            if due and (self._checking is None or not self._checking.is_alive()):
                self._checked_at = self._monotonic()
                begun = self._checking = threading.Thread(target=self.check, name="dependencies", daemon=True)
                try:
                    begun.start()
                except RuntimeError:
                    begun = None  # no thread is to be had: the last result stays
        if begun is not None:
            begun.join(self._wait_seconds)
            self._wait_seconds = self._later_wait_seconds
        return dict(self._statuses)

    def check(self) -> None:
        """Call every check now, however long they take."""
        for name, check in self._checks.items():
            reason, last = check(), self._statuses[name]
            since = last.since if last.up == (reason is None) else self._clock()
            self._statuses[name] = Status(reason, since)
