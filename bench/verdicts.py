"""From measured values to the table: the bars, and whether they were reached."""

import statistics
from collections.abc import Iterator
from typing import Any

from bench.rows import TIMES, Row, row

Results = dict[str, Any]


def rows(results: Results) -> list[Row]:
    """The table, as far as it was measured."""
    return [each for name, make in _ROWS.items() if name in results for each in make(results[name])]


def _steady(values: Results) -> Iterator[Row]:
    programs = values["programs"]

    def ratio(scenario: str, ours: str, peer: str, bar: float) -> Row:
        # Round by round: what disturbed one program of a round disturbed its neighbours.
        pairs = list(zip(programs[ours], programs[peer], strict=False))
        costs = [theirs["cost"] / own["cost"] for own, theirs in pairs if own["cost"]]
        note = f"by CPU time for a request: {statistics.median(costs):.2f}" if costs else ""
        return row(
            scenario,
            f"{TIMES} {peer}",
            bar,
            [own["per_second"] / theirs["per_second"] for own, theirs in pairs],
            TIMES,
            note=note,
        )

    yield ratio("repeat", "ours", "node", 1.0)
    yield ratio("repeat", "ours", "floor", 0.5)
    yield ratio("warm", "ours, warm", "recipe", 3.0)
    yield ratio("warm", "ours, warm", "bare", 0.45)


def _miss(values: Results) -> Iterator[Row]:
    runs = values["programs"]["ours"]
    own = [run["milliseconds"]["50"] - direct["p50"] for run, direct in zip(runs, values["direct"], strict=False)]
    ideal = values["callers"] / values["genauth_seconds"]
    yield row("miss", "over GenAuth's own time, p50", 4.0, own, "ms", less_is_better=True)
    yield row("miss", f"of the ideal {ideal:,.0f}/s", 0.9, [run["per_second"] / ideal for run in runs], TIMES)


def _stampede(values: Results) -> Iterator[Row]:
    runs = values["programs"]["ours"]
    over = [run["slowest"] - values["genauth_seconds"] for run in runs]
    yield row("stampede", "upstream calls", 1, [run["calls"] for run in runs], "", less_is_better=True)
    yield row("stampede", "slowest over GenAuth's own time", 0.5, over, "s", less_is_better=True)


def _mixed(values: Results) -> Iterator[Row]:
    ratios = [run["together"]["99"] / run["alone"]["99"] for run in values["programs"]["ours"]]
    yield row("mixed", "hits' p99 against alone", 1.5, ratios, TIMES, less_is_better=True)


def _memory(values: Results) -> Iterator[Row]:
    own = values["programs"]["ours"]
    users = f"{values['users']:,} users"
    yield row("memory", "a worker at its start", 80, [own["start"]], "MB", less_is_better=True)
    yield row("memory", f"growth after {users}", 15, [own["after"] - own["start"]], "MB", less_is_better=True)
    for stored, name in (("sealed", "redis_bytes_per_user_sealed"), ("unsealed", "redis_bytes_per_user")):
        what = f"Redis for a user with two accounts, {stored}"
        yield row("memory", what, 700, [values[name]] if name in values else [], "bytes", less_is_better=True)


def _cold_start(values: Results) -> Iterator[Row]:
    seconds = [run["answer"] for run in values["programs"]["ours"]]
    yield row("cold start", "to the first answer", 1.0, seconds, "s", less_is_better=True)


def _workers(values: Results) -> Iterator[Row]:
    note = ""
    if not values["free_cores"]:
        rounds = values["rounds"]
        floor = statistics.median(two_workers(values, "floor"))
        seen = statistics.median(run["beside the load"]["per_second"] / run["ours, 1"]["per_second"] for run in rounds)
        note = (
            "inferred from the CPU time of a request, both on one core; in the same way the floor, which shares nothing, "
            f"{floor:.2f}; with the load generator on the second core {seen:.2f}"
        )
    yield row("2 workers", f"{TIMES} one worker", 1.7, two_workers(values, "ours"), TIMES, note=note)


def two_workers(values: Results, program: str) -> list[float]:
    """How much more two workers do than one, round by round; without free cores as their CPU time for a request tells."""
    pairs = [(run[f"{program}, 1"], run[f"{program}, 2"]) for run in values["rounds"]]
    if values["free_cores"]:
        return [two["per_second"] / one["per_second"] for one, two in pairs]
    return [2 * one["cost"] / two["cost"] for one, two in pairs]


_ROWS = {
    "steady": _steady,
    "miss": _miss,
    "stampede": _stampede,
    "mixed": _mixed,
    "memory": _memory,
    "cold_start": _cold_start,
    "workers": _workers,
}
