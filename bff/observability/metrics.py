"""What operators can count. The only importer of prometheus-client.

Right over several workers when ``PROMETHEUS_MULTIPROC_DIR`` is set before this module is imported, as `bff.server.launch` does:
each worker then writes files of its own in that folder, and whichever is asked adds them up.

A label takes its values from a fixed set and calls the rest "other", so no series grows with users (`metric_labels`).

What happens with every request is added up in memory and told to prometheus-client some times a second: its writes into those
files would cost a sixth of what an answer from memory does. Whoever asks this worker hears of all; of another's, of what is older
than that.
"""

import os
import threading
from bisect import bisect_left
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from multiprocessing.util import Finalize
from pathlib import Path
from typing import Generic, TypeVar

import prometheus_client
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram
from prometheus_client.multiprocess import MultiProcessCollector, mark_process_dead

from bff.observability import metric_labels as labels

CONTENT_TYPE = prometheus_client.CONTENT_TYPE_LATEST

_SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.0, 3.0, 3.5, 5.0)
_LATEST_SECONDS = 0.1
M = TypeVar("M", Counter, Gauge, Histogram)


class _Family(Generic[M]):
    """A metric by its labels' values. Children are kept: prometheus-client's own look-up costs more than the counting."""

    def __init__(self, metric: M, *bounds: labels.Bound) -> None:
        self._metric: M = metric
        self._bounds = bounds
        self._children: dict[tuple[str, ...], M] = {}

    def __call__(self, *values: str) -> M:
        child = self._children.get(values)
        if child is None:
            bounded = tuple(bound(value) for bound, value in zip(self._bounds, values, strict=True))
            child = self._metric.labels(*bounded)
            if bounded == values:  # what becomes "other" has no end and is not kept
                self._children[values] = child
        return child


class _Untold:
    """What happens with every request, until it is told. For many threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._tallies: defaultdict[tuple[_Timed, tuple[str, ...]], _Tally] = defaultdict(_Tally)
        self._levels: dict[tuple[_Family[Gauge], str], float] = {}
        self._soon = False

    def took(self, seconds: float, timed: "_Timed", *values: str) -> None:
        """One more, which took so long."""
        with self._lock:
            tally = self._tallies[timed, values]
            tally.seconds += seconds
            tally.within[bisect_left(_SECONDS, seconds)] += 1
        self._tell_soon()

    def stands_at(self, level: float, gauge: _Family[Gauge], value: str) -> None:
        """This much now, whatever it was a moment ago."""
        with self._lock:
            self._levels[gauge, value] = level
        self._tell_soon()

    def _tell_soon(self) -> None:
        if self._soon:
            return
        self._soon = True
        timer = threading.Timer(_LATEST_SECONDS, self.tell)
        timer.daemon = True
        try:
            timer.start()
        except RuntimeError:  # no more threads to be had, or the end is near
            self.tell()

    def tell(self) -> None:
        """Tell now."""
        self._soon = False  # first: what comes from here on asks anew
        with self._lock:
            tallies, self._tallies = self._tallies, defaultdict(_Tally)
            levels, self._levels = self._levels, {}
            # Under the lock: of two that were told out of order, the older level would stand.
            for (gauge, value), level in levels.items():
                gauge(value).set(level)
        for (timed, values), tally in tallies.items():
            timed.number(*values).inc(sum(tally.within))
            histogram = timed.seconds(*(values[at] for at in timed.by))
            # prometheus-client has no way to observe several at once.
            histogram._sum.inc(tally.seconds)  # noqa: SLF001
            for bucket, number in zip(histogram._buckets, tally.within, strict=True):  # noqa: SLF001
                if number:
                    bucket.inc(number)


class _Timed:
    """Something that is counted by all of its labels' values, and timed ``by`` some of them (their places)."""

    def __init__(self, number: _Family[Counter], seconds: _Family[Histogram], *by: int) -> None:
        self.number = number
        self.seconds = seconds
        self.by = by


class _Tally:
    """Those of one kind: their seconds in all, and how many were ``within`` each bound, those above the last at the end."""

    __slots__ = ("seconds", "within")

    def __init__(self) -> None:
        self.seconds = 0.0
        self.within = [0] * (len(_SECONDS) + 1)


