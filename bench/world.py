"""What all measurements share: a Valkey, a GenAuth, tokens, and a program that is started for each of them."""

import itertools
import os
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self

import redis

from bench import machine
from bench.answers import Watching
from bench.load.standin import StandIn
from bench.load.wrk import Figures, Load, apply, write_tokens
from bench.programs import Program, Running, World
from bff.server import embedded_valkey as embedded

REPEATING = 200


@dataclass(frozen=True, slots=True)
class Plan:
    """How long and how often. Misses need their time: at first all callers wait for GenAuth together, in bursts."""

    rounds: int
    seconds: float
    warm_seconds: float
    many_users: int
    miss_seconds: float = 8
    mixed_seconds: float = 4
    crowd: int = 20_000
    crowd_seconds: float = 60
    hanging_seconds: float = 4
    screens: int = 10_000
    screen_seconds: float = 30
    tries: int = 1

    @property
    def quick(self) -> bool:
        """Whether this is for a look rather than for the document."""
        return self.rounds < 3


FULL = Plan(rounds=5, seconds=4, warm_seconds=1, many_users=100_000, tries=2)
QUICK = Plan(
    rounds=2, seconds=1, warm_seconds=1, many_users=4_000, miss_seconds=3, mixed_seconds=2, crowd=2_000, crowd_seconds=6,
    hanging_seconds=3, screens=1_000, screen_seconds=3,
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Measured:
    """One program under one load, once. ``cost`` is the worker's CPU time for a request, in microseconds."""

    figures: Figures
    cost: float
    others: float


class Bench:
    """The surroundings; a context manager."""

    def __init__(self, plan: Plan) -> None:
        self.plan = plan
        self._kept = ExitStack()
        self._numbers = itertools.count(1)
        self._tokens: list[str] = []

    def __enter__(self) -> Self:
        self.folder = Path(self._kept.enter_context(tempfile.TemporaryDirectory(prefix="linked-accounts-bench-")))
        # Ourselves too: the watcher's questions are load.
        os.sched_setaffinity(0, {machine.OTHER_CORE})
        self.valkey = embedded.start(maxmemory="3gb")
        self._kept.callback(self.valkey.stop)
        self.redis = redis.Redis.from_url(self.valkey.url)
        self._kept.callback(self.redis.close)
        self.genauth = self._kept.enter_context(StandIn(core=machine.OTHER_CORE))
        self.world = World(self.genauth.url, self.genauth.issuer, self.genauth.app_id, self.valkey.url)
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._kept.close()

    def tokens(self, users: int) -> list[str]:
        """A token each for the users 0, 1, 2, …; minted once."""
        if len(self._tokens) < users:
            self._tokens += self.genauth.tokens(range(len(self._tokens), users))
        return self._tokens[:users]

    def token_file(self, users: int) -> Path:
        """The same, for wrk."""
        path = self.folder / f"tokens-{users}"
        return path if path.exists() else write_tokens(path, self.tokens(users))

    @contextmanager
    def running(
        self, program: Program, *, workers: int = 1, cores: str = str(machine.SERVER_CORE), **changes: str
    ) -> Iterator[Running]:
        """The program, started anew, with an empty Redis and a GenAuth that answers at once."""
        self.redis.flushall()
        self.genauth.takes(0.0)
        self.genauth.forget()
        with Running(program, self.world, workers=workers, cores=cores, **changes) as running:
            yield running

    def steady(self, running: Running, callers: int, users: int = REPEATING) -> Measured:
        """Users at random, after all of them have been asked for, with somebody watching the answers."""
        load = Load(self.token_file(users), callers, self.plan.warm_seconds, seed=next(self._numbers))
        with Watching(running, self.tokens(users), seed=next(self._numbers)):
            self.ask_each(running, users, callers)
            apply(load, running.url, machine.OTHER_CORE)
            tries = [self._again(running, load.tokens, callers)]
            # Somebody else at work: wait for a better moment, but not for ever.
            while tries[-1].others > machine.QUIET and len(tries) < self.plan.tries:
                tries.append(self._again(running, load.tokens, callers))
            return min(tries, key=lambda measured: measured.others)

    def _again(self, running: Running, tokens: Path, callers: int) -> Measured:
        return self.under(running, Load(tokens, callers, self.plan.seconds, seed=next(self._numbers)))

    def ask_each(self, running: Running, users: int, callers: int) -> None:
        """Ask once for each of the first ``users``, by way of asking more often."""
        if users > REPEATING:
            exhaust(Load(self.token_file(users), callers, 1, once=True), running.url, users)

    def under(self, running: Running, load: Load) -> Measured:
        """What this load does to the program."""
        workers = running.workers()
        before = machine.seconds_used(workers)
        # Those that live on; the load generator is a child that ends.
        with machine.Disturbance([*running.family(), self.valkey.pid, self.genauth.pid]) as disturbance:
            figures = apply(load, running.url, machine.OTHER_CORE)
        cost = (machine.seconds_used(workers) - before) / figures.requests * 1e6
        return Measured(figures, cost, disturbance.share)


def exhaust(load: Load, url: str, users: int) -> None:
    """Ask in the file's order until every one of the ``users`` was asked for."""
    asked = 0
    while asked < users:
        asked += apply(Load(load.tokens, load.callers, load.seconds, once=True, first=asked), url, machine.OTHER_CORE).requests
