"""Who computes first (docs/adr/0008): whoever was here before has less to do than a crowd of newcomers."""

import threading
import time

from bff.gate import Gate
from bff.permits import Permits

PATH = "/me/linked-accounts"


def test_a_token_that_was_here_before_goes_before_new_ones_but_not_for_ever(app, sign_in):
    known = sign_in("mei")["Authorization"]
    assert app.test_client().get(PATH, headers={"Authorization": known}).status_code == 200
    gate = app.wsgi_app
    assert isinstance(gate, Gate), "the micro-cache, which would stand before it, is off"
    open_, went = threading.Event(), []

    def application(environ, _start_response):
        open_.wait(5)
        went.append(environ.get("HTTP_AUTHORIZATION"))
        return []

    gate._permits, gate._application = Permits(1), application
    newcomers = ["Bearer new", None, "Basic new", "Bearer", f"bearer {known}"]
    threads = []
    for authorization in [*newcomers, *[known] * 8]:
        environ = {"HTTP_AUTHORIZATION": authorization} if authorization else {}
        threads.append(threading.Thread(target=gate, args=(environ, None)))
        threads[-1].start()
        time.sleep(0.01)
    open_.set()
    for thread in threads:
        thread.join()

    assert went[0] == "Bearer new", "it was inside already"
    assert went[1:11].count(known) == 8
    assert None in went[1:6], "the others' turn comes, too"
