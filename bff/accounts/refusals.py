"""Which tokens GenAuth refused, stored in this process: a looping client must not hammer GenAuth, nor outlive Redis."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from math import inf

from bff.errors import BffError
from bff.models import Session
from bff.resilience import Cache, Forgotten, cache


@dataclass(frozen=True, slots=True)
class _Refusal:
    """``at`` in epoch seconds; ``person``: the opaque id of whose token it was; ``begun``: `Refusals.begun` before asking."""

    at: float
    kind: type[BffError]
    person: str
    begun: int


class Refusals:
    """A refusal is repeated for ``seconds`` without asking GenAuth, and kept for ``kept_seconds`` to outvote an older acceptance.

    Bounded, keyed by token digest; the tokens themselves are not held.
    """

    def __init__(
        self,
        seconds: float,
        clock: Callable[[], float] = time.time,
        *,
        kept_seconds: float = 3660.0,
        person: Callable[[str], str] = str,
    ) -> None:
        """``person(user_id)`` is the opaque id of a user, as `forget` takes it."""
        self._seconds = seconds
        self._clock = clock
        self._person = person
        self._refused: Cache[str, _Refusal] = cache("refusals", seconds=kept_seconds)
        self._forgotten = Forgotten(cache("forgotten_refusals", seconds=inf))

    @property
    def begun(self) -> int:
        """Read before GenAuth is asked: a refusal that was begun before its person was forgotten is not repeated."""
        return self._forgotten.number

    def put(self, session: Session, refusal: BffError, begun: int | None = None) -> None:
        """GenAuth refused the session's token, just now. ``begun``: `begun` before it was asked; now, if it is not given."""
        begun = self.begun if begun is None else begun
        self._refused.put(session.digest, _Refusal(self._clock(), type(refusal), self._person(session.user_id), begun))

    def forget(self, person: str) -> None:
        """Something about the person, an opaque id, changed: GenAuth is asked again. What it refused outvotes what was before."""
        self._forgotten.put(person)

    def forget_everybody(self) -> None:
        """Something about anybody may have changed."""
        self._forgotten.put_everybody()

    def are_reconsidered(self, session: Session, begun: int) -> bool:
        """Whether GenAuth has to be asked again, if it refused the token when it was asked at `begun`."""
        return self._forgotten.since(begun, self._person(session.user_id))

    def raise_if_refused(self, digest: str) -> None:
        """Raise the refusal while it is young."""
        refusal = self._refused.get(digest)
        if refusal and self._clock() - refusal.at < self._seconds and not self._forgotten.since(refusal.begun, refusal.person):
            raise refusal.kind(note="refused a moment ago")

    def refused_at(self, digest: str) -> float:
        """When GenAuth last refused the token, in epoch seconds; minus infinity for never."""
        refusal = self._refused.get(digest)
        return refusal.at if refusal else float("-inf")
