"""Fifty people on fifty threads while somebody freezes, kills and poisons Redis and swaps what it holds between them.

What must not happen: an answer with somebody else's accounts, a 500, a 504, a sign-out.
"""

import json
import random
import subprocess
import sys
import threading
import time
from collections import Counter
from contextlib import contextmanager

import pytest

from bff.factory import create_app
from bff.settings import Settings
from tests.security.effort import LONG, ROOT, tried
from tests.security.service import Service
from tests.valkey import free_port

PEOPLE = 50
THREADS = 50
SECONDS = 10.0 if LONG else 2.5
DEEDS = {"swap", "poison", "freeze", "kill", "replay", "types"}


class Villain:
    """`tests.security.villain` in a process of its own; ``did`` is filled in the end."""

    def __init__(self, port):
        self.did = {}
        command = [sys.executable, "-m", "tests.security.villain", str(port)]
        self._process = subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        assert self._process.stdout.readline() == "up\n"

    def stop(self):
        said, _ = self._process.communicate(timeout=20)
        self.did = json.loads(said)
        assert self._process.returncode == 0


@contextmanager
def tormented(port):
    villain = Villain(port)
    try:
        yield villain
    finally:
        villain.stop()


@pytest.mark.timeout(180)
@pytest.mark.parametrize("secret", [None, "a passphrase of more than thirty-two characters"], ids=["plain", "sealed"])
def test_fifty_people_on_fifty_threads_never_see_one_another(genauth, environ, log, secret):
    port = free_port()
    settings = {"REDIS_URL": f"redis://127.0.0.1:{port}/0", "CACHE_TTL_SECONDS": "1", "TOKEN_ACCEPTED_SECONDS": "1"}
    settings |= {"CACHE_SECRET": secret} if secret else {}
    service = Service(create_app(Settings.from_env(environ | settings)))
    tokens = [[genauth.token(f"user-{number}") for _ in range(2)] for number in range(PEOPLE)]
    right = [service.accounts_of(each[0], query="include=identities").accounts for each in tokens]
    assert len({json.dumps(accounts) for accounts in right}) == PEOPLE
    log.read()

    with tormented(port) as villain:
        crossed, statuses, sources = run(service, tokens, right)

    tried("requests of fifty people while Redis is tormented", statuses.total())
    notes = Counter(line["note"] for line in log.lines() if line["status"] != 200)
    assert not crossed
    assert set(villain.did) == DEEDS, villain.did
    assert {"hit", "fwd=miss"} <= set(sources), sources
    # Without a cache fifty ask GenAuth at once, more than the bulkhead lets through: some are told to come back in a second.
    assert set(statuses) <= {200, 503}, (statuses, sources, notes, villain.did)
    assert set(notes) <= {"bulkhead full"}, notes
    assert statuses[503] < statuses.total() / 5, statuses


def run(service, tokens, right):
    """Fifty threads ask as fifty people for a while: answers that were another's, and how often each status and source came."""
    over = time.monotonic() + SECONDS
    crossed, statuses, sources = [], Counter(), Counter()
    lock = threading.Lock()

    def ask(thread):
        chance = random.Random(thread)
        while time.monotonic() < over:
            number = chance.randrange(PEOPLE)
            answer = service.accounts_of(chance.choice(tokens[number]), query="include=identities")
            with lock:
                statuses[answer.status] += 1
                if answer.status == 200:
                    sources[answer.headers["Cache-Status"].split(";")[1].strip()] += 1
                    if [shape(account) for account in answer.accounts] != [shape(account) for account in right[number]]:
                        crossed.append((number, answer))

    threads = [threading.Thread(target=ask, args=(thread,), daemon=True) for thread in range(THREADS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert not any(thread.is_alive() for thread in threads)
    return crossed, statuses, sources


def shape(account):
    """All of an account but the provider's name and logo, which are everybody's and may come a moment later."""
    return account | {"provider": account["provider"]["type"]}
