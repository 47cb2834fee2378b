"""Somebody whom GenAuth refused: hopes for an answer that comes late, a spelling that nobody knows, a clock that is wrong."""

import base64
import threading
import time
from contextlib import contextmanager

import pytest

from bff.web import services_of
from tests.security.service import Service

IDENTITIES = "/api/v3/get-identities"
P256_ORDER = 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551


class Replica(Service):
    """A service with a clock of its own."""

    def is_later_by(self, seconds):
        self.app.extensions["clock"].by = seconds


@pytest.fixture
def replica(app_with, genauth):
    """``replica(ahead=55)``: a process of its own, which has GenAuth's keys, and whose clock is ahead by so many seconds."""

    def make(ahead=0.0, **changed):
        made = Replica(app_with(**changed))
        made.is_later_by(ahead)
        assert made.accounts_of(genauth.token("nia")).status == 200
        return made

    return make


@contextmanager
def while_paused(replica, token, genauth, stored):
    """GenAuth has accepted the token, and the replica that asked learns of it when the block has ended."""
    genauth.forget_calls()
    genauth.trouble(path=IDENTITIES, latency=0.4, times=1)
    answers = []
    asking = threading.Thread(target=lambda: answers.append(replica.accounts_of(token)))
    asking.start()
    while not genauth.calls(IDENTITIES):
        time.sleep(0.005)
    stored.delete(*stored.keys("*:lock:*"))  # whoever is paused does not extend its lock
    yield answers
    assert not answers, "it was to come late, or this shows nothing"
    asking.join()


@pytest.mark.parametrize("later", [0, 9, 65, 600])
def test_the_late_acceptance_of_a_paused_replica_brings_no_refused_token_back(replica, genauth, stored, later):
    paused, other, fresh = replica(), replica(), replica()
    token = genauth.token("mei")

    with while_paused(paused, token, genauth, stored) as answers:
        genauth.revoke(token)
        assert other.accounts_of(token).status == 401

    assert answers[0].status == 200, "GenAuth said so"
    genauth.trouble(path=IDENTITIES, status=503)
    for each in (paused, other, fresh):
        each.is_later_by(later)
        assert each.accounts_of(token).status in {401, 503}


@pytest.mark.parametrize("later", [0, 63, 600])
def test_a_blocked_persons_late_answer_is_served_to_nobody_again(replica, genauth, stored, later):
    paused, other = replica(), replica()
    phone, laptop = genauth.token("mei"), genauth.token("mei")

    with while_paused(paused, phone, genauth, stored):
        genauth.block("mei")
        assert other.accounts_of(laptop).json["code"] == "user_blocked"

    genauth.trouble(path=IDENTITIES, status=503)
    for each in (paused, other):
        each.is_later_by(later)
        assert {each.accounts_of(token).status for token in (phone, laptop)} <= {403, 503}


def test_a_blocked_persons_late_answer_is_void_also_where_the_clock_is_a_little_ahead(replica, genauth, stored):
    ahead, other = replica(0.9), replica()
    phone, laptop = genauth.token("mei"), genauth.token("mei")
    with while_paused(ahead, phone, genauth, stored):
        genauth.block("mei")
        assert other.accounts_of(laptop).json["code"] == "user_blocked"
    genauth.trouble(path=IDENTITIES, status=503)

    for later in (0, 63):
        ahead.is_later_by(0.9 + later)
        other.is_later_by(later)
        assert {each.accounts_of(phone).status for each in (ahead, other)} <= {403, 503}


def test_an_unblocked_person_is_served_from_memory_again_by_replicas_whose_clocks_differ_a_little(replica, genauth):
    here, there = replica(), replica(0.3)
    phone, laptop = genauth.token("mei"), genauth.token("mei")
    genauth.block("mei")
    assert {each.accounts_of(token).status for each in (here, there) for token in (phone, laptop)} == {403}
    genauth.unblock("mei")
    here.is_later_by(9)
    there.is_later_by(9.3)
    genauth.forget_calls()

    statuses = [each.accounts_of(token).status for _ in range(5) for each in (here, there) for token in (phone, laptop)]

    assert set(statuses) == {200}
    assert genauth.calls(IDENTITIES) == 2, "once for each token"


def with_the_other_half(token):
    """The same token with the signature (r, n-s) in place of (r, s), which verifies too."""
    signed, _, signature = token.rpartition(".")
    raw = base64.urlsafe_b64decode(signature + "==")
    other = raw[:32] + (P256_ORDER - int.from_bytes(raw[32:])).to_bytes(32)
    return f"{signed}.{base64.urlsafe_b64encode(other).rstrip(b'=').decode()}"


def test_a_refused_token_does_not_come_back_with_the_other_half_of_its_signature(replica, genauth):
    here, there = replica(), replica()
    token = genauth.token("mei", alg="ES256")
    twin = with_the_other_half(token)
    genauth.revoke(token)  # which goes by the token's text here: the other one would be accepted
    assert here.accounts_of(token).status == 401
    genauth.forget_calls()

    assert here.accounts_of(twin).json["code"] == "token_invalid"
    assert there.accounts_of(twin).json["code"] == "token_invalid"
    assert genauth.calls(IDENTITIES) == 0


