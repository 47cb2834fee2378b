"""Somebody for whom GenAuth fails, or whom it throttles: their trouble is to remain theirs."""

import time

import pytest

from tests.security.service import Service

ASKED = "/api/v3/get-identities"
INTROSPECTION = "/oidc/token/introspection"
OTHERS = ("omar", "lin", "nia", "ada", "bo")
TROUBLES = {
    "throttled for a minute": {"status": 429, "retry_after": 60},
    "throttled in the envelope": {"envelope": 429},
    "maintenance for a minute": {"status": 503, "retry_after": 60},
    "an error": {"status": 500},
    "an error in the envelope": {"envelope": 500},
    "a connection that ends": {"ending": "reset"},
    "a page": {"malformed": "html"},
}


def statuses(service, tokens):
    return [service.accounts_of(token).status for token in tokens]


@pytest.fixture
def later(app):
    """The application, and what makes it that many seconds later."""
    return Service(app), lambda seconds: setattr(app.extensions["clock"], "by", app.extensions["clock"].by + seconds)


@pytest.mark.parametrize("how", TROUBLES.values(), ids=TROUBLES.keys())
def test_genauth_failing_one_person_again_and_again_shuts_nobody_else_out(later, genauth, how):
    service, wait = later
    mei = genauth.token("mei")
    genauth.trouble(path=ASKED, person="mei", **how)
    genauth.forget_calls()

    for _ in range(12):
        assert service.accounts_of(mei).status in {429, 502, 503}
        wait(3)
    assert genauth.calls(ASKED) >= 12, "or this test shows nothing"

    assert statuses(service, [genauth.token(each) for each in OTHERS]) == [200] * len(OTHERS)


@pytest.mark.parametrize("how", TROUBLES.values(), ids=TROUBLES.keys())
def test_whoever_asks_in_a_loop_while_genauth_fails_them_costs_one_question(service, genauth, how):
    mei = genauth.token("mei")
    genauth.trouble(path=ASKED, person="mei", **how)

    first = service.accounts_of(mei)
    asked = genauth.calls(ASKED)  # the second try included
    answers = [service.accounts_of(mei) for _ in range(20)]

    assert {(answer.status, answer.json["code"]) for answer in answers} == {(first.status, first.json["code"])}
    assert {answer.headers["Retry-After"] for answer in answers} == {first.headers["Retry-After"]}
    assert genauth.calls(ASKED) == asked


def test_whoever_asks_in_a_loop_while_genauth_fails_them_gets_what_was_good(later, genauth):
    service, wait = later
    mei = genauth.token("mei")
    good = service.accounts_of(mei)
    genauth.trouble(path=ASKED, person="mei", status=500)
    genauth.forget_calls()
    wait(90)

    answers = [service.accounts_of(mei) for _ in range(20)]

    assert all(answer.accounts == good.accounts and answer.json["meta"]["stale"] for answer in answers)
    assert genauth.calls(ASKED) == 1


def test_a_rejection_of_one_person_in_a_loop_costs_one_question_and_nothing_stands_in(later, genauth):
    service, wait = later
    mei = genauth.token("mei")
    service.accounts_of(mei)
    genauth.trouble(path=ASKED, person="mei", envelope=404)
    genauth.forget_calls()
    wait(90)

    assert set(statuses(service, [mei] * 20)) == {502}
    assert genauth.calls(ASKED) == 1


def test_a_person_in_trouble_who_was_there_first_does_not_keep_the_circuit_open(later, genauth):
    """After an outage the probe may be of one for whom GenAuth goes on failing."""
    service, wait = later
    tokens = [genauth.token(each) for each in ("mei", "omar", "lin", "nia", "ada")]
    genauth.trouble(path=ASKED, status=500)
    assert set(statuses(service, tokens)) == {503}
    genauth.healthy()
    genauth.trouble(path=ASKED, person="mei", status=500)
    genauth.forget_calls()
    assert service.accounts_of(genauth.token("bo")).status == 503
    assert genauth.calls(ASKED) == 0, "the circuit is open, or this test shows nothing"

    wait(3)
    while not genauth.calls(ASKED):  # the circuit lives by another clock
        time.sleep(0.05)
        assert service.accounts_of(tokens[0]).status == 503

    assert statuses(service, [genauth.token("bo"), *tokens[1:]]) == [200] * 5


@pytest.mark.parametrize("how", [how for how in TROUBLES.values() if "ending" not in how], ids=str)  # that is tried twice
def test_introspection_failing_for_one_token_signs_nobody_else_out(service_with, genauth, how):
    service = service_with(TOKEN_VERIFICATION="introspection")
    token = genauth.token("mei", kind="opaque")
    genauth.trouble(path=INTROSPECTION, times=1, **how)

    assert set(statuses(service, [token] * 20)) <= {429, 502, 503}
    assert genauth.calls(INTROSPECTION) == 1
    others = [genauth.token(each, kind="opaque") for each in OTHERS]
    assert statuses(service, others) == [200] * len(OTHERS)


@pytest.mark.parametrize("retry_after", [None, 60])
def test_three_or_five_tokens_in_trouble_are_genauths_and_it_is_left_alone_for_two_seconds(service, genauth, retry_after):
    genauth.trouble(path=ASKED, status=429, retry_after=retry_after)
    enough = 3 if retry_after else 5
    genauth.forget_calls()

    answers = [service.accounts_of(genauth.token("mei")) for _ in range(12)]

    assert genauth.calls(ASKED) == enough
    assert {answer.status for answer in answers[enough:]} == {503}
    assert {answer.headers["Retry-After"] for answer in answers[enough:]} <= {"1", "2"}
