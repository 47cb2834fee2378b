import os
import signal
import socket
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from itertools import groupby

import pytest

from tests.server.service import eventually, listeners, session
from tests.timing import in_time

pytestmark = pytest.mark.server

LEAD = 1  # DRAIN_LEAD_SECONDS
WITHIN = 3.5 + 2  # REQUEST_DEADLINE_SECONDS, and what design and README promise on top


@pytest.fixture
def slowly(service, genauth):
    """Ask for somebody's accounts while GenAuth takes two seconds; the answer comes later."""
    genauth.trouble(path="/api/v3/get-identities", latency=2)
    with ThreadPoolExecutor(8) as pool:

        def asking(person="mei"):
            future = pool.submit(service.get, token=genauth.token(person))
            eventually(lambda: genauth.calls("/api/v3/get-identities"), within=5)
            return future

        yield asking


@pytest.mark.parametrize("signum", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGQUIT])
def test_what_is_in_flight_is_finished_and_readiness_goes_first(service, slowly, signum):
    in_flight = slowly()
    ended = threading.Event()
    watched = []

    def watch():
        gone = False
        while not gone:
            gone = ended.wait(0.05)
            watched.append((service.readiness(), time.monotonic()))

    watching = threading.Thread(target=watch)
    watching.start()
    try:
        eventually(lambda: watched, within=10)
        asked = time.monotonic()
        code, took = service.end(signum)
    finally:
        ended.set()
        watching.join()

    assert (code, in_flight.result().status_code) == (0, 200)
    # Not ready while it still answers, in each worker, then no longer there; and never back.
    assert [status for status, _ in groupby(status for status, _ in watched)] == [200, 503, None]
    gone_at = next(at for status, at in watched if status is None)
    assert gone_at - asked > LEAD
    assert service.left_behind() == ([], [])
    in_time(took, WITHIN)


def test_a_request_on_a_kept_connection_is_answered_while_draining(service, mei):
    with session() as http:
        http.headers["Authorization"] = f"Bearer {mei}"
        assert http.get(f"{service.url}/me/linked-accounts", timeout=5).ok

        service.process.terminate()
        eventually(lambda: service.readiness() == 503, within=1)
        answer = http.get(f"{service.url}/me/linked-accounts", timeout=5)

    assert answer.status_code == 200
    assert service.process.wait(10) == 0


def test_a_client_that_never_finishes_its_request_holds_nothing_up(service):
    heads = [socket.create_connection(("127.0.0.1", service.port)) for _ in range(40)]
    for head in heads:
        head.sendall(b"GET /livez HTTP/1.1\r\nHost: x\r\nX-Slow: ")
    time.sleep(0.2)

    code, took = service.end()

    for head in heads:
        head.close()
    assert code == 0
    in_time(took, WITHIN)


def test_a_change_under_way_is_finished(start, genauth):
    """It is two calls to GenAuth after each other, which take longer together than any other request may."""
    deadlines = {"UPSTREAM_DEADLINE_SECONDS": "1.5", "REQUEST_DEADLINE_SECONDS": "1.5", "CHANGE_DEADLINE_SECONDS": "3.5"}
    service = start(**deadlines, DRAIN_LEAD_SECONDS="0")
    for path in ("/api/v3/get-identities", "/api/v3/generate-link-extidp-url"):
        genauth.trouble(path=path, latency=1.1)
    wanted = {"provider": "my-github", "idToken": genauth.token("mei", kind="id")}
    with session() as http, ThreadPoolExecutor(1) as pool:
        http.headers["Authorization"] = f"Bearer {genauth.token('mei')}"
        begun = pool.submit(http.post, f"{service.url}/me/linked-accounts/links", json=wanted, timeout=10)
        eventually(lambda: genauth.calls("/api/v3/get-identities"), within=5)

        code, _ = service.end()

        assert (begun.result().status_code, code) == (201, 0)


def test_the_cache_outlives_the_service(start, genauth, mei):
    first = start()
    assert "miss" in first.get(token=mei).headers["Cache-Status"]
    first.end()

    second = start()

    assert "hit" in second.get(token=mei).headers["Cache-Status"]
    assert genauth.calls("/api/v3/get-identities") == 1


def test_a_new_service_has_the_port_as_soon_as_the_old_one_has_ended(start, mei):
    old = start()
    with session() as http:  # this end closes last: the connection of the old service lingers
        assert http.get(f"{old.url}/livez", timeout=5).ok
        assert old.end()[0] == 0

        new = start(PORT=str(old.port))

    assert new.get(token=mei).status_code == 200


def test_four_hundred_half_sent_heads_slow_nobody_down(service):
    heads = [socket.create_connection(("127.0.0.1", service.port)) for _ in range(400)]
    for head in heads:
        head.sendall(b"GET /livez HTTP/1.1\r\nHost: x\r\nX-Slow: ")

    begun = time.monotonic()
    statuses = {service.get("/livez").status_code for _ in range(20)}
    took = time.monotonic() - begun

    for head in heads:
        head.close()
    assert statuses == {200}
    in_time(took, 2)


def test_a_worker_that_is_killed_comes_back_and_the_other_serves_on(service, mei):
    eventually(lambda: listeners(service.port) == 2, within=5)  # both serve: the first one is ready before the second
    killed, other = service.workers()

    os.kill(killed, signal.SIGKILL)

    eventually(lambda: len(service.workers()) == 2 and killed not in service.workers(), within=5)
    assert other in service.workers()
    assert {service.get(token=mei).status_code for _ in range(10)} == {200}


@pytest.mark.parametrize("whom", ["launcher", "server"])
def test_killed_outright_it_leaves_no_process_and_no_folder(start, whom):
    service = start(REDIS_URL="embedded", METRICS_TOKEN="scrape-canary-5b1d-77")
    assert len(service.family()) >= 6
    assert len(list(service.temporary.iterdir())) == 2

    os.kill(service.pid if whom == "launcher" else service.granian, signal.SIGKILL)

    assert service.process.wait(10) != 0
    eventually(lambda: service.left_behind() == ([], []), within=10)
