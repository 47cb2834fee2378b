"""Somebody who can read and write Redis: would be another person, keep a dead token alive, run code here, or shut people out.

What they cannot do to single values, sealed or plain, is in tests/cache/test_values_at_rest.py; this is the whole service.
Not defended: they may delete everything (that costs questions to GenAuth), and without CACHE_SECRET they may read and forge.
"""

import hashlib
import json
import pickle
import random
import re
import time

import pytest

from bff.cache import PlainCodec
from bff.web import services_of
from tests.timing import in_time
from tests.valkey import legible

SECRET = {"CACHE_SECRET": "a passphrase of more than thirty-two characters"}
BOTH = pytest.mark.parametrize("settings", [{}, SECRET], ids=["plain", "sealed"])
IDENTITIES = "/api/v3/get-identities"


def ours(stored):
    return {key: stored.get(key) for key in stored.keys("la:6:*") if stored.type(key) == b"string"}


@BOTH
def test_values_swapped_between_people(service_with, stored, genauth, settings):
    service = service_with(**settings)
    people = ("mei", "omar", "lin")
    tokens = {person: genauth.token(person) for person in people}
    right = {person: service.accounts_of(tokens[person]).accounts for person in people}
    values = ours(stored)

    for _ in range(12):
        stored.mset(dict(zip(random.sample([*values], len(values)), values.values(), strict=True)))
        for person in people:
            answer = service.accounts_of(tokens[person])
            assert (answer.status, answer.accounts) == (200, right[person])


@BOTH
def test_a_pickle_in_every_key_runs_nothing(service_with, stored, sign_in, tmp_path, settings):
    service, headers = service_with(**settings), [*sign_in("mei").items()]
    service.ask(headers=headers)
    bomb = tmp_path / "went-off"

    class Bomb:
        def __reduce__(self):
            return open, (str(bomb), "w")

    for protocol in range(pickle.HIGHEST_PROTOCOL + 1):
        made = pickle.dumps(Bomb(), protocol)
        for key in ours(stored):
            # As flask-caching marks its pickles, and bound to the key as our own values are.
            for value in (made, b"!" + made, key + b" " + made):
                stored.set(key, value)
                assert service.ask(headers=headers).status == 200

    assert not bomb.exists()


def test_a_forged_entry_is_a_miss_with_a_secret(service_with, stored, sign_in):
    service, headers = service_with(**SECRET), [*sign_in("mei").items()]
    right = service.ask(headers=headers).accounts
    now = time.time()
    forged = json.dumps([now, now + 60, [["x", "wechat", "Mallory", None, "https://evil.example/a.png", [], []]]]).encode()
    for key in ours(stored):
        for value in (forged, key + b" " + forged, b"k1 " + forged):
            stored.set(key, value)

            assert service.ask(headers=headers).accounts == right


def test_a_forged_acceptance_is_a_miss_with_a_secret(service_with, stored, genauth):
    service, token = service_with(TOKEN_ACCEPTED_SECONDS="1", **SECRET), genauth.token("mei")
    service.accounts_of(token)
    genauth.revoke(token)
    time.sleep(1.05)
    for key in ours(stored):
        if b":token:" in key:
            stored.set(key, key + b" " + json.dumps([time.time(), "accepted"]).encode())

    assert service.accounts_of(token).status == 401


@BOTH
def test_an_older_acceptance_put_back_is_as_old_as_it_is(service_with, stored, genauth, settings):
    """Replay is possible and useless: the moment is inside the value."""
    service, token = service_with(TOKEN_ACCEPTED_SECONDS="1", **settings), genauth.token("mei")
    service.accounts_of(token)
    older = ours(stored)
    genauth.revoke(token)
    time.sleep(1.05)
    stored.mset(older)

    assert service.accounts_of(token).status == 401

    another_process = service_with(TOKEN_ACCEPTED_SECONDS="1", **settings)
    stored.mset(older)
    assert another_process.accounts_of(token).status == 401


