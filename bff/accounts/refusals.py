"""Which tokens GenAuth refused, stored in this process: a looping client must not hammer GenAuth, nor outlive Redis."""

import time
from collections.abc import Callable

from bff.errors import BffError
from bff.resilience import Cache, cache


class Refusals:
    """A refusal is repeated for ``seconds`` without asking GenAuth, and kept for ``kept_seconds`` to outvote an older acceptance.

    Bounded, keyed by token digest; the tokens themselves are not held.
    """

    def __init__(self, seconds: float, clock: Callable[[], float] = time.time, *, kept_seconds: float = 3660.0) -> None:
        self._seconds = seconds
        self._clock = clock
        self._refused: Cache[str, tuple[float, type[BffError]]] = cache("refusals", seconds=kept_seconds)

    def put(self, digest: str, refusal: BffError) -> None:
        """GenAuth refused the token, just now."""
        self._refused.put(digest, (self._clock(), type(refusal)))

    def raise_if_refused(self, digest: str) -> None:
        """Raise the refusal while it is young."""
        refused = self._refused.get(digest)
        if refused and self._clock() - refused[0] < self._seconds:
            raise refused[1](note="refused a moment ago")

    def refused_at(self, digest: str) -> float:
        """When GenAuth last refused the token, in epoch seconds; minus infinity for never."""
        refused = self._refused.get(digest)
        return refused[0] if refused else float("-inf")
