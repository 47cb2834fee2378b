"""Promise 5 over a restart: a process that starts while GenAuth is away knows the people that those before it knew."""

import json
import threading
import time

import pytest
import requests

from bff.errors import UpstreamUnavailable
from bff.resilience.deadline import Deadline
from bff.web import services_of
from tests.fault.conftest import ASKED, eventually, timed, travel
from tests.timing import in_time
from tests.valkey import legible

SECRET = {"CACHE_SECRET": "a passphrase of more than thirty-two characters"}
KEYS = "la:6:jwks:*"
JWKS = "/oidc/.well-known/jwks.json"


@pytest.fixture(autouse=True)
def settled(valkey, genauth):
    """No process of a test still fetches or stores what it fetched when the next one begins."""
    yield
    genauth.drop_connections()
    for thread in threading.enumerate():
        if thread.name == "jwks":
            thread.join(5)


@pytest.fixture
def away(genauth):
    """``away()``: nobody listens at GenAuth's port any more, until the test is over."""
    gone = []

    def leave():
        genauth.stop_listening()
        gone.append(True)

    yield leave
    if gone:
        genauth.listen_again()


@pytest.fixture
def known(app_with, sign_in, stored):
    """Mei's headers, after a service with these settings served her and had the time to store its keys."""

    def make(**settings):
        headers = sign_in("mei")
        assert timed(app_with(**settings).test_client(), headers).status == 200
        if "CACHE_SECRET" in settings:
            assert eventually(lambda: stored.keys(KEYS))
        return headers

    return make


def restarted(app_with, later=0, **settings):
    app = app_with(**settings)
    travel(app, later)
    return app.test_client()


def test_known_people_are_served_by_a_process_that_never_saw_genauth(app_with, known, away):
    headers = known(**SECRET)
    away()

    fresh = timed(restarted(app_with, **SECRET), headers)
    stale = timed(restarted(app_with, later=90, **SECRET), headers)

    assert (fresh.status, fresh.source.partition(";")[2][:4]) == (200, " hit")
    assert (stale.status, stale.response.json["meta"]["stale"]) == (200, True)
    assert stale.source.endswith("; detail=stale-if-error")


def test_such_a_process_is_ready_and_one_without_keys_is_not(app_with, known, away):
    known(**SECRET)
    away()

    ready, not_ready = (app_with(**settings).test_client().get("/readyz") for settings in (SECRET, {}))

    assert (ready.status_code, ready.json["status"]) == (200, "degraded")
    assert ready.json["dependencies"]["genauth"]["reason"] == "discovery_unavailable"
    assert (not_ready.status_code, not_ready.json["status"]) == (503, "not_ready")


def test_they_do_not_wait_for_a_genauth_that_hangs(app_with, known, genauth):
    headers = known(**SECRET)
    genauth.trouble(ending="hang")

    answer = timed(restarted(app_with, **SECRET), headers)

    assert answer.status == 200
    in_time(answer.seconds, 2.0)  # half a second of it is for the names of providers; a fetch would take three


def test_strangers_and_new_sessions_get_503_and_nobody_is_signed_out(app_with, known, genauth, sign_in, away):
    known(**SECRET)
    strangers = [sign_in("omar"), sign_in("mei"), sign_in("mei", key="foreign", headers={"kid": "nobody"})]
    genauth.rotate_keys()
    strangers += [sign_in("mei")]
    away()
    client = restarted(app_with, **SECRET)

    for headers in strangers:
        answer = timed(client, headers)
        assert (answer.status, answer.response.json["code"]) == (503, "upstream_unavailable")
        assert int(answer.response.headers["Retry-After"]) >= 1


def test_a_revoked_token_finds_no_way_back_through_a_restart(app_with, known, genauth, away):
    headers = known(TOKEN_ACCEPTED_SECONDS="1", **SECRET)
    genauth.revoke(headers["Authorization"].removeprefix("Bearer "))
    refused = timed(restarted(app_with, later=5, TOKEN_ACCEPTED_SECONDS="1", **SECRET), headers)
    away()

    answer = timed(restarted(app_with, later=6, TOKEN_ACCEPTED_SECONDS="1", **SECRET), headers)

    assert (refused.status, answer.status) == (401, 401)


