"""Rotation, outages and floods, as the tokens' owners meet them."""

import threading
import time

import pytest

from bff.errors import TokenInvalid, UpstreamMalformed, UpstreamRejected, UpstreamTimeout, UpstreamUnavailable
from bff.observability import Reason
from bff.resilience import Deadline
from bff.resilience.caches import DECLARED
from tests.auth.world import ISSUER, JWKS_URL, NOW, House, Signer, fresh, refusal
from tests.timing import in_time


def in_place(work):
    """Do at once what would be done in a thread, so that a test can tell what has happened."""
    work()


@pytest.fixture
def house(genauth, clock):
    return House(genauth, clock, start=in_place)


@pytest.fixture
def threaded(genauth, clock):
    return House(genauth, clock)


def stranger(number=0):
    return Signer("stranger").token(headers={"kid": f"nobody-{number}"}, iat=int(NOW))


# The first keys -----------------------------------------------------------------------------------


def test_nothing_is_asked_before_the_first_token(genauth, house):
    assert (genauth.discoveries, genauth.fetches) == (0, 0)
    assert (house.age, house.keys.version, house.keys.issuer) == (None, 0, None)


def test_a_process_that_prepares_has_the_keys_before_the_first_token(genauth, house, signer):
    house.keys.prepare()
    genauth.goes_away()

    assert (genauth.discoveries, genauth.fetches) == (1, 1)
    assert house.of(signer.token()).user_id


def test_it_tries_again_until_it_has_them_and_no_longer(genauth, clock):
    pauses = []

    def sleep(seconds):
        pauses.append(seconds)
        clock.advance(seconds)
        if len(pauses) == 5:
            genauth.is_back()

    genauth.goes_away()
    house = House(genauth, clock, start=in_place, sleep=sleep)
    house.keys.prepare()

    assert pauses == [1, 2, 4, 8, 8]
    assert house.age == 0


def test_without_a_thread_to_be_had_a_process_still_starts(genauth, clock):
    def no_thread(_work):
        raise RuntimeError("can't start new thread")

    House(genauth, clock, start=no_thread).keys.prepare()


def test_nothing_stands_in_the_way_once_there_are_keys(genauth, house):
    genauth.goes_away()
    genauth.trouble.reason = "discovery_unavailable"
    assert house.keys.obstacle(Deadline.after(1)) == Reason("discovery_unavailable", "misconfigured")

    house.clock.advance(60)
    genauth.is_back()
    assert house.keys.obstacle(Deadline.after(1)) is None

    genauth.goes_away()
    house.clock.advance(3600)
    assert house.keys.obstacle(Deadline.after(1)) is None


def test_keys_that_hang_are_an_obstacle_in_time(genauth, threaded):
    genauth.hangs = threading.Event()

    assert threaded.keys.obstacle(Deadline.after(0.05)) == Reason("keys_not_fetched", "misconfigured")
    genauth.hangs.set()


def test_the_first_token_brings_the_keys_and_the_next_ones_use_them(genauth, house, signer):
    for number in range(20):
        house.of(signer.token(jti=number))

    assert (genauth.discoveries, genauth.urls) == (1, [JWKS_URL])


def test_everybody_who_comes_first_waits_for_one_fetch(genauth, threaded, signer):
    genauth.hangs = threading.Event()
    users = [None] * 20

    def come(number):
        users[number] = threaded.of(signer.token(sub=f"user-{number}")).user_id

    threads = [threading.Thread(target=come, args=(number,)) for number in range(20)]
    for thread in threads:
        thread.start()
    assert genauth.arrived.wait(5)
    genauth.hangs.set()
    for thread in threads:
        thread.join(5)

    assert users == [f"user-{number}" for number in range(20)]
    assert (genauth.discoveries, genauth.fetches) == (1, 1)


def test_who_waits_for_the_first_keys_waits_no_longer_than_its_deadline(genauth, threaded, signer):
    genauth.hangs = threading.Event()
    began = time.monotonic()

    refusal(threaded, signer.token(), UpstreamTimeout, seconds=0.05)

    in_time(time.monotonic() - began, 2)
    genauth.hangs.set()


def test_a_token_that_cannot_be_good_waits_for_no_keys(genauth, threaded, signer):
    genauth.hangs = threading.Event()

    for token in (
        "a.b.c",
        "opaque",
        signer.token(aud="another-app"),
        signer.token(exp=None),
        signer.token(headers={"alg": "HS256"}),
    ):
        refusal(threaded, token)
    assert (genauth.discoveries, genauth.fetches) == (0, 0)
    genauth.hangs.set()


