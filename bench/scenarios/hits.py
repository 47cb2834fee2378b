"""Questions that are answered from memory or from Redis: repeated, warm, by a crowd, with two workers, by ever more people."""

from collections.abc import Iterator
from dataclasses import replace

from bench import machine
from bench.answers import Watching
from bench.load.wrk import Load, apply
from bench.programs import BARE, FLOOR, NODE, OURS, RECIPE, Program, Running
from bench.scenarios.turns import CALLERS, Values, all_cores, in_turn, values_of
from bench.world import Bench

# Requests are counted for the rate limit, as they are by default, but nobody reaches it.
COUNTED = replace(OURS, changes={"RATE_LIMIT": "1000000/minute"})
# Without the response cache every question goes to Redis.
WARM = replace(
    OURS,
    name="ours, warm",
    about="this service without its response cache",
    changes={"LOCAL_CACHE_SECONDS": "0"},
)
REPEATED = (COUNTED, WARM, RECIPE, BARE, NODE, FLOOR)

ZIPF = 1.1
CROWD_CALLERS = 128
# Some 4,000 questions a second: as many for each program, so that each has the same to remember, to read and to ask for.
CROWD_PAUSE_SECONDS = 0.03
CROWD_GENAUTH_SECONDS = 0.05
CROWD_WORKERS = 2
_CROWD_ROUNDS = 3
_DEFAULT_LIVES = {"CACHE_TTL_SECONDS": "60", "TOKEN_ACCEPTED_SECONDS": "60"}


def steady(bench: Bench) -> Values:
    """200 users at random, again and again: every program in turn, round after round."""
    return {"callers": CALLERS, "programs": in_turn(bench, REPEATED, lambda running: _asked(bench, running))}


def _asked(bench: Bench, running: Running, callers: int = CALLERS) -> Values:
    return values_of(bench.steady(running, callers))


def crowd(bench: Bench) -> Values:
    """20,000 people, some asking often and most of them seldom, at a steady rate: what a user of the service meets."""
    people = bench.plan.crowd
    load = Load(bench.token_file(people), CROWD_CALLERS, bench.plan.crowd_seconds, zipf=ZIPF, pause=CROWD_PAUSE_SECONDS, seed=1)

    def measure(running: Running) -> Values:
        bench.genauth.takes(CROWD_GENAUTH_SECONDS)
        with Watching(running, bench.tokens(people), seed=1):
            apply(replace(load, seconds=bench.plan.crowd_seconds / 12, seed=2), running.url, machine.OTHER_CORE)
            bench.genauth.forget()
            measured = bench.under(running, load)
        asked = bench.genauth.calls() / measured.figures.requests
        return {**values_of(measured), "asked": asked, "from": _shares(running)}

    rounds = 1 if bench.plan.quick else _CROWD_ROUNDS
    programs = (replace(COUNTED, changes={**COUNTED.changes, **_DEFAULT_LIVES, "METRICS_TOKEN": METRICS_TOKEN}),
                replace(NODE, changes=_DEFAULT_LIVES))  # fmt: skip
    return {
        "people": people,
        "zipf": ZIPF,
        "seconds": bench.plan.crowd_seconds,
        "genauth_seconds": CROWD_GENAUTH_SECONDS,
        "workers": CROWD_WORKERS,
        "programs": in_turn(bench, programs, measure, rounds=rounds, workers=CROWD_WORKERS, cores=all_cores()),
    }


METRICS_TOKEN = "bench"  # noqa: S105 - of a service that lives for a minute on the loopback


def answers_by_source(running: Running) -> dict[str, float]:
    """How many answers came from where, as the service's own metrics have it; of nobody else's."""
    counted: dict[str, float] = {}
    for line in running.metrics(METRICS_TOKEN).splitlines():
        name, _, value = line.rpartition(" ")
        answered = 'status="200"' in name or 'status="304"' in name
        if name.startswith("linked_accounts_answers_total{") and 'source="' in name and answered:
            source = name.partition('source="')[2].partition('"')[0]
            counted[source] = counted.get(source, 0.0) + float(value)
    counted.pop("none", None)
    return counted


def _shares(running: Running) -> dict[str, float]:
    counted = answers_by_source(running)
    return {source: count / sum(counted.values()) for source, count in counted.items()}


def workers(bench: Bench) -> Values:
    """One worker against two, on the repeated questions.

    Without two free cores two workers share the core of one: if each request costs as much as before, nothing is shared that
    would keep them from doing twice as much on two. Two processes on one core disturb each other, though: how much, the floor
    tells, whose workers share nothing.
    """
    free = machine.CORES >= 4
    alone = "2" if free else str(machine.SERVER_CORE)
    together = "2,3" if free else alone
    rounds: list[Values] = []
    for _ in range(bench.plan.rounds):
        measured: Values = {}
        for program in (COUNTED, FLOOR):
            for count, cores in ((1, alone), (2, together)):
                with bench.running(program, workers=count, cores=cores) as running:
                    measured[f"{program.name}, {count}"] = _asked(bench, running, CALLERS * count)
        rounds.append(measured)
    return {"free_cores": free, "rounds": rounds}


def growth(bench: Bench) -> Values:
    """What a request costs when ever more people ask: beyond its cache's size a worker does not know all of their tokens."""
    sampled = 20_000 if not bench.plan.quick else 2_000
    sizes = (100, 10_000, 1_000_000) if not bench.plan.quick else (100, 2_000)
    return {
        "sampled": sampled,
        "programs": {program.name: list(_growing(bench, program, sizes, sampled)) for program in (WARM, NODE)},
    }


def _growing(bench: Bench, program: Program, sizes: tuple[int, ...], sampled: int) -> Iterator[Values]:
    with bench.running(program) as running:
        for size in sizes:
            users = min(size, sampled)
            bench.ask_each(running, users, CALLERS)
            _fill(bench, size, size - users)
            everyone = size <= sampled
            load = Load(bench.token_file(users), CALLERS, bench.plan.seconds, once=not everyone)
            if everyone:
                apply(replace(load, seconds=bench.plan.warm_seconds), running.url, machine.OTHER_CORE)
            yield {"users": size, **values_of(bench.under(running, load))}


# As many more entries as make up the number, of the same size: Redis is as full as it would be.
_FILL = """
for n = ARGV[2], ARGV[3] do
  redis.call('set', 'filler:' .. ARGV[1] .. ':' .. n .. ':accounts', string.rep('x', 288), 'EX', 3600)
  redis.call('set', 'filler:' .. ARGV[1] .. ':' .. n .. ':token', string.rep('x', 63), 'EX', 3600)
end
"""
_AT_A_TIME = 5_000  # for as long as a script runs, Redis answers nobody


def _fill(bench: Bench, size: int, more: int) -> None:
    for first in range(0, more, _AT_A_TIME):
        bench.redis.eval(_FILL, 0, size, first, min(more, first + _AT_A_TIME) - 1)
