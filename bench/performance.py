"""docs/performance.md and its plots, from the results."""

import json
import statistics
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from bench import machine, plots
from bench.programs import ALL, ROOT
from bench.report import grid, number, table, text
from bench.rows import Verdict
from bench.sampling import sample
from bench.scenarios import WARM
from bench.verdicts import rows
from bench.world import REPEATING, Bench

DOCS = ROOT / "docs"
# The same table as `profile` makes, from before anything was done about it.
BEFORE = Path(__file__).with_name("before.json")

Results = dict[str, Any]


def profile(bench: Bench) -> dict[str, Any]:
    """The parts of a warm request, in shares of its CPU time."""
    return sample(bench.world, bench.tokens(REPEATING), core=machine.SERVER_CORE, changes=WARM.changes)


def write(results: Results, docs: Path = DOCS) -> None:
    """The document and its plots in ``docs``, with what was measured; what was not is left out."""
    plots_folder = docs / "performance"
    plots_folder.mkdir(parents=True, exist_ok=True)
    for name, svg in _plots(results).items():
        (plots_folder / f"{name}.svg").write_text(svg)
    (docs / "performance.md").write_text("\n\n".join(_sections(results)) + "\n")


def _plots(results: Results) -> dict[str, str]:
    drawn: dict[str, str] = {}
    if "steady" in results:
        programs = results["steady"]["programs"]
        rates = {name: _spread(runs, "per_second") for name, runs in programs.items()}
        drawn["throughput"] = plots.bars("Answers a second, one worker, 32 callers", "/s", rates)
        drawn["latency"] = _latency("Latency, 32 callers", programs)
    if "miss" in results:
        callers = results["miss"]["callers"]
        drawn["misses"] = _latency(f"Latency of misses, {callers} callers, GenAuth takes 50 ms", results["miss"]["programs"])
    if "growth" in results:
        lines = {name: [(run["users"], run["cost"]) for run in runs] for name, runs in results["growth"]["programs"].items()}
        drawn["growth"] = plots.curves("Cost of a warm request", "distinct users", "µs of CPU", lines)
    return drawn


def _spread(runs: Sequence[Mapping[str, Any]], column: str) -> tuple[float, float, float]:
    values = [run[column] for run in runs]
    return statistics.median(values), min(values), max(values)


def _sections(results: Results) -> Iterator[str]:
    lines = rows(results)
    short = sum(line.verdict is not Verdict.REACHED for line in lines)
    yield "# Performance"
    yield (
        f"Written by `make bench` on {results['day']}, from `bench/results.json`; do not edit. Machine: {results['machine']}.\n"
        f"{len(lines) - short} of {len(lines)} bars reached{f', {short} short' if short else ''}."
    )
    yield table(lines)
    yield text("how", server=machine.SERVER_CORE, other=machine.OTHER_CORE)
    yield "The programs:\n\n" + "\n".join(f"- **{program.name}**: {program.about}" for program in (*ALL, WARM))
    yield _noise(results)
    if "steady" in results:
        yield from _steady(results["steady"]["programs"])
    if "miss" in results:
        yield from _miss(results["miss"])
    if "growth" in results:
        yield from _growth(results["growth"])
    yield from _parts(results)
    if "threads" in results:
        yield from _threads(results["threads"]["programs"])
    if "cold_start" in results:
        yield from _cold_start(results["cold_start"]["programs"])


def _noise(results: Results) -> str:
    others = [run["others"] for runs in results.get("steady", {}).get("programs", {}).values() for run in runs]
    seen = ""
    if others:
        middle, worst = statistics.median(others), max(others)
        verdict = ": **rough figures**" if middle > machine.QUIET else ""
        seen = f"In this run others used {middle:.0%} of the machine in the median and {worst:.0%} at worst{verdict}."
    return text("noise", quiet=f"{machine.QUIET:.0%}", seen=seen)


def _steady(programs: Mapping[str, Any]) -> Iterator[str]:
    lines = []
    for name, runs in programs.items():
        rate, cost = _spread(runs, "per_second"), _spread(runs, "cost")
        latency = {p: statistics.median(run["milliseconds"][p] for run in runs) for p in ("50", "90", "99")}
        others = statistics.median(run["others"] for run in runs)
        lines.append((
            name, f"{rate[0]:,.0f}", f"{rate[1]:,.0f} … {rate[2]:,.0f}", number(latency["50"]), number(latency["90"]),
            number(latency["99"]), f"{cost[0]:.0f}", f"{others:.0%}",
        ))  # fmt: skip
    yield "## Repeated and warm questions"
    yield grid(("program", "answers/s", "spread", "p50 ms", "p90 ms", "p99 ms", "cost, µs of CPU", "others"), lines)
    yield _picture("throughput")
    yield _picture("latency")


