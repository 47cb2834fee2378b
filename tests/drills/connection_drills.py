"""Promises 5 and 6 where the network lies: connections that are dead without knowing, and a failover behind one address."""

import asyncio
import json
import time

from tests.drills.drill import Outcome, Picture, drill
from tests.drills.genauth_drills import A_LITTLE, STRANGER_EVERY, UPSTREAM, WORKERS, errors_of
from tests.drills.load import Steady, burst
from tests.drills.redis_drills import ASKING, ONE_TIMEOUT, keys
from tests.drills.stage import Stage, later
from tests.valkey import ValkeyServer, free_port

FRESH = 1
BACK = 1.5  # seconds: the breaker's rest, and one probe
# So many at once leave about as many connections that are kept.
CROWD = 40


def circuit(stage, event, name):
    """The log's lines of a circuit breaker, over all workers."""
    lines = [line for service in stage.services for line in service.printed().splitlines() if f'"{event}"' in line]
    return [line for line in map(json.loads, lines) if line["name"].startswith(name)]


async def load_through(stage, size, during, begin):
    """People and strangers before, during and after ``begin``: every answer, and when it began."""
    known, strangers = stage.callers(100, 10), stage.callers(5000, 200)
    await stage.warm(known)
    stage.redis.slow(0.05)  # so that each needs a connection of its own
    await burst(stage.ports, stage.callers(1000, CROWD))
    stage.redis.slow(0.0)
    load = Steady()
    load.people(stage.ports, known, every=0.1)
    load.newcomers(stage.ports, strangers, every=STRANGER_EVERY)
    await asyncio.sleep(size.before)
    begun = time.monotonic()
    await later(begin, stage)
    # A few people find one dead connection, a crowd whatever others there are.
    await asyncio.sleep(BACK)
    crowd = await burst(stage.ports, stage.callers(2000, CROWD))
    await asyncio.sleep(max(0.0, begun + during - time.monotonic()))
    return await load.over() + crowd, begun, load


def outcome_of(about, during, answers, begun, load, stage):
    outcome = Outcome(
        about,
        "10 people, 10/s each; a stranger every 0.25 s",
        answers,
        stage.calls(),
        picture=Picture(begun, [(begun, begun + during, about)]),
    )
    outcome.late = max(load.lateness)
    return outcome


@drill("redis-forgotten", "6")
async def redis_forgotten(size):
    """Every connection to Redis goes silent, new ones work: one timeout, one probe."""
    with Stage(**ASKING) as stage:
        answers, begun, load = await load_through(stage, size, size.during, lambda stage: stage.redis.forget())
        outcome = outcome_of("Redis: every kept connection goes silent", size.during, answers, begun, load, stage)
        outcome.claim("every answer is 200", outcome.errors == 0, errors_of(answers))
        outcome.within(f"within {ONE_TIMEOUT} s", ONE_TIMEOUT)
        away = [line["seconds"] for line in circuit(stage, "circuit_closed", "redis")]
        opened = len(circuit(stage, "circuit_opened", "redis"))
        outcome.claim("the breaker opens once in a worker", opened <= WORKERS, opened)
        outcome.claim(f"for {BACK} s at most", away and max(away) <= BACK, str(away))
    outcome.no_wrong_answer()
    return outcome


@drill("redis-failover-behind-one-address", "6")
async def failover_behind_one_address(size):
    """The address leads to the new primary, the demoted one keeps our connections and takes no writes."""
    with ValkeyServer(port=free_port()) as successor, Stage(**ASKING) as stage:

        def fail_over(stage):
            stage.redis_cli("REPLICAOF", "127.0.0.1", "1")
            stage.redis.lead_to(int(successor.url.rpartition(":")[2].partition("/")[0]))

        answers, begun, load = await load_through(stage, size, BACK, fail_over)
        held = await later(keys, successor)
        outcome = outcome_of("Redis: demoted behind its address", BACK, answers, begun, load, stage)
        outcome.claim("every answer is 200", outcome.errors == 0, errors_of(answers))
        outcome.within(f"within {ONE_TIMEOUT} s", ONE_TIMEOUT)
        outcome.claim(f"after {BACK} s the successor remembers", held > 0, f"{held} keys")
        last = await burst(stage.ports, stage.callers(7000, 20))
        more = await later(keys, successor)
        outcome.claim("and whoever asks then", more >= held + 20, f"{more} keys")
        outcome.claim("each of them is answered", all(answer.status == 200 for answer in last))
    outcome.no_wrong_answer()
    return outcome


@drill("genauth-forgotten", "5, 7")
async def genauth_forgotten(size):
    """Every connection to GenAuth goes silent, new ones work: one deadline for those under way, none for those who come then."""
    during = FRESH + UPSTREAM + 2.0
    with Stage(CACHE_TTL_SECONDS=str(FRESH), TOKEN_ACCEPTED_SECONDS=str(FRESH)) as stage:
        stage.trouble(path="/api/v3/get-identities", latency=0.1)
        answers, begun, load = await load_through(stage, size, during, lambda stage: stage.genauth.forget())
        outcome = outcome_of("GenAuth: every kept connection goes silent", during, answers, begun, load, stage)
        known = [answer for answer in answers if answer.group == "known"]
        # A worker finds out with the first call that it makes, and makes one when an entry is no longer fresh.
        late = [answer for answer in answers if answer.begun > begun + FRESH + UPSTREAM + A_LITTLE]
        outcome.claim("known people are always served", all(answer.status == 200 for answer in known), errors_of(known))
        outcome.claim("strangers are, one deadline later", all(answer.status == 200 for answer in late), errors_of(late))
        opened = circuit(stage, "circuit_opened", "genauth")
        outcome.claim("no circuit breaker opens", not opened, len(opened))
        outcome.within(f"never later than {UPSTREAM} s", UPSTREAM + A_LITTLE + 0.5)
    outcome.no_wrong_answer()
    return outcome
