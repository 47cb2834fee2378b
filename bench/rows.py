"""A line of the table: what was to be reached, and what was."""

import statistics
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from enum import StrEnum
from typing import Any

TIMES = "\N{MULTIPLICATION SIGN}"


class TokenStatus(StrEnum):
    """Whether the bar was reached."""

    REACHED = "reached"
    SHORT = "short"
    WRONG = "wrong answers"


@dataclass(frozen=True, slots=True)
class Row:
    """``bar`` is reached from above, or from below where less is better. ``low`` and ``high`` are the extremes of the rounds."""

    scenario: str
    what: str
    bar: float
    value: float
    low: float
    high: float
    unit: str
    less_is_better: bool = False
    note: str = ""

    @property
    def verdict(self) -> TokenStatus:
        """By the median of the rounds."""
        if self.value != self.value:
            return TokenStatus.WRONG
        reached = self.value <= self.bar if self.less_is_better else self.value >= self.bar
        return TokenStatus.REACHED if reached else TokenStatus.SHORT

    def as_dict(self) -> dict[str, Any]:
        """For the file of results."""
        return asdict(self)


def row(
    scenario: str, what: str, bar: float, values: Sequence[float], unit: str, *, less_is_better: bool = False, note: str = ""
) -> Row:
    """The median of the rounds, with their spread; no values, and it is one of wrong answers."""
    if not values:
        nothing = float("nan")
        return Row(scenario, what, bar, nothing, nothing, nothing, unit, less_is_better, note)
    return Row(scenario, what, bar, statistics.median(values), min(values), max(values), unit, less_is_better, note)
