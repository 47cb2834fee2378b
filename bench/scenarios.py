"""The scenarios of the table, each as rounds in which the programs take turns.

Every function returns what it measured as plain values; `verdicts` makes the table's rows of them and knows the bars.
"""

import statistics
import time
from base64 import b64encode
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Any

from bench import machine
from bench.answers import Watching, check
from bench.load import Figures, Load, WrongAnswer, apply
from bench.programs import ALL, BARE, FLOOR, NODE, OURS, RECIPE, Program, Running, resident
from bench.volley import volley
from bench.world import Bench, Measured, exhaust

# The answers that a worker keeps in front of Flask, switched off: every question goes to Redis.
WARM = replace(OURS, name="ours, warm", about="this service without its micro-cache", changes={"LOCAL_CACHE_SECONDS": "0"})
REPEATED = (OURS, WARM, RECIPE, BARE, NODE, FLOOR)
# Bare and floor say the same to everybody: nobody's accounts are asked for, remembered or waited for.
ANSWERING = (OURS, NODE, RECIPE)

GENAUTH_SECONDS = 0.05
MISS_CALLERS = 64
STAMPEDE_CALLERS = 500
STAMPEDE_GENAUTH_SECONDS = 0.2
MIXED_GENAUTH_SECONDS = 0.2
_CALLERS = 32
_MIXED_CALLERS = 8
_MISSES_A_SECOND = 300  # at the very most
_STARTS = 5

Values = dict[str, Any]


def steady(bench: Bench) -> Values:
    """200 users at random, again and again: every program in turn, round after round."""
    return {"callers": _CALLERS, "programs": _in_turn(bench, REPEATED, lambda running: _asked(bench, running))}


def _asked(bench: Bench, running: Running, callers: int = _CALLERS) -> Values:
    return _values(bench.steady(running, callers))


def _in_turn(
    bench: Bench,
    programs: tuple[Program, ...],
    measure: Callable[[Running], Values],
    **how: Any,  # noqa: ANN401 - as `running` has it
) -> dict[str, list[Values]]:
    """A B C A B C: what disturbs the machine for a while disturbs all of them."""
    values: dict[str, list[Values]] = {program.name: [] for program in programs}
    for _ in range(bench.plan.rounds):
        for program in programs:
            with bench.running(program, **how) as running:
                values[program.name].append(measure(running))
    return values


def _answering(bench: Bench) -> tuple[Program, ...]:
    """Those that answer with accounts; ours alone for a quick look, where no bar is a comparison with another."""
    return ANSWERING[:1] if bench.plan.quick else ANSWERING


def _values(measured: Measured) -> Values:
    return {
        "per_second": measured.figures.per_second,
        "cost": measured.cost,
        "others": measured.others,
        "milliseconds": measured.figures.milliseconds,
    }


