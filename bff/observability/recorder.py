"""What is reported of events: one protocol for all packages, and an implementation that does nothing."""

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Protocol


class Recorder(Protocol):
    """One method for each event. None of them takes anything of a user; `bff.observability.metrics.Metrics` counts them."""

    def answered(self, route: str, status: int, source: str, seconds: float) -> None:
        """A response was sent. ``route`` is the rule that matched, never the path; ``source`` is where its accounts came from."""

    def refused(self, code: str) -> None:
        """The response was an error with this code."""

    def upstream_called(self, operation: str, outcome: str, seconds: float) -> None:
        """A call to GenAuth ended, or was not made because of a circuit breaker or a bulkhead."""

    def upstream_retried(self, operation: str) -> None:
        """A call was made a second time."""

    def cache_failed(self, operation: str, reason: str) -> None:
        """A Redis operation failed. ``reason`` is ``breaker_open`` or the name of the exception's class."""

    def cache_rejected(self, reason: str) -> None:
        """A stored value was not trusted and treated as a miss."""

    def breaker_changed(self, name: str, state: str) -> None:
        """A circuit breaker of this worker changed its state."""

    def bulkhead_used(self, name: str, in_use: int) -> None:
        """This many calls are inside a bulkhead of this worker."""

    def waiting(self) -> AbstractContextManager[None]:
        """A request waits for another request's call to GenAuth, for the length of the block."""

    def leak_stopped(self, field: str) -> None:
        """The leak guard emptied a field. ``field`` is its path, without values."""

    def rate_limited(self, scope: str) -> None:
        """A request was over its ``user`` or ``address`` limit."""

    def log_lines_dropped(self, lines: int) -> None:
        """Log lines were dropped: stdout takes none, or too few."""


class NullRecorder:
    """Records nothing."""

    def answered(self, route: str, status: int, source: str, seconds: float) -> None:
        """Nothing."""

    def refused(self, code: str) -> None:
        """Nothing."""

    def upstream_called(self, operation: str, outcome: str, seconds: float) -> None:
        """Nothing."""

    def upstream_retried(self, operation: str) -> None:
        """Nothing."""

    def cache_failed(self, operation: str, reason: str) -> None:
        """Nothing."""

    def cache_rejected(self, reason: str) -> None:
        """Nothing."""

    def breaker_changed(self, name: str, state: str) -> None:
        """Nothing."""

    def bulkhead_used(self, name: str, in_use: int) -> None:
        """Nothing."""

    @contextmanager
    def waiting(self) -> Iterator[None]:
        """Nothing."""
        yield

    def leak_stopped(self, field: str) -> None:
        """Nothing."""

    def rate_limited(self, scope: str) -> None:
        """Nothing."""

    def log_lines_dropped(self, lines: int) -> None:
        """Nothing."""
