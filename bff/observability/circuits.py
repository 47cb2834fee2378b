"""A line when a circuit breaker opens, and one when it closes again."""

import time
from collections.abc import Callable

import structlog

from bff.observability.recorder import Recorder

log = structlog.get_logger()


def circuit_log(recorder: Recorder, monotonic: Callable[[], float] = time.monotonic) -> Callable[[str, str], None]:
    """One breaker's ``on_change``: every change of its state is counted, and the two that operators care about are logged.

    A probe that fails opens the circuit again, every few seconds while a dependency is away: that is no news.
    """
    opened_at: float | None = None

    def changed(name: str, state: str) -> None:
        nonlocal opened_at
        recorder.breaker_changed(name, state)
        if state == "open" and opened_at is None:
            opened_at = monotonic()
            log.warning("circuit_opened", name=name)
        elif state == "closed" and opened_at is not None:
            log.info("circuit_closed", name=name, seconds=round(monotonic() - opened_at, 1))
            opened_at = None

    return changed
