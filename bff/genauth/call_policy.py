"""The policy of one kind of call: a circuit breaker, a bulkhead, and a budget for retries that all kinds share."""

import math
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial

from bff.errors import BffError, InternalError, UpstreamFailure, UpstreamTimeout, UpstreamUnavailable
from bff.genauth.envelope import UnreadableData
from bff.genauth.transport import ConnectionSilent
from bff.observability import Recorder, circuit_log
from bff.resilience import Bulkhead, BulkheadFull, CircuitBreaker, CircuitOpen, NotAdmittedAgain, Permit

# A timeout after less time than this says more about us than about GenAuth.
FAIR_SECONDS = 0.25


class CallNotMade(UpstreamUnavailable):
    """GenAuth was not asked."""


class CallCircuitOpen(CallNotMade):
    """The circuit breaker is open: GenAuth failed for enough callers, or asked enough of them for a pause."""


class CallBulkheadFull(CallNotMade):
    """As many calls as may are waiting for GenAuth."""


class CallPolicy:
    """One kind of call, with a breaker and a bulkhead of its own: one kind that hangs does not hold up the others.

    ``whose`` stands for the token of a call, and is not the token: the breaker counts whom GenAuth fails for.
    """

    def __init__(self, name: str, places: int, recorder: Recorder, *, line: int | None = None) -> None:
        """``line``: how many may wait for one of the ``places``, for a moment; half as many as those if it is not given."""
        self.breaker = CircuitBreaker(f"genauth-{name}", on_change=circuit_log(recorder))
        # A short wait evens out a crowd that GenAuth would serve within moments. When GenAuth hangs, few wait, and not for long.
        self.bulkhead = Bulkhead(
            places,
            wait_seconds=0.25,
            line=max(1, places // 2) if line is None else line,
            on_use=partial(recorder.bulkhead_used, f"genauth-{name}"),
        )

    def raise_if_open(self, whose: str | None = None) -> None:
        """Raise CallNotMade if `attempt` would, without waiting; for callers that would do something costly first."""
        if seconds := self.breaker.rest(whose):
            raise _circuit_open(seconds)
        if self.bulkhead.full:
            raise _bulkhead_full()

    @contextmanager
    def attempt(self, seconds: float, whose: str | None = None) -> Iterator[Permit]:
        """Room for one call of up to so many seconds, or CallNotMade. How the block ends is reported to the circuit breaker."""
        permit = self._permit(whose)
        try:
            with self.bulkhead.place():
                yield permit
        except BulkheadFull:
            permit.abandoned()
            raise _bulkhead_full() from None
        except BffError as error:
            if _is_inconclusive(error, seconds):
                permit.abandoned()
            elif _is_failure(error):
                permit.failed(error.retry_after)
            else:
                permit.succeeded()
            raise
        except BaseException:
            permit.abandoned()
            raise
        else:
            permit.succeeded()

    def _permit(self, whose: str | None) -> Permit:
        try:
            return self.breaker.enter(whose)
        except CircuitOpen as refused:
            raise _circuit_open(refused.retry_after) from None


def _circuit_open(seconds: float) -> CallCircuitOpen:
    return CallCircuitOpen(note="circuit open", retry_after=math.ceil(seconds))


def _bulkhead_full() -> CallBulkheadFull:
    return CallBulkheadFull(note="bulkhead full", retry_after=1)


def _is_inconclusive(error: BffError, seconds: float) -> bool:
    """Whether the error says nothing about GenAuth."""
    if isinstance(error, UpstreamTimeout):
        return seconds < FAIR_SECONDS or isinstance(error, (NotAdmittedAgain, ConnectionSilent))
    return isinstance(error, InternalError)


def _is_failure(error: BffError) -> bool:
    # A refused token and a blocked user are GenAuth at work. So is a success whose data cannot be read: one person's profile
    # must not be able to open the circuit for everyone.
    return isinstance(error, UpstreamFailure) and not isinstance(error, UnreadableData)


class RetryBudget:
    """Retries for at most a tenth of the calls, and a few in reserve: a failing GenAuth gets 1.1 times the load."""

    def __init__(self, share: float = 0.1, reserve: float = 5.0) -> None:
        self._share = share
        self._reserve = self._tokens = reserve
        self._lock = threading.Lock()

    def deposit(self) -> None:
        """A call was made."""
        with self._lock:
            self._tokens = min(self._reserve, self._tokens + self._share)

    def withdraw(self) -> bool:
        """Whether a retry may be made; if so, it is taken from the budget."""
        with self._lock:
            if self._tokens < 1:
                return False
            self._tokens -= 1
            return True