def test_the_other_half_of_a_signature_is_served_nothing_stale_after_the_refusal(replica, genauth):
    service = replica()
    token = genauth.token("mei", alg="ES256")
    twin = with_the_other_half(token)
    assert {service.accounts_of(each).status for each in (token, twin)} == {200}
    assert genauth.calls(IDENTITIES) == 2, "for nia and for one token"
    genauth.revoke(token)
    service.is_later_by(65)
    assert service.accounts_of(token).status == 401
    genauth.trouble(path=IDENTITIES, status=503)

    service.is_later_by(75)  # the refusal is not repeated any more

    assert service.accounts_of(twin).status == 503


def test_a_token_that_introspection_refuses_is_not_answered_from_what_was_stored_of_it(replica, genauth):
    settings = {"TOKEN_VERIFICATION": "introspection", "LOCAL_CACHE_SECONDS": "30"}
    here, there = replica(TOKEN_ACCEPTED_SECONDS="1", **settings), replica(TOKEN_ACCEPTED_SECONDS="60", **settings)
    buses = [services_of(each.app).invalidations for each in (here, there)]
    token = genauth.token("mei")
    try:
        while not all(bus.connected for bus in buses):
            time.sleep(0.01)
        assert here.accounts_of(token).status == 200
        assert [there.accounts_of(token).status for _ in range(2)] == [200, 200]
        genauth.revoke(token)
        time.sleep(1.05)
        genauth.forget_calls()

        assert here.accounts_of(token).json["code"] == "token_invalid"

        ends = time.monotonic() + 5
        while there.accounts_of(token).status == 200 and time.monotonic() < ends:
            time.sleep(0.01)
        assert there.accounts_of(token).json["code"] == "token_invalid"
        assert genauth.calls(IDENTITIES) == 0, "it is known to be refused"
    finally:
        for bus in buses:
            bus.stop(wait_seconds=5)


@pytest.mark.parametrize("settings", [{"LOCAL_CACHE_SECONDS": "30"}, {}], ids=["from memory", "from Redis"])
def test_a_clock_that_is_set_back_prolongs_nothing(replica, genauth, settings, log):
    service, token = replica(TOKEN_ACCEPTED_SECONDS="1", **settings), genauth.token("mei")
    invalidations = services_of(service.app).invalidations
    try:
        while settings and not invalidations.connected:
            time.sleep(0.01)
        assert [service.accounts_of(token).status for _ in range(2)] == [200, 200]
        genauth.revoke(token)
        log.read()

        service.is_later_by(-1800)
        time.sleep(1.05)

        assert service.accounts_of(token).status == 401
        (line,) = log.lines("clock_set_back")
        assert line["seconds"] == 1800
    finally:
        invalidations.stop(wait_seconds=5)


def test_a_clock_that_is_set_back_a_little_prolongs_nothing_either(replica, genauth):
    service, token = replica(TOKEN_ACCEPTED_SECONDS="1"), genauth.token("mei")
    assert service.accounts_of(token).status == 200
    genauth.revoke(token)
    time.sleep(0.6)
    service.is_later_by(-0.6)
    time.sleep(0.45)

    assert service.accounts_of(token).status == 401


@pytest.mark.parametrize(("one", "other"), [(55, 0), (3, 0), (0, 55)], ids=["ahead", "a little ahead", "behind"])
def test_a_replica_with_another_clock_vouches_for_nobody(replica, genauth, one, other):
    wrong, right = (replica(ahead, TOKEN_ACCEPTED_SECONDS="5") for ahead in (one, other))
    token = genauth.token("mei")
    assert wrong.accounts_of(token).status == 200
    genauth.revoke(token)

    assert right.accounts_of(token).status == 401


def test_an_acceptance_dated_ahead_does_not_begin_when_its_time_comes(replica, genauth):
    ahead, right = replica(1.5, TOKEN_ACCEPTED_SECONDS="1"), replica(TOKEN_ACCEPTED_SECONDS="1")
    token = genauth.token("mei")
    assert ahead.accounts_of(token).status == 200
    genauth.revoke(token)

    time.sleep(1.1)

    assert right.accounts_of(token).status == 401


def test_a_refusal_by_a_replica_that_is_ahead_counts_everywhere(replica, genauth):
    ahead, right = replica(55, TOKEN_ACCEPTED_SECONDS="5"), replica(TOKEN_ACCEPTED_SECONDS="5")
    token = genauth.token("mei")
    assert right.accounts_of(token).status == 200
    genauth.revoke(token)
    assert ahead.accounts_of(token).status == 401
    genauth.trouble(path=IDENTITIES, status=503)

    assert right.accounts_of(token).status in {401, 503}
