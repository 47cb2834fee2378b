"""A circuit breaker: after enough failures no calls go out for a while, then exactly one, the probe, whose end decides.

    closed ──(too many failed)──▶ open ──(2 s, growing to 30 s)──▶ half open
       ▲                           ▲                                 │
       └── the probe succeeded ────┴───── the probe failed ──────────┘

Too many: five callers in a row, or three that were asked to come back later, or half of the recent calls. Callers are counted,
not calls: one person for whom the dependency fails again and again says nothing about the others, neither by their calls nor as
the probe.

Ours because pybreaker makes all calls wait for one another, and circuitbreaker and purgatory let every half-open call through.
"""

import random
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from typing import Literal

State = Literal["closed", "open", "half_open"]
Outcome = Literal["succeeded", "failed", "abandoned"]

_CALLERS_AT_MOST = 1_000  # whose failures are known; that many are no single person's trouble


class CircuitOpen(Exception):
    """No call goes out now; one may in ``retry_after`` seconds."""

    def __init__(self, retry_after: float) -> None:
        super().__init__("the circuit is open")
        self.retry_after = retry_after


class Permit:
    """Permission for one call. One of the three methods reports its end, once."""

    def __init__(self, end: Callable[[Outcome, float], None], *, probe: bool) -> None:
        self._end = end
        self.probe = probe

    def succeeded(self) -> None:
        """The dependency did its work, whatever it thought of our request."""
        self._end("succeeded", 0.0)

    def failed(self, retry_after: float | None = None) -> None:
        """The dependency failed; ``retry_after`` is for how many seconds it asked for no calls."""
        self._end("failed", retry_after or 0.0)

    def abandoned(self) -> None:
        """The call was not made, or its end says nothing about the dependency."""
        self._end("abandoned", 0.0)


@dataclass(frozen=True, slots=True)
class Rules:
    """When to open and for how long, in seconds."""

    failures_in_a_row: int = 5
    pauses_in_a_row: int = 3  # failures that named a time to come back
    failure_share: float = 0.5
    share_of_at_least: int = 20  # calls; a share of less than these says nothing
    window_seconds: float = 10.0
    open_seconds: float = 2.0
    open_at_most: float = 30.0
    probe_seconds: float = 10.0  # a probe that says nothing for so long counts as lost


@dataclass(slots=True)
class _Failures:
    """How many failed: a caller with a name once, those without a name each time."""

    count: int = 0
    pauses: int = 0
    callers: set[str] = field(default_factory=set)

    def add(self, whose: str | None, retry_after: float) -> bool:
        """Count a failure, and say whether it is the caller's first."""
        if whose in self.callers:
            return False
        if whose is not None and len(self.callers) < _CALLERS_AT_MOST:
            self.callers.add(whose)
        self.count += 1
        self.pauses += retry_after > 0
        return True


