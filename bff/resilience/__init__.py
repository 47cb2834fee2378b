"""The patterns that know nothing of us: deadline, circuit breaker, bulkhead, single flight, admission control, rate limit."""

from bff.resilience.bulkhead import Bulkhead, BulkheadFull
from bff.resilience.caches import Cache, Memo, cache, memoised
from bff.resilience.circuit_breaker import CircuitBreaker, CircuitOpen, Permit, Rules, State
from bff.resilience.deadline import Deadline
from bff.resilience.draining import begin_draining, is_draining
from bff.resilience.gate import ARRIVED, Gate, together, waiting
from bff.resilience.pace import Pace
from bff.resilience.rate_limit import RateLimit
from bff.resilience.single_flight import SingleFlight, WaitingRoom

__all__ = [
    "ARRIVED",
    "Bulkhead",
    "BulkheadFull",
    "Cache",
    "CircuitBreaker",
    "CircuitOpen",
    "Deadline",
    "Gate",
    "Memo",
    "Pace",
    "Permit",
    "RateLimit",
    "Rules",
    "SingleFlight",
    "State",
    "WaitingRoom",
    "begin_draining",
    "cache",
    "is_draining",
    "memoised",
    "together",
    "waiting",
]
