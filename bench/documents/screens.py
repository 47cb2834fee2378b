"""Open screens in docs/scaling.md: what was measured, and by simulation what other settings would make of it."""

import heapq
import math
import random
from collections import OrderedDict
from collections.abc import Iterator, Mapping
from typing import Any

from bench.documents.report import grid, number, text
from bench.documents.simulate import Lives

SCREENS = 10_000
EVERY_SECONDS = 30.0
WORKERS = 2
# So many 304s fit into a worker's response cache.
KEPT = 10_100
# An entry is fresh for a tenth more or less than its setting; a screen's timer is late by up to so many seconds.
_JITTER = 0.1
_LATE_SECONDS = 0.02
# One screen in ten is simulated, over a tenth of the room.
_SAMPLE = 10

SETTINGS = {
    "the default settings": Lives(),
    "`LOCAL_CACHE_SECONDS` 60": Lives(local=60),
    "`CACHE_TTL_SECONDS` and `TOKEN_ACCEPTED_SECONDS` 300": Lives(ttl=300, accepted=300),
    "all three 300": Lives(ttl=300, accepted=300, local=300),
    "these two 900, `LOCAL_CACHE_SECONDS` 300": Lives(ttl=900, accepted=900, local=300),
}


def simulate(lives: Lives, *, screens: int, every: float, workers: int, kept: int = KEPT, seed: int = 1) -> dict[str, float]:
    """The shares of ``memory``, ``cache`` and ``genauth`` once all screens are open, each of another person.

    A screen asks again ``every`` so many seconds after an answer, any of the ``workers``; each of these has room for ``kept``
    responses.
    """
    chance = random.Random(seed)
    memories: list[OrderedDict[int, float]] = [OrderedDict() for _ in range(workers)]
    cycle = math.ceil(min(lives.ttl, lives.accepted) / every) * every
    counted = dict.fromkeys(("memory", "cache", "genauth"), 0)
    people = max(1, screens // _SAMPLE)
    good_until = [0.0] * people
    asking = [(chance.uniform(0, cycle), person) for person in range(people)]
    heapq.heapify(asking)
    while (moment := asking[0][0]) < 3 * cycle:
        person = asking[0][1]
        memory = memories[chance.randrange(workers)]
        if moment < memory.get(person, 0.0):
            source = "memory"
            memory.move_to_end(person)
        else:
            source = "cache" if moment < good_until[person] else "genauth"
            if source == "genauth":
                good_until[person] = moment + min(lives.ttl * chance.uniform(1 - _JITTER, 1 + _JITTER), lives.accepted)
            memory[person] = min(moment + lives.local, good_until[person])
            memory.move_to_end(person)
            if len(memory) > kept // _SAMPLE:
                memory.popitem(last=False)
        if moment >= 2 * cycle:
            counted[source] += 1
        heapq.heapreplace(asking, (moment + every + chance.uniform(0, _LATE_SECONDS), person))
    return {source: count / sum(counted.values()) for source, count in counted.items()}


def section(measured: dict[str, Any] | None, costs: Mapping[str, float]) -> Iterator[str]:
    """The section of docs/scaling.md. ``costs``: microseconds of a core for an answer, by where it comes from."""
    screens, every, workers = SCREENS, EVERY_SECONDS, WORKERS
    yield f"## {screens:,} open screens"
    yield text("screens", screens=f"{screens:,}", every=f"{every:.0f}", asked=f"{screens / every:.0f}", workers=workers)
    lines = [_simulated(name, lives, costs) for name, lives in SETTINGS.items()]
    yield grid(
        ("settings", "figure", "memory · Redis · GenAuth", "GenAuth calls/s", "cores"),
        [*_measured(measured), *lines],
    )
    if measured:
        yield latencies(measured)
    yield text("screens_settings", kept=f"{KEPT:,}")


def latencies(measured: Mapping[str, Any]) -> str:
    """How long the answers took, and how busy the machine was."""
    (run,) = measured["programs"]["ours"]
    hit, asked = (f"{number(run[which]['50'])} ms at p50 and {number(run[which]['99'])} at p99" for which in ("hit", "asked"))
    return text(
        "screens_latencies",
        seconds=f"{measured['seconds']:.0f}",
        own=f"{measured['genauth_seconds'] * 1000:.0f}",
        hit=hit,
        asked=asked,
        others=f"{run['others']:.0%}",
    )


def shares(found: Mapping[str, float]) -> str:
    """Where answers came from. What another request had asked for counts as GenAuth's."""
    collapsed = found.get("genauth", 0.0) + found.get("collapsed", 0.0)
    return f"{found.get('memory', 0.0):.0%} · {found.get('cache', 0.0):.0%} · {collapsed:.0%}"


def _measured(measured: dict[str, Any] | None) -> Iterator[tuple[str, ...]]:
    if measured:
        (run,) = measured["programs"]["ours"]
        name = next(iter(SETTINGS))
        yield name, "measured", shares(run["from"]), f"{run['calls_per_second']:.0f}", number(run["cores"])


def _simulated(name: str, lives: Lives, costs: Mapping[str, float]) -> tuple[str, ...]:
    found = simulate(lives, screens=SCREENS, every=EVERY_SECONDS, workers=WORKERS)
    rate = SCREENS / EVERY_SECONDS
    cores = rate * sum(found[source] * costs[source] for source in found) / 1e6
    return name, "simulated", shares(found), f"{rate * found['genauth']:.0f}", number(cores)
