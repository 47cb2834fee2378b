"""What operators can count.

Right over several workers when ``PROMETHEUS_MULTIPROC_DIR`` is set before this module is imported, as `bff.server.launch` does:
each worker then writes files of its own in that folder, and whichever is asked adds them up. A worker that can have no files, for
want of room or of the folder, counts for nobody: answers matter more.

A label takes its values from a fixed set and calls the rest "other", so no series grows with users (`metric_labels`).
"""

import os
from collections.abc import Iterator
from contextlib import AbstractContextManager, suppress
from pathlib import Path

import prometheus_client
import structlog
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, Metric, values
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.multiprocess import MultiProcessCollector, mark_process_dead
from prometheus_client.registry import Collector

from bff import __version__
from bff.observability import metric_labels as labels
from bff.observability.recorder import Recorder
from bff.resilience import memoised

log = structlog.get_logger()

CONTENT_TYPE = prometheus_client.CONTENT_TYPE_LATEST

# The files are mapped into memory, and a process that writes to a mapped page for which the disk has no room is killed. So from
# the beginning they are as long as they ever get, with room for the most series that `metric_labels` lets through.
_FILE_BYTES = {"counter": 256 * 1024, "histogram": 384 * 1024, "gauge_livesum": 64 * 1024}
_MOST_COUNTED = 600  # (route, status, source)
_MOST_TIMED = 80  # (route, source)
_SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.0, 3.0, 3.5, 5.0)


class Metrics(Recorder):
    """Counts what happened."""

    def __init__(self) -> None:
        prometheus_client.disable_created_metrics()  # type: ignore[no-untyped-call]
        _reserve_files()
        self._registry = CollectorRegistry()  # so that two applications in a process count apart
        self._build = self._info("build_info", "The version that runs.", "version", value=__version__)
        self._route = labels.route()
        self._is_counted = labels.first(_MOST_COUNTED)
        self._is_timed = labels.first(_MOST_TIMED)
        self._answers = self._counter("answers", "Responses to callers.", "route", "status", "source")
        self._answer_seconds = self._histogram("answer_seconds", "Time from request to response.", "route", "source")
        self._refusals = self._counter("refusals", "Error responses, by code and reason.", "code", "reason")
        self._calls = self._counter(
            "upstream_calls", "Calls to GenAuth, those that breaker or bulkhead prevented included.", "operation", "outcome"
        )
        self._call_seconds = self._histogram("upstream_seconds", "Time of a call to GenAuth.", "operation")
        self._retries = self._counter("upstream_retries", "Retries of a call to GenAuth.", "operation")
        self._records_left_out = self._counter("records_left_out", "Records of GenAuth's that could not be read.")
        self._cache_failures = self._counter("cache_failures", "Redis operations that failed.", "operation", "reason")
        self._cache_rejections = self._counter("cache_rejections", "Stored values that were not trusted.", "reason")
        self._breakers = self._gauge("breaker_workers", "Workers whose circuit breaker is in this state.", "name", "state")
        self._bulkheads = self._gauge("bulkhead_in_use", "Calls inside a bulkhead.", "name")
        self._waiting = self._gauge("waiting", "Requests that wait for another request's call to GenAuth.")
        self._leaks = self._counter("leaks_stopped", "Fields emptied because they held a secret.", "field")
        self._rate_limited = self._counter("rate_limited", "Requests over a rate limit.", "scope")
        self._changes = self._counter("changes", "Steps of linking, and unlinks, by how they ended.", "action", "result")
        self._webhook_events = self._counter("webhook_events", "GenAuth's events, by what came of them.", "event", "result")
        self._forgotten = self._counter("forgotten", "People of whom everything that was known was dropped.", "cause")
        self._events_added = self._counter("events_added", "Events that went into the stream.", "event")
        self._events_failed = self._counter("events_failed", "Events that Redis did not take.", "event")
        self._log_lines_dropped = self._counter("log_lines_dropped", "Log lines that could not be written.")
        self._series = memoised("answer_series")(self._series_of)

    def answered(self, route: str, status: int, source: str, seconds: float) -> None:
        count, timing = self._series(route, status, source)
        count.inc()
        timing.observe(seconds)

    def _series_of(self, route: str, status: int, source: str) -> tuple[Counter, Histogram]:
        route, source = self._route(route), labels.SOURCE(source)
        if not self._is_timed((route, source)) or not self._is_counted((route, status, source)):
            route = labels.OTHER
        return self._answers.labels(route, str(status), source), self._answer_seconds.labels(route, source)

    def refused(self, code: str, note: str) -> None:
        code, reason = labels.CODE(code), labels.REASON(note.replace(" ", "_"))
        self._refusals.labels(code, code if reason == labels.OTHER else reason).inc()

    def upstream_called(self, operation: str, outcome: str, seconds: float) -> None:
        operation = labels.OPERATION(operation)
        self._calls.labels(operation, labels.OUTCOME(outcome)).inc()
        self._call_seconds.labels(operation).observe(seconds)

    def upstream_retried(self, operation: str) -> None:
        self._retries.labels(labels.OPERATION(operation)).inc()

    def records_left_out(self, records: int) -> None:
        self._records_left_out.inc(records)

    def cache_failed(self, operation: str, reason: str) -> None:
        self._cache_failures.labels(labels.CACHE_OPERATION(operation), labels.CACHE_REASON(reason)).inc()

    def cache_rejected(self, reason: str) -> None:
        self._cache_rejections.labels(labels.REJECTION(reason)).inc()

    def breaker_changed(self, name: str, state: str) -> None:
        for each in labels.STATES:
            self._breakers.labels(labels.BREAKER(name), each).set(each == state)

    def bulkhead_used(self, name: str, in_use: int) -> None:
        self._bulkheads.labels(labels.BREAKER(name)).set(in_use)

    def waiting(self) -> AbstractContextManager[None]:
        return self._waiting.track_inprogress()

    def leak_stopped(self, field: str) -> None:
        self._leaks.labels(labels.field(field)).inc()

    def rate_limited(self, scope: str) -> None:
        self._rate_limited.labels(labels.SCOPE(scope)).inc()

    def changed(self, action: str, result: str) -> None:
        self._changes.labels(labels.ACTION(action), labels.RESULT(result)).inc()

    def webhook_received(self, event: str, result: str) -> None:
        self._webhook_events.labels(labels.WEBHOOK_EVENT(event), labels.WEBHOOK_RESULT(result)).inc()

    def forgotten(self, cause: str, people: int) -> None:
        self._forgotten.labels(labels.CAUSE(cause)).inc(people)

    def event_added(self, event: str) -> None:
        self._events_added.labels(labels.EVENT(event)).inc()

    def event_failed(self, event: str) -> None:
        self._events_failed.labels(labels.EVENT(event)).inc()

    def log_lines_dropped(self, lines: int) -> None:
        self._log_lines_dropped.inc(lines)

    def render(self) -> bytes:
        """Everything, over all workers, in the text format of `CONTENT_TYPE`."""
        folder = os.environ.get("PROMETHEUS_MULTIPROC_DIR")
        if folder is None:
            return prometheus_client.generate_latest(self._registry)
        all_workers = CollectorRegistry()
        all_workers.register(self._build)
        if Path(folder).is_dir():
            _remove_gauges_of_dead_workers(Path(folder))
            MultiProcessCollector(all_workers)  # type: ignore[no-untyped-call]
        return prometheus_client.generate_latest(all_workers)

    def _counter(self, name: str, help_: str, *labelnames: str) -> Counter:
        return Counter(f"linked_accounts_{name}", help_, labelnames, registry=self._registry)

    def _histogram(self, name: str, help_: str, *labelnames: str) -> Histogram:
        return Histogram(f"linked_accounts_{name}", help_, labelnames, registry=self._registry, buckets=_SECONDS)

    def _gauge(self, name: str, help_: str, *labelnames: str) -> Gauge:
        # Of the living only: what a dead worker had in use, nobody has in use.
        return Gauge(f"linked_accounts_{name}", help_, labelnames, registry=self._registry, multiprocess_mode="livesum")

    def _info(self, name: str, help_: str, labelname: str, *, value: str) -> Collector:
        info = _Info(f"linked_accounts_{name}", help_, labelname, value)
        self._registry.register(info)
        return info


