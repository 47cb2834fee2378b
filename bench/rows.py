"""A line of the table: what was to be reached, and what was. A line without a bar is for information."""

import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

TIMES = "\N{MULTIPLICATION SIGN}"


class Verdict(StrEnum):
    """Whether the bar was reached."""

    REACHED = "reached"
    SHORT = "short"
    WRONG = "not measured"
    NONE = ""


@dataclass(frozen=True, slots=True)
class Row:
    """``bar`` is reached from above, or from below where less is better. ``low`` and ``high`` are the extremes of the rounds."""

    scenario: str
    what: str
    bar: float | None
    value: float
    low: float
    high: float
    unit: str
    less_is_better: bool = False
    note: str = ""

    @property
    def verdict(self) -> Verdict:
        """By the median of the rounds."""
        if self.value != self.value:
            return Verdict.WRONG
        if self.bar is None:
            return Verdict.NONE
        reached = self.value <= self.bar if self.less_is_better else self.value >= self.bar
        return Verdict.REACHED if reached else Verdict.SHORT


def row(
    scenario: str,
    what: str,
    bar: float | None,
    values: Sequence[float],
    unit: str,
    *,
    less_is_better: bool = False,
    note: str = "",
) -> Row:
    """The median of the rounds, with their spread. Without values nothing was reached."""
    if not values:
        nothing = float("nan")
        return Row(scenario, what, bar, nothing, nothing, nothing, unit, less_is_better, note)
    return Row(scenario, what, bar, statistics.median(values), min(values), max(values), unit, less_is_better, note)
