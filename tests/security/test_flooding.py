"""Somebody who would have us ask GenAuth for every request of theirs."""

import json

import pytest

from tests.valkey import legible

ASKED = "/api/v3/get-identities"


@pytest.fixture
def grow_older(stored):
    """Let what Redis holds have been fetched so many seconds earlier."""

    def grow(seconds):
        for key in stored.keys("la:3:*:accounts"):
            header, _, accounts = legible(key, stored.get(key)).partition(b"\n")
            at, fresh_until, total = json.loads(header)
            older = json.dumps([at - seconds, fresh_until - seconds, total]).encode()
            stored.set(key, b"%b %b\n%b" % (key, older, accounts), ex=60)

    return grow


@pytest.mark.parametrize("control", [None, "", "max-age=0", "no-store", "no-transform"])
def test_only_no_cache_asks_for_a_fresh_answer(service, genauth, sign_in, grow_older, control):
    headers = [*sign_in("mei").items()]
    service.ask(headers=headers)
    grow_older(3)

    answer = service.ask(headers=headers + ([("Cache-Control", control)] if control is not None else []))

    assert answer.headers["Cache-Status"].startswith("linked-accounts; hit")
    assert genauth.calls(ASKED) == 1


def test_asking_for_a_fresh_answer_in_a_loop_costs_one_question_in_two_seconds(service, genauth, sign_in, grow_older):
    headers = [*sign_in("mei").items(), ("Cache-Control", "no-cache")]
    for _ in range(20):
        assert service.ask(headers=headers).status == 200
    assert genauth.calls(ASKED) == 1

    grow_older(3)

    for _ in range(20):
        assert service.ask(headers=headers).status == 200
    assert genauth.calls(ASKED) == 2


def test_forged_tokens_cost_no_question(service, genauth, sign_in):
    service.ask(headers=[*sign_in("mei").items()])
    genauth.forget_calls()

    for number in range(50):
        token = genauth.token("mei", claims={"jti": str(number)}, key="foreign")
        assert service.accounts_of(token).status == 401

    assert genauth.calls() == 0


def test_whoever_fails_to_sign_in_again_and_again_is_sent_away(service_with, genauth):
    service = service_with(RATE_LIMIT="3/minute")
    forged = genauth.token("mei", key="foreign")

    statuses = [service.accounts_of(forged).status for _ in range(60)]

    assert (statuses[0], statuses[-1], set(statuses)) == (401, 429, {401, 429})
    assert service.accounts_of(forged, address="198.51.100.9").status == 401


def test_a_refused_token_in_a_loop_costs_one_question(service, genauth):
    token = genauth.token("mei")
    genauth.revoke(token)

    statuses = {service.accounts_of(token).status for _ in range(20)}

    assert statuses == {401}
    assert genauth.calls(ASKED) == 1


def test_bad_tokens_shut_nobody_out_who_shares_the_address_behind_a_proxy(service_with, genauth):
    service = service_with(RATE_LIMIT="120/minute")
    behind_the_proxy = {"headers": [("X-Forwarded-For", "198.51.100.9")], "address": "10.0.0.1"}

    flood = [service.accounts_of("x", **behind_the_proxy).status for _ in range(130)]

    assert flood == [401] * 120 + [429] * 10
    assert [service.accounts_of(genauth.token(who), **behind_the_proxy).status for who in ("mei", "omar")] == [200, 200]
    assert service.accounts_of(genauth.token("mei", key="foreign"), **behind_the_proxy).status == 429


LONG_COOKIES = ";" * 9000


@pytest.mark.parametrize(
    "sent",
    [
        [("Cookie", LONG_COOKIES)],
        [("Cookie", f"{LONG_COOKIES} session=x.y.z")],
        [("Cookie", f"{LONG_COOKIES} session=x.y.z"), ("X-Requested-With", "fetch"), ("Origin", "https://evil.example")],
        [("Cookie", f"{LONG_COOKIES} session=a; session=b"), ("X-Requested-With", "fetch")],
        [("Cookie", f"{LONG_COOKIES} session={'a' * 8193}"), ("X-Requested-With", "fetch")],
    ],
    ids=["no session", "no leave", "from elsewhere", "doubled", "too long"],
)
def test_whoever_has_us_read_long_cookies_in_vain_is_sent_away(service_with, sent):
    service = service_with(RATE_LIMIT="3/minute", SESSION_COOKIE_NAME="session", CORS_ORIGINS="https://app.example")

    statuses = [service.ask(headers=sent).status for _ in range(5)]

    assert statuses[3:] == [429, 429]
    assert 429 not in statuses[:3]


def test_who_sends_no_session_is_no_flooder(service_with):
    service = service_with(RATE_LIMIT="3/minute", SESSION_COOKIE_NAME="session")

    assert {service.ask(headers=[("Cookie", "theme=dark")]).status for _ in range(8)} == {401}
