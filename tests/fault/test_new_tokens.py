"""A token that is new to a process: looking for what is known and taking the turn at asking are one round trip to Redis."""

import time

import pytest

from bff.resilience.caches import Memo
from tests.fault.conftest import ASKED, parts, timed, together, travel

MISS = "linked-accounts; fwd=miss"


def round_trips(app):
    """A list that grows with each of them."""
    _, cache, *_ = parts(app)
    seen, ask = [], cache._store._ask
    cache._store._ask = lambda what, *commands: seen.append(what) or ask(what, *commands)
    return seen


@pytest.fixture
def known(app_with, sign_in):
    """The headers of somebody whom another process has asked GenAuth about."""

    def headers(**changed):
        headers = sign_in("mei")
        assert timed(app_with(**changed).test_client(), headers).source == MISS
        return headers

    return headers


@pytest.fixture
def app(app_with, sign_in):
    app = app_with(RATE_LIMIT="off")
    timed(app.test_client(), sign_in("omar"))  # the application's own sources are known by now
    return app


def test_a_stranger_costs_two_round_trips(app, sign_in):
    seen = round_trips(app)

    assert timed(app.test_client(), sign_in("mei")).source == MISS

    assert seen == ["lease", "write"]


def test_what_another_process_knows_is_a_hit_and_costs_one(app, known, genauth, stored):
    headers = known()
    asked = genauth.calls(ASKED)
    seen = round_trips(app)

    assert "hit; ttl=" in timed(app.test_client(), headers).source

    assert seen == ["lease"]
    assert not stored.keys("*:lease:*"), "no turn was taken"
    assert genauth.calls(ASKED) == asked


def test_everybody_who_comes_with_it_at_once_has_a_hit(app, known):
    headers = known()
    _, cache, *_ = parts(app)
    ask = cache._store._ask
    cache._store._ask = lambda what, *commands: time.sleep(0.2) or ask(what, *commands)
    app.extensions["linked-accounts"].sessions._accepted = Memo(0)  # new to each of them

    answers = together(20, lambda _: timed(app.test_client(), headers))

    assert all("hit; ttl=" in answer.source for answer in answers)


@pytest.mark.parametrize(
    ("changed", "seconds"),
    [({"TOKEN_ACCEPTED_SECONDS": "600"}, 100), ({"CACHE_TTL_SECONDS": "600"}, 100)],
    ids=["accounts", "acceptance"],
)
def test_what_is_known_but_too_old_is_asked_for_anew(app_with, known, genauth, stored, changed, seconds):
    headers = known(**changed)
    app = app_with(**changed)
    travel(app, seconds)

    assert timed(app.test_client(), headers).source == "linked-accounts; fwd=stale"

    assert genauth.calls(ASKED) == 2
    assert not stored.keys("*:lease:*")


def test_a_wish_for_a_fresh_answer_is_heard(app_with, known, genauth):
    headers = known()
    app = app_with()
    travel(app, 10)

    answer = timed(app.test_client(), headers, **{"Cache-Control": "no-cache"})

    assert answer.source == "linked-accounts; fwd=request"
    assert genauth.calls(ASKED) == 2


def test_while_genauth_is_left_alone_a_hit_is_a_hit(app_with, known, genauth, sign_in):
    headers = known()
    app = app_with()
    genauth.trouble(path=ASKED, status=500)
    for _ in range(10):
        timed(app.test_client(), sign_in("omar"))
    assert not app.extensions["linked-accounts"].linked_accounts._genauth.ready

    answer = timed(app.test_client(), headers)

    assert "hit; ttl=" in answer.source
    assert "stale-if-error" not in answer.source
    assert answer.response.json["meta"]["stale"] is False


def test_a_refused_token_that_this_process_has_forgotten_is_refused_without_a_call(app_with, genauth, sign_in, stored):
    headers = sign_in("mei")
    genauth.revoke(headers["Authorization"].removeprefix("Bearer "))
    app = app_with()
    assert timed(app.test_client(), headers).status == 401
    app.extensions["linked-accounts"].sessions._accepted._values.clear()
    stored.flushall()

    assert timed(app.test_client(), headers).status == 401

    assert genauth.calls(ASKED) == 1
