"""Somebody who would have us ask GenAuth for every request of theirs."""

import json
import threading
import time

import pytest
from flask import template_rendered

from bff.factory import THREADS, create_app
from bff.server.serve import server_options
from bff.settings import Settings
from bff.web import services_of
from tests.conftest import PATIENT
from tests.security.service import Service
from tests.timing import in_time
from tests.valkey import legible

SETTINGS = Settings(genauth_host="http://127.0.0.1:1", genauth_app_id="an-app", redis_url="embedded")
ASKED = "/api/v3/get-identities"
INTROSPECTION = "/oidc/token/introspection"


@pytest.fixture
def grow_older(stored):
    """Let what Redis holds have been fetched so many seconds earlier."""

    def grow(seconds):
        for key in stored.keys("la:6:*:accounts"):
            header, _, accounts = legible(key, stored.get(key)).partition(b"\n")
            at, fresh_until, total = json.loads(header)
            older = json.dumps([at - seconds, fresh_until - seconds, total]).encode()
            stored.set(key, b"%b %b\n%b" % (key, older, accounts), ex=60)

    return grow


@pytest.mark.parametrize("control", ["", "no-cache", "max-age=0", "no-store", "no-transform"])
@pytest.mark.parametrize("query", ["", "refresh=false", "Refresh=true", "xrefresh=true", "x=refresh=true"])
def test_only_refresh_true_asks_for_a_fresh_answer(service, genauth, sign_in, grow_older, query, control):
    headers = [*sign_in("mei").items()]
    service.ask(headers=headers)
    grow_older(3)

    answer = service.ask(query=query, headers=[*headers, ("Cache-Control", control), ("Pragma", "no-cache")])

    assert answer.headers["Cache-Status"].startswith("linked-accounts; hit")
    assert genauth.calls(ASKED) == 1


def test_asking_for_a_fresh_answer_in_a_loop_costs_one_question_in_two_seconds(service, genauth, sign_in, grow_older):
    headers = [*sign_in("mei").items()]
    for _ in range(20):
        assert service.ask(query="refresh=true", headers=headers).status == 200
    assert genauth.calls(ASKED) == 1

    grow_older(3)

    for _ in range(20):
        assert service.ask(query="refresh=true", headers=headers).status == 200
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
    genauth.trouble(path=INTROSPECTION, latency=2.0)
    flood = [threading.Thread(target=made_up, args=(service, number)) for number in range(24)]
    begun = time.monotonic()
    for thread in flood:
        thread.start()
    while genauth.calls(INTROSPECTION) < 3 + 8 and time.monotonic() < begun + 5:
        time.sleep(0.01)
    genauth.healthy()

    statuses, calls = [service.accounts_of(token).status for token in known], genauth.calls(INTROSPECTION)
    took = time.monotonic() - begun
    for thread in flood:
        thread.join()
    in_time(took, 2.0)
    assert statuses == [200] * 3
    assert calls == 3 + 8 + 3, "the made-up ones still hold all of their places"


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


def crowd(service, tokens):
    """The statuses that come for these tokens, asked with all at once, and what waits until all have come."""
    statuses, begun = [], []

    def ask(token):
        begun.append(time.monotonic())
        statuses.append(service.accounts_of(token).status)

    threads = [threading.Thread(target=ask, args=(token,)) for token in tokens]
    for thread in threads:
        thread.start()

    def end():
        for thread in threads:
            thread.join()
        in_time(max(begun) - min(begun), 0.5)  # who comes one after the other is no crowd

    return statuses, end


def some_come(statuses, how_many):
    begun = time.monotonic()
    while len(statuses) < how_many:
        in_time(time.monotonic() - begun, 1.5)
        time.sleep(0.01)
    return statuses[:]


def test_a_token_that_another_worker_accepted_is_no_made_up_one(service_with, genauth):
    settings = {"TOKEN_VERIFICATION": "introspection", "RATE_LIMIT": "3/minute"}
    one, other = service_with(**settings), service_with(**settings)
    known, new = genauth.token("mei", kind="opaque"), genauth.token("omar", kind="opaque")
    assert one.accounts_of(known).status == 200
    assert [made_up(other, number) for number in range(4)] == [401] * 3 + [429]

    assert other.accounts_of(known).status == 200
    assert other.accounts_of(new).status == 429


def test_what_another_worker_accepted_is_forgotten_by_all_when_it_is_refused(service_with, genauth):
    settings = {"TOKEN_VERIFICATION": "introspection", "RATE_LIMIT": "3/minute"}
    one, other, third = (service_with(**settings) for _ in range(3))
    token = genauth.token("mei", kind="opaque")
    assert one.accounts_of(token).status == 200
    genauth.revoke(token)

    assert other.accounts_of(token).status == 401
    assert [made_up(third, number) for number in range(3)][-1] == 429
    assert third.accounts_of(token).status == 429


def test_made_up_tokens_wait_together_in_as_many_places_as_one_person(service_with, genauth):
    service = service_with(TOKEN_VERIFICATION="introspection")
    services_of(service.app).linked_accounts.waiting_room.free_seconds = 0
    genauth.trouble(path=INTROSPECTION, latency=2.0)

    statuses, end = crowd(service, [f"made-up-{number % 5}" for number in range(5 + 16 + 6)])

    assert some_come(statuses, 6) == [503] * 6
    end()


