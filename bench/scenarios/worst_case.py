"""The CPU time of one answer, where GenAuth or the caller says what is most work: others wait while it is computed.

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
from bench.load.worst_data import requests, shapes
from bench.programs import PATH, ROOT
from bench.world import Bench

Values = dict[str, Any]

_LONGEST_SECONDS = 600
# What takes this long is not measured again: it is far from the bar.
_LONG_SECONDS = 2.0


def worst_case(bench: Bench) -> Values:
    """Every shape of the worst data and of the longest requests, each round in a process of its own."""
    return {
        "shapes": {name: list(_rounds(bench, FIRST_OF_THE_WORST + number)) for number, name in enumerate(shapes())},
        "requests": {name: list(_rounds(bench, 0, name)) for name in requests()},
    }


def _rounds(bench: Bench, person: int, request: str = "") -> Iterator[Values]:
    for _ in range(bench.plan.rounds):
        measured = _measured(bench, person, request)
        yield measured
        if measured["cpu"] > _LONG_SECONDS:
            return


def _measured(bench: Bench, person: int, request: str) -> Values:
    bench.redis.flushall()
    bench.genauth.takes(0.0)
    tokens = [*bench.tokens(1), *bench.genauth.tokens([person])]
    changes = dict.fromkeys(("UPSTREAM_DEADLINE_SECONDS", "REQUEST_DEADLINE_SECONDS"), "300") | {"SESSION_COOKIE_NAME": "session"}
    with tempfile.TemporaryDirectory() as folder:
        environment = bench.world.environment(8000, 1, {**changes, "PROMETHEUS_MULTIPROC_DIR": folder})
        done = subprocess.run(
            [sys.executable, "-m", "bench.scenarios.worst_case", request],
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
    _ask(client, _bearer(known))  # keys and sources are fetched
    headers = requests().get(sys.argv[1])
    if headers is None:
        headers = _bearer(worst)
    elif "Cookie" not in headers:  # which comes from somebody who need not be signed in
        headers = _bearer(known) | headers
    started = time.process_time()
    status, size = _ask(client, headers)
    cpu = time.process_time() - started
    print(json.dumps({"cpu": cpu, "status": status, "bytes": size}), file=sys.stderr)


def _bearer(token: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {token}"}


def _ask(client: Client, headers: dict[str, str]) -> tuple[int, int]:
    answer = client.get(PATH, headers=headers)
    return answer.status_code, len(answer.data)


if __name__ == "__main__":
    main()
