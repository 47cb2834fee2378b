"""What each scenario has to show beside the table of bars: a section of docs/performance.md, every program in it."""

import statistics
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from bench.documents import screens
from bench.documents.report import grid, number, text
from bench.rows import TIMES
from bench.verdicts import two_workers

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


def _crowd(values: Values) -> Iterator[str]:
    lines = []
    for name, runs in values["programs"].items():
        rate, cost = _rate(runs)[0], spread(runs, "cost")
        asked = f"{spread(runs, 'asked')[0]:.1%}"
        times = (number(percentile(runs, p)) for p in ("50", "99"))
        lines.append((name, rate, f"{cost[0]:.0f}", f"{cost[1]:.0f} … {cost[2]:.0f}", asked, *times))
    yield "## A crowd"
    yield grid(("program", "answers/s", "cost, µs of CPU", "spread", "of these from GenAuth", "p50 ms", "p99 ms"), lines)
    shares = values["programs"]["ours"][-1]["from"]
    told = ", ".join(f"{source} {share:.1%}" for source, share in sorted(shares.items(), key=lambda each: -each[1]))
    yield text(
        "crowd",
        people=f"{values['people']:,}",
        zipf=values["zipf"],
        seconds=f"{values['seconds']:.0f}",
        workers=values["workers"],
        own=f"{values['genauth_seconds'] * 1000:.0f}",
        shares=f"The service's own count of where its answers came from: {told}." if told else "",
    )


def _screens(values: Values) -> Iterator[str]:
    lines = []
    for name, runs in values["programs"].items():
        times = (number(percentile(runs, p)) for p in ("50", "99"))
        rate, cost, cores = (spread(runs, column)[0] for column in ("per_second", "cost", "cores"))
        lines.append((name, f"{rate:.0f}", f"{cost:.0f}", number(cores), screens.shares(runs[-1]["from"]), *times))
    yield "## Open screens"
    yield grid(("program", "questions/s", "cost, µs of CPU", "cores", "memory · Redis · GenAuth", "p50 ms", "p99 ms"), lines)
    every, workers = f"{values['every']:.0f}", values["workers"]
    yield text("open_screens", screens=f"{values['screens']:,}", every=every, workers=workers)
    yield screens.latencies(values)


def _miss(values: Values) -> Iterator[str]:
    lines = []
    for name, runs in values["programs"].items():
        few = [run["few"] for run in runs]
        over = statistics.median(run["milliseconds"]["50"] - run["direct"] for run in few)
        times = (number(percentile(runs, p)) for p in ("50", "99"))
        cost = f"{spread(runs, 'cost')[0]:.0f}"
        lines.append((name, number(percentile(few, "50")), number(over), _rate(runs)[0], *times, cost))
    few, many = values["few"], values["callers"]
    yield "## Misses"
    yield grid(
        (
            "program",
            f"{few} callers: p50 ms",
            "over GenAuth's own, ms",
            f"{many} callers: answers/s",
            "p50 ms",
            "p99 ms",
            "cost, µs of CPU",
        ),
        lines,
    )
    direct = statistics.median(run["few"]["direct"] for run in values["programs"]["ours"])
    yield f"GenAuth itself, asked by {few} callers: {direct:.1f} ms at p50."
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


def _hanging(values: Values) -> Iterator[str]:
    runs = values["programs"]["ours"]
    lines = [
        (
            str(number_of),
            number(run["alone"]),
            number(run["beside"]),
            f"{number(run['beside'] / run['alone'])} {TIMES}",
            str(run["waited"]),
            str(run["served"]),
        )
        for number_of, run in enumerate(runs, 1)
    ]
    yield "## Hits while GenAuth hangs"
    yield grid(
        ("round", "hits' p99 healthy, ms", "beside those who wait, ms", "ratio", "asked GenAuth", "of these served"), lines
    )
    yield text("hanging", callers=values["callers"], own=values["genauth_seconds"])


def _worst_case(values: Values) -> Iterator[str]:
    lines = []
    for shape, runs in (values["shapes"] | values["requests"]).items():
        cpu = spread(runs, "cpu")
        lines.append((shape, f"{cpu[0]:.2f}", f"{cpu[1]:.2f} … {cpu[2]:.2f}", str(runs[-1]["status"]), str(len(runs))))
    yield "## The worst that GenAuth may say of one person, and a caller in a request"
    yield grid(("shape", "CPU of one answer, s", "spread", "status", "rounds"), lines)
    yield text("worst_case")


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
    "crowd": _crowd,
    "screens": _screens,
    "miss": _miss,
    "stampede": _stampede,
    "mixed": _mixed,
    "hanging": _hanging,
    "worst_case": _worst_case,
    "growth": _growth,
    "memory": _memory,
    "workers": _workers,
    "cold_start": _cold_start,
}
