"""Few compute at once, and nobody waits beyond the deadline; health, metrics and docs wait for nobody."""

import threading
import time

import pytest

from bff.factory import PERMITS
from bff.resilience import Deadline
from bff.web import AdmissionControl, services_of
from bff.web.context import RECORD, RequestRecord
from tests.timing import in_time

PATH = "/me/linked-accounts"
HASTY = {"UPSTREAM_CONNECT_SECONDS": "0.2", "UPSTREAM_DEADLINE_SECONDS": "0.5", "REQUEST_DEADLINE_SECONDS": "0.6"}


@pytest.fixture
def busy(monkeypatch):
    """Call it to have every permit held, in the middle of an answer, until the test ends."""
    inside, open_ = threading.Semaphore(0), threading.Event()
    threads = []

    def hold(*_args, **_kwargs):
        inside.release()
        open_.wait(10)
        raise RuntimeError

    def begin(app, headers):
        client = app.test_client()
        client.get("/openapi.json")  # the contract that every answer is held to
        with monkeypatch.context() as patched:
            patched.setattr("bff.accounts.service.LinkedAccounts.of", hold)
            for _ in range(PERMITS):
                threads.append(threading.Thread(target=client.get, args=(PATH,), kwargs={"headers": headers}))
                threads[-1].start()
                assert inside.acquire(timeout=5)

    yield begin
    open_.set()
    for thread in threads:
        thread.join(10)


def test_a_request_that_finds_no_permit_is_told_so_in_time(app_with, sign_in, busy):
    app = app_with(**HASTY)
    busy(app, sign_in("mei"))
    started = time.monotonic()

    response = app.test_client().get(PATH, headers=sign_in("omar"))

    assert (response.status_code, response.json["code"]) == (503, "upstream_unavailable")
    assert response.headers["Retry-After"] == "1"
    assert in_time(time.monotonic() - started, 1.5) > 0.5


def test_a_request_that_waited_for_genauth_and_finds_no_permit_again_is_told_so_in_time(app_with, genauth, sign_in, busy):
    app = app_with(**HASTY)
    client = app.test_client()
    assert client.get(PATH, headers=sign_in("mei")).status_code == 200  # the keys are there
    genauth.trouble(path="/api/v3/get-identities", latency=0.4)
    answers = []
    asking = threading.Thread(target=lambda: answers.append(client.get(PATH, headers=sign_in("omar"))))
    started = time.monotonic()
    asking.start()
    time.sleep(0.1)
    busy(app, sign_in("mei"))
    asking.join(5)

    (response,) = answers
    assert (response.status_code, response.json["code"]) == (504, "upstream_timeout")
    assert in_time(time.monotonic() - started, 1.5) > 0.5


@pytest.mark.parametrize(
    "path", ["/livez", "/readyz", "/metrics", "/openapi.json", "/docs", "/problems/token-missing", "/nothing"]
)
def test_whatever_is_not_about_a_person_waits_for_nobody(app_with, sign_in, busy, path):
    app = app_with(METRICS_TOKEN="watching", **HASTY)
    busy(app, sign_in("mei"))
    started = time.monotonic()

    response = app.test_client().get(path, headers={"Authorization": "Bearer watching"})

    assert response.status_code == (404 if path == "/nothing" else 200)
    in_time(time.monotonic() - started, 0.4)


def test_a_response_from_memory_waits_for_nobody(app_with, sign_in, busy):
    app = app_with(LOCAL_CACHE_SECONDS="30", **HASTY)
    services = services_of(app)
    headers = sign_in("mei")
    for _ in range(100):
        app.test_client().get(PATH, headers=headers)
        if b'source="memory"' in services.metrics.render():
            break
        time.sleep(0.02)
    busy(app, sign_in("omar"))

    assert app.test_client().get(PATH, headers=headers).status_code == 200
    services.invalidations.stop()


def test_those_who_wait_for_genauth_hold_no_permit(app, genauth, sign_in):
    app.test_client().get(PATH, headers=sign_in("mei"))
    known = sign_in("omar")
    app.test_client().get(PATH, headers=known)
    genauth.trouble(path="/api/v3/get-identities", latency=1.0)
    threads = [
        threading.Thread(target=app.test_client().get, args=(PATH,), kwargs={"headers": sign_in(f"user-{number}")})
        for number in range(4 * PERMITS)
    ]
    for thread in threads:
        thread.start()
    time.sleep(0.3)
    started = time.monotonic()

    assert app.test_client().get(PATH, headers=known).status_code == 200

    in_time(time.monotonic() - started, 0.4)
    for thread in threads:
        thread.join(10)


def test_events_compute_one_at_a_time():
    computing, together = threading.Semaphore(1), []

    def application(_environ, start_response):
        alone = computing.acquire(blocking=False)
        together.append(not alone)
        time.sleep(0.01)
        if alone:
            computing.release()
        start_response("204 No Content", [])
        return []

    control = AdmissionControl(application, PERMITS, is_event=lambda _environ: True)

    def send():
        environ = {"PATH_INFO": "/webhooks/genauth", RECORD: RequestRecord("id", 0.0, Deadline.after(10))}
        control(environ, lambda *_: None)

    threads = [threading.Thread(target=send) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert together == [False] * 4