def miss(bench: Bench) -> Values:
    """64 callers, every question for somebody nobody asked for, GenAuth takes 50 ms."""
    seconds = bench.plan.miss_seconds
    enough = int(MISS_CALLERS / GENAUTH_SECONDS * (seconds + 3))
    file = bench.token_file(enough)
    direct: list[Values] = []

    def measure(running: Running) -> Values:
        bench.genauth.takes(GENAUTH_SECONDS)
        # The last of the file, to open connections and fetch keys.
        apply(
            Load(file, MISS_CALLERS, 1, once=True, first=enough - int(MISS_CALLERS / GENAUTH_SECONDS * 2)),
            running.url,
            machine.OTHER_CORE,
        )
        time.sleep(MISS_CALLERS * GENAUTH_SECONDS)  # what was still asked for when they left has a place at GenAuth, if but one
        bench.genauth.forget()
        measured = bench.under(running, Load(file, MISS_CALLERS, seconds, once=True))
        asked = bench.genauth.calls()
        if asked < measured.figures.requests:
            raise WrongAnswer(f"{running.program.name} asked GenAuth {asked} times for {measured.figures.requests} strangers")
        for user in range(0, measured.figures.requests, max(1, measured.figures.requests // 20)):
            check(running.program.name, *running.ask(bench.tokens(enough)[user]), user)
        url = f"{bench.genauth.url}/api/v3/get-identities"
        if running.program is OURS:
            direct.append({"p50": apply(Load(file, MISS_CALLERS, 2, once=True), url, machine.OTHER_CORE).p50})
        return _values(measured)

    return {
        "callers": MISS_CALLERS,
        "genauth_seconds": GENAUTH_SECONDS,
        "programs": _in_turn(bench, _answering(bench), measure),
        "direct": direct,
    }


def stampede(bench: Bench) -> Values:
    """500 callers at one moment for one person nobody asked for, two workers."""
    known, person = bench.tokens(2)

    def measure(running: Running) -> Values:
        running.ask(known)  # keys and sources are known: it is the person who is cold
        bench.genauth.takes(STAMPEDE_GENAUTH_SECONDS)
        bench.genauth.forget()
        replies = volley(running.url, [person] * STAMPEDE_CALLERS)
        for reply in replies:
            check(running.program.name, reply.status, reply.body, 1)
        seconds = sorted(reply.seconds for reply in replies)
        return {"calls": bench.genauth.calls(), "slowest": seconds[-1], "median": statistics.median(seconds)}

    return {
        "callers": STAMPEDE_CALLERS,
        "genauth_seconds": STAMPEDE_GENAUTH_SECONDS,
        "programs": _in_turn(bench, _answering(bench), measure, workers=2, cores=_all_cores()),
    }


def mixed(bench: Bench) -> Values:
    """90 repeats, 9 warm ones and a miss in every hundred, GenAuth takes 200 ms: the hits alone, then all together."""
    seconds, crowd = bench.plan.mixed_seconds, 5_000 if not bench.plan.quick else 1_000
    most = int(_MISSES_A_SECOND * (seconds + 1))
    file = bench.token_file(crowd + 2 * most)

    def measure(running: Running) -> Values:
        with Watching(running, bench.tokens(200), seed=1):
            bench.ask_each(running, crowd, _CALLERS)
            hits = Load(_mixture(bench, crowd), _MIXED_CALLERS, seconds)
            apply(replace(hits, seconds=2), running.url, machine.OTHER_CORE)
            calm = [apply(hits, running.url, machine.OTHER_CORE)]
            bench.genauth.takes(MIXED_GENAUTH_SECONDS)
            # Beside strangers fewer hits are answered: how many callers make one miss in a hundred, a first look tells.
            strangers = Load(
                file, max(1, round(calm[0].per_second / 99 * MIXED_GENAUTH_SECONDS)), seconds, once=True, first=crowd
            )
            seen, missed = _at_once(hits, strangers, running.url)
            callers = max(1, round(strangers.callers * seen.per_second / 99 / missed.per_second))
            strangers = replace(strangers, callers=callers, first=crowd + most)
            together, misses = _at_once(hits, strangers, running.url)
            # Once more: somebody else at work while the hits are alone would make the bar an easy one.
            calm.append(apply(hits, running.url, machine.OTHER_CORE))
        alone = min(calm, key=lambda figures: figures.milliseconds["99"])
        return {
            "alone": alone.milliseconds, "together": together.milliseconds,
            "per_second": together.per_second, "missed_per_second": misses.per_second,
        }  # fmt: skip

    return {"genauth_seconds": MIXED_GENAUTH_SECONDS, "programs": _in_turn(bench, _answering(bench), measure)}


def _mixture(bench: Bench, crowd: int) -> Any:  # noqa: ANN401 - a path
    """Ten of the 200 for each one of the crowd: drawn at random, that is 90 and 9 of 99."""
    path = bench.folder / f"mixture-{crowd}"
    tokens = bench.tokens(crowd)
    repeated = tokens[:200] * (10 * (crowd - 200) // 200)
    path.write_text("\n".join([*tokens[200:], *repeated]) + "\n")
    return path


def _at_once(first: Load, second: Load, url: str) -> tuple[Figures, Figures]:
    with ThreadPoolExecutor(2) as threads:
        one = threads.submit(apply, first, url, machine.OTHER_CORE)
        other = threads.submit(apply, second, url, machine.OTHER_CORE)
        return one.result(), other.result()


def memory(bench: Bench) -> Values:
    """A worker's memory at its start and after many distinct users, and Redis' for each of them."""
    users = bench.plan.many_users
    values: Values = {"users": users, "programs": {}}
    for program in _answering(bench):
        with bench.running(program) as running:
            running.ask(bench.tokens(1)[0])
            start = [resident(pid) for pid in running.workers()]
            exhaust(Load(bench.token_file(users), _CALLERS, 5, once=True), running.url, users)
            after = [resident(pid) for pid in running.workers()]
            values["programs"][program.name] = {"start": max(start), "after": max(after)}
    values["redis_bytes_per_user"] = _redis_bytes(bench)
    values["redis_bytes_per_user_sealed"] = _redis_bytes(bench, CACHE_SECRET=f"bench:{b64encode(bytes(32)).decode()}")
    return values


def _redis_bytes(bench: Bench, users: int = 100, **changes: str) -> float:
    """All keys of a person with two accounts and one session, the count for the rate limit included."""
    with bench.running(OURS, RATE_LIMIT="120/minute", **changes) as running:
        for user, token in enumerate(bench.tokens(users)):
            check(OURS.name, *running.ask(token), user)
    total = sum(bench.redis.memory_usage(key, samples=0) or 0 for key in bench.redis.scan_iter(count=1000))
    return total / users


def cold_start(bench: Bench) -> Values:
    """From the process's start to its first answer, and to the first list of accounts."""
    values: dict[str, list[Values]] = {program.name: [] for program in ALL}
    for _ in range(_STARTS if not bench.plan.quick else 2):
        for program in ALL:
            started = time.perf_counter()
            with bench.running(program) as running:
                running.ask(bench.tokens(1)[0])
                signed_in = time.perf_counter() - started
                values[program.name].append({"answer": running.seconds_to_first_answer, "accounts": signed_in})
    return {"programs": values}


def workers(bench: Bench) -> Values:
    """One worker against two, on the repeated questions.

    Without two free cores two workers share the core of one: if each request costs as much as before, nothing is shared that
    would keep them from doing twice as much on two. Two processes on one core disturb each other, though: how much, the floor
    tells, whose workers share nothing. What ours do beside the load generator is told as well.
    """
    free = machine.CORES >= 4
    alone = "2" if free else str(machine.SERVER_CORE)
    together = "2,3" if free else alone
    programs = (OURS, FLOOR) if bench.plan.quick else ALL
    settings = {
        f"{program.name}, {count}": (program, count, cores)
        for program in programs
        for count, cores in ((1, alone), (2, together))
    }
    settings["beside the load"] = (OURS, 2, _all_cores())
    rounds: list[Values] = []
    for _ in range(bench.plan.rounds):
        measured: Values = {}
        for name, (program, count, cores) in settings.items():
            with bench.running(program, workers=count, cores=cores) as running:
                measured[name] = _asked(bench, running, _CALLERS * count)
        rounds.append(measured)
    return {"free_cores": free, "rounds": rounds}


def threads(bench: Bench) -> Values:
    """The warm question with other options of the server: how many threads, and how its runtime runs."""
    programs = tuple(_with_options(name, change) for name, change in _OPTIONS.items())
    return {"programs": _in_turn(bench, programs, lambda running: _asked(bench, running))}


_OPTIONS = {
    "as shipped": ("", ""),
    "1 thread": ("--blocking-threads 128", "--blocking-threads 1"),
    "2 threads": ("--blocking-threads 128", "--blocking-threads 2"),
    "4 threads": ("--blocking-threads 128", "--blocking-threads 4"),
    "16 threads": ("--blocking-threads 128", "--blocking-threads 16"),
    "runtime st": ("--blocking-threads 128", "--blocking-threads 128 --runtime-mode st"),
    "runtime mt": ("--blocking-threads 128", "--blocking-threads 128 --runtime-mode mt"),
}


def _with_options(name: str, change: tuple[str, str]) -> Program:
    return replace(WARM, name=name, command=lambda: WARM.command().replace(*change))


def growth(bench: Bench) -> Values:
    """What a request costs when ever more people ask: beyond 10,000 the worker does not remember all of their tokens."""
    sampled = 20_000 if not bench.plan.quick else 2_000
    sizes = (100, 1_000, 10_000, 100_000, 1_000_000) if not bench.plan.quick else (100, 2_000)
    return {
        "sampled": sampled,
        "programs": {program.name: list(_growing(bench, program, sizes, sampled)) for program in (WARM, NODE, RECIPE)},
    }


def _growing(bench: Bench, program: Program, sizes: tuple[int, ...], sampled: int) -> Iterator[Values]:
    with bench.running(program) as running:
        for size in sizes:
            users = min(size, sampled)
            bench.ask_each(running, users, _CALLERS)
            _fill(bench, size, size - users)
            everyone = size <= sampled
            load = Load(bench.token_file(users), _CALLERS, bench.plan.seconds, once=not everyone)
            if everyone:
                apply(replace(load, seconds=bench.plan.warm_seconds), running.url, machine.OTHER_CORE)
            yield {"users": size, **_values(bench.under(running, load))}


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


def _all_cores() -> str:
    return ",".join(map(str, range(min(2, machine.CORES))))


SCENARIOS: dict[str, Callable[[Bench], Values]] = {
    "steady": steady,
    "miss": miss,
    "stampede": stampede,
    "mixed": mixed,
    "memory": memory,
    "cold_start": cold_start,
    "workers": workers,
    "threads": threads,
    "growth": growth,
}
