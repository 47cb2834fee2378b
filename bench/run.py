"""``python -m bench.run``: measure everything, print the table, write docs/performance.md and docs/scaling.md.

``--quick`` is for a look, under three minutes, and writes nothing. ``--only steady miss`` measures a part and keeps the rest of
what was measured before. ``--render`` writes the documents from the last results. Exit code 1 when an answer was wrong.
"""

import argparse
import json
import sys
import time
from pathlib import Path
from typing import Any

from bench import machine
from bench.documents import performance, scaling
from bench.documents.report import table
from bench.load.wrk import NothingMeasured, WrongAnswer
from bench.programs import missing
from bench.scenarios import SCENARIOS
from bench.verdicts import rows
from bench.world import FULL, QUICK, Bench

RESULTS = Path(__file__).with_name("results.json")
_ONLY_AT_LENGTH = {"growth", "workers", "worst_case"}


def main() -> int:
    """Do what the command line asks for."""
    parser = argparse.ArgumentParser(prog="python -m bench.run", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="two short rounds; nothing is written")
    parser.add_argument("--only", nargs="+", choices=list(SCENARIOS), help="a part of it")
    parser.add_argument("--render", action="store_true", help="only write the documents again")
    options = parser.parse_args()
    if options.render:
        _write(json.loads(RESULTS.read_text()))
        return 0
    if absent := missing():
        print(f"Not installed: {', '.join(absent)}. `make bench` installs what it can.", file=sys.stderr)
        return 1
    plan = QUICK if options.quick else FULL
    wanted = options.only or [name for name in SCENARIOS if not (plan.quick and name in _ONLY_AT_LENGTH)]
    results, wrong = _measured(plan, wanted)
    print(table(rows(results)))
    if not plan.quick:
        _write(json.loads(RESULTS.read_text()))
    return 1 if wrong else 0


def _measured(plan: Any, wanted: list[str]) -> tuple[dict[str, Any], list[str]]:  # noqa: ANN401 - a Plan
    results: dict[str, Any] = {}
    wrong: list[str] = []
    with Bench(plan) as bench:
        for name in wanted:
            started = time.monotonic()
            try:
                results[name] = SCENARIOS[name](bench)
            except NothingMeasured as nothing:
                print(f"{name}: {nothing} Is the machine busy?", file=sys.stderr, flush=True)
            except WrongAnswer as answer:
                # A benchmark stops when an answer is wrong; the others may still be measured.
                print(f"{name}: WRONG ANSWER: {answer}", file=sys.stderr, flush=True)
                wrong.append(name)
            else:
                print(f"{name}: {time.monotonic() - started:.0f} s", file=sys.stderr, flush=True)
                if not plan.quick:
                    _keep({name: results[name]})
    return results, wrong


def _keep(results: dict[str, Any]) -> None:
    """Each scenario at once: half an hour of measuring is not to be lost to the last of them."""
    kept = json.loads(RESULTS.read_text()) if RESULTS.exists() else {}
    kept = {name: values for name, values in kept.items() if name in SCENARIOS}
    kept |= results | {"machine": machine.about(), "day": time.strftime("%Y-%m-%d")}
    RESULTS.write_text(json.dumps(kept, indent=1, ensure_ascii=False) + "\n")


def _write(results: dict[str, Any]) -> None:
    performance.write(results)
    scaling.write(results)


if __name__ == "__main__":
    sys.exit(main())