class CircuitBreaker:
    """Counts what its permits report. ``on_change(name, state)`` is called for each new state; ``clock`` is in seconds.

    ``whose`` is any text that tells callers apart; None for a call that is nobody's in particular.
    """

    def __init__(
        self,
        name: str,
        rules: Rules = Rules(),
        *,
        clock: Callable[[], float] = time.monotonic,
        chance: Callable[[], float] = random.random,
        on_change: Callable[[str, State], None] | None = None,
    ) -> None:
        self.name = name
        self._rules = rules
        self._clock = clock
        self._chance = chance
        self._on_change = on_change or (lambda _name, _state: None)
        # Reentrant, so that the listener may look at the breaker.
        self._lock = threading.RLock()
        self._state: State = "closed"
        # A report of a permit of an older era is about calls that have led to this state already.
        self._era = 0
        self._until = 0.0  # open: when a probe may go. Half open: when the probe counts as lost.
        self._again_at = 0.0  # half open: when a probe may go of a caller who is among the failed
        self._openings = 0  # since the last success, for the growing wait
        self._lengthened = False  # half open: for a caller who is among the failed the wait has grown already
        self._failed = _Failures()  # since the last success
        self._good = 0
        self._bad = _Failures()  # like `_good`, of the window
        self._window_ends = 0.0

    @property
    def state(self) -> State:
        """``half_open`` also when the wait is over and nobody has come to probe yet."""
        return "half_open" if self._state == "open" and self._clock() >= self._until else self._state

    def rest(self, whose: str | None = None) -> float:
        """For how many seconds `enter` would refuse this caller, 0 if it would not."""
        if self._state == "closed":
            return 0.0
        now = self._clock()
        left = self._until - now
        if self._state == "half_open":
            left = min(1.0, left)  # how long a probe takes nobody knows; a second is worth waiting for it
        if whose in self._failed.callers:
            left = max(left, self._again_at - now)
        return max(0.0, left)

    def enter(self, whose: str | None = None) -> Permit:
        """A permit for one call, or CircuitOpen."""
        with self._lock:
            probe = self._state != "closed"
            if probe:
                if seconds := self.rest(whose):
                    raise CircuitOpen(seconds)
                # Also when a probe never came back: its permit is of an older era from here on.
                self._change("half_open", until=self._clock() + self._rules.probe_seconds)
            return Permit(partial(self._record, self._era, whose), probe=probe)

    def _record(self, era: int, whose: str | None, outcome: Outcome, retry_after: float) -> None:
        """A permit of ``era`` reports how its call ended."""
        with self._lock:
            if era != self._era:
                return
            if outcome == "failed":
                self._count_failure(whose, retry_after)
            elif self._state == "closed":
                if outcome == "succeeded":
                    self._good += 1
                    self._failed = _Failures()
            elif outcome == "succeeded":
                self._openings, self._lengthened = 0, False
                self._failed = _Failures()
                self._change("closed", until=0.0)
            else:
                self._until = self._clock()  # the next caller may probe

    def _count_failure(self, whose: str | None, retry_after: float) -> None:
        now = self._clock()
        first = self._failed.add(whose, retry_after)
        if self._state == "closed" and not self._too_many(now, whose, retry_after):
            return
        known = self._state == "half_open" and not first
        if self._lengthened and not known:
            # A pause may end with two probes, of somebody known and of somebody else: the next one grows once for both.
            self._openings -= 1
        self._lengthened = known
        wait = self._next_wait(retry_after)
        if known:
            # That the dependency fails for this caller was known. Anybody else may probe at once.
            self._until, self._again_at = now, now + wait
        else:
            self._change("open", until=now + wait)

    def _too_many(self, now: float, whose: str | None, retry_after: float) -> bool:
        if now >= self._window_ends:
            self._good, self._bad, self._window_ends = 0, _Failures(), now + self._rules.window_seconds
        self._bad.add(whose, retry_after)
        calls = self._good + self._bad.count
        return (
            self._failed.count >= self._rules.failures_in_a_row
            or self._failed.pauses >= self._rules.pauses_in_a_row
            or (calls >= self._rules.share_of_at_least and self._bad.count >= calls * self._rules.failure_share)
        )

    def _next_wait(self, retry_after: float) -> float:
        """For how many seconds to open: longer each time, and no longer than was asked for."""
        wait = min(self._rules.open_at_most, self._rules.open_seconds * 2.0 ** min(self._openings, 16))
        self._openings += 1
        # Replicas that saw one outage begin together must not all probe together.
        wait *= 1 - 0.2 * self._chance()
        return min(wait, retry_after) if retry_after > 0 else wait

    def _change(self, state: State, *, until: float) -> None:
        changed = state != self._state
        self._state, self._until, self._again_at = state, until, 0.0
        self._era += 1
        self._good, self._bad, self._window_ends = 0, _Failures(), 0.0
        if changed:
            self._on_change(self.name, state)