def test_a_token_that_is_younger_than_the_first_fetch_is_not_judged_by_it(genauth, threaded, signer, clock):
    taken, go, users = threading.Event(), threading.Event(), []
    fetch = genauth.key_set

    def slowly(url, deadline):
        document = fetch(url, deadline)
        taken.set()
        assert go.wait(5)
        return document

    def come(token):
        users.append(threaded.of(token).user_id)

    genauth.key_set = slowly
    threads = [threading.Thread(target=come, args=(signer.token(),))]
    threads[0].start()
    assert taken.wait(5)
    genauth.publish(signer, successor := Signer("k2"))
    clock.advance(11)
    threads.append(threading.Thread(target=come, args=(fresh(clock, successor),)))
    threads[1].start()
    threads[1].join(0.1)  # until it waits, or so
    go.set()
    for thread in threads:
        thread.join(5)

    assert len(users) == 2


def test_without_keys_a_token_is_not_called_invalid(genauth, house, signer):
    genauth.goes_away()

    for token in (signer.token(), stranger(), signer.token(exp=int(NOW) - 1)):
        assert refusal(house, token, UpstreamUnavailable).retry_after >= 1


def test_a_genauth_that_is_too_slow_for_the_first_keys_is_a_timeout(genauth, house, signer):
    genauth.trouble = UpstreamTimeout(note="read")

    refusal(house, signer.token(), UpstreamTimeout)
    refusal(house, signer.token(), UpstreamUnavailable)


def test_a_blip_at_boot_costs_a_second(genauth, house, signer, clock):
    genauth.goes_away()
    assert refusal(house, signer.token(), UpstreamUnavailable).retry_after == 1
    genauth.is_back()

    refusal(house, signer.token(), UpstreamUnavailable)
    clock.advance(1)
    assert house.of(signer.token()).user_id


def test_a_long_outage_at_boot_is_noticed_to_be_over_within_eight_seconds(genauth, house, signer, clock):
    genauth.goes_away()
    for _ in range(600):
        refusal(house, signer.token(), UpstreamUnavailable)
        clock.advance(1)
    assert genauth.discoveries < 80

    genauth.is_back()
    clock.advance(8)
    assert house.of(signer.token()).user_id


@pytest.mark.parametrize(
    "trouble", [UpstreamRejected(note="404"), UpstreamMalformed(note="html"), ValueError("a defect"), KeyError("x")]
)
def test_no_failure_of_a_fetch_keeps_anybody_waiting(genauth, threaded, signer, trouble):
    genauth.trouble = trouble

    refusal(threaded, signer.token(), UpstreamUnavailable)


def test_a_machine_without_threads_left_is_no_defect(genauth, clock, signer):
    def start(work):
        if genauth.threads == 0:
            raise RuntimeError("can't start new thread")
        work()

    genauth.threads = 0
    house = House(genauth, clock, start=start)
    refusal(house, signer.token(), UpstreamUnavailable)

    genauth.threads = 1
    clock.advance(1)
    assert house.of(signer.token()).user_id


# Where they come from -----------------------------------------------------------------------------


def test_with_both_overrides_there_is_no_discovery(genauth, clock, signer):
    house = House(genauth, clock, issuer="https://custom.example/oidc", url="https://keys.example/jwks")

    assert house.of(signer.token(iss="https://custom.example/oidc")).user_id
    assert (genauth.discoveries, genauth.urls) == (0, ["https://keys.example/jwks"])


def test_with_one_override_discovery_tells_the_other(genauth, clock, signer):
    house = House(genauth, clock, issuer="https://custom.example/oidc")
    assert house.of(signer.token(iss="https://custom.example/oidc")).user_id
    assert genauth.urls == [JWKS_URL]

    house = House(genauth, clock, url="https://keys.example/jwks")
    assert house.of(signer.token(iss=ISSUER)).user_id
    assert genauth.urls == [JWKS_URL, "https://keys.example/jwks"]


def test_a_known_issuer_refuses_others_before_any_call(genauth, clock, signer):
    refusal(House(genauth, clock, issuer=ISSUER), signer.token(iss="https://evil.example"))

    assert genauth.discoveries == 0


