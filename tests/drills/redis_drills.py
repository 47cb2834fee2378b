"""Promise 6: Redis frozen, killed, emptied, full, unreachable, locked. Answers stay right, and only one of them is late."""

import asyncio
import math
import signal
import time
from dataclasses import dataclass
from functools import partial

import redis

from tests.drills.drill import FULL, Outcome, Picture, drill
from tests.drills.genauth_drills import errors_of
from tests.drills.load import Steady
from tests.drills.stage import Stage, later, send
from tests.server.service import eventually

TIMEOUT = 0.25
# GenAuth's milliseconds and a busy machine's turns; two timeouts would be half a second and show.
ONE_TIMEOUT = TIMEOUT + 0.2
# With the default, workers would answer from memory for most of a drill, and Redis would not be asked.
ASKING = {"LOCAL_CACHE_SECONDS": "2"}


def keys(server):
    """How many keys it holds."""
    with redis.Redis.from_url(server.url, socket_timeout=5) as connection:
        return connection.dbsize()


@dataclass(frozen=True)
class Fault:
    """``successor`` is the server that is to be used in the end, if it is another one than before."""

    about: str
    begin: object
    end: object
    quick: bool = True  # whether answers during it are quick but for the first
    fails: bool = True  # whether Redis does not do what it is asked, rather than tell nonsense
    bound: float = ONE_TIMEOUT
    successor: object = None


def cli(*commands):
    def run(stage):
        for command in commands:
            stage.redis_cli(*command)

    return run


def lock(stage):
    """A password that nobody told us, and everybody has to come in again."""
    stage.redis_cli("CONFIG", "SET", "requirepass", "another")
    with redis.Redis.from_url(stage.valkey.url, password="another") as connection:
        for client in connection.client_list():
            if int(client["id"]) != connection.client_id():
                connection.client_kill_filter(_id=client["id"])


def unlock(stage):
    with redis.Redis.from_url(stage.valkey.url, password="another") as connection:
        connection.config_set("requirepass", "")


FAULTS = {
    "frozen": Fault("SIGSTOP", lambda stage: stage.valkey.freeze(), lambda stage: stage.valkey.thaw()),
    "killed": Fault("SIGKILL, back empty", lambda stage: stage.valkey.kill(), lambda stage: stage.valkey.restart()),
    "black-hole": Fault("packets vanish", lambda stage: stage.redis.black_hole(), lambda stage: stage.redis.heal()),
    "reset": Fault("RST instead of an answer", lambda stage: stage.redis.reset(), lambda stage: stage.redis.heal()),
    "full": Fault(
        "maxmemory reached, noeviction",
        cli(("CONFIG", "SET", "maxmemory-policy", "noeviction"), ("CONFIG", "SET", "maxmemory", "1")),
        cli(("CONFIG", "SET", "maxmemory", "64mb"), ("CONFIG", "SET", "maxmemory-policy", "allkeys-lru")),
    ),
    "read-only": Fault("demoted to a replica", cli(("REPLICAOF", "127.0.0.1", "1")), cli(("REPLICAOF", "NO", "ONE"))),
    "locked": Fault("the password changes", lock, unlock),
    "slow": Fault("0.1 s late", lambda stage: stage.redis.slow(0.1), lambda stage: stage.redis.heal(), quick=False),
}


def fault_drill(name, fault):
    async def on_a_stage(size):
        with Stage(**ASKING) as stage:
            return await through(stage, size, fault)

    drill(f"redis-{name}", "6")(on_a_stage)


for each, how in FAULTS.items():
    fault_drill(each, how)


