"""Very many requests, quickly: `wrk` (a Debian package) with a script that checks each answer; without it, clients of our own."""

import asyncio
import re
import shutil
import subprocess
import time
from collections import Counter
from pathlib import Path

from tests.drills.load import Steady

SCRIPT = Path(__file__).with_name("wrk.lua")
_CONNECTIONS = 64
_SLICE_SECONDS = 5


def ask(stage, callers, requests, *, within):
    """So many requests, or as many as fit into ``within`` seconds; how many answers were right, wrong, lost."""
    patience = time.monotonic() + within
    people = stage.folder / "people"
    people.write_text("".join(f"vi_32/{caller.number:012x}/132 {caller.token}\n" for caller in callers))
    counted = Counter()
    while counted.total() < requests and time.monotonic() < patience:
        slice_seconds = 1 if requests - counted.total() < 20_000 else _SLICE_SECONDS
        counted += _wrk(stage.ports[0], people, slice_seconds) if shutil.which("wrk") else _ours(stage, callers, slice_seconds)
    return counted


def _wrk(port, people, seconds):
    command = [
        "wrk",
        "-t2",
        f"-c{_CONNECTIONS}",
        f"-d{seconds}s",
        "-s",
        str(SCRIPT),
        f"http://127.0.0.1:{port}",
        "--",
        str(people),
    ]
    said = subprocess.run(command, capture_output=True, text=True, check=True, timeout=seconds + 30).stdout
    found = re.search(r"DRILL right=(\d+) wrong=(\d+) lost=(\d+) example=(.*)", said)
    assert found, said
    counted = Counter({"right": int(found[1]), f"wrong: {found[4]}": int(found[2]), "lost": int(found[3])})
    return Counter({what: count for what, count in counted.items() if count})


def _ours(stage, callers, seconds):
    async def load():
        steady = Steady()
        steady.people(stage.ports, callers[:_CONNECTIONS], every=0)
        await asyncio.sleep(seconds)
        return await steady.over()

    answers = asyncio.run(load())
    return Counter(answer.wrong or ("right" if answer.status == 200 else answer.source) for answer in answers)