@BOTH
def test_an_entry_from_the_future_is_not_fresh_for_ever(service_with, stored, genauth, settings):
    service, token = service_with(**settings), genauth.token("mei")
    right = service.accounts_of(token).accounts
    for key in ours(stored):
        for at in (4e9, 1e15, 1e300):
            stored.set(key, key + b" " + json.dumps([at, at + 60, []]).encode() + b"\n[]" * 4)
            assert service.accounts_of(token).accounts == right


@BOTH
def test_a_lock_that_never_ends_hangs_nobody(service_with, stored, genauth, settings):
    """Somebody holds every lock for ever: people wait no longer than a request may take, and get their accounts."""
    service, token = service_with(REQUEST_DEADLINE_SECONDS="1.5", UPSTREAM_DEADLINE_SECONDS="1", **settings), genauth.token("mei")
    session = services_of(service.app).sessions.of(token, FOREVER)
    with services_of(service.app).accounts_cache.attempt(session):
        (lock,) = stored.keys("*:lock:*")
    stored.set(lock, "mallory")

    started = time.monotonic()
    answer = service.accounts_of(token)

    in_time(time.monotonic() - started, 2.0)
    assert answer.status == 200


class FOREVER:
    passed = False

    @staticmethod
    def remaining():
        return 10.0


@pytest.mark.parametrize("value", [b"many", b"9223372036854775807", b"1.5", b"", ["a", "list"]])
def test_a_counter_that_cannot_be_counted_on_takes_no_limit_away(service_with, stored, genauth, log, value):
    here, there = service_with(RATE_LIMIT="4/minute"), service_with(RATE_LIMIT="4/minute")
    token = genauth.token("mei")
    here.accounts_of(token)
    (counter,) = stored.keys("la:6:rate:*")
    stored.delete(counter)
    stored.rpush(counter, *value) if isinstance(value, list) else stored.set(counter, value)

    statuses = [each.accounts_of(token).status for _ in range(3) for each in (here, there)]

    assert statuses[-1] == 429
    assert 0 < stored.ttl(counter) <= 60
    assert not log.lines("cache_failed")


def test_a_counter_that_never_ends_shuts_nobody_out_for_longer_than_a_window(service_with, stored, genauth):
    service, token = service_with(RATE_LIMIT="2/second"), genauth.token("mei")
    for _ in range(2):
        service.accounts_of(token)
    counters = [key for key in stored.keys("la:6:rate:*") if b":user/" in key]
    assert counters
    for key in counters:
        stored.set(key, 1_000_000)
    service.accounts_of(token)
    time.sleep(1.1)

    assert service.accounts_of(token).status == 200


def test_a_counter_with_a_year_to_go_ends_with_its_window_also_when_it_is_deleted(service_with, stored, genauth):
    service, token = service_with(RATE_LIMIT="2/second"), genauth.token("mei")
    service.accounts_of(token)
    (counter,) = [key for key in stored.keys("la:*:rate:*") if b":user/" in key]
    stored.set(counter, 1_000_000, ex=365 * 86_400)
    sent_away = service.accounts_of(token)
    stored.delete(counter)

    assert (sent_away.status, sent_away.headers["Retry-After"]) == (429, "1")
    time.sleep(1.1)
    assert service.accounts_of(token).status == 200


@pytest.mark.parametrize("other", ["GENAUTH_APP_ID", "GENAUTH_HOST"])
def test_two_applications_on_one_redis_share_no_key_and_no_channel(service_with, stored, genauth, other):
    ours = {"GENAUTH_APP_ID": genauth.app_id, "GENAUTH_HOST": genauth.url}
    theirs = ours | {other: {"GENAUTH_APP_ID": "60193c610f9117e7cb0491ff", "GENAUTH_HOST": f"{genauth.url}/tenant"}[other]}
    names, buses = [], []
    for settings in (ours, theirs):
        service = service_with(RATE_LIMIT="100/minute", LOCAL_CACHE_SECONDS="30", **settings)
        buses.append(services_of(service.app).invalidations)
        before = {*stored.pubsub_channels("la:*")}
        eventually(lambda: buses[-1].connected)
        service.accounts_of(genauth.token("mei", claims={"aud": settings["GENAUTH_APP_ID"]}))
        service.accounts_of(genauth.token("mei", key="foreign"))
        services_of(service.app).user_limit.hit("mei")
        names.append({*stored.keys("la:*"), *stored.pubsub_channels("la:*")} - before)
        stored.flushall()
    for bus in buses:
        bus.stop(wait_seconds=5)

    kinds = [{re.split(rb"[:/]", name)[2] for name in each if b"{" not in name} for each in names]
    assert {b"rate", b"changed"} <= kinds[0] & kinds[1]
    assert not names[0] & names[1]