async def through(stage, size, fault):
    """Ten people before, during and after a fault of Redis."""
    people = 10
    known = stage.callers(100, people)
    strangers = stage.callers(5000, 200)
    await stage.warm(known)
    load = Steady()
    load.people(stage.ports, known, every=0.1)
    load.newcomers(stage.ports, strangers, every=0.25)
    load.people(stage.ports, [None], every=0.2, group="readyz", path="/readyz")
    during = size.during if size is FULL else 2.0
    await asyncio.sleep(size.before)
    logged, asked, begun = stage.logged()["cache_failed"], stage.calls(), time.monotonic()
    await later(fault.begin, stage)
    await asyncio.sleep(during)
    ended, calls = time.monotonic(), stage.calls() - asked
    metrics = await later(stage.metrics)
    await later(fault.end, stage)
    server = fault.successor or stage.valkey
    held = await later(keys, server)
    await asyncio.sleep(size.after + 0.5)
    answers = await load.over()
    remembered = keys(server)

    ready = [answer for answer in answers if answer.group == "readyz"]
    answers = [answer for answer in answers if answer.group != "readyz"]
    outcome = Outcome(
        f"Redis: {fault.about}, {during:.0f} s",
        f"{people} people, 10/s each; a stranger every 0.25 s",
        answers,
        calls,
        picture=Picture(begun, [(begun, ended, f"Redis: {fault.about}")]),
    )
    outcome.claim("every answer is 200", outcome.errors == 0, errors_of(answers))
    outcome.claim("/readyz stays 200", all(answer.status == 200 for answer in ready))
    if fault.quick:
        outcome.late = max(load.lateness)
        outcome.within(f"within {fault.bound} s", fault.bound)
        # When it strikes everybody may be on the way; after that one probe a second or less, in each of two workers.
        late = [answer for answer in answers if answer.seconds >= TIMEOUT - 0.05]
        most = people + 3 + 2 * (math.ceil(during) + 2)
        outcome.claim("then the breaker saves it", len(late) <= most, f"{len(late)} late answers")
        if fault.fails:
            outcome.claim("the log tells", stage.logged()["cache_failed"] > logged)
        counter = "cache_failures_total" if fault.fails else "cache_rejections_total"
        counted = sum(value for name, value in metrics.items() if counter in name)
        outcome.claim("the metrics tell", counted > 0, f"{counted:.0f} {counter}")
    # Hits alone would not show it: for ten seconds they come from what a worker saw last.
    outcome.claim("Redis remembers again", remembered > held, f"{held} keys, then {remembered}")
    hits = [answer.begun - ended for answer in answers if answer.begun > ended and answer.source == "hit"]
    outcome.claim("hits again without a restart", hits and min(hits) < 5, f"after {min(hits, default=math.inf):.1f} s")
    last = [answer for answer in answers if answer.group == "known" and answer.begun > ended + size.after - 0.5]
    outcome.claim("hits only in the end", all(answer.source == "hit" for answer in last), f"{len(last)} answers")
    outcome.no_wrong_answer()
    return outcome


@drill("boot-without-redis", "6")
async def boot_without_redis(size):
    """The service starts while Redis is away: ready at once, right answers, hits as soon as Redis is there."""
    return await boot_without(size, "Redis away at boot", Stage(redis_up=False), lambda stage: stage.valkey.restart())


async def boot_without(size, fault, setting, bring_back):
    """Ten people ask from the start, and strangers; after a while there is a Redis."""
    begun = time.monotonic()
    with setting as stage:
        took = time.monotonic() - begun
        load = Steady()
        load.people(stage.ports, stage.callers(1, 10), every=0.1)
        load.newcomers(stage.ports, stage.callers(5000, 100), every=0.25)
        await asyncio.sleep(size.before + 0.5)
        back = time.monotonic()
        await later(bring_back, stage)
        await asyncio.sleep(size.after)
        answers = await load.over()
    outcome = Outcome(fault, "10 people, 10/s each; a stranger every 0.25 s", answers, stage.calls())
    outcome.claim("it starts", True, f"everything up after {took:.1f} s")
    outcome.claim("every answer is 200", outcome.errors == 0, errors_of(answers))
    hits = [answer.begun - back for answer in answers if answer.begun > back and answer.source == "hit"]
    outcome.claim("hits once it is there", hits and min(hits) < 5, f"after {min(hits, default=math.inf):.1f} s")
    outcome.no_wrong_answer()
    return outcome


@drill("redis-frozen-mid-stampede", "6")
async def frozen_mid_stampede(size):
    """Redis stops while a crowd waits for a lock in it: they go by themselves, within their deadline."""
    crowd = 100 if size is FULL else 40
    with Stage(instances=2) as stage:
        await stage.warm(stage.callers(900, 4))
        stage.trouble(path="/api/v3/get-identities", latency=0.5)
        load = Steady()
        load.people(stage.ports, stage.callers(1, 1) * crowd, every=30)
        asked = stage.calls()
        await later(eventually, lambda: stage.calls() > asked, within=5)
        await later(partial(send, signal.SIGSTOP), stage.valkey.pid)
        await asyncio.sleep(2.5)
        answers = await load.over()
        calls = stage.calls() - asked
    outcome = Outcome("Redis frozen while a crowd waits", f"{crowd} at once, 1 person, 2 instances x 2 workers", answers, calls)
    outcome.claim("every answer is 200", outcome.errors == 0, errors_of(answers))
    outcome.claim("one call for each worker at most", calls <= 4, calls)
    outcome.claim("in time", outcome.worst < 3.5, f"{outcome.worst:.2f} s")
    outcome.no_wrong_answer()
    return outcome
