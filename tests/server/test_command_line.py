"""The operator's commands as they are typed, beside a service of several processes."""

import subprocess
import sys

import pytest

from tests.server.service import ROOT, eventually
from tests.valkey import ValkeyServer

pytestmark = pytest.mark.server


def bff(environ, *arguments):
    return subprocess.run(
        [sys.executable, "-m", "bff", *arguments], env=environ, cwd=ROOT, capture_output=True, text=True, timeout=30, check=False
    )


def test_a_person_is_forgotten_by_all_workers_of_all_replicas(start, environ, genauth, mei):
    replicas = [start(LOCAL_CACHE_SECONDS="30", CACHE_TTL_SECONDS="600", ready=False) for _ in range(2)]
    for replica in replicas:
        eventually(replica.is_ready, within=20)

    def listening():
        return bff(environ, "forget", "somebody-else").stdout.rpartition(":")[2].strip(" .\n")

    eventually(lambda: listening() == "4", within=10)
    for replica in replicas * 12:
        assert len(replica.get(token=mei).json()["linkedAccounts"]) == 2
    genauth.answers("mei", [])

    result = bff(environ, "forget", genauth.id_of("mei"))

    assert (result.returncode, result.stderr) == (0, "")
    assert [replica.get(token=mei).json()["linkedAccounts"] for replica in replicas * 12] == [[]] * 24
    assert genauth.id_of("mei") not in "".join(replica.printed() for replica in replicas)


def test_a_redis_that_answers_nothing_is_given_up(environ):
    with ValkeyServer() as server:
        server.freeze()
        result = bff({**environ, "REDIS_URL": server.url}, "forget", "user-1")
        server.thaw()

    assert (result.returncode, result.stdout) == (1, "")
    assert "(timeout)" in result.stderr
    assert "Traceback" not in result.stderr
