"""What is reported of events. `Recorder` ignores them; `bff.observability.metrics.Metrics` counts them."""

from contextlib import AbstractContextManager, nullcontext


class Recorder:
    """One method for each event. None of them takes anything of a user."""

    def answered(self, route: str, status: int, source: str, seconds: float) -> None:
        """A response was sent. ``route`` is the rule that matched, never the path; ``source`` is where its accounts came from."""

    def refused(self, code: str, note: str) -> None:
        """The response was an error with this code; ``note`` is ours, and may say more."""

    def upstream_called(self, operation: str, outcome: str, seconds: float) -> None:
        """A call to GenAuth ended, or was not made because of a circuit breaker or a bulkhead."""

    def upstream_retried(self, operation: str) -> None:
        """A call was made a second time."""

    def records_left_out(self, records: int) -> None:
        """So many records of a response of GenAuth could not be read; the others are served."""

    def cache_failed(self, operation: str, reason: str) -> None:
        """A Redis operation failed. ``reason`` is ``breaker_open`` or a word of `bff.cache.redis_errors`."""

    def cache_rejected(self, reason: str) -> None:
        """A stored value was not trusted and treated as a miss."""

    def breaker_changed(self, name: str, state: str) -> None:
        """A circuit breaker of this worker changed its state."""

    def bulkhead_used(self, name: str, in_use: int) -> None:
        """This many calls are inside a bulkhead of this worker."""

    def waiting(self) -> AbstractContextManager[None]:
        """A request waits for another request's call to GenAuth, for the length of the block."""
        return nullcontext()

    def leak_stopped(self, field: str) -> None:
        """The leak guard emptied a field. ``field`` is its path as `bff.accounts.leak_guard` gives it."""

    def rate_limited(self, scope: str) -> None:
        """A request was over its ``user``, ``change``, ``address`` or ``network`` limit."""

    def changed(self, action: str, result: str) -> None:
        """A step of a link, or an unlink, ended so; both are words of `bff.observability.audit`."""

    def webhook_received(self, event: str, result: str) -> None:
        """An event of GenAuth's was read, or could not be. ``event`` is its name, or ``test``."""

    def forgotten(self, cause: str, people: int) -> None:
        """What was known of so many people was dropped, everywhere."""

    def event_added(self, event: str) -> None:
        """An event of that name went into the stream."""

    def event_failed(self, event: str) -> None:
        """Redis did not take an event; whoever asked for the change learns that."""

    def log_lines_dropped(self, lines: int) -> None:
        """Log lines were dropped: stdout takes none, or too few."""
