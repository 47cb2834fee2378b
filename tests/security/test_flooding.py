"""Somebody who would have us ask GenAuth for every request of theirs."""

import json
import threading
import time

import pytest

from tests.valkey import legible

ASKED = "/api/v3/get-identities"
INTROSPECTION = "/oidc/token/introspection"


@pytest.fixture
def grow_older(stored):
    """Let what Redis holds have been fetched so many seconds earlier."""

    def grow(seconds):
        for key in stored.keys("la:4:*:accounts"):
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


# Tokens that take a call to verify ----------------------------------------------------------------


def made_up(service, number, **request):
    return service.accounts_of(f"made-up-{number}", **request).status


def test_made_up_tokens_take_no_place_of_those_who_were_here_before(service_with, genauth):
    service = service_with(TOKEN_VERIFICATION="introspection", TOKEN_ACCEPTED_SECONDS="1")
    known = [genauth.token(who, kind="opaque") for who in ("mei", "omar", "nia")]
    assert [service.accounts_of(token).status for token in known] == [200] * 3
    time.sleep(1.05)
    genauth.trouble(path=INTROSPECTION, latency=1.0)
    flood = [threading.Thread(target=made_up, args=(service, number)) for number in range(24)]
    for thread in flood:
        thread.start()
    patience = time.monotonic() + 5
    while genauth.calls(INTROSPECTION) < 3 + 8 and time.monotonic() < patience:
        time.sleep(0.01)
    genauth.healthy()

    assert [service.accounts_of(token).status for token in known] == [200] * 3
    assert genauth.calls(INTROSPECTION) == 3 + 8 + 3, "the made-up ones still hold all of their places"

    for thread in flood:
        thread.join()


def test_what_took_a_call_and_failed_counts_against_whoever_caused_it(service_with, genauth):
    service = service_with(TOKEN_VERIFICATION="introspection", RATE_LIMIT="3/minute")
    genauth.trouble(path=INTROSPECTION, status=503)

    assert [made_up(service, number) for number in range(6)] == [503] * 3 + [429] * 3
    assert genauth.calls(INTROSPECTION) == 3
    assert made_up(service, 9, address="198.51.100.9") == 503


def test_an_outage_makes_no_address_suspect(service_with, genauth):
    service = service_with(TOKEN_VERIFICATION="introspection", RATE_LIMIT="20/minute")
    genauth.trouble(path=INTROSPECTION, status=503)

    assert {made_up(service, number) for number in range(40)} == {503}
    assert genauth.calls(INTROSPECTION) < 20, "the circuit is open, or this shows nothing"


def test_whoever_comes_from_one_ipv6_network_after_the_other_is_sent_away(service_with, genauth):
    service = service_with(TOKEN_VERIFICATION="introspection", RATE_LIMIT="3/minute")

    statuses = [made_up(service, number, address=f"2001:db8:1:{number:x}::1") for number in range(30)]

    assert statuses == [401] * 12 + [429] * 18
    assert genauth.calls(INTROSPECTION) == 12
    assert made_up(service, 99, address="2001:db8:2::1") == 401
