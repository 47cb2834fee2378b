"""What each scenario has to show beside the table of bars: a section of docs/performance.md, every program in it."""

import json
import statistics
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from bench.report import grid, number, text
from bench.rows import TIMES
from bench.verdicts import two_workers

# The same table as `performance.profile` makes, from before anything was done about it.
BEFORE = Path(__file__).with_name("before.json")

Values = Mapping[str, Any]


def spread(runs: Sequence[Values], column: str) -> tuple[float, float, float]:
    """The median, the least and the most."""
    values = [run[column] for run in runs]
    return statistics.median(values), min(values), max(values)


def percentile(runs: Sequence[Values], percent: str) -> float:
    """The median over the rounds of a latency in milliseconds, by its percentile."""
    return statistics.median(run["milliseconds"][percent] for run in runs)


def _steady(values: Values) -> Iterator[str]:
    lines = []
    for name, runs in values["programs"].items():
        rate, cost, others = _rate(runs), spread(runs, "cost")[0], spread(runs, "others")[0]
        lines.append((name, *rate, *(number(percentile(runs, p)) for p in ("50", "90", "99")), f"{cost:.0f}", f"{others:.0%}"))
    yield "## Repeated and warm questions"
    yield grid(("program", "answers/s", "spread", "p50 ms", "p90 ms", "p99 ms", "cost, µs of CPU", "others"), lines)
    yield _picture("throughput")
    yield _picture("latency")


def _miss(values: Values) -> Iterator[str]:
    direct = spread(values["direct"], "p50")[0]
    lines = []
    for name, runs in values["programs"].items():
        p50, p99 = percentile(runs, "50"), percentile(runs, "99")
        cost = spread(runs, "cost")[0]
        lines.append((name, _rate(runs)[0], number(p50), number(p50 - direct), number(p99), f"{cost:.0f}"))
    yield "## Misses"
    yield grid(("program", "answers/s", "p50 ms", "over GenAuth's own, ms", "p99 ms", "cost, µs of CPU"), lines)
    yield f"GenAuth itself, asked by the same {values['callers']} callers: {direct:.1f} ms at p50."
    yield text("misses")
    yield _picture("misses")


def _stampede(values: Values) -> Iterator[str]:
    own = values["genauth_seconds"]
    lines = []
    for name, runs in values["programs"].items():
        calls, slowest, median = (spread(runs, column)[0] for column in ("calls", "slowest", "median"))
        lines.append((name, number(calls), number(median - own), number(slowest - own)))
    yield "## A stampede"
    yield grid(("program", "calls to GenAuth", "half of them within GenAuth's own and, s", "all of them, s"), lines)
    yield text("stampede", callers=values["callers"], own=own)


def _mixed(values: Values) -> Iterator[str]:
    lines = []
    for name, runs in values["programs"].items():
        alone, together = (statistics.median(run[when]["99"] for run in runs) for when in ("alone", "together"))
        ratio = statistics.median(run["together"]["99"] / run["alone"]["99"] for run in runs)
        missed = spread(runs, "missed_per_second")[0]
        lines.append((name, _rate(runs)[0], number(missed), number(alone), number(together), f"{number(ratio)} {TIMES}"))
    yield "## Hits beside misses"
    yield grid(("program", "hits/s", "misses/s", "hits' p99 alone, ms", "beside misses, ms", "ratio"), lines)
    yield text("mixed")


def _growth(values: Values) -> Iterator[str]:
    lines = {name: [(run["users"], run["cost"]) for run in runs] for name, runs in values["programs"].items()}
    counts = [run["users"] for run in next(iter(values["programs"].values()))]
    yield "## As people become more"
    yield _picture("growth")
    yield grid(
        ("distinct users", *(f"{name}, µs" for name in lines)),
        [(f"{count:,}", *(f"{line[index][1]:.0f}" for line in lines.values())) for index, count in enumerate(counts)],
    )
    yield text("growth", sampled=f"{values['sampled']:,}")


def _memory(values: Values) -> Iterator[str]:
    lines = [
        (name, number(each["start"]), number(each["after"]), number(each["after"] - each["start"]))
        for name, each in values["programs"].items()
    ]
    yield "## Memory"
    yield grid(("program", "a worker at its start, MB", f"after {values['users']:,} users, MB", "growth, MB"), lines)


def _profile(after: Values) -> Iterator[str]:
    columns = [("before", json.loads(BEFORE.read_text())), ("after", after)]
    parts = {part for _, each in columns for part in each["shares"]}
    names = sorted(parts, key=lambda part: (-columns[0][1]["shares"].get(part, 0), part))
    lines = [(part, *(cell for _, each in columns for cell in _cells(each, each["shares"].get(part, 0.0)))) for part in names]
    total = ("**all of it**", *(cell for _, each in columns for cell in (f"{each['cost']:.0f}", "100 %")))
    yield "## Where a warm request's microseconds go"
    yield grid(("part", *(head for name, _ in columns for head in (f"{name}, µs", "share"))), [*lines, total])
    yield text("parts")


def _cells(profile: Values, share: float) -> tuple[str, str]:
    return f"{share * profile['cost']:.0f}", f"{share:.0%}".replace("%", " %")


def _threads(values: Values) -> Iterator[str]:
    lines = [
        (name, *_rate(runs), number(percentile(runs, "99")), f"{spread(runs, 'cost')[0]:.0f}")
        for name, runs in values["programs"].items()
    ]
    yield "## Server options, warm"
    yield grid(("options", "answers/s", "spread", "p99 ms", "cost, µs of CPU"), lines)


def _workers(values: Values) -> Iterator[str]:
    names = [name.removesuffix(", 1") for name in values["rounds"][0] if name.endswith(", 1")]
    lines = []
    for name in names:
        ratios = two_workers(values, name)
        costs = (statistics.median(run[f"{name}, {count}"]["cost"] for run in values["rounds"]) for count in (1, 2))
        median = number(statistics.median(ratios))
        lines.append((name, *(f"{cost:.0f}" for cost in costs), median, f"{number(min(ratios))} … {number(max(ratios))}"))
    yield "## Two workers"
    yield grid(("program", "cost with one, µs of CPU", "with two", f"{TIMES} one worker", "spread"), lines)


def _cold_start(values: Values) -> Iterator[str]:
    lines = [
        (name, *(f"{spread(runs, column)[0]:.2f}" for column in ("answer", "accounts")))
        for name, runs in values["programs"].items()
    ]
    yield "## Cold start"
    yield grid(("program", "first answer, s", "first list of accounts, s"), lines)


def _rate(runs: Sequence[Values]) -> tuple[str, str]:
    middle, least, most = spread(runs, "per_second")
    return f"{middle:,.0f}", f"{least:,.0f} … {most:,.0f}"


def _picture(name: str) -> str:
    return f"![{name}](performance/{name}.svg)"


# By the scenario that it is of, in the order of the document.
SECTIONS: dict[str, Callable[[Values], Iterator[str]]] = {
    "steady": _steady,
    "miss": _miss,
    "stampede": _stampede,
    "mixed": _mixed,
    "growth": _growth,
    "memory": _memory,
    "profile": _profile,
    "threads": _threads,
    "workers": _workers,
    "cold_start": _cold_start,
}
