"""Who computes next: permits that are handed on in turn, and errands that wait for company.

    who goes on ─▶ who came ─▶ who put an errand off

With a semaphore that serves whoever is quickest, a thread that has just answered takes the next request before those that sleep
can wake, and some of them wait for fifty others (docs/adr/0008). What several threads want done is best done at once (0011).
"""

import threading
from collections import deque
from collections.abc import Callable, Sequence
from typing import Any, Generic, TypeVar

W = TypeVar("W")
R = TypeVar("R")


class Errand(Generic[W, R]):
    """What a thread wants done, put off until its ``turn`` comes or another thread has ``done`` it along with others."""

    __slots__ = ("do", "done", "outcome", "turn", "what")

    def __init__(self, what: W, do: Callable[[Sequence[W]], Sequence[R]]) -> None:
        self.what = what
        self.do = do
        self.done = False
        self.outcome: R | None = None
        self.turn = _closed()


class Permits:
    """As many threads hold one as there are. Whoever holds one may put an errand off for ``company`` others to come first."""

    def __init__(self, permits: int, *, company: int = 0) -> None:
        self._free = permits
        self._company = company
        self._lock = threading.Lock()
        self._going_on: deque[threading.Lock] = deque()
        self._came: deque[threading.Lock] = deque()
        self._put_off: deque[Errand[Any, Any]] = deque()
        self._passed = 0  # who came after the first of these, and went before it

    def get(self) -> None:
        """A permit, in turn."""
        with self._lock:
            if self._free:
                self._free -= 1
                return
            turn = _closed()
            self._came.append(turn)
        turn.acquire()

    def put(self) -> None:
        """Hand the permit on, or leave it for whoever comes."""
        with self._lock:
            self._hand_on()

    def put_off(self, what: W, do: Callable[[Sequence[W]], Sequence[R]]) -> Errand[W, R] | None:
        """Hand the permit on and wait, if there is somebody who could bring company: the errand, if it was done meanwhile.

        Returns with a permit. Without an errand it is to be run now.
        """
        with self._lock:
            if self._passed >= self._company or not self._came:
                return None
            errand = Errand(what, do)
            self._put_off.append(errand)
            self._hand_on()
        errand.turn.acquire()
        return errand if errand.done else None

    def company_for(self, do: Callable[..., object]) -> Sequence[Errand[Any, Any]]:
        """Those that were put off and are run as ``do`` does. They wait until `go_on`."""
        if not self._put_off:
            return ()
        with self._lock:
            company = [other for other in self._put_off if other.do == do]
            self._put_off = deque(other for other in self._put_off if other.do != do)
            self._passed = 0
            return company

    def go_on(self, errands: Sequence[Errand[Any, Any]]) -> None:
        """They are done: their threads go on, before all others."""
        with self._lock:
            for errand in errands:
                errand.done = True
                if self._free:
                    self._free -= 1
                    errand.turn.release()
                else:
                    self._going_on.append(errand.turn)

    def _hand_on(self) -> None:
        if self._going_on:
            self._going_on.popleft().release()
        elif self._put_off and (self._passed >= self._company or not self._came):
            self._passed = 0
            self._put_off.popleft().turn.release()
        elif self._came:
            self._passed += bool(self._put_off)
            self._came.popleft().release()
        else:
            self._free += 1


def _closed() -> threading.Lock:
    turn = threading.Lock()
    turn.acquire()
    return turn
