"""``python -m tests.drills [--quick] [--list] [NAME…]``: run drills, print the table, and write it into docs/reliability.md."""

import argparse
import asyncio
import sys
import time

from tests.drills import (  # noqa: F401 - they register themselves
    change_drills,
    connection_drills,
    deploy_drills,
    event_drills,
    event_fault_drills,
    genauth_drills,
    redis_drills,
    scaled_drills,
)
from tests.drills.drill import DRILLS, FULL, QUICK
from tests.drills.report import told, write


def main():
    parser = argparse.ArgumentParser(prog="python -m tests.drills", description=__doc__)
    parser.add_argument("names", nargs="*", help="only these, or those whose names begin so")
    parser.add_argument("--quick", action="store_true", help="the small sizes of `make test`")
    parser.add_argument("--list", action="store_true", help="say which there are")
    parser.add_argument("--write", action="store_true", help="write table and pictures into docs/")
    options = parser.parse_args()
    chosen = [name for name in DRILLS if not options.names or any(name.startswith(part) for part in options.names)]
    chosen.sort(key=lambda name: name == "memory")  # the longest comes last
    if options.list:
        print(*chosen, sep="\n")  # noqa: T201 - a command speaks
        return 0
    outcomes = []
    for name in chosen:
        outcomes.append(run(name, QUICK if options.quick else FULL))
        print(told(outcomes[-1]), flush=True)  # noqa: T201
    if options.write:
        write(outcomes)
    broken = [outcome for outcome in outcomes if outcome.broken]
    print(f"{len(outcomes) - len(broken)} of {len(outcomes)} drills held.")  # noqa: T201
    return 1 if broken else 0


def run(name, size):
    """One drill, start to end."""
    function, promise = DRILLS[name]
    begun = time.monotonic()
    outcome = asyncio.run(function(size))
    outcome.name, outcome.promise, outcome.took = name, promise, time.monotonic() - begun
    return outcome


if __name__ == "__main__":
    sys.exit(main())
