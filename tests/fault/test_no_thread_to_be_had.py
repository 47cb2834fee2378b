"""Small containers limit threads: where none can be started, people are answered by what runs already, or told to come again."""

import threading
import time

import pytest

from bff.resilience import Deadline, Resolver, Unresolved
from tests.fault.conftest import eventually, redis_is_back, services, timed


@pytest.fixture
def no_threads(monkeypatch):
    """``no_threads(True)``: none can be started from now on; ``no_threads(False)``: they can again."""
    start = threading.Thread.start

    def refuse(_):
        raise RuntimeError("can't start new thread")

    return lambda wanted: monkeypatch.setattr(threading.Thread, "start", refuse if wanted else start)


def test_a_worker_that_runs_answers_everybody_else_too(app_with, sign_in, no_threads):
    mei, omar = sign_in("mei"), sign_in("omar")
    client = app_with().test_client()
    assert timed(client, mei).status == 200

    no_threads(True)

    assert timed(client, mei).status == timed(client, omar).status == 200


def test_a_worker_that_starts_then_says_503_and_mends_itself(app_with, sign_in, no_threads):
    headers = sign_in("mei")
    no_threads(True)
    client = app_with().test_client()

    assert [timed(client, headers).status for _ in range(3)] == [503] * 3
    assert client.get("/livez").status_code == 200
    assert client.get("/readyz").status_code == 503

    no_threads(False)

    assert eventually(lambda: timed(client, headers).status == 200)


def test_redis_is_asked_again_once_there_are_threads(app_on, redis_server, sign_in, no_threads):
    headers = sign_in("mei")
    app = app_on(redis_server.url, LOCAL_CACHE_SECONDS="0")
    client = app.test_client()
    assert timed(client, headers).status == 200
    redis_server.freeze()
    assert timed(client, headers).status == 200
    redis_server.thaw()
    no_threads(True)
    time.sleep(1.05)  # the circuit breaker of Redis wants to probe

    assert {timed(client, headers).status for _ in range(5)} == {200}

    no_threads(False)

    assert eventually(lambda: services(app).readiness.check() or redis_is_back(app))


def test_a_name_that_cannot_be_looked_up_for_want_of_a_thread_is_asked_for_again(no_threads):
    resolver = Resolver(lambda *_, **__: ["address"])
    no_threads(True)
    with pytest.raises(Unresolved):
        resolver.addresses("genauth.example", 443, Deadline.after(1))

    no_threads(False)

    assert resolver.addresses("genauth.example", 443, Deadline.after(1)) == ["address"]
