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

    def ratio(scenario: str, ours: str, peer: str, bar: float | None) -> Row:
        # Round by round: what disturbed one program of a round disturbed its neighbours.
        pairs = list(zip(programs[ours], programs[peer], strict=False))
        costs = [theirs["cost"] / own["cost"] for own, theirs in pairs if own["cost"]]
        note = f"by CPU time for a request: {statistics.median(costs):.2f}" if costs else ""
        rates = [own["per_second"] / theirs["per_second"] for own, theirs in pairs]
        return row(scenario, f"{TIMES} {peer}", bar, rates, TIMES, note=note)

    yield ratio("repeat", "ours", "node", 1.0)
    yield ratio("repeat", "ours", "recipe", 10)
    yield ratio("repeat", "ours", "floor", None)
    yield ratio("warm", "ours, warm", "recipe", 2.5)
    yield ratio("warm", "ours, warm", "node", None)
    yield ratio("warm", "ours, warm", "bare", None)


def _crowd(values: Results) -> Iterator[Row]:
    programs = values["programs"]
    ratios = [own["cost"] / theirs["cost"] for own, theirs in zip(programs["ours"], programs["node"], strict=False)]
    asked = ", ".join(f"{name} {statistics.median(run['asked'] for run in runs):.1%}" for name, runs in programs.items())
    note = f"questions that GenAuth was asked: {asked}"
    yield row("crowd", f"CPU for an answer, {TIMES} node's", 1.5, ratios, TIMES, less_is_better=True, note=note)


def _screens(values: Results) -> Iterator[Row]:
    runs = values["programs"]["ours"]
    asked = ", ".join(f"{source} {share:.0%}" for source, share in sorted(runs[-1]["from"].items(), key=lambda each: -each[1]))
    what = f"cores, {values['screens']:,} ask every {values['every']:.0f} s"
    yield row("screens", what, None, [run["cores"] for run in runs], "", note=f"answered by: {asked}")


def _miss(values: Results) -> Iterator[Row]:
    ours, node = values["programs"]["ours"], values["programs"]["node"]
    own = [run["few"]["milliseconds"]["50"] - run["few"]["direct"] for run in ours]
    rates = [mine["per_second"] / theirs["per_second"] for mine, theirs in zip(ours, node, strict=False)]
    ideal = values["callers"] / values["genauth_seconds"]
    few, many = (f"{values[name]} callers" for name in ("few", "callers"))
    yield row("miss", f"over GenAuth's own p50, {few}", 5.0, own, "ms", less_is_better=True)
    yield row("miss", f"answers {TIMES} node's, {many}", 0.6, rates, TIMES)
    yield row("miss", f"{TIMES} ideal ({ideal:,.0f}/s), {many}", None, [run["per_second"] / ideal for run in ours], TIMES)


def _stampede(values: Results) -> Iterator[Row]:
    runs = values["programs"]["ours"]
    over = [run["slowest"] - values["genauth_seconds"] for run in runs]
    yield row("stampede", "upstream calls", 1, [run["calls"] for run in runs], "", less_is_better=True)
    yield row("stampede", "slowest over GenAuth's own time", 0.5, over, "s", less_is_better=True)


def _mixed(values: Results) -> Iterator[Row]:
    ratios = [run["together"]["99"] / run["alone"]["99"] for run in values["programs"]["ours"]]
    yield row("mixed", f"hits' p99 {TIMES} alone, 1 % misses", 2.0, ratios, TIMES, less_is_better=True)


def _hanging(values: Results) -> Iterator[Row]:
    runs = values["programs"]["ours"]
    ratios = [run["beside"] / run["alone"] for run in runs]
    note = f"median of {len(runs)}; p99 {statistics.median(run['beside'] for run in runs):.1f} ms beside them"
    what = f"hits' p99 {TIMES} healthy, {values['callers']} wait"
    yield row("GenAuth hangs", what, 2.0, ratios, TIMES, less_is_better=True, note=note)


def _worst_case(values: Results) -> Iterator[Row]:
    def middle(runs: list[Results]) -> float:
        return statistics.median(run["cpu"] for run in runs)

    shapes = values["shapes"] | values["requests"]
    worst = max(shapes, key=lambda shape: middle(shapes[shape]))
    seconds = [run["cpu"] for run in shapes[worst]]
    yield row("worst case", "CPU of one answer", 0.3, seconds, "s", less_is_better=True, note=worst)


def _memory(values: Results) -> Iterator[Row]:
    own = values["programs"]["ours"]
    users = f"{values['users']:,} users"
    yield row("memory", "a worker at its start", 75, [own["start"]], "MB", less_is_better=True)
    yield row("memory", f"growth after {users}", 20, [own["after"] - own["start"]], "MB", less_is_better=True)
    for stored, name in (("encrypted", "redis_bytes_per_user_encrypted"), ("plain", "redis_bytes_per_user")):
        what = f"Redis for a user with two accounts, {stored}"
        yield row("memory", what, 700, [values[name]] if name in values else [], "bytes", less_is_better=True)


def _cold_start(values: Results) -> Iterator[Row]:
    seconds = [run["answer"] for run in values["programs"]["ours"]]
    yield row("cold start", "to the first answer", 1.0, seconds, "s", less_is_better=True)


def _workers(values: Results) -> Iterator[Row]:
    note = ""
    if not values["free_cores"]:
        floor = statistics.median(two_workers(values, "floor"))
        note = (
            "inferred from the CPU time of a request, both on one core; in the same way the floor, which shares nothing, "
            f"{floor:.2f}"
        )
    yield row("2 workers", f"{TIMES} one worker", None, two_workers(values, "ours"), TIMES, note=note)


def two_workers(values: Results, program: str) -> list[float]:
    """How much more two workers do than one, round by round; without free cores as their CPU time for a request tells."""
    pairs = [(run[f"{program}, 1"], run[f"{program}, 2"]) for run in values["rounds"]]
    if values["free_cores"]:
        return [two["per_second"] / one["per_second"] for one, two in pairs]
    return [2 * one["cost"] / two["cost"] for one, two in pairs]


_ROWS = {
    "steady": _steady,
    "crowd": _crowd,
    "screens": _screens,
    "miss": _miss,
    "stampede": _stampede,
    "mixed": _mixed,
    "hanging": _hanging,
    "worst_case": _worst_case,
    "memory": _memory,
    "cold_start": _cold_start,
    "workers": _workers,
}
