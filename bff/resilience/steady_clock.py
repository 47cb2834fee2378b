"""Epoch seconds that never pass more slowly than monotonic ones: a clock that is set back makes nothing last longer.

What is stored for other processes carries epoch seconds, for they share no monotonic clock. A process that dates and judges by
this clock ages everything, whatever is done to the machine's own. Not for the end of a token, which is a date.
"""

import time
from collections.abc import Callable

_NOTICEABLE_SECONDS = 1.0


class SteadyClock:
    """``clock``, and ahead of it by as much as it was set back since. One that is set forward is followed."""

    def __init__(
        self,
        clock: Callable[[], float] = time.time,
        monotonic: Callable[[], float] = time.monotonic,
        *,
        on_set_back: Callable[[float], None] = lambda _seconds: None,
    ) -> None:
        """``on_set_back(seconds)`` is called once, when ``clock`` is found to be more than a second behind."""
        self._clock = clock
        self._monotonic = monotonic
        self._on_set_back = on_set_back
        self._reported = False
        self._offset = clock() - monotonic()

    def __call__(self) -> float:
        """Seconds since the epoch."""
        epoch = self._clock()
        # Read second: a thread that is paused in between finds the clock late, which changes nothing.
        elapsed = self._monotonic()
        behind = self._offset - (epoch - elapsed)
        if behind < 0:
            self._offset = epoch - elapsed
        elif behind > _NOTICEABLE_SECONDS and not self._reported:
            self._reported = True
            self._on_set_back(behind)
        return self._offset + elapsed