def _latency(title: str, programs: Mapping[str, Any]) -> str:
    # Against the share that is slower: the tail has room.
    lines = {
        name: [
            (100 / (100 - float(p)), statistics.median(run["milliseconds"][p] for run in runs))
            for p in runs[0]["milliseconds"]
            if float(p) < 100
        ]
        for name, runs in programs.items()
        if runs
    }
    marks = {100 / (100 - p): f"p{p:g}" for p in (1, 50, 75, 90, 95, 99, 99.9)}
    return plots.curves(title, "percentile", "ms", lines, marks=marks)


def _miss(values: Mapping[str, Any]) -> Iterator[str]:
    yield "## Misses"
    direct = statistics.median(run["p50"] for run in values["direct"])
    lines = []
    for name, runs in values["programs"].items():
        p50 = statistics.median(run["milliseconds"]["50"] for run in runs)
        p99 = statistics.median(run["milliseconds"]["99"] for run in runs)
        rate = statistics.median(run["per_second"] for run in runs)
        cost = statistics.median(run["cost"] for run in runs)
        lines.append((name, f"{rate:,.0f}", number(p50), number(p50 - direct), number(p99), f"{cost:.0f}"))
    yield grid(("program", "answers/s", "p50 ms", "over GenAuth's own, ms", "p99 ms", "cost, µs of CPU"), lines)
    yield f"GenAuth itself, asked by the same {values['callers']} callers: {direct:.1f} ms at p50."
    yield _picture("misses")


def _growth(values: Mapping[str, Any]) -> Iterator[str]:
    yield "## As people become more"
    lines = {name: [(run["users"], run["cost"]) for run in runs] for name, runs in values["programs"].items()}
    yield _picture("growth")
    counts = [run["users"] for run in next(iter(values["programs"].values()))]
    yield grid(
        ("distinct users", *(f"{name}, µs" for name in lines)),
        [(f"{count:,}", *(f"{line[index][1]:.0f}" for line in lines.values())) for index, count in enumerate(counts)],
    )
    yield text("growth", sampled=f"{values['sampled']:,}")


def _parts(results: Results) -> Iterator[str]:
    before = json.loads(BEFORE.read_text()) if BEFORE.exists() else None
    after = results.get("profile")
    if not before and not after:
        return
    yield "## Where a warm request's microseconds go"
    columns = [(name, each) for name, each in (("before", before), ("after", after)) if each]
    names = sorted(
        {part for _, each in columns for part in each["shares"]}, key=lambda part: -columns[0][1]["shares"].get(part, 0)
    )
    lines = [(part, *(cell for _, each in columns for cell in _cells(each, each["shares"].get(part, 0.0)))) for part in names]
    total = ("**all of it**", *(cell for _, each in columns for cell in (f"{each['cost']:.0f}", "100 %")))
    yield grid(("part", *(head for name, _ in columns for head in (f"{name}, µs", "share"))), [*lines, total])
    yield text("parts")


def _cells(profile_: Mapping[str, Any], share: float) -> tuple[str, str]:
    return f"{share * profile_['cost']:.0f}", f"{share:.0%}".replace("%", " %")


def _threads(programs: Mapping[str, Any]) -> Iterator[str]:
    yield "## Server options, warm"
    lines = []
    for name, runs in programs.items():
        rates = [run["per_second"] for run in runs]
        p99 = statistics.median(run["milliseconds"]["99"] for run in runs)
        cost = statistics.median(run["cost"] for run in runs)
        lines.append(
            (name, f"{statistics.median(rates):,.0f}", f"{min(rates):,.0f} … {max(rates):,.0f}", number(p99), f"{cost:.0f}")
        )
    yield grid(("options", "answers/s", "spread", "p99 ms", "cost, µs of CPU"), lines)


def _cold_start(programs: Mapping[str, Any]) -> Iterator[str]:
    yield "## Cold start"
    lines = [
        (name, *(f"{statistics.median(run[column] for run in runs):.2f}" for column in ("answer", "accounts")))
        for name, runs in programs.items()
    ]
    yield grid(("program", "first answer, s", "first list of accounts, s"), lines)


def _picture(name: str) -> str:
    return f"![{name}](performance/{name}.svg)"