@pytest.mark.parametrize(
    "url",
    [
        *(
            "http://app.genauth.ai/jwks",
            "http://127.0.0.1/jwks",
            "file:///etc/passwd",
            "ftp://app.genauth.ai/jwks",
            "",
            "jwks",
            "//x/y",
        ),
        *("https://", "https://user:pass@app.genauth.ai/jwks", "https://a b/jwks", "https://a/jwks\r\nX: y", None, 1),
    ],
)
def test_discovery_cannot_send_us_anywhere(genauth, house, signer, url):
    genauth.jwks_uri = url

    refusal(house, signer.token(), UpstreamUnavailable)
    assert genauth.fetches == 0


def test_plain_http_is_for_a_sandbox_on_this_machine(genauth, clock, signer):
    genauth.jwks_uri = "http://127.0.0.1:9000/jwks"
    assert House(genauth, clock, host="http://localhost:9000").of(signer.token()).user_id

    genauth.jwks_uri = "http://keys.example/jwks"
    refusal(House(genauth, clock, host="http://localhost:9000"), signer.token(), UpstreamUnavailable)


def test_discovery_is_believed_for_an_hour(genauth, house, clock):
    for _ in range(13):
        house.of(fresh(clock, Signer("k1")))
        clock.advance(600)

    assert genauth.fetches == 13
    assert genauth.discoveries == 3


def test_keys_that_have_moved_are_found_again(genauth, house, clock):
    house.of(fresh(clock, Signer("k1")))
    genauth.trouble = UpstreamRejected(note="404")
    clock.advance(600)
    house.of(fresh(clock, Signer("k1")))
    genauth.trouble, genauth.jwks_uri = None, f"{ISSUER}/moved"
    clock.advance(30)
    house.of(fresh(clock, Signer("k1")))

    assert genauth.urls[-1] == f"{ISSUER}/moved"


# Rotation -----------------------------------------------------------------------------------------


def test_the_first_token_of_a_new_key_is_good_right_after_a_fetch(genauth, house, signer):
    house.of(signer.token())
    for number in range(2, 5):
        genauth.publish(signer, successor := Signer(f"k{number}"))
        assert house.of(successor.token()).user_id

    assert genauth.fetches == 4


def test_the_old_key_serves_on_while_it_is_published(genauth, house, signer):
    house.of(signer.token())
    genauth.publish(Signer("k2"), signer)
    house.of(Signer("k2").token())

    assert house.of(signer.token(jti="another")).user_id


def test_a_withdrawn_key_is_gone_with_the_next_fetch(genauth, house, signer, clock):
    token = signer.token()
    house.of(token)
    genauth.publish(Signer("k2"))
    clock.advance(600)

    house.of(token)  # while the fetch that it starts is on its way, a token waits for nothing
    assert genauth.fetches == 2
    refusal(house, token)
    refusal(house, signer.token(jti="another"))


def test_keys_that_did_not_change_keep_what_was_verified(genauth, house, signer, clock):
    house.of(signer.token())
    version = house.keys.version
    clock.advance(600)
    house.of(signer.token())

    assert genauth.fetches == 2
    assert house.keys.version == version


def test_a_new_token_in_the_cooldown_is_not_called_invalid(genauth, house, signer, clock):
    house.of(signer.token())
    for number in range(3):
        refusal(house, stranger(number))
    clock.advance(12)
    genauth.publish(signer, successor := Signer("k2"))

    wait = refusal(house, fresh(clock, successor), UpstreamUnavailable)
    assert wait.retry_after == 18
    clock.advance(18)
    assert house.of(fresh(clock, successor)).user_id


def test_old_keys_are_refreshed_behind_everybodys_back(genauth, threaded, signer, clock):
    threaded.of(signer.token())
    clock.advance(601)
    genauth.hangs = threading.Event()
    genauth.arrived.clear()

    began = time.monotonic()
    for number in range(20):
        threaded.of(signer.token(jti=number))
    in_time(time.monotonic() - began, 2)

    assert genauth.arrived.wait(5)
    assert genauth.fetches == 2
    genauth.hangs.set()


def test_a_good_token_does_not_wait_while_a_refresh_hangs(genauth, threaded, signer):
    threaded.of(signer.token())
    genauth.hangs = threading.Event()
    genauth.arrived.clear()
    outcome = []
    waiter = threading.Thread(target=lambda: outcome.append(refusal(threaded, stranger())))
    waiter.start()
    assert genauth.arrived.wait(5)

    began = time.monotonic()
    for number in range(20):
        threaded.of(signer.token(jti=number), seconds=0)
    in_time(time.monotonic() - began, 2)
    assert waiter.is_alive()

    genauth.hangs.set()
    waiter.join(5)
    assert outcome[0].note == "unknown kid"


