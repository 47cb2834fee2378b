"""docs/performance.md and its plots, from the results."""

import statistics
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from bench import machine
from bench.documents import plots
from bench.documents.report import table, text
from bench.documents.sections import SECTIONS, percentile, spread
from bench.programs import ALL, ROOT
from bench.rows import Verdict
from bench.scenarios.hits import WARM
from bench.verdicts import rows

DOCS = ROOT / "docs"

Results = dict[str, Any]


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
        rates = {name: spread(runs, "per_second") for name, runs in programs.items()}
        drawn["throughput"] = plots.bars("Answers a second, one worker, 32 callers", "/s", rates)
        drawn["latency"] = _latency("Latency, 32 callers", programs)
    if "miss" in results:
        callers = results["miss"]["callers"]
        drawn["misses"] = _latency(f"Latency of misses, {callers} callers, GenAuth takes 50 ms", results["miss"]["programs"])
    if "growth" in results:
        lines = {name: [(run["users"], run["cost"]) for run in runs] for name, runs in results["growth"]["programs"].items()}
        drawn["growth"] = plots.curves("Cost of a warm request", "distinct users", "µs of CPU", lines)
    return drawn


def _latency(title: str, programs: Mapping[str, Any]) -> str:
    # Against the share that is slower: the tail has room.
    lines = {
        name: [(100 / (100 - float(p)), percentile(runs, p)) for p in runs[0]["milliseconds"] if float(p) < 100]
        for name, runs in programs.items()
        if runs
    }
    marks = {100 / (100 - p): f"p{p:g}" for p in (1, 50, 75, 90, 95, 99, 99.9)}
    return plots.curves(title, "percentile", "ms", lines, marks=marks)


def _sections(results: Results) -> Iterator[str]:
    lines = rows(results)
    judged = [line for line in lines if line.bar is not None]
    short = sum(line.verdict is not Verdict.REACHED for line in judged)
    yield "# Performance"
    yield (
        f"Written by `make bench` on {results['day']}, from `bench/results.json`; do not edit. Machine: {results['machine']}.\n"
        f"{len(judged) - short} of {len(judged)} bars reached{f', {short} short' if short else ''}."
    )
    yield table(lines)
    yield text("how", server=machine.SERVER_CORE, other=machine.OTHER_CORE)
    yield "The programs:\n\n" + "\n".join(f"- **{program.name}**: {program.about}" for program in (*ALL, WARM))
    yield _noise(results)
    for name, section in SECTIONS.items():
        if name in results:
            yield from section(results[name])


def _noise(results: Results) -> str:
    others = [run["others"] for runs in results.get("steady", {}).get("programs", {}).values() for run in runs]
    seen = ""
    if others:
        middle, worst = statistics.median(others), max(others)
        verdict = ": **rough figures**" if middle > machine.QUIET else ""
        seen = f"In this run others used {middle:.0%} of the machine in the median and {worst:.0%} at worst{verdict}."
    return text("noise", quiet=f"{machine.QUIET:.0%}", seen=seen)
