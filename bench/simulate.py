"""How often the cache is hit, by simulation: people come, ask a few times, and go; entries and workers' memos run out.

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
    micro: float = 2


@dataclass(frozen=True, slots=True)
class Shares:
    """Of all questions, how many were answered from where; and of the time, how much of it a user has an entry in Redis."""

    repeat: float
    warm: float
    miss: float
    kept: float


_DAY = 86_400.0


def simulate(activity: Activity, lives: Lives, *, workers: int, days: float = 2, users: int = 400, seed: int = 1) -> Shares:
    """The shares over that many users and days; each question goes to one of ``workers`` at random."""
    chance = random.Random(seed)
    repeat = warm = miss = 0
    kept = 0.0
    for _ in range(users):
        asked_at, kept_until, micro = float("-inf"), 0.0, dict[int, float]()
        for moment in _questions(activity, days * _DAY, chance):
            worker = chance.randrange(workers)
            # An entry is fresh, and its token believed, from the same moment: GenAuth's answer.
            good_until = asked_at + min(lives.ttl, lives.accepted)
            if moment < micro.get(worker, 0.0):
                repeat += 1
                continue
            if moment < good_until:
                warm += 1
            else:
                miss += 1
                kept += min(moment + lives.ttl + lives.stale, days * _DAY) - max(moment, kept_until)
                asked_at, kept_until = moment, moment + lives.ttl + lives.stale
                good_until = asked_at + min(lives.ttl, lives.accepted)
            micro[worker] = min(moment + lives.micro, good_until)
    total = max(1, repeat + warm + miss)
    return Shares(repeat / total, warm / total, miss / total, kept / (users * days * _DAY))


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