def test_made_up_tokens_leave_half_of_the_threads_that_may_wait(environ, genauth):
    settings = Settings.from_env({**environ, "TOKEN_VERIFICATION": "introspection"})
    service = Service(create_app(settings, threads=THREADS, **PATIENT))
    services_of(service.app).linked_accounts.waiting_room.free_seconds = 10
    genauth.trouble(path=INTROSPECTION, latency=2.0)

    statuses, end = crowd(service, ["made-up"] * 110)

    assert set(some_come(statuses, 110 - 88 - 4)) == {503}  # four may look at the same moment
    end()


# Cheap ways to be slow ----------------------------------------------------------------------------


def test_forged_tokens_of_a_key_that_nobody_can_look_for_now_are_counted(service_with, genauth):
    service = service_with(RATE_LIMIT="3/minute")
    assert service.accounts_of(genauth.token("mei")).status == 200
    genauth.trouble(path="/oidc/.well-known/jwks.json", status=500)

    def forged(number):
        claims = {"iat": int(time.time()) + 5}
        return genauth.token("mei", claims=claims, headers={"kid": f"nobody-{number}"}, key="foreign")

    assert [service.accounts_of(forged(number)).status for number in range(6)] == [503] * 3 + [429] * 3
    assert service.accounts_of(genauth.token("omar")).status == 200


@pytest.fixture
def small_service(environ):
    """The service as a worker with 64 threads has it: 16 of them wait for nobody, and 32 are for calls."""
    return Service(create_app(Settings.from_env({**environ, "LOG_LEVEL": "debug"}), threads=64, **PATIENT))


def test_a_crowd_of_one_persons_requests_leaves_threads_to_everybody_else(small_service, genauth):
    services_of(small_service.app).linked_accounts.waiting_room.free_seconds = 10
    mei, omar = genauth.token("mei"), genauth.token("omar")
    assert small_service.accounts_of(omar).status == 200
    genauth.trouble(path=ASKED, person="mei", latency=2.0)
    statuses, end = crowd(small_service, [mei] * 60)
    refused = some_come(statuses, 60 - 1 - 16 - 4)  # four may look at the same moment

    assert set(refused) == {503}, "who finds no room is told so, long before the call is over"
    assert small_service.accounts_of(omar).status == 200
    assert small_service.accounts_of(genauth.token("nia")).status == 200, "a call is still made for others"
    end()


def test_a_crowd_that_wants_what_comes_in_a_moment_is_served(small_service, genauth):
    mei = genauth.token("mei")
    genauth.trouble(path=ASKED, person="mei", latency=0.2)

    statuses, end = crowd(small_service, [mei] * 60)
    end()

    assert statuses == [200] * 60
    assert genauth.calls(ASKED) == 1


def test_all_sessions_of_one_person_together_leave_calls_to_others(service, genauth):
    tokens = [genauth.token("mei") for _ in range(40)]
    assert service.accounts_of(genauth.token("omar")).status == 200
    genauth.trouble(path=ASKED, person="mei", latency=1.5)
    statuses, end = crowd(service, tokens)
    end()

    assert genauth.calls(ASKED) == 1 + 24
    assert sorted(statuses) == [200] * 24 + [503] * 16


def test_all_opaque_tokens_of_one_person_together_get_a_few_calls(service_with, genauth):
    service = service_with(TOKEN_VERIFICATION="introspection", TOKEN_ACCEPTED_SECONDS="1")
    tokens = [genauth.token("mei", kind="opaque") for _ in range(10)]
    assert {service.accounts_of(token).status for token in tokens} == {200}
    time.sleep(1.05)
    genauth.trouble(path=INTROSPECTION, latency=1.5)
    statuses, end = crowd(service, tokens)
    end()

    assert genauth.calls(INTROSPECTION) == 10 + 4
    assert sorted(statuses) == [200] * 4 + [503] * 6


def test_opaque_tokens_of_two_people_leave_calls_to_others(service_with, genauth):
    service = service_with(TOKEN_VERIFICATION="introspection", TOKEN_ACCEPTED_SECONDS="1")
    tokens = [genauth.token(who, kind="opaque") for who in ("mei", "omar") for _ in range(4)]
    nia = genauth.token("nia", kind="opaque")
    assert {service.accounts_of(token).status for token in [*tokens, nia]} == {200}
    time.sleep(1.05)
    genauth.trouble(path=INTROSPECTION, latency=1.5)
    statuses, end = crowd(service, tokens)
    patience = time.monotonic() + 5
    while genauth.calls(INTROSPECTION) < 9 + 8 and time.monotonic() < patience:
        time.sleep(0.01)

    assert service.accounts_of(nia).status == 200
    end()
    assert statuses == [200] * 8


def test_a_crowd_whose_tokens_are_new_here_is_let_in(service_with, genauth):
    service = service_with(TOKEN_VERIFICATION="introspection")
    genauth.trouble(path=INTROSPECTION, latency=0.03)

    statuses, end = crowd(service, [genauth.token(f"user-{number}", kind="opaque") for number in range(24)])

    end()
    assert statuses == [200] * 24


def test_the_page_that_anybody_may_ask_for_is_rendered_once(service):
    rendered = []
    with template_rendered.connected_to(lambda _app, template, **_how: rendered.append(template.name), service.app):
        pages = {service.ask("/docs").body for _ in range(5)}

    assert len(pages) == 1
    assert rendered == ["docs.html"]


def test_the_server_has_the_threads_that_its_limits_are_made_for():
    assert server_options(SETTINGS, connections=100)["blocking_threads"] == THREADS