def test_who_waits_for_a_new_key_waits_no_longer_than_its_deadline(genauth, threaded, signer):
    threaded.of(signer.token())
    genauth.hangs = threading.Event()

    refusal(threaded, Signer("k2").token(), UpstreamTimeout, seconds=0.05)
    genauth.hangs.set()


def test_few_threads_wait_long_for_a_key_that_may_not_exist(genauth, clock, signer):
    threaded = House(genauth, clock, brief_wait_seconds=0.05)
    threaded.of(signer.token())
    genauth.hangs = threading.Event()
    threads = [
        threading.Thread(target=refusal, args=(threaded, stranger(n), (UpstreamTimeout, TokenInvalid), 8)) for n in range(40)
    ]
    for thread in threads:
        thread.start()
    deadline = Deadline.after(5)
    while sum(thread.is_alive() for thread in threads) > 16 and not deadline.passed:
        time.sleep(0.01)
    time.sleep(0.1)

    assert sum(thread.is_alive() for thread in threads) == 16
    genauth.hangs.set()
    for thread in threads:
        thread.join(5)


def test_made_up_key_ids_take_no_more_than_a_few_threads(genauth, clock, signer):
    threaded = House(genauth, clock, brief_wait_seconds=8.0)
    threaded.of(signer.token())
    genauth.hangs = threading.Event()
    refused = []
    threads = [
        threading.Thread(target=lambda n=n: refused.append(refusal(threaded, stranger(n), (UpstreamUnavailable, TokenInvalid))))
        for n in range(60)
    ]
    for thread in threads:
        thread.start()
    deadline = Deadline.after(5)
    while len(refused) < 12 and not deadline.passed:
        time.sleep(0.01)

    assert [(error.status, error.retry_after, error.counted) for error in refused] == [(503, 1, True)] * 12
    genauth.hangs.set()
    for thread in threads:
        thread.join(5)


def test_who_has_waited_makes_room_for_the_next(genauth, signer, clock):
    threaded = House(genauth, clock, brief_wait_seconds=0.0)
    threaded.of(signer.token())
    for number in range(20):
        clock.advance(30)
        refusal(threaded, stranger(number))

    clock.advance(30)
    genauth.hangs = threading.Event()
    outcome = []
    waiter = threading.Thread(target=lambda: outcome.append(refusal(threaded, stranger(), (TokenInvalid, UpstreamTimeout))))
    waiter.start()
    waiter.join(0.1)
    genauth.hangs.set()
    waiter.join(5)
    assert [error.note for error in outcome] == ["unknown kid"]


# GenAuth away -------------------------------------------------------------------------------------


def test_the_last_good_keys_serve_for_as_long_as_genauth_is_away(genauth, house, clock, signer):
    house.of(signer.token())
    genauth.goes_away()
    for _ in range(100):
        clock.advance(3600)
        assert house.of(fresh(clock, signer)).user_id

    assert house.age == 360_000


def test_a_genauth_that_is_away_is_asked_once_in_thirty_seconds(genauth, house, clock, signer):
    house.of(signer.token())
    clock.advance(600)
    genauth.goes_away()
    before = genauth.discoveries + genauth.fetches
    for _ in range(300):
        house.of(fresh(clock, signer))
        clock.advance(1)

    assert genauth.discoveries + genauth.fetches - before == 10


@pytest.mark.parametrize(
    "document", [None, {}, {"keys": []}, {"keys": "none"}, [], {"keys": [{"kty": "oct", "k": "AA", "kid": "k1"}]}]
)
def test_an_empty_or_unreadable_set_does_not_take_the_keys_away(genauth, house, clock, signer, document):
    house.of(signer.token())
    genauth.document = document
    clock.advance(700)

    house.of(fresh(clock, signer))
    assert genauth.fetches == 2
    assert house.of(fresh(clock, signer)).user_id


def test_a_new_key_while_genauth_is_away_may_be_good(genauth, house, clock, signer):
    house.of(signer.token())
    genauth.goes_away()

    for _ in range(6):
        assert refusal(house, Signer("k2").token(), UpstreamUnavailable).retry_after >= 1
    assert genauth.discoveries + genauth.fetches == 2 + 3  # and no more than the burst


def test_a_new_key_is_found_once_genauth_is_back(genauth, house, clock, signer):
    house.of(signer.token())
    genauth.goes_away()
    refusal(house, Signer("k2").token(), UpstreamUnavailable)
    genauth.is_back()
    genauth.publish(Signer("k2"))

    assert house.of(Signer("k2").token()).user_id