def eventually(truth):
    patience = time.monotonic() + 5
    while not truth():
        assert time.monotonic() < patience
        time.sleep(0.01)


@pytest.mark.parametrize("value", ["x", "9223372036854775807", "-9223372036854775808", "", "1e9"])
def test_a_counter_that_cannot_be_counted_shuts_nobody_out(service_with, stored, genauth, value):
    service, token = service_with(RATE_LIMIT="5/second"), genauth.token("mei")
    service.accounts_of(token)
    for key in stored.keys("la:6:rate:*"):
        stored.set(key, value, ex=60)

    assert service.accounts_of(token).status == 200


def test_a_reader_of_redis_sees_no_token_and_no_user_id(service_with, stored, genauth):
    service = service_with(RATE_LIMIT="100/minute")
    tokens = [genauth.token(person) for person in ("mei", "omar", "ivy")]
    for token in tokens:
        service.accounts_of(token)
    service.accounts_of(genauth.token("rui"))

    # Whoever knows how, sees through what is only deflated.
    seen = [(key, legible(key, value or b"")) for key, value in ours(stored).items()]
    assert any("小明" in value.decode() for _, value in seen)
    everything = b"".join(key + value for key, value in seen).decode()

    secrets = {*tokens, genauth.app_secret}.union(*(genauth.canaries(person) for person in ("mei", "omar", "ivy", "rui")))
    secrets |= {genauth.id_of(person) for person in ("mei", "omar", "ivy", "rui")}
    assert not [secret for secret in secrets if secret in everything]


def test_a_reader_of_redis_sees_no_name_and_no_provider_with_a_secret(service_with, stored, genauth):
    service = service_with(**SECRET)
    service.accounts_of(genauth.token("omar"))

    everything = b"".join(key + value for key, value in ours(stored).items())

    assert not [known for known in (b"Omar", b"github", b"google", b"nutstest", b"https://", b"gmail") if known in everything]


def test_a_token_that_is_recognised_is_asked_about_all_the_same(service_with, stored, genauth):
    """Who plants whose token it is gets a place to wait, and no session."""
    service = service_with(TOKEN_VERIFICATION="introspection")
    mine, made_up = genauth.token("mei", kind="opaque"), "made-up"
    accounts = service.accounts_of(mine).accounts
    (key,) = stored.keys("la:6:recognised:*")
    prefix = key.decode().rpartition(":")[0]
    for token in (mine, made_up):
        planted = f"{prefix}:{PlainCodec().opaque_id('recognised', hashlib.sha256(token.encode()).hexdigest())}"
        stored.set(planted, PlainCodec().encode(planted, genauth.id_of("omar").encode()))
    assert stored.keys("la:6:recognised:*") != [key]
    another = service_with(TOKEN_VERIFICATION="introspection")

    assert another.accounts_of(mine).accounts == accounts
    assert another.accounts_of(made_up).status == 401


@pytest.mark.parametrize("planted", [b"", b"x", b"\xff" * 50, b" mei", b"m" * 100_000])
def test_whatever_stands_where_tokens_are_recognised(service_with, stored, genauth, planted):
    settings = {"TOKEN_VERIFICATION": "introspection"}
    mine = genauth.token("mei", kind="opaque")
    service_with(**settings).accounts_of(mine)
    (key,) = stored.keys("la:6:recognised:*")
    for value in (planted, key + b" " + planted):
        stored.set(key, value)
        assert service_with(**settings).accounts_of(mine).status == 200
