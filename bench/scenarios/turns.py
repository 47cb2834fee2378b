"""What the scenarios share: programs in turn, and what was measured as plain values."""

from collections.abc import Callable
from typing import Any

from bench import machine
from bench.programs import Program, Running
from bench.world import Bench, Measured

Values = dict[str, Any]

CALLERS = 32


def in_turn(
    bench: Bench,
    programs: tuple[Program, ...],
    measure: Callable[[Running], Values],
    *,
    rounds: int | None = None,
    **how: Any,  # noqa: ANN401 - as `running` has it
) -> dict[str, list[Values]]:
    """A B C A B C: what disturbs the machine for a while disturbs all of them."""
    values: dict[str, list[Values]] = {program.name: [] for program in programs}
    for _ in range(rounds or bench.plan.rounds):
        for program in programs:
            with bench.running(program, **how) as running:
                values[program.name].append(measure(running))
    return values


def values_of(measured: Measured) -> Values:
    """One program under one load."""
    return {
        "per_second": measured.figures.per_second,
        "cost": measured.cost,
        "others": measured.others,
        "milliseconds": measured.figures.milliseconds,
    }


def all_cores() -> str:
    """For two workers: one core each, the second one shared with all that is around them."""
    return ",".join(map(str, range(min(2, machine.CORES))))
