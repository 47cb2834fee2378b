"""Who computes first (docs/adr/0008): whoever was here before does not wait behind a crowd of newcomers."""

import threading
import time

from bff.gate import BRIEF, Gate

PATH = "/me/linked-accounts"


def test_a_token_that_was_here_before_does_not_wait_behind_new_ones(app, sign_in):
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
    newcomers = ["Bearer new", None, "Basic new", "Bearer", f"bearer {known}"]
    asked = [{"HTTP_AUTHORIZATION": authorization or "", "new": True} for authorization in newcomers]
    asked += [{"HTTP_AUTHORIZATION": known, "new": False}, {"HTTP_COOKIE": "session=1", BRIEF: True, "new": False}]
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

    assert before == [5, 6]
    assert sorted(went) == list(range(7))
