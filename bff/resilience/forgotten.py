"""Who was forgotten lately: what was found out of them before is found out again, what was on its way at that time included."""

import threading

from bff.resilience.caches import Cache


class Forgotten:
    """The people who were forgotten, in one order with what is found out of them; for many threads.

    Bounded: of so many people that they do not fit, as ten thousand at once, everybody is forgotten with them. What is begun
    after the last that did not fit is not concerned, so few places are enough for what lasts for seconds.
    """

    def __init__(self, numbers: Cache[str, int]) -> None:
        """``numbers`` keeps everything until it is full."""
        self._lock = threading.Lock()
        self._numbers = numbers
        self._number = 0
        self._everybody = 0

    @property
    def number(self) -> int:
        """How often anybody was forgotten. It is read before something is found out, and kept with that."""
        return self._number

    def put(self, person: str | None) -> None:
        """What was found out of the person holds no longer; None: of nobody, but what is on its way is older than this."""
        with self._lock:
            self._number += 1
            if person is None:
                return
            for _, number in self._numbers.put(person, self._number):
                self._everybody = max(self._everybody, number)

    def put_everybody(self) -> None:
        """What was found out of anybody holds no longer."""
        with self._lock:
            self._number += 1
            self._everybody = self._number
            self._numbers.clear()

    def last(self, person: str) -> int:
        """What `number` stood at when the person was forgotten last, or somebody of whom nothing is known any more."""
        with self._lock:
            return max(self._everybody, self._numbers.get(person) or 0)

    def since(self, number: int, person: str | None) -> bool:
        """Whether the person was forgotten since `number` stood at this; None, where nobody knows whose it is: anybody."""
        if number == self._number:
            return False
        return person is None or number < self.last(person)
