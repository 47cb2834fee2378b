"""How GenAuth is asked: in a lane, by a deadline, with at most one second try; each call measured, each failure logged."""

import random
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Generic, TypeVar

import structlog

from bff.errors import (
    BffError,
    TokenRefused,
    UpstreamFailure,
    UpstreamMalformed,
    UpstreamRejected,
    UpstreamThrottled,
    UpstreamTimeout,
    UpstreamUnavailable,
    UserBlocked,
)
from bff.genauth.call_policy import Attempt, CallNotMade, CallPolicy, NoPlace, RetryBudget
from bff.genauth.envelope import TransientError, request_id
from bff.genauth.messages import Request, Response, asked_to_wait
from bff.genauth.transport import ConnectError, ConnectionClosed, Transport
from bff.observability import Recorder
from bff.resilience import Deadline, waiting

T = TypeVar("T")

log = structlog.get_logger()

# The first that fits names a call that did not succeed, in metrics and logs.
OUTCOMES: tuple[tuple[type[BffError], str], ...] = (
    (CallNotMade, "circuit_open"),
    (NoPlace, "bulkhead_full"),
    (TokenRefused, "token_refused"),
    (UserBlocked, "user_blocked"),
    (UpstreamThrottled, "throttled"),
    (UpstreamTimeout, "timeout"),
    (UpstreamMalformed, "malformed"),
    (UpstreamUnavailable, "unavailable"),
    (UpstreamRejected, "rejected"),
    (BffError, "error"),
)
_NOT_ASKED = (CallNotMade, NoPlace)
# A GET that failed like this may well succeed at once. A POST too, if it was not answered: introspection changes nothing.
_WORTH_RETRYING = (TransientError, ConnectError, ConnectionClosed)


@dataclass(slots=True)
class Question(Generic[T]):
    """A request, how to read its answer, and the last answer, whatever it was."""

    operation: str
    request: Request
    read: Callable[[Response], T]
    answer: Response | None = None


class Asker:
    """Asks over ``transport`` what lies below ``host``. ``budget`` is shared by all questions."""

    def __init__(
        self, host: str, transport: Transport, metrics: Recorder, *, upstream_seconds: float, budget: RetryBudget | None = None
    ) -> None:
        self._host = host
        self._transport = transport
        self._metrics = metrics
        self._upstream_seconds = upstream_seconds
        self._budget = budget or RetryBudget()

    def heed(self, lane: CallPolicy, operation: str) -> None:
        """Raise what `answer` would raise at once, without asking; counted as such."""
        try:
            lane.heed()
        except BffError as error:
            self._metrics.upstream_called(operation, _outcome(error), 0.0)
            raise

    def answer(self, lane: CallPolicy, question: Question[T], deadline: Deadline) -> T:
        """What the answer says, or one of our errors, by the deadline or ``upstream_seconds``, whichever comes first."""
        started = time.monotonic()
        outcome = "ok"
        try:
            return self._asked(lane, question, deadline.within(self._upstream_seconds))
        except BffError as error:
            outcome = _outcome(error)
            if not isinstance(error, _NOT_ASKED):  # the turn of the breaker was heard of; one line per refused call is a flood
                self._log(question, error, outcome, time.monotonic() - started)
            raise
        except BaseException:
            outcome = "error"
            raise
        finally:
            self._metrics.upstream_called(question.operation, outcome, time.monotonic() - started)

    def _asked(self, lane: CallPolicy, question: Question[T], deadline: Deadline) -> T:
        seconds = deadline.remaining()
        if seconds <= 0:
            raise UpstreamTimeout(note="no time left to ask")
        with lane.attempt(seconds) as attempt:
            try:
                return self._tried(question, attempt, deadline)
            except UpstreamFailure:
                if question.answer is not None:
                    attempt.wait = asked_to_wait(question.answer)
                raise

    def _tried(self, question: Question[T], attempt: Attempt, deadline: Deadline) -> T:
        """The first try, or the second if one is worth it: it can take as long as the first did, and the budget has it."""
        self._budget.deposit()
        started = time.monotonic()
        try:
            return self._once(question, deadline)
        except _WORTH_RETRYING as error:
            unanswered = not isinstance(error, TransientError)
            pause = random.uniform(0.005, 0.05)  # noqa: S311 - so that those who failed together do not return together
            enough = deadline.remaining() - pause > max(0.1, time.monotonic() - started)
            repeatable = question.request.method == "GET" or unanswered
            if attempt.probe or not repeatable or not enough or not self._budget.withdraw():
                raise
        self._metrics.upstream_retried(question.operation)
        with waiting():
            time.sleep(pause)
        return self._once(question, deadline)

    def _once(self, question: Question[T], deadline: Deadline) -> T:
        question.answer = None
        path = question.request.path
        url = self._host + path if path.startswith("/") else path
        question.answer = self._transport.send(url, question.request, deadline)
        return question.read(question.answer)

    def _log(self, question: Question[T], error: BffError, outcome: str, seconds: float) -> None:
        tell = log.warning if isinstance(error, (UpstreamFailure, UpstreamRejected)) else log.info
        tell(
            "genauth_call_failed",
            operation=question.operation,
            outcome=outcome,
            seconds=round(seconds, 4),
            note=error.note,
            genauth_request_id=request_id(question.answer) if question.answer else None,
        )


def _outcome(error: BffError) -> str:
    return next(name for kind, name in OUTCOMES if isinstance(error, kind))
