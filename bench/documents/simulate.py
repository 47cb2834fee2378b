"""How often the cache is hit, by simulation: people come, ask a few times, and go; what Redis and the workers store runs out.

One user is simulated at a time, many of them; users are independent of one another, as the cache is by user. What is small
enough to be evicted is not simulated: Redis is given the room that `scale` says it needs.
"""

import random
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Activity:
    """How people use the screen. A visit is a burst of questions, visits come at random (a Poisson process)."""

    visits_per_day: float
    questions_per_visit: float
    # Between two questions of a visit, on average.
    pause_seconds: float


@dataclass(frozen=True, slots=True)
class Lives:
    """Settings of the service, in seconds."""

    ttl: float = 60
    accepted: float = 60
    stale: float = 3600
    local: float = 30


@dataclass(frozen=True, slots=True)
class Shares:
    """Of all questions, how many were answered from where; and of the time, how much of it a user has an entry in Redis."""

    memory: float
    redis: float
    genauth: float
    stored: float


_DAY = 86_400.0


def simulate(activity: Activity, lives: Lives, *, workers: int, days: float = 2, users: int = 400, seed: int = 1) -> Shares:
    """The shares over that many users and days; each question goes to one of ``workers`` at random."""
    chance = random.Random(seed)
    memory = redis = genauth = 0
    stored = 0.0
    for _ in range(users):
        asked_at, stored_until, local_until = float("-inf"), 0.0, dict[int, float]()
        for moment in _questions(activity, days * _DAY, chance):
            worker = chance.randrange(workers)
            # An entry is fresh, and its token accepted, from the same moment: GenAuth's answer.
            good_until = asked_at + min(lives.ttl, lives.accepted)
            if moment < local_until.get(worker, 0.0):
                memory += 1
                continue
            if moment < good_until:
                redis += 1
            else:
                genauth += 1
                stored += min(moment + lives.ttl + lives.stale, days * _DAY) - max(moment, stored_until)
                asked_at, stored_until = moment, moment + lives.ttl + lives.stale
                good_until = asked_at + min(lives.ttl, lives.accepted)
            local_until[worker] = min(moment + lives.local, good_until)
    total = max(1, memory + redis + genauth)
    return Shares(memory / total, redis / total, genauth / total, stored / (users * days * _DAY))


def _questions(activity: Activity, until: float, chance: random.Random) -> list[float]:
    """The moments of one user's questions, in order."""
    moments: list[float] = []
    start = chance.expovariate(activity.visits_per_day / _DAY)
    while start < until:
        moment = start
        while moment < until:
            moments.append(moment)
            if chance.random() < 1 / activity.questions_per_visit:
                break
            moment += chance.expovariate(1 / activity.pause_seconds)
        start += chance.expovariate(activity.visits_per_day / _DAY)
    return sorted(moments)
