"""Promise 5: GenAuth away is not an outage. The last good answer stands in, marked, and only for who may have it."""

import time

import pytest

from tests.fault.conftest import ASKED, open_the_circuit, timed, travel, ttl
from tests.timing import in_time

AWAY = {
    "500": {"status": 500},
    "502": {"status": 502},
    "503": {"status": 503},
    "504": {"status": 504},
    "503 in the envelope": {"envelope": 503},
    "a code that says their end failed": {"envelope": 601},
    "throttled": {"status": 429, "retry_after": 1},
    "throttled in the envelope": {"envelope": 429},
    "a gateway that knows nobody": {"status": 401},
    "a login page": {"body": "<html>Sign in</html>"},
    "a truncated body": {"ending": "truncate"},
    "a connection that ends": {"ending": "reset"},
    "a redirect": {"status": 302},
    "hanging": {"ending": "hang"},
    "dripping": {"drip_body": 0.2},
}


@pytest.fixture
def brief(app_with):
    return app_with(UPSTREAM_DEADLINE_SECONDS="1", REQUEST_DEADLINE_SECONDS="1.5")


def stored_of(stored):
    """What is stored of anybody's accounts and tokens."""
    passing = (b":lock:", b":failure:")
    return {key: stored.get(key) for key in stored.keys("*") if not any(word in key for word in passing)}


def assert_stale(answer, late=30):
    assert answer.status == 200
    assert answer.response.json["meta"]["stale"] is True
    assert answer.response.json["linkedAccounts"]
    assert answer.source.endswith("; detail=stale-if-error")
    assert answer.source.startswith("linked-accounts; hit; ttl=-")
    assert -late - 8 <= ttl(answer.source) <= -late + 8
    assert 60 + late - 3 <= int(answer.response.headers["Age"]) <= 60 + late + 3


@pytest.mark.parametrize("how", AWAY)
def test_the_last_good_answer_stands_in_while_genauth_is_away(brief, genauth, sign_in, how):
    client, headers = brief.test_client(), sign_in("mei")
    good = timed(client, headers).response
    travel(brief, 90)
    genauth.trouble(path=ASKED, **AWAY[how])

    answer = timed(client, headers)

    assert_stale(answer)
    in_time(answer.seconds, 1.5 + 0.3)
    assert answer.response.json["linkedAccounts"] == good.json["linkedAccounts"]
    assert answer.response.json["meta"]["fetchedAt"] == good.json["meta"]["fetchedAt"]
    assert answer.response.headers["ETag"] == good.headers["ETag"], "over the data, not over how fresh it is"


def test_nothing_stands_in_for_a_right_that_the_application_lacks_and_nobody_is_signed_out(app, genauth, sign_in):
    client, headers = app.test_client(), sign_in("mei")
    timed(client, headers)
    travel(app, 90)
    genauth.trouble(path=ASKED, envelope={"statusCode": 403, "apiCode": 1001})
    for _ in range(2):
        answer = timed(client, headers)
        assert (answer.status, answer.response.json["code"]) == (502, "upstream_forbidden")
    genauth.healthy()
    travel(app, 93)

    assert timed(client, headers).response.json["meta"]["stale"] is False


def test_it_stands_in_while_connections_are_refused(app, genauth, sign_in):
    client, headers = app.test_client(), sign_in("mei")
    timed(client, headers)
    travel(app, 90)
    genauth.stop_listening()
    try:
        assert_stale(timed(client, headers))
    finally:
        genauth.listen_again()


def test_it_stands_in_at_once_while_the_breaker_is_open(app, genauth, sign_in):
    client, headers = app.test_client(), sign_in("mei")
    timed(client, headers)
    travel(app, 90)
    genauth.trouble(path=ASKED, status=503)
    open_the_circuit(app, lambda: sign_in("omar"))
    asked = genauth.calls(ASKED)

    answer = timed(client, headers)

    assert_stale(answer)
    in_time(answer.seconds, 0.2)
    assert genauth.calls(ASKED) == asked


def test_a_token_that_was_never_seen_is_served_nothing_of_its_users(app, genauth, sign_in):
    client = app.test_client()
    timed(client, sign_in("mei"))
    genauth.trouble(path=ASKED, status=503)

    answer = timed(client, sign_in("mei"))

    assert (answer.status, answer.response.json["code"]) == (503, "upstream_unavailable")
    assert int(answer.response.headers["Retry-After"]) >= 1


def test_nothing_stands_in_beyond_the_window(app_with, genauth, sign_in):
    app = app_with(CACHE_STALE_SECONDS="100")
    client, headers = app.test_client(), sign_in("mei")
    timed(client, headers)
    genauth.trouble(path=ASKED, status=503)

    travel(app, 155)
    assert timed(client, headers).response.json["meta"]["stale"] is True
    travel(app, 161)
    assert timed(client, headers).status == 503


