"""Questions that GenAuth has to be asked for: by strangers, by all at once, beside hits, and while GenAuth hangs."""

import math
import statistics
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

from bench import machine
from bench.answers import Watching, check
from bench.load import paced
from bench.load.volley import volley
from bench.load.wrk import Figures, Load, WrongAnswer, apply
from bench.programs import NODE, OURS, RECIPE, Running
from bench.scenarios.turns import CALLERS, Values, all_cores, in_turn, values_of
from bench.world import Bench, Measured

GENAUTH_SECONDS = 0.05
MISS_CALLERS = 64
FEW_CALLERS = 16
STAMPEDE_CALLERS = 500
STAMPEDE_GENAUTH_SECONDS = 0.2
MIXED_GENAUTH_SECONDS = 0.2
HANGING_GENAUTH_SECONDS = 2.5
HANGING_CALLERS = 300
_MIXED_CALLERS = 8
_MISSES_A_SECOND = 300  # at the very most
_HANGING_ROUNDS = 7
_RETRY_AFTER_SECONDS = 2.0
_HITS_CALLERS = 10
_HITS_EVERY_SECONDS = 0.05


def miss(bench: Bench) -> Values:
    """Every question for somebody nobody asked for, GenAuth takes 50 ms: 16 callers for the time it takes, 64 for how many."""
    seconds = bench.plan.miss_seconds
    enough = int((MISS_CALLERS + FEW_CALLERS) / GENAUTH_SECONDS * (seconds + 3))
    file = bench.token_file(enough)
    tokens = bench.tokens(enough)

    def measure(running: Running) -> Values:
        bench.genauth.takes(GENAUTH_SECONDS)
        # The last of the file, to open connections and fetch keys.
        warming = Load(file, MISS_CALLERS, 2, once=True, first=enough - int(MISS_CALLERS / GENAUTH_SECONDS * 3))
        apply(warming, running.url, machine.OTHER_CORE)
        many = values_of(_asked(bench, running, Load(file, MISS_CALLERS, seconds, once=True), tokens))
        asked = math.ceil(MISS_CALLERS / GENAUTH_SECONDS * seconds)
        few = values_of(_asked(bench, running, Load(file, FEW_CALLERS, seconds / 2, once=True, first=asked), tokens))
        url = f"{bench.genauth.url}/api/v3/get-identities"
        few["direct"] = apply(Load(file, FEW_CALLERS, 2, once=True), url, machine.OTHER_CORE).p50
        return {**many, "few": few}

    return {
        "callers": MISS_CALLERS,
        "few": FEW_CALLERS,
        "genauth_seconds": GENAUTH_SECONDS,
        "programs": in_turn(bench, (OURS, NODE), measure),
    }


def _asked(bench: Bench, running: Running, load: Load, tokens: list[str]) -> Measured:
    """Strangers only, and GenAuth was asked for each of them."""
    time.sleep(1)  # what was still being asked for when the callers before left
    bench.genauth.forget()
    measured = bench.under(running, load)
    asked = bench.genauth.calls()
    if asked < measured.figures.requests:
        raise WrongAnswer(f"{running.program.name} asked GenAuth {asked} times for {measured.figures.requests} strangers")
    for user in range(load.first, load.first + measured.figures.requests, max(1, measured.figures.requests // 20)):
        check(running.program.name, *running.ask(tokens[user]), user)
    return measured


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

    programs = (OURS,) if bench.plan.quick else (OURS, NODE, RECIPE)
    return {
        "callers": STAMPEDE_CALLERS,
        "genauth_seconds": STAMPEDE_GENAUTH_SECONDS,
        "programs": in_turn(bench, programs, measure, workers=2, cores=all_cores()),
    }


def mixed(bench: Bench) -> Values:
    """90 repeats, 9 warm ones and a miss in every hundred, GenAuth takes 200 ms: the hits alone, then all together."""
    seconds, crowd = bench.plan.mixed_seconds, 3_000 if not bench.plan.quick else 1_000
    most = int(_MISSES_A_SECOND * (seconds + 1))
    file = bench.token_file(crowd + 2 * most)

    def measure(running: Running) -> Values:
        with Watching(running, bench.tokens(200), seed=1):
            bench.ask_each(running, crowd, CALLERS)
            hits = Load(_mixture(bench, crowd), _MIXED_CALLERS, seconds)
            apply(replace(hits, seconds=1), running.url, machine.OTHER_CORE)
            calm = [apply(hits, running.url, machine.OTHER_CORE)]
            bench.genauth.takes(MIXED_GENAUTH_SECONDS)
            # Beside strangers fewer hits are answered: how many callers make one miss in a hundred, a first look tells.
            strangers = Load(
                file, max(1, round(calm[0].per_second / 99 * MIXED_GENAUTH_SECONDS)), seconds, once=True, first=crowd
            )
            seen, missed = _at_once(replace(hits, seconds=2), replace(strangers, seconds=2), running.url)
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

    programs = (OURS,) if bench.plan.quick else (OURS, NODE)
    return {"genauth_seconds": MIXED_GENAUTH_SECONDS, "programs": in_turn(bench, programs, measure)}


def _mixture(bench: Bench, crowd: int) -> Path:
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


def hanging(bench: Bench) -> Values:
    """Ten people with entries ask 20 times a second each, at first alone, then while 300 others wait for a GenAuth that hangs.

    GenAuth takes 2.5 s. Whoever of the 300 is answered or refused comes back two seconds after asking, as Retry-After says.
    """
    seconds = bench.plan.hanging_seconds
    quick, slow = bench.tokens(_HITS_CALLERS), bench.tokens(_HITS_CALLERS + HANGING_CALLERS)[_HITS_CALLERS:]

    def measure(running: Running) -> Values:
        for token in quick * 4:
            running.ask(token)
        hits = paced.Pace(running.url, quick, _HITS_EVERY_SECONDS, seconds)
        crowd = paced.Pace(running.url, slow, _RETRY_AFTER_SECONDS, seconds + 1)
        with paced.Callers(machine.OTHER_CORE) as asking, paced.Callers(machine.OTHER_CORE) as waiting:
            alone = asking.start(paced.ask, hits).result()
            bench.genauth.takes(HANGING_GENAUTH_SECONDS)
            others = waiting.start(paced.ask, crowd)
            time.sleep(1.0)
            beside = asking.start(paced.ask, hits).result()
            waited = others.result()
        if wrong := {reply.status for reply in alone + beside} - {200}:
            raise WrongAnswer(f"{running.program.name} answered {wrong} to people with entries")
        if wrong := {reply.status for reply in waited} - {200, 503, 504}:
            raise WrongAnswer(f"{running.program.name} answered {wrong} to people who waited")
        return {
            "alone": _p99(alone), "beside": _p99(beside), "hits": len(beside),
            "waited": len(waited), "served": sum(reply.status == 200 for reply in waited),
        }  # fmt: skip

    rounds = 1 if bench.plan.quick else _HANGING_ROUNDS
    return {
        "callers": HANGING_CALLERS,
        "genauth_seconds": HANGING_GENAUTH_SECONDS,
        "programs": in_turn(bench, (OURS,), measure, rounds=rounds, workers=2, cores=all_cores()),
    }


def _p99(replies: list[paced.Reply]) -> float:
    """In milliseconds, by the nearest rank."""
    ordered = sorted(reply.seconds for reply in replies)
    return ordered[math.ceil(len(ordered) * 0.99) - 1] * 1000
