"""What the programs take before anybody asks and for everybody they know: memory, Redis, and the time to start."""

import time
from base64 import b64encode

from bench.answers import check
from bench.load.wrk import Load
from bench.programs import ALL, NODE, OURS, resident
from bench.scenarios.hits import WARM
from bench.scenarios.turns import CALLERS, Values
from bench.world import Bench, exhaust

_STARTS = 5


def memory(bench: Bench) -> Values:
    """A worker's memory at its start and after many distinct users, and Redis' for each of them."""
    users = bench.plan.many_users
    values: Values = {"users": users, "programs": {}}
    for program in (OURS,) if bench.plan.quick else (OURS, NODE):
        with bench.running(program) as running:
            running.ask(bench.tokens(1)[0])
            start = [resident(pid) for pid in running.workers()]
            exhaust(Load(bench.token_file(users), CALLERS, 5, once=True), running.url, users)
            after = [resident(pid) for pid in running.workers()]
            values["programs"][program.name] = {"start": max(start), "after": max(after)}
    values["redis_bytes_per_user"] = _redis_bytes(bench)
    values["redis_bytes_per_user_encrypted"] = _redis_bytes(bench, CACHE_SECRET=f"bench:{b64encode(bytes(32)).decode()}")
    values["redis_commands"] = _redis_commands(bench)
    return values


def _redis_commands(bench: Bench, users: int = 100) -> Values:
    """How many commands Redis carries out for an answer from GenAuth and for one from Redis, those of scripts included."""
    counted: Values = {}
    with bench.running(WARM, RATE_LIMIT="120/minute") as running:
        running.ask(bench.tokens(users + 1)[users])
        for kind in ("miss", "hit"):
            before = _calls(bench)
            for user, token in enumerate(bench.tokens(users)):
                check(OURS.name, *running.ask(token), user)
            counted[kind] = (_calls(bench) - before) / users
    return counted


def _calls(bench: Bench) -> int:
    ours = {"cmdstat_info"}
    return sum(each["calls"] for name, each in bench.redis.info("commandstats").items() if name not in ours)


def _redis_bytes(bench: Bench, users: int = 100, **changes: str) -> float:
    """All keys of a person with two accounts and one session, the count for the rate limit included; none that all share."""
    stored = []
    with bench.running(OURS, RATE_LIMIT="120/minute", **changes) as running:
        for several in (range(1), range(1, users + 1)):
            for user in several:
                check(OURS.name, *running.ask(bench.tokens(users + 1)[user]), user)
            stored.append(sum(bench.redis.memory_usage(key, samples=0) or 0 for key in bench.redis.scan_iter(count=1000)))
    return (stored[1] - stored[0]) / users


def cold_start(bench: Bench) -> Values:
    """From the process's start to its first answer, and to the first list of accounts."""
    values: dict[str, list[Values]] = {program.name: [] for program in ALL}
    for _ in range(_STARTS if not bench.plan.quick else 1):
        for program in ALL:
            started = time.perf_counter()
            with bench.running(program) as running:
                running.ask(bench.tokens(1)[0])
                signed_in = time.perf_counter() - started
                values[program.name].append({"answer": running.seconds_to_first_answer, "accounts": signed_in})
    return {"programs": values}
