"""Open screens: the load that they are, and what its shares should be."""

import time
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread

import orjson
import pytest

from bench.answers import accounts_of
from bench.documents.screens import KEPT, SETTINGS, simulate
from bench.documents.simulate import Lives
from bench.load.screens import Screens, watch
from bench.load.wrk import WrongAnswer
from bff.cache import CachedResponses, Freshness
from bff.models import Session

POLLED = {"screens": 10_000, "every": 30, "workers": 2}


def test_a_page_that_comes_back_when_its_answer_has_just_ended_is_never_answered_from_memory():
    shares = simulate(Lives(), **POLLED)

    assert (shares["memory"], shares["genauth"]) == (0, pytest.approx(1 / 2, abs=0.01))


def test_who_asks_before_it_ends_is():
    shares = simulate(Lives(), **POLLED | {"every": 20, "workers": 1}, kept=20_000)

    assert shares == pytest.approx({"memory": 1 / 3, "cache": 1 / 3, "genauth": 1 / 3}, abs=0.01)


def test_one_worker_with_room_for_all_asks_redis_for_nobody():
    shares = simulate(Lives(ttl=300, accepted=300, local=300), **POLLED | {"workers": 1}, kept=20_000)

    assert shares == pytest.approx({"memory": 0.9, "cache": 0, "genauth": 0.1}, abs=0.01)


def test_more_people_than_a_worker_has_room_for_drive_each_other_out():
    lives = SETTINGS["all three 300"]

    assert simulate(lives, **POLLED, kept=7_000)["memory"] < 0.75 * simulate(lives, **POLLED, kept=20_000)["memory"]


def test_a_worker_has_room_for_as_many_responses_without_a_body_as_the_simulation_says(client, sign_in):
    headers = sign_in("mei")
    etag = client.get("/me/linked-accounts", headers=headers).headers["ETag"]
    response = client.get("/me/linked-accounts", headers=headers | {"If-None-Match": etag})
    # What the view gives a 304; the others come with every response, and are not kept.
    fields = tuple((name, response.headers[name]) for name in ("ETag", "Cache-Control"))
    now = time.time()
    responses = CachedResponses(300, person=lambda user_id: user_id[:22])

    for number in range(KEPT + 2_000):
        session = Session(f"{number:024x}", now + 300, "token", "digest")
        freshness = Freshness(session, now, now + 300, now + 300)
        responses.put(b"%032d" % number, freshness, response.status, fields, response.data, 0)

    room = sum(responses.get(b"%032d" % number) is not None for number in range(KEPT + 2_000))
    assert room == pytest.approx(KEPT, rel=0.05)


class Service(BaseHTTPRequestHandler):
    """Answers with the accounts of user 0, and where ``changes`` is set never with 304."""

    protocol_version = "HTTP/1.1"
    changes = False

    def do_GET(self):
        unchanged = self.headers["If-None-Match"] == '"1"' and not self.changes
        body = orjson.dumps({"linkedAccounts": accounts_of(0), "meta": {"total": 2, "stale": False}})
        self.send_response(304 if unchanged else 200)
        self.send_header("ETag", '"1"')
        self.send_header("Cache-Status", "linked-accounts; hit; ttl=9" if unchanged else "linked-accounts; fwd=miss")
        if not unchanged:
            self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(b"" if unchanged else body)

    def log_message(self, *_):
        pass


class Server(ThreadingHTTPServer):
    def handle_error(self, *_):
        """A screen that saw something wrong leaves in the middle of an answer."""


@pytest.fixture(params=[False, True], ids=["as it is", "changing"])
def screens(request):
    handler = type("Handler", (Service,), {"changes": request.param})
    with Server(("127.0.0.1", 0), handler) as server:
        thread = Thread(target=server.serve_forever)
        thread.start()
        url = f"http://127.0.0.1:{server.server_port}/me/linked-accounts"
        yield Screens(url, ["token"], every=0.01, opening=0.0, staying=0.2, connections=1), request.param
        server.shutdown()
        thread.join()


def test_an_open_screen_gets_its_accounts_once_and_304_ever_after(screens):
    load, changing = screens

    if changing:
        with pytest.raises(WrongAnswer):
            watch(load)
    else:
        replies = watch(load)
        assert [reply.hit for reply in replies] == [False, *[True] * (len(replies) - 1)]
        assert len(replies) > 1


def test_somebody_elses_accounts_end_the_measurement(screens):
    load, _ = screens

    with pytest.raises(WrongAnswer):
        watch(replace(load, tokens=["token", "of user 1"]))
