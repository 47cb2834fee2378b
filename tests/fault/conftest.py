"""Applications over servers that a test may freeze, kill and cut off. Each application stands for a process of its own."""

import re
import threading
import time
from dataclasses import dataclass

import pytest

from bff.settings import Settings
from bff.web import services_of
from tests.conftest import clocked
from tests.valkey import ValkeyServer

PATH = "/me/linked-accounts"
ASKED = "/api/v3/get-identities"


@pytest.fixture
def redis_server():
    """A Valkey of the test's own."""
    with ValkeyServer() as server:
        yield server


@pytest.fixture
def app_on(environ):
    """``app_on(url, CACHE_TTL_SECONDS="1")``: an application over that Redis."""

    def make(url, **changed):
        return clocked(Settings.from_env({**environ, "REDIS_URL": url, **changed}))

    return make


def services(app):
    return services_of(app)


def travel(app, seconds):
    """For this application it is that much later; Redis and GenAuth live on as they did."""
    app.extensions["clock"].by = seconds


def redis_is_back(app):
    return services(app).readiness.statuses()["redis"].up


@dataclass
class Answered:
    status: int
    source: str
    seconds: float
    response: object


def timed(client, headers, *, refresh=False):
    started = time.monotonic()
    response = client.get(f"{PATH}?refresh=true" if refresh else PATH, headers=headers)
    source = response.headers.get("Cache-Status", "")
    return Answered(response.status_code, source, time.monotonic() - started, response)


def open_the_circuit(app, headers):
    """Let GenAuth, which is in trouble, fail for five tokens of somebody's: ``headers()`` gives a new one each time."""
    for _ in range(5):
        timed(app.test_client(), headers())


def together(count, act):
    """``act(n)`` in so many threads at once, and what they returned."""
    results = [None] * count
    gate = threading.Barrier(count)

    def run(n):
        gate.wait()
        results[n] = act(n)

    threads = [threading.Thread(target=run, args=(n,)) for n in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return results


def eventually(what, seconds=5.0):
    patience = time.monotonic() + seconds
    while time.monotonic() < patience:
        if what():
            return True
        time.sleep(0.05)
    return False


def ttl(cache_status):
    return int(re.search(r"ttl=(-?[0-9]+)", cache_status)[1])
