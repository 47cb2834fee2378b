"""docs/scaling.md: from measured costs to what a million, a hundred million and a billion users need."""

import statistics
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench.documents import screens
from bench.documents.report import grid, number, text
from bench.documents.simulate import Activity, Lives, Shares, simulate
from bench.programs import ROOT
from bench.rows import TIMES

DOCS = ROOT / "docs"

Results = dict[str, Any]

ACTIVITIES = {
    "settings page": Activity(visits_per_day=0.1, questions_per_visit=2, pause_seconds=20),
    "profile in an app": Activity(visits_per_day=1, questions_per_visit=4, pause_seconds=30),
    "header of every page": Activity(visits_per_day=3, questions_per_visit=20, pause_seconds=15),
}
USERS = (1_000_000, 100_000_000, 1_000_000_000)
TTLS = (10, 60, 300, 900, 3600)

# Assumed, all of it; docs/scaling.md says so and how to put in one's own.
ACTIVE_SHARE = 0.2
PEAK = 3.0
UTILISATION = 0.6
SHARD_GB = 25.0
SHARD_PER_SECOND = 100_000
GENAUTH_PER_SECOND = 1_000
HEADROOM = 1.3


@dataclass(frozen=True, slots=True)
class Costs:
    """Measured: microseconds of a core and commands of Redis for an answer by where it comes from, bytes of Redis for a user."""

    memory: float
    redis: float
    genauth: float
    redis_commands: float
    genauth_commands: float
    bytes_per_user: float


