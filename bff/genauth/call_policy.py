"""How often and how many at once GenAuth is asked: a lane per kind of question, and a budget for second tries."""

import math
import threading
from collections.abc import Iterator
from contextlib import contextmanager

from bff.errors import BffError, InternalError, UpstreamFailure, UpstreamTimeout, UpstreamUnavailable
from bff.genauth.envelope import UnreadableData
from bff.observability import Recorder
from bff.resilience import Bulkhead, BulkheadFull, CircuitBreaker, CircuitOpen, Permit, waiting

# A call that was left less time than this and did not make it says more about us than about GenAuth.
FAIR_SECONDS = 0.25


class CallNotMade(UpstreamUnavailable):
    """GenAuth was not asked: it failed often enough, or asked for a pause."""


class NoPlace(UpstreamUnavailable):
    """GenAuth was not asked: as many are waiting for it as may."""


class Attempt:
    """One call in a lane. ``wait`` is what GenAuth's answer asked for, in seconds, if it did."""

    __slots__ = ("probe", "wait")

    def __init__(self, *, probe: bool) -> None:
        self.probe = probe
        self.wait: float | None = None


class CallPolicy:
    """One kind of question, with a breaker and a bulkhead of its own: one kind that hangs does not hold up the others."""

    def __init__(self, name: str, places: int, metrics: Recorder) -> None:
        self.breaker = CircuitBreaker(f"genauth-{name}", on_change=metrics.breaker_changed)
        # A crowd that GenAuth would serve within moments is not turned away; when it hangs, few wait and they find out soon.
        self.bulkhead = Bulkhead(
            f"genauth-{name}", places, wait_seconds=0.25, line=max(1, places // 2), on_use=metrics.bulkhead_used
        )

    @property
    def ready(self) -> bool:
        """Whether `heed` would raise nothing."""
        return not self.breaker.rest and not self.bulkhead.full

    def heed(self) -> None:
        """Raise CallNotMade or NoPlace if `attempt` would, without waiting; for whoever would do something costly first."""
        if rest := self.breaker.rest:
            raise _left_alone(rest)
        if self.bulkhead.full:
            raise _no_place()

    @contextmanager
    def attempt(self, seconds: float) -> Iterator[Attempt]:
        """Room for one call of so many seconds, or CallNotMade, or NoPlace. The circuit breaker hears how the block ends."""
        permit = self._permit()
        attempt = Attempt(probe=permit.probe)
        try:
            if not self.bulkhead.enter_now():
                with waiting():
                    self.bulkhead.enter()
            try:
                yield attempt
            finally:
                self.bulkhead.leave()
        except BulkheadFull:
            permit.abandoned()
            raise _no_place() from None
        except BffError as error:
            if _says_nothing(error, seconds):
                permit.abandoned()
            elif _is_failure(error):
                permit.failed(attempt.wait)
            else:
                permit.succeeded()
            raise
        except BaseException:
            permit.abandoned()
            raise
        else:
            permit.succeeded()

    def _permit(self) -> Permit:
        try:
            return self.breaker.enter()
        except CircuitOpen as refused:
            raise _left_alone(refused.retry_after) from None


def _left_alone(seconds: float) -> CallNotMade:
    return CallNotMade(note="circuit open", retry_after=math.ceil(seconds))


def _no_place() -> NoPlace:
    return NoPlace(note="bulkhead full", retry_after=1)


def _says_nothing(error: BffError, seconds: float) -> bool:
    return isinstance(error, InternalError) or (isinstance(error, UpstreamTimeout) and seconds < FAIR_SECONDS)


def _is_failure(error: BffError) -> bool:
    # A refused token and a blocked user are GenAuth at work. So is a success whose data cannot be read: one person's profile
    # must not be able to shut the door for everyone.
    return isinstance(error, UpstreamFailure) and not isinstance(error, UnreadableData)


class RetryBudget:
    """Second tries for at most a tenth of the calls, and a few for quiet times: a failing GenAuth gets 1.1 times the load."""

    def __init__(self, share: float = 0.1, reserve: float = 5.0) -> None:
        self._share = share
        self._reserve = self._tokens = reserve
        self._lock = threading.Lock()

    def deposit(self) -> None:
        """A call was made."""
        with self._lock:
            self._tokens = min(self._reserve, self._tokens + self._share)

    def withdraw(self) -> bool:
        """Whether a second try may be made; if so, it is paid for."""
        with self._lock:
            if self._tokens < 1:
                return False
            self._tokens -= 1
            return True
