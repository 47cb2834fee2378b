"""A circuit breaker: after enough failures no calls go out for a while, then exactly one, the probe, whose end decides.

    closed ──(5 failures in a row, or half of the recent calls)──▶ open ──(2 s, growing to 30 s)──▶ half open
       ▲                                                            ▲                                 │
       └───────────────── the probe succeeded ──────────────────────┴───── the probe failed ──────────┘

Ours because pybreaker makes all calls wait for one another, and circuitbreaker and purgatory let every half-open call through.
"""

import random
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Literal

State = Literal["closed", "open", "half_open"]
Outcome = Literal["succeeded", "failed", "abandoned"]


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
    failure_share: float = 0.5
    share_of_at_least: int = 20  # calls; a share of less than these says nothing
    window_seconds: float = 10.0
    open_seconds: float = 2.0
    open_at_most: float = 30.0
    retry_after_at_most: float = 60.0
    probe_seconds: float = 10.0  # a probe that says nothing for so long counts as lost


class CircuitBreaker:
    """Counts what its permits report. ``on_change(name, state)`` is called for each new state; ``clock`` is in seconds."""

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
        self._openings = 0  # since the last success, for the growing wait
        self._in_a_row = 0
        self._good = self._bad = 0
        self._window_ends = 0.0

    @property
    def state(self) -> State:
        """``half_open`` also when the wait is over and nobody has come to probe yet."""
        return "half_open" if self._state == "open" and self._clock() >= self._until else self._state

    @property
    def rest(self) -> float:
        """For how many seconds `enter` would refuse, 0 if it would not."""
        left = max(0.0, self._until - self._clock()) if self._state != "closed" else 0.0
        # How long a probe takes nobody knows; a second is worth waiting for it.
        return left if self._state == "open" else min(1.0, left)

    def enter(self) -> Permit:
        """A permit for one call, or CircuitOpen."""
        with self._lock:
            probe = self._state != "closed"
            if probe:
                now = self._clock()
                if now < self._until:
                    raise CircuitOpen(self.rest)
                # Also when a probe never came back: its permit is of an older era from here on.
                self._change("half_open", until=now + self._rules.probe_seconds)
            return Permit(partial(self._record, self._era), probe=probe)

    def _record(self, era: int, outcome: Outcome, retry_after: float) -> None:
        """A permit of ``era`` reports how its call ended."""
        with self._lock:
            if era != self._era:
                return
            if outcome == "failed":
                self._count_failure(retry_after)
            elif self._state == "closed":
                if outcome == "succeeded":
                    self._good += 1
                    self._in_a_row = 0
            elif outcome == "succeeded":
                self._openings = 0
                self._change("closed", until=0.0)
            else:
                self._until = self._clock()  # the next caller may probe

    def _count_failure(self, retry_after: float) -> None:
        now = self._clock()
        if retry_after > 0:
            self._change("open", until=now + min(retry_after, self._rules.retry_after_at_most))
        elif self._state == "half_open" or self._too_many(now):
            wait = min(self._rules.open_at_most, self._rules.open_seconds * 2.0 ** min(self._openings, 16))
            self._openings += 1
            # Replicas that saw one outage begin together must not all probe together.
            self._change("open", until=now + wait * (1 - 0.2 * self._chance()))

    def _too_many(self, now: float) -> bool:
        if now >= self._window_ends:
            self._good, self._bad, self._window_ends = 0, 0, now + self._rules.window_seconds
        self._bad += 1
        self._in_a_row += 1
        calls = self._good + self._bad
        return self._in_a_row >= self._rules.failures_in_a_row or (
            calls >= self._rules.share_of_at_least and self._bad >= calls * self._rules.failure_share
        )

    def _change(self, state: State, *, until: float) -> None:
        changed = state != self._state
        self._state, self._until = state, until
        self._era += 1
        self._in_a_row = self._good = self._bad = 0
        self._window_ends = 0.0
        if changed:
            self._on_change(self.name, state)
