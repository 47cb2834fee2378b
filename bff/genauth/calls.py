"""How GenAuth is called: by a deadline, under a call policy, with at most one retry; each call measured, each failure logged."""

import random
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Generic, TypeVar

import structlog

from bff.errors import (
    AlreadyLinked,
    BffError,
    LastLoginMethod,
    LinkedToAnotherPerson,
    NotFound,
    TokenRefused,
    UpstreamFailure,
    UpstreamForbidden,
    UpstreamMalformed,
    UpstreamRejected,
    UpstreamThrottled,
    UpstreamTimeout,
    UpstreamUnavailable,
    UserBlocked,
)
from bff.genauth.call_policy import CallBulkheadFull, CallCircuitOpen, CallNotMade, CallPolicy, RetryBudget
from bff.genauth.envelope import TransientError
from bff.genauth.messages import Request, Response
from bff.genauth.transport import ConnectError, ConnectionClosed, Transport
from bff.observability import Recorder
from bff.resilience import Deadline, Permit, released, set_apart

T = TypeVar("T")

log = structlog.get_logger()

# The first that fits names a call that did not succeed, in metrics and logs.
OUTCOMES: tuple[tuple[type[BffError], str], ...] = (
    (CallCircuitOpen, "circuit_open"),
    (CallBulkheadFull, "bulkhead_full"),
    (TokenRefused, "token_refused"),
    (UserBlocked, "user_blocked"),
    (UpstreamThrottled, "throttled"),
    (UpstreamTimeout, "timeout"),
    (UpstreamMalformed, "malformed"),
    (UpstreamUnavailable, "unavailable"),
    (UpstreamForbidden, "forbidden"),
    (UpstreamRejected, "rejected"),
    *((kind, "rejected") for kind in (LastLoginMethod, NotFound, AlreadyLinked, LinkedToAnotherPerson)),
    (BffError, "error"),
)


@dataclass(slots=True)
class Call(Generic[T]):
    """A request, how to read its response, whose token it carries, the last response, whatever it was, and whether it was sent.

    ``whose`` stands for the token, and is not the token; None for a call that is for nobody in particular.
    """

    operation: str
    request: Request
    read: Callable[[Response], T]
    whose: str | None = None
    response: Response | None = None
    sent: bool = False


class Caller:
    """Makes calls over ``transport`` to what lies below ``host``."""

    def __init__(self, host: str, transport: Transport, recorder: Recorder, *, upstream_seconds: float) -> None:
        self._host = host
        self._transport = transport
        self._recorder = recorder
        self._upstream_seconds = upstream_seconds
        self._budget = RetryBudget()

    def raise_if_open(self, policy: CallPolicy, operation: str, whose: str | None) -> None:
        """Raise the CallNotMade with which `make` would refuse at once. It is counted as such a call."""
        try:
            policy.raise_if_open(whose)
        except CallNotMade as error:
            self._recorder.upstream_called(operation, _outcome(error), 0.0)
            raise

    def make(self, call: Call[T], policy: CallPolicy, deadline: Deadline) -> T:
        """What the response says, or one of our errors, by the deadline or ``upstream_seconds``, whichever comes first."""
        started = time.monotonic()
        outcome = "ok"
        try:
            deadline = deadline.within(self._upstream_seconds)
            with policy.attempt(deadline.remaining(), call.whose) as permit:
                return self._with_retry(call, permit, deadline)
        except BffError as error:
            outcome = _outcome(error)
            error.reason = f"{call.operation}_{outcome}"
            if not isinstance(error, CallNotMade):  # the breaker's change is logged; a line for each refused call is a flood
                self._log(call, error, outcome, time.monotonic() - started)
            raise
        except BaseException:
            outcome = "error"
            raise
        finally:
            self._recorder.upstream_called(call.operation, outcome, time.monotonic() - started)

    def _with_retry(self, call: Call[T], permit: Permit, deadline: Deadline) -> T:
        """The first try, or the second if one is worth it: there is as much time left as the first took, and budget."""
        self._budget.deposit()
        started = time.monotonic()
        try:
            return self._once(call, deadline)
        except (TransientError, ConnectError, ConnectionClosed) as error:
            pause = random.uniform(0.005, 0.05)  # noqa: S311 - so that those who failed together do not return together
            enough_time = deadline.remaining() - pause > max(0.1, time.monotonic() - started)
            if permit.probe or not _may_be_sent_again(call.request, error) or not enough_time or not self._budget.withdraw():
                raise
        self._recorder.upstream_retried(call.operation)
        with released():
            time.sleep(pause)
        return self._once(call, deadline)

    def _once(self, call: Call[T], deadline: Deadline) -> T:
        call.response = None
        path = call.request.path
        url = self._host + path if path.startswith("/") else path
        call.sent = True
        try:
            response = self._transport.send(url, call.request, deadline)
        except BffError as error:
            call.sent = not error.unsent
            raise
        call.response = replace(response, credentials=call.request.credentials)
        with set_apart(len(call.response.body), deadline):
            return call.read(call.response)

    def _log(self, call: Call[T], error: BffError, outcome: str, seconds: float) -> None:
        write = log.warning if isinstance(error, (UpstreamFailure, UpstreamRejected)) else log.info
        write(
            "genauth_call_failed",
            operation=call.operation,
            outcome=outcome,
            seconds=round(seconds, 4),
            note=error.note,
            genauth_request_id=call.response.request_id if call.response else None,
        )


def _may_be_sent_again(request: Request, error: BffError) -> bool:
    """Whether a second request can do no harm: the first never left us, or both only read.

    An introspection that was answered is not sent again all the same: with its answer GenAuth has done the work.
    """
    if request.once:
        return False
    if request.method == "GET" or isinstance(error, ConnectError):
        return True
    return request.only_reads and isinstance(error, ConnectionClosed)


def _outcome(error: BffError) -> str:
    return next(name for kind, name in OUTCOMES if isinstance(error, kind))
