"""Screens that stay open: each asks every half a minute whether anything has changed, by a conditional request."""

import math
import time
from collections.abc import Iterable
from dataclasses import replace

from bench import machine
from bench.load import paced, screens
from bench.load.wrk import NothingMeasured
from bench.programs import OURS, Running
from bench.scenarios.hits import METRICS_TOKEN, answers_by_source
from bench.scenarios.turns import Values, all_cores, in_turn
from bench.world import Bench

GENAUTH_SECONDS = 0.05
WORKERS = 2
# The default settings, in units of the time between two questions of a screen.
_FRESH, _LOCAL = 2, 1


def open_screens(bench: Bench) -> Values:
    """As many people as the plan says, each with one open screen; the default settings.

    They open during twice the time between two questions, which is how long an answer is fresh: then as many questions need
    GenAuth at any moment. A quick plan has a tenth of the screens, of the time between two questions and of the lifetimes.
    """
    every, people = bench.plan.screen_seconds, bench.plan.screens
    seconds = _FRESH * every
    lives = {
        "RATE_LIMIT": "120/minute",
        "CACHE_TTL_SECONDS": f"{seconds:.0f}",
        "TOKEN_ACCEPTED_SECONDS": f"{seconds:.0f}",
        "LOCAL_CACHE_SECONDS": f"{_LOCAL * every:.0f}",
        "METRICS_TOKEN": METRICS_TOKEN,
    }
    tokens = bench.tokens(people)

    def measure(running: Running) -> Values:
        bench.genauth.takes(GENAUTH_SECONDS)
        load = screens.Screens(running.url, tokens, every, opening=seconds, staying=seconds)
        with paced.Callers(machine.OTHER_CORE) as callers:
            watching = callers.start(screens.watch, load)
            time.sleep(seconds + 1)  # they are all open
            begun = time.monotonic()
            measured = _used(bench, running, callers.pid, seconds - 2)
            ended = time.monotonic()
            within = [reply for reply in watching.result() if begun <= reply.asked < ended]
        return measured | {
            "milliseconds": _percentiles(within),
            "hit": _percentiles(reply for reply in within if reply.hit),
            "asked": _percentiles(reply for reply in within if not reply.hit),
        }

    return {
        "screens": people,
        "every": every,
        "seconds": seconds - 2,
        "genauth_seconds": GENAUTH_SECONDS,
        "workers": WORKERS,
        "programs": in_turn(bench, (replace(OURS, changes=lives),), measure, rounds=1, workers=WORKERS, cores=all_cores()),
    }


def _used(bench: Bench, running: Running, load: int, seconds: float) -> Values:
    """What the workers and GenAuth do from now on for ``seconds``. ``load`` is the process that asks."""
    before = answers_by_source(running)
    bench.genauth.forget()
    workers, started = running.workers(), time.monotonic()
    cpu = machine.seconds_used(workers)
    with machine.Disturbance([*running.family(), bench.valkey.pid, bench.genauth.pid, load]) as disturbance:
        time.sleep(seconds)
    cpu, elapsed = machine.seconds_used(workers) - cpu, time.monotonic() - started
    calls = bench.genauth.calls()
    answers = {source: count - before.get(source, 0.0) for source, count in answers_by_source(running).items()}
    total = sum(answers.values())
    if not total:
        raise NothingMeasured("No screen was answered in time.")
    return {
        "per_second": total / elapsed,
        "cost": cpu / total * 1e6,
        "cores": cpu / elapsed,
        "calls_per_second": calls / elapsed,
        "from": {source: count / total for source, count in answers.items() if count},
        "others": disturbance.share,
    }


def _percentiles(replies: Iterable[screens.Reply]) -> dict[str, float]:
    """In milliseconds, by the nearest rank."""
    ordered = sorted(reply.seconds for reply in replies) or [math.nan]
    return {str(p): ordered[math.ceil(len(ordered) * p / 100) - 1] * 1000 for p in (50, 99)}