def test_a_token_accepted_too_long_ago_is_served_nothing_however_young_the_answer(app_with, genauth, sign_in):
    app = app_with(CACHE_STALE_SECONDS="100")
    client, early, late = app.test_client(), sign_in("mei"), sign_in("mei")
    timed(client, early)
    travel(app, 120)
    timed(client, late)
    genauth.trouble(path=ASKED, status=503)

    travel(app, 200)

    assert timed(client, late).response.json["meta"]["stale"] is True
    assert timed(client, early).status == 503


def test_an_answer_put_back_by_somebody_stands_in_for_no_longer_than_it_would_have(app_with, genauth, sign_in, stored):
    app = app_with(CACHE_STALE_SECONDS="100")
    client, headers = app.test_client(), sign_in("mei")
    timed(client, headers)
    (key,) = stored.keys("*:accounts")
    old = stored.get(key)
    travel(app, 120)
    timed(client, headers)
    stored.set(key, old)
    genauth.trouble(path=ASKED, status=503)

    travel(app, 150)
    assert int(timed(client, headers).response.headers["Age"]) >= 149
    travel(app, 200)
    assert timed(client, headers).status == 503


def test_a_refresh_that_fails_prolongs_nothing(app, genauth, sign_in, stored):
    client, headers = app.test_client(), sign_in("mei")
    timed(client, headers)
    kept = stored_of(stored)
    travel(app, 90)
    genauth.trouble(path=ASKED, status=503)

    first = timed(client, headers)
    assert_stale(first)

    assert stored_of(stored) == kept
    travel(app, 95)
    assert ttl(timed(client, headers).source) < ttl(first.source)


def test_a_forced_refresh_that_fails_gets_the_answer_there_is_and_is_told(app, genauth, sign_in):
    client, headers = app.test_client(), sign_in("mei")
    timed(client, headers)
    travel(app, 5)
    genauth.trouble(path=ASKED, status=503)

    forced = timed(client, headers, refresh=True)

    assert (forced.status, forced.response.json["meta"]["stale"]) == (200, True)
    assert forced.source.endswith("detail=stale-if-error")
    assert ttl(forced.source) > 0, "fresh for who did not ask for more"
    ordinary = timed(client, headers)
    assert ordinary.response.json["meta"]["stale"] is False
    assert "stale-if-error" not in ordinary.source


def test_after_the_outage_answers_are_fresh_again(app, genauth, sign_in):
    client, headers = app.test_client(), sign_in("mei")
    timed(client, headers)
    travel(app, 90)
    genauth.trouble(path=ASKED, status=503)
    assert_stale(timed(client, headers))
    genauth.healthy()
    travel(app, 93)  # a failure is repeated for two seconds

    answer = timed(client, headers)

    assert answer.response.json["meta"]["stale"] is False
    assert answer.source == "linked-accounts; fwd=stale"
    assert timed(client, headers).source.startswith("linked-accounts; hit; ttl=")


def test_a_restart_during_the_outage_loses_nothing(app_with, genauth, sign_in):
    headers = sign_in("mei")
    timed(app_with().test_client(), headers)
    genauth.trouble(path=ASKED, status=503)
    app = app_with()
    travel(app, 90)

    assert_stale(timed(app.test_client(), headers))


def test_without_a_stale_window_there_is_none(app_with, genauth, sign_in):
    app = app_with(CACHE_STALE_SECONDS="0", CACHE_TTL_SECONDS="1")
    client, headers = app.test_client(), sign_in("mei")
    timed(client, headers)
    genauth.trouble(path=ASKED, status=503)
    time.sleep(1.3)

    assert timed(client, headers).status == 503


def test_a_fresh_answer_to_a_fresh_wish_costs_one_question_in_two_seconds(app, genauth, sign_in):
    client, headers = app.test_client(), sign_in("mei")

    for _ in range(30):
        timed(client, headers, refresh=True)

    assert genauth.calls(ASKED) == 1
    travel(app, 3)
    timed(client, headers, refresh=True)
    assert genauth.calls(ASKED) == 2


@pytest.mark.parametrize("why", ["the circuit is open", "GenAuth failed a moment ago"])
def test_while_genauth_is_not_to_be_asked_nobody_takes_the_lock(app, genauth, sign_in, stored, why):
    client, headers = app.test_client(), sign_in("mei")
    timed(client, headers)
    travel(app, 90)
    genauth.trouble(path=ASKED, status=500)
    if why == "the circuit is open":
        open_the_circuit(app, lambda: sign_in("omar"))
    else:
        timed(client, headers)
    stored.config_resetstat()
    genauth.forget_calls()

    assert_stale(timed(client, headers))

    calls = {name.removeprefix("cmdstat_") for name in stored.info("commandstats")}
    assert "mget" in calls, "or the look at the statistics shows nothing"
    assert not calls & {"set", "eval", "evalsha", "del", "unlink"}
    assert genauth.calls(ASKED) == 0