def test_the_stored_keys_are_replaced_as_soon_as_genauth_says_others(app_with, known, genauth, sign_in):
    headers = known(**SECRET)
    genauth.rotate_keys()
    client = restarted(app_with, **SECRET)

    assert timed(client, sign_in("mei")).status == 200
    assert genauth.calls(JWKS) == 2
    assert timed(client, headers).status == 401


def test_without_a_secret_no_keys_are_in_redis_and_none_are_taken_from_it(app_with, known, away, stored):
    headers = known()
    time.sleep(0.3)
    assert stored.keys("*")
    assert not [key for key in stored.keys("*") if b"jwks" in key or b"kty" in legible(key, stored.get(key) or b"")]
    away()

    answer = timed(restarted(app_with), headers)

    assert (answer.status, answer.response.json["code"]) == (503, "upstream_unavailable")


def test_keys_that_a_redis_writer_puts_there_vouch_for_nobody(app_with, known, away, stored, genauth):
    """Neither in the clear, nor under another secret, nor as another sealed value of ours that was moved there."""
    headers = known(**SECRET)
    (key,) = stored.keys(KEYS)
    (own,) = stored.keys("*:accounts")
    known(CACHE_SECRET="another passphrase of more than thirty-two characters")
    (foreign,) = set(stored.keys(KEYS)) - {key}
    published = requests.get(f"{genauth.url}{JWKS}", timeout=5).json()["keys"]
    plain = json.dumps({"issuer": genauth.issuer, "fetched_at": time.time(), "keys": published}).encode()
    good = stored.get(key)
    away()

    for forged in (plain, b"%b %b" % (key, plain), b"", stored.get(own), stored.get(foreign), good[:-1]):
        stored.set(key, forged)
        assert timed(restarted(app_with, **SECRET), headers).status == 503
    stored.set(key, good)
    assert timed(restarted(app_with, **SECRET), headers).status == 200


def test_with_redis_away_too_it_is_503_in_time(app_with, known, away, valkey, genauth, sign_in):
    headers = known(**SECRET)
    away()

    answer = timed(restarted(app_with, REDIS_URL="unix:///nowhere/redis.sock", **SECRET), headers)

    assert answer.status == 503
    in_time(answer.seconds, 1.0)


@pytest.mark.parametrize("other", ["GENAUTH_HOST", "GENAUTH_APP_ID", "GENAUTH_ISSUER", "GENAUTH_JWKS_URL"])
def test_keys_are_for_a_process_of_the_same_settings_alone(app_with, known, genauth, away, other):
    known(**SECRET)
    changed = {
        "GENAUTH_HOST": genauth.url.replace("127.0.0.1", "localhost"),
        "GENAUTH_APP_ID": "another-app",
        "GENAUTH_ISSUER": genauth.issuer,
        "GENAUTH_JWKS_URL": f"{genauth.url}{JWKS}",
    }
    away()

    def verified(**settings):
        app_id = settings.get("GENAUTH_APP_ID", genauth.app_id)
        sessions = services_of(app_with(**SECRET, **settings)).sessions
        return sessions.of(genauth.token("mei", claims={"aud": app_id}), Deadline.after(3))

    assert verified().user_id == genauth.id_of("mei")
    with pytest.raises(UpstreamUnavailable):
        verified(**{other: changed[other]})


def test_stored_keys_do_not_stand_for_genauths_acceptance(app_with, known, genauth, sign_in):
    known(**SECRET)
    headers = sign_in("mei")
    genauth.trouble(path=JWKS, status=503)

    assert timed(restarted(app_with, **SECRET), headers).status == 200
    assert genauth.calls(ASKED) == 2
