"""Who computes first (docs/adr/0008): whoever was here before does not wait behind a crowd of newcomers."""

import threading
import time

from bff.factory import NEWCOMERS
from bff.resilience.gate import ARRIVED, Gate

PATH = "/me/linked-accounts"


def test_a_token_that_was_here_before_does_not_wait_behind_new_ones(app_with, sign_in):
    app = app_with(SESSION_COOKIE_NAME="session")
    known = sign_in("mei")["Authorization"]
    assert app.test_client().get(PATH, headers={"Authorization": known}).status_code == 200
    gate = app.wsgi_app
    assert isinstance(gate, Gate), "the micro-cache, which would stand before it, is off"
    open_, went = threading.Event(), []

    def application(environ, _start_response):
        if environ["new"]:
            open_.wait(5)
        went.append(environ["name"])
        return []

    gate._application = application
    token = known.removeprefix("Bearer ")
    newcomers = [*["Bearer new"] * NEWCOMERS, None, "Basic new", "Bearer", f"bearer {known}"]
    asked = [{"HTTP_AUTHORIZATION": authorization or "", "new": True} for authorization in newcomers]
    asked += [{"HTTP_COOKIE": cookie, "new": True} for cookie in ("session=1", f"other={token}", 'session="\\377\xff', "\xff")]
    asked += [{"HTTP_AUTHORIZATION": known, "new": False}, {"HTTP_COOKIE": f"a=b; session={token}", "new": False}]
    threads = []
    for name, environ in enumerate(asked):
        threads.append(threading.Thread(target=gate, args=(environ | {"name": name}, None)))
        threads[-1].start()
        time.sleep(0.01)
    time.sleep(0.1)
    before = list(went)
    open_.set()
    for thread in threads:
        thread.join()

    assert before == [NEWCOMERS + 8, NEWCOMERS + 9]
    assert sorted(went) == list(range(NEWCOMERS + 10))


def test_newcomers_come_evenly_while_others_come_too(app, sign_in):
    known = sign_in("mei")["Authorization"]
    assert app.test_client().get(PATH, headers={"Authorization": known}).status_code == 200
    came = []

    def application(_environ, _start_response):
        came.append(time.monotonic())
        return []

    app.wsgi_app._application = application
    app.wsgi_app({"HTTP_AUTHORIZATION": known, ARRIVED: 1.0}, None)
    newcomer = {"HTTP_AUTHORIZATION": "Bearer new", ARRIVED: 1.0}
    threads = [threading.Thread(target=app.wsgi_app, args=(dict(newcomer), None)) for _ in range(5)]
    started = time.monotonic()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert max(came) - started >= 0.015
