"""A token that is new to a process: what another process stored of it counts, and nothing else."""

import pytest

from tests.fault.conftest import ASKED, open_the_circuit, timed, together, travel

MISS = "linked-accounts; fwd=miss"


@pytest.fixture
def known(app_with, sign_in):
    """The headers of somebody whom another process has asked GenAuth about."""

    def headers(**changed):
        headers = sign_in("mei")
        assert timed(app_with(**changed).test_client(), headers).source == MISS
        return headers

    return headers


def test_what_another_process_stored_is_a_hit_without_a_lock(app, known, genauth, stored):
    headers = known()
    asked = genauth.calls(ASKED)
    stored.config_resetstat()

    assert "hit; ttl=" in timed(app.test_client(), headers).source

    assert not {"cmdstat_set", "cmdstat_eval", "cmdstat_evalsha"} & set(stored.info("commandstats"))
    assert genauth.calls(ASKED) == asked


def test_everybody_who_comes_with_it_at_once_has_a_hit(app, known):
    headers = known()

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
    assert not stored.keys("*:lock:*")


def test_a_wish_for_a_fresh_answer_is_heard(app_with, known, genauth):
    headers = known()
    app = app_with()
    travel(app, 10)

    answer = timed(app.test_client(), headers, refresh=True)

    assert answer.source == "linked-accounts; fwd=request"
    assert genauth.calls(ASKED) == 2


def test_while_genauth_is_left_alone_a_hit_is_a_hit(app_with, known, genauth, sign_in):
    headers = known()
    app = app_with()
    genauth.trouble(path=ASKED, status=500)
    open_the_circuit(app, lambda: sign_in("omar"))
    asked = genauth.calls(ASKED)
    assert timed(app.test_client(), sign_in("omar")).status == 503
    assert genauth.calls(ASKED) == asked, "the breaker is open, or this test shows nothing"

    answer = timed(app.test_client(), headers)

    assert "hit; ttl=" in answer.source
    assert "stale-if-error" not in answer.source
    assert answer.response.json["meta"]["stale"] is False


def test_a_refused_token_is_refused_without_a_call_though_redis_forgot_it(app, genauth, sign_in, stored):
    headers = sign_in("mei")
    genauth.revoke(headers["Authorization"].removeprefix("Bearer "))
    assert timed(app.test_client(), headers).status == 401
    stored.flushall()

    assert timed(app.test_client(), headers).status == 401

    assert genauth.calls(ASKED) == 1