# Floods -------------------------------------------------------------------------------------------


def test_an_unknown_key_is_refused_at_once_and_every_time(genauth, house):
    for _ in range(50):
        assert refusal(house, stranger()).status == 401

    assert genauth.fetches == 1


def test_a_flood_of_unknown_keys_costs_the_burst_and_then_one_fetch_in_thirty_seconds(genauth, house, clock, signer):
    house.of(signer.token())
    for number in range(1000):
        assert refusal(house, stranger(number)).status == 401
    assert genauth.fetches == 1 + 3

    for number in range(1000, 1300):
        clock.advance(1)
        refusal(house, stranger(number))
    assert genauth.fetches == 1 + 3 + 10


def test_a_flood_leaves_the_good_tokens_alone(genauth, house, clock, signer):
    house.of(signer.token())
    for number in range(500):
        refusal(house, stranger(number))

    assert house.of(signer.token(jti="x")).user_id


def test_what_a_flood_leaves_in_memory_is_bounded(house, clock, genauth):
    more = DECLARED["unknown_key_ids"].budget // 500  # no entry takes less
    for number in range(more):
        refusal(house, stranger(number))

    assert refusal(house, stranger(more - 100)).note == "unknown kid, again"
    assert refusal(house, stranger(0)).note == "unknown kid"


def test_a_client_that_loops_with_a_withdrawn_key_leaves_the_budget_to_others(genauth, house, clock):
    house.of(Signer("k1").token())
    looping = stranger()
    for _ in range(59):
        refusal(house, looping)
        clock.advance(1)
    assert genauth.fetches == 2

    genauth.publish(*(Signer(f"k{number}") for number in range(1, 3)))
    assert house.of(fresh(clock, Signer("k2"))).user_id


def test_an_unknown_key_that_was_remembered_may_be_published_after_all(genauth, house, clock):
    house.of(Signer("k1").token())
    early = Signer("k2").token(iat=int(NOW))
    refusal(house, early)
    genauth.publish(Signer("k1"), Signer("k2"))

    refusal(house, early)
    clock.advance(60)
    assert house.of(early).user_id


def test_an_unknown_key_that_was_remembered_is_asked_for_again_by_a_younger_token(genauth, house, clock):
    house.of(Signer("k1").token())
    refusal(house, Signer("k2").token(iat=int(NOW)))
    genauth.publish(Signer("k1"), Signer("k2"))
    clock.advance(11)

    assert house.of(fresh(clock, Signer("k2"))).user_id


# Which key ----------------------------------------------------------------------------------------


def test_a_token_that_names_no_key_is_for_the_only_one(house, signer):
    assert house.of(signer.token(headers={"kid": None})).user_id


def test_a_token_that_names_no_key_is_refused_where_there_are_several(genauth, house, signer):
    genauth.publish(signer, Signer("k2"))
    house.of(signer.token())

    assert refusal(house, signer.token(headers={"kid": None})).note == "no kid"
    assert genauth.fetches == 1


def test_a_key_without_a_name_serves_alone_and_for_tokens_that_name_none(genauth, clock, signer):
    nameless = signer.jwk()
    del nameless["kid"]
    genauth.document = {"keys": [nameless]}
    house = House(genauth, clock)
    assert house.of(signer.token(headers={"kid": None})).user_id
    refusal(house, signer.token())

    genauth.document = {"keys": [nameless, Signer("k2").jwk()]}
    house = House(genauth, clock)
    refusal(house, signer.token(headers={"kid": None}))
    assert house.of(Signer("k2").token()).user_id


# Whose fault it is --------------------------------------------------------------------------------


def test_a_token_of_an_unknown_key_counts_as_a_failure_of_whoever_sent_it(genauth, house, signer):
    house.of(signer.token())
    genauth.goes_away()

    assert {refusal(house, stranger(n), UpstreamUnavailable).counted for n in range(6)} == {True}


def test_so_does_one_that_waits_in_vain_for_its_key(genauth, threaded, signer):
    threaded.of(signer.token())
    genauth.hangs = threading.Event()

    assert refusal(threaded, stranger(), UpstreamTimeout, seconds=0.05).counted
    genauth.hangs.set()


def test_without_any_key_nobody_is_to_blame(genauth, house, signer):
    genauth.goes_away()

    assert not refusal(house, signer.token(), UpstreamUnavailable).counted
