"""The patterns that know nothing of us: deadline, connecting, breaker, bulkhead, single flight, admission, rate limit, clock."""

from bff.resilience.admission import FairSemaphore, NotAdmittedAgain, admitted, is_crowded, released, set_apart
from bff.resilience.background import in_background
from bff.resilience.bulkhead import Bulkhead, BulkheadFull, Shares
from bff.resilience.caches import LARGEST_ENTRY, Cache, cache, memoised, size_of
from bff.resilience.circuit_breaker import CircuitBreaker, CircuitOpen, Permit, Rules
from bff.resilience.deadline import Deadline
from bff.resilience.dns import Resolver, Unconnected, Unresolved, arm, open_connection
from bff.resilience.draining import begin_change, begin_draining, begin_stopping, changes_end, is_draining, is_stopping
from bff.resilience.forgotten import Forgotten
from bff.resilience.rate_limit import RateLimit
from bff.resilience.single_flight import SingleFlight, WaitingRoom
from bff.resilience.steady_clock import SteadyClock

__all__ = [
    "LARGEST_ENTRY",
    "Bulkhead",
    "BulkheadFull",
    "Cache",
    "CircuitBreaker",
    "CircuitOpen",
    "Deadline",
    "FairSemaphore",
    "Forgotten",
    "NotAdmittedAgain",
    "Permit",
    "RateLimit",
    "Resolver",
    "Rules",
    "Shares",
    "SingleFlight",
    "SteadyClock",
    "Unconnected",
    "Unresolved",
    "WaitingRoom",
    "admitted",
    "arm",
    "begin_change",
    "begin_draining",
    "begin_stopping",
    "cache",
    "changes_end",
    "in_background",
    "is_crowded",
    "is_draining",
    "is_stopping",
    "memoised",
    "open_connection",
    "released",
    "set_apart",
    "size_of",
]