class _Info(Collector):
    """A series that is always 1 and says something in its label; the same in every worker, so nobody writes it into a file."""

    def __init__(self, name: str, help_: str, labelname: str, value: str) -> None:
        self._family = GaugeMetricFamily(name, help_, labels=[labelname])
        self._family.add_metric([value], 1)

    def collect(self) -> Iterator[Metric]:
        yield self._family


def _reserve_files() -> None:
    """Make this process's files, or have it count in its own memory, which nobody asks."""
    if "PROMETHEUS_MULTIPROC_DIR" not in os.environ:
        return
    files = {Path(os.environ["PROMETHEUS_MULTIPROC_DIR"], f"{kind}_{os.getpid()}.db"): n for kind, n in _FILE_BYTES.items()}
    try:
        for file, size in files.items():
            if not file.exists():  # as of a process that had the same id
                file.write_bytes(bytes(size))
    except OSError as error:
        for file in files:
            with suppress(OSError):
                file.unlink()
        values.ValueClass = values.MutexValue
        log.warning("metrics_lost", reason=error.strerror, hint="this worker counts for nobody: it needs a megabyte in TMPDIR")


def _remove_gauges_of_dead_workers(folder: Path) -> None:
    """Their counters stay."""
    for file in folder.glob("gauge_live*_*.db"):
        pid = int(file.stem.rpartition("_")[2])
        if _has_ended(pid):
            with suppress(FileNotFoundError):  # another worker that was asked at the same moment did so first
                mark_process_dead(pid)  # type: ignore[no-untyped-call]


def _has_ended(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return True
    except PermissionError:
        pass
    return False