class Metrics:
    """Counts what happened. Every method is named for the event; none of them takes anything of a user."""

    def __init__(self, registry: CollectorRegistry | None = None) -> None:
        """``registry`` is an own one by default, so that two applications in a process do not meet."""
        prometheus_client.disable_created_metrics()  # type: ignore[no-untyped-call]
        self._registry = registry or CollectorRegistry()
        self._untold = _Untold()
        # A worker ends as multiprocessing's children do: without the hooks of atexit.
        Finalize(self, self._untold.tell, exitpriority=1)
        answers = _Family(
            self._counter("answers", "Answers to callers.", "route", "status", "source"),
            labels.route(), labels.status, labels.SOURCE,
        )  # fmt: skip
        answer_seconds = _Family(
            self._histogram("answer_seconds", "Time from request to answer.", "route", "source"), labels.route(), labels.SOURCE
        )
        self._answers = _Timed(answers, answer_seconds, 0, 2)
        self._refused = _Family(self._counter("refusals", "Answers that were errors, by code.", "code"), labels.code)
        calls = _Family(
            self._counter("upstream_calls", "Calls to GenAuth, those left unmade included.", "operation", "outcome"),
            labels.OPERATION, labels.OUTCOME,
        )  # fmt: skip
        call_seconds = _Family(self._histogram("upstream_seconds", "Time of a call to GenAuth.", "operation"), labels.OPERATION)
        self._calls = _Timed(calls, call_seconds, 0)
        self._upstream_retries = _Family(
            self._counter("upstream_retries", "Second tries of a call to GenAuth.", "operation"), labels.OPERATION
        )
        self._cache_failures = _Family(
            self._counter("cache_failures", "Operations that Redis did not do.", "operation", "reason"),
            labels.CACHE_OPERATION, labels.CACHE_REASON,
        )  # fmt: skip
        self._cache_rejections = _Family(
            self._counter("cache_rejections", "Stored values that were not believed.", "reason"), labels.REJECTION
        )
        self._breakers = _Family(
            self._gauge("breaker_workers", "Workers whose breaker is in this state.", "name", "state"),
            labels.BREAKER, labels.STATE,
        )  # fmt: skip
        self._bulkheads = _Family(self._gauge("bulkhead_in_use", "Calls inside a bulkhead.", "name"), labels.BREAKER)
        self._waiting = self._gauge("waiting", "Callers that wait for somebody else's call to GenAuth.")
        self._leaks = _Family(self._counter("leaks_stopped", "Fields emptied because they held a secret.", "field"), labels.field)
        self._rate_limits = _Family(self._counter("rate_limited", "Requests over a rate limit.", "scope"), labels.SCOPE)

    def answered(self, route: str, status: int, source: str, seconds: float) -> None:
        """An answer went out. ``route`` is the rule that matched, never the path; ``source`` is where its accounts came from."""
        self._untold.took(seconds, self._answers, route, str(status), source)

    def refused(self, code: str) -> None:
        """The answer was an error with this code."""
        self._refused(code).inc()

    def upstream_called(self, operation: str, outcome: str, seconds: float) -> None:
        """A call to GenAuth ended, or was not made because of a breaker or a bulkhead."""
        self._untold.took(seconds, self._calls, operation, outcome)

    def upstream_retried(self, operation: str) -> None:
        """A second try was made."""
        self._upstream_retries(operation).inc()

    def cache_failed(self, operation: str, reason: str) -> None:
        """Redis did not do an operation. ``reason`` is ``breaker_open`` or the name of the exception's class."""
        self._cache_failures(operation, reason).inc()

    def cache_rejected(self, reason: str) -> None:
        """A stored value was not believed and treated as a miss."""
        self._cache_rejections(reason).inc()

    def breaker_changed(self, name: str, state: str) -> None:
        """A breaker of this worker turned. One that never turned is closed and not told."""
        for each in labels.STATES:
            self._breakers(name, each).set(each == state)

    def bulkhead_used(self, name: str, in_use: int) -> None:
        """This many calls are inside a bulkhead of this worker."""
        self._untold.stands_at(in_use, self._bulkheads, name)

    @contextmanager
    def waiting(self, callers: int = 1) -> Iterator[None]:
        """Callers wait for somebody else's call, for the length of the block."""
        self._waiting.inc(callers)
        try:
            yield
        finally:
            self._waiting.dec(callers)

    def leak_stopped(self, field: str) -> None:
        """The leak guard emptied a field. ``field`` is its path as `bff.accounts.leak_guard` tells it."""
        self._leaks(field).inc()

    def rate_limited(self, scope: str) -> None:
        """A request was over its ``user`` or ``address`` limit."""
        self._rate_limits(scope).inc()

    def render(self) -> bytes:
        """Everything, over all workers, in the text format of `CONTENT_TYPE`."""
        self._untold.tell()
        folder = os.environ.get("PROMETHEUS_MULTIPROC_DIR")
        if folder is None:
            return prometheus_client.generate_latest(self._registry)
        for pid in _dead_workers(Path(folder)):
            mark_worker_dead(pid)
        everyone = CollectorRegistry()
        MultiProcessCollector(everyone)  # type: ignore[no-untyped-call]
        return prometheus_client.generate_latest(everyone)

    def _counter(self, name: str, help_: str, *labelnames: str) -> Counter:
        return Counter(f"linked_accounts_{name}", help_, labelnames, registry=self._registry)

    def _histogram(self, name: str, help_: str, *labelnames: str) -> Histogram:
        return Histogram(f"linked_accounts_{name}", help_, labelnames, registry=self._registry, buckets=_SECONDS)

    def _gauge(self, name: str, help_: str, *labelnames: str) -> Gauge:
        # Of the living only: what a dead worker had in use, nobody has in use.
        return Gauge(f"linked_accounts_{name}", help_, labelnames, registry=self._registry, multiprocess_mode="livesum")


def mark_worker_dead(pid: int) -> None:
    """Forget what a worker was doing; what it did stays counted."""
    with suppress(FileNotFoundError):  # another worker, asked at the same moment, was quicker
        mark_process_dead(pid)  # type: ignore[no-untyped-call]


def _dead_workers(folder: Path) -> Iterator[int]:
    for file in folder.glob("gauge_live*_*.db"):
        pid = int(file.stem.rpartition("_")[2])
        try:
            os.kill(pid, 0)
        except ProcessLookupError:
            yield pid
        except PermissionError:
            pass