@dataclass(frozen=True, slots=True)
class Need:
    """What so many users need at their peak."""

    questions: float
    workers: float
    redis_gb: float
    redis_per_second: float
    genauth_per_second: float

    @property
    def shards(self) -> int:
        """Of Redis, by memory or by commands, whatever is more."""
        return max(1, -int(-max(self.redis_gb / SHARD_GB, self.redis_per_second / SHARD_PER_SECOND) // 1))

    @property
    def bottleneck(self) -> str:
        """What is used up first: the fullest of GenAuth, one Redis server, one machine of 64 cores."""
        full = {
            "GenAuth's calls": self.genauth_per_second / GENAUTH_PER_SECOND,
            "Redis' memory": self.redis_gb / SHARD_GB,
            "Redis' commands": self.redis_per_second / SHARD_PER_SECOND,
            "workers' CPU": self.workers / 64,
        }
        name = max(full, key=lambda each: full[each])
        return f"{name} ({full[name]:,.1f} {TIMES} one)"


def need(users: float, activity: Activity, shares: Shares, costs: Costs) -> Need:
    """By arithmetic from the shares of where answers come from."""
    active = users * ACTIVE_SHARE
    questions = active * activity.visits_per_day * activity.questions_per_visit / 86_400 * PEAK
    seconds = (shares.memory * costs.memory + shares.redis * costs.redis + shares.genauth * costs.genauth) / 1e6
    commands = shares.redis * costs.redis_commands + shares.genauth * costs.genauth_commands
    return Need(
        questions=questions,
        workers=questions * seconds / UTILISATION,
        # At the peak more people have an entry than on average, up to all who are active.
        redis_gb=active * min(1.0, shares.stored * PEAK) * costs.bytes_per_user * HEADROOM / 1e9,
        redis_per_second=questions * commands,
        genauth_per_second=questions * shares.genauth,
    )


def write(results: Results, docs: Path = DOCS) -> None:
    """The document, as soon as there are costs."""
    if {"steady", "miss", "memory"} <= results.keys():
        (docs / "scaling.md").write_text("\n\n".join(_sections(results, costs_of(results))) + "\n")


def costs_of(results: Results) -> Costs:
    """What was measured: medians of the worker's CPU time."""

    def cost(runs: Any) -> float:  # noqa: ANN401 - from a file
        median: float = statistics.median(run["cost"] for run in runs)
        return median

    steady = results["steady"]["programs"]
    return Costs(
        memory=cost(steady["ours"]),
        redis=cost(steady["ours, warm"]),
        genauth=cost(results["miss"]["programs"]["ours"]),
        redis_commands=results["memory"]["redis_commands"]["hit"],
        genauth_commands=results["memory"]["redis_commands"]["miss"],
        bytes_per_user=results["memory"]["redis_bytes_per_user"],
    )


def _sections(results: Results, costs: Costs) -> Iterator[str]:
    yield "# Scale, on paper"
    yield (
        f"Written by `make bench` on {results['day']} from measured costs and a simulation (`bench/documents/simulate.py`); do\n"
        "not edit. To put in one's own figures: change the constants at the top of `bench/documents/scaling.py`, then\n"
        "`python -m bench.run --render`."
    )
    yield "## What goes in"
    yield grid(("figure", "value", "where from"), _inputs(costs))
    yield "## Where answers come from"
    yield text("lifetimes")
    yield grid(("activity", *(f"both {ttl} s" for ttl in TTLS), "TTL 3600 s, accepted 60 s"), _hit_ratios())
    for name, activity in ACTIVITIES.items():
        yield f"## {name.capitalize()}"
        yield _described(activity)
        yield grid(
            (
                "users",
                "questions/s",
                "memory · Redis · GenAuth",
                "workers",
                "Redis, GB",
                "shards",
                "Redis commands/s",
                "GenAuth calls/s",
                "fullest",
            ),
            _needs(activity, costs),
        )
    by_source = {"memory": costs.memory, "cache": costs.redis, "genauth": costs.genauth}
    yield from screens.section(results.get("screens"), by_source)
    yield _bottleneck(costs)


def _inputs(costs: Costs) -> Iterator[tuple[str, str, str]]:
    yield "an answer from a worker's memory", f"{costs.memory:.0f} µs of a core", "measured (*repeat*)"
    yield "from Redis", f"{costs.redis:.0f} µs of a core", "measured (*warm*)"
    yield "from GenAuth", f"{costs.genauth:.0f} µs of a core", "measured (*miss*)"
    yield "Redis for a user with two accounts and one session", f"{costs.bytes_per_user:.0f} bytes", "measured"
    yield (
        "commands of Redis",
        f"{number(costs.redis_commands)} from Redis, {number(costs.genauth_commands)} from GenAuth",
        "counted by Valkey, those of scripts and of the rate limit included",
    )
    lives = Lives()
    yield (
        "stored for, at most",
        f"{lives.local:.0f} s in a worker, {lives.ttl:.0f} s fresh in Redis, {lives.stale:,.0f} s stale",
        "the default settings",
    )
    yield "users who are active on a day", f"{ACTIVE_SHARE:.0%}", "assumed"
    yield "peak over mean", number(PEAK), "assumed"
    yield "a worker is used to", f"{UTILISATION:.0%}", "assumed, for the sake of latency"
    yield "a Redis shard", f"{SHARD_GB:.0f} GB, {SHARD_PER_SECOND:,} commands/s", "assumed; memory with a headroom of 30 %"
    yield (
        "GenAuth",
        f"{GENAUTH_PER_SECOND:,} get-identities/s for an application",
        "assumed: its limit is not documented",
    )


def _hit_ratios() -> Iterator[tuple[str, ...]]:
    for name, activity in ACTIVITIES.items():
        both = (1 - simulate(activity, Lives(ttl=ttl, accepted=ttl), workers=2).genauth for ttl in TTLS)
        alone = 1 - simulate(activity, Lives(ttl=3600, accepted=60), workers=2).genauth
        yield name, *(f"{ratio:.1%}" for ratio in both), f"{alone:.1%}"


def _needs(activity: Activity, costs: Costs) -> Iterator[tuple[str, ...]]:
    for users in USERS:
        # More workers see the same person less often each: two rounds, the first for their number.
        count = 2
        for _ in range(2):
            shares = simulate(activity, Lives(), workers=count)
            needed = need(users, activity, shares, costs)
            count = max(2, round(needed.workers))
        yield (
            f"{users:,}", f"{needed.questions:,.0f}", f"{shares.memory:.0%} · {shares.redis:.0%} · {shares.genauth:.0%}",
            f"{max(2.0, needed.workers):,.0f}", number(needed.redis_gb), f"{needed.shards:,}", f"{needed.redis_per_second:,.0f}",
            f"{needed.genauth_per_second:,.0f}", needed.bottleneck,
        )  # fmt: skip


def _described(activity: Activity) -> str:
    return (
        f"{activity.visits_per_day:g} visits a day for an active user, {activity.questions_per_visit:g} questions each, "
        f"{activity.pause_seconds:g} s apart (assumed)."
    )


def _bottleneck(costs: Costs) -> str:
    small = ACTIVITIES["settings page"]
    shares = simulate(small, Lives(), workers=2)
    first = need(1e9, small, shares, costs).genauth_per_second
    app = ACTIVITIES["profile in an app"]
    app_shares = simulate(app, Lives(), workers=2)
    reach = GENAUTH_PER_SECOND / need(1.0, app, app_shares, costs).genauth_per_second
    longer = simulate(app, Lives(ttl=900, accepted=900), workers=2).genauth / app_shares.genauth
    return text(
        "bottleneck",
        reach=f"{reach / 1e6:,.0f}",
        limit=f"{GENAUTH_PER_SECOND:,}",
        settings=f"{first:,.0f}",
        longer=f"{longer:.0%}",
    )
