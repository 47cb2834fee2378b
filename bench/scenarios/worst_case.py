"""The CPU time of one answer, where GenAuth says of one person what is most work: others wait while it is computed.

In a process without the server and with an hour for every request, so that all of the work is counted, also what a deadline
would have cut off.
"""

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from typing import Any

from werkzeug.test import Client

from bench import machine
from bench.load.standin import FIRST_OF_THE_WORST
from bench.load.worst_data import shapes
from bench.programs import PATH, ROOT
from bench.world import Bench

Values = dict[str, Any]

_LONGEST_SECONDS = 600
# What takes this long is not measured again: it is far from the bar.
_LONG_SECONDS = 2.0


def worst_case(bench: Bench) -> Values:
    """Every shape of the worst data, each round in a process of its own."""
    return {"shapes": {name: list(_rounds(bench, number)) for number, name in enumerate(shapes())}}


def _rounds(bench: Bench, shape: int) -> Iterator[Values]:
    for _ in range(bench.plan.rounds):
        measured = _measured(bench, shape)
        yield measured
        if measured["cpu"] > _LONG_SECONDS:
            return


def _measured(bench: Bench, shape: int) -> Values:
    bench.redis.flushall()
    bench.genauth.takes(0.0)
    tokens = [*bench.tokens(1), *bench.genauth.tokens([FIRST_OF_THE_WORST + shape])]
    slow = dict.fromkeys(("UPSTREAM_DEADLINE_SECONDS", "REQUEST_DEADLINE_SECONDS"), "300")
    with tempfile.TemporaryDirectory() as folder:
        environment = bench.world.environment(8000, 1, {**slow, "PROMETHEUS_MULTIPROC_DIR": folder})
        done = subprocess.run(
            [sys.executable, "-m", "bench.scenarios.worst_case"],
            cwd=ROOT,
            env={**environment, "BENCH_CORE": str(machine.SERVER_CORE)},
            input="\n".join(tokens),
            check=True,
            text=True,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            timeout=_LONGEST_SECONDS,
        )
    measured: Values = json.loads(done.stderr.strip().rsplit("\n", 1)[-1])
    return measured


def main() -> None:
    """In the child: ask for somebody, then for the other, and print the figures of that on stderr. The log has stdout."""
    os.sched_setaffinity(0, {int(os.environ.pop("BENCH_CORE"))})
    from app import create_app  # noqa: PLC0415 - the environment is complete only now

    client = Client(create_app())
    known, worst = sys.stdin.read().split()
    _ask(client, known)  # keys and sources are fetched
    started = time.process_time()
    status, size = _ask(client, worst)
    cpu = time.process_time() - started
    print(json.dumps({"cpu": cpu, "status": status, "bytes": size}), file=sys.stderr)


def _ask(client: Client, token: str) -> tuple[int, int]:
    answer = client.get(PATH, headers={"Authorization": f"Bearer {token}"})
    return answer.status_code, len(answer.data)


if __name__ == "__main__":
    main()
