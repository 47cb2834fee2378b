"""Redis freezes while an account is unlinked: the answer is true, and the next question agrees, frozen and thawed."""

import threading

import pytest
import redis

from bff.sandbox import sources
from tests.fault.conftest import PATH, eventually, redis_is_back, services, timed

UNLINK = "/api/v3/unlink-extidp"
GITHUB = sources.GITHUB.id


def shown(answered):
    assert answered.status == 200, answered.response.json
    return {account["id"] for account in answered.response.json["linkedAccounts"]}


def test_a_redis_that_freezes_while_genauth_removes_makes_no_answer_a_lie(redis_server, app_on, genauth, sign_in):
    here, there = (app_on(redis_server.url, LOCAL_CACHE_SECONDS="30") for _ in range(2))
    token = sign_in("omar")
    for app in (here, there):
        timed(app.test_client(), token)
        assert eventually(lambda app=app: services(app).invalidations.connected)
        assert GITHUB in shown(timed(app.test_client(), token))
    genauth.trouble(path=UNLINK, latency=0.25)

    def freeze():
        eventually(lambda: genauth.calls(UNLINK))
        redis_server.freeze()

    freezing = threading.Thread(target=freeze)
    freezing.start()
    try:
        response = here.test_client().delete(f"{PATH}/{GITHUB}", headers=token)
        freezing.join()
        genauth.healthy()

        assert response.status_code == 200, response.json
        assert genauth.calls(UNLINK) == 1
        for app in (here, there):
            assert GITHUB not in shown(timed(app.test_client(), token))
    finally:
        freezing.join()
        redis_server.thaw()
    for app in (here, there):
        assert eventually(lambda app=app: redis_is_back(app))
        assert GITHUB not in shown(timed(app.test_client(), token))


@pytest.mark.parametrize("mode", ["jwks", "introspection"])
def test_what_a_worker_missed_while_its_subscription_was_cut_is_known_when_it_is_back(
    redis_server, app_on, genauth, sign_in, mode
):
    here, there = (app_on(redis_server.url, TOKEN_VERIFICATION=mode, LOCAL_CACHE_SECONDS="30") for _ in range(2))
    for app in (here, there):
        services(app).invalidations.listen()
        assert eventually(lambda app=app: services(app).invalidations.connected)
    changed, unblocked, in_memory = sign_in("omar"), sign_in("mei"), sign_in("ada")
    assert GITHUB in shown(timed(there.test_client(), changed))
    assert shown(timed(there.test_client(), in_memory))
    if mode == "introspection":
        timed(there.test_client(), unblocked)
        services(here).changes.forget(genauth.id_of("mei"), cause="webhook", acceptances=True)
    genauth.block("mei")
    assert timed(there.test_client(), unblocked).status in {401, 403}

    with redis.Redis.from_url(redis_server.url) as connection:
        connection.client_kill_filter(_type="pubsub")
    for person in ("omar", "ada"):
        genauth.answers(person, [])
    genauth.unblock("mei")
    for person in ("omar", "mei", "ada"):
        services(here).changes.forget(genauth.id_of(person), cause="webhook", refusals=True, wait=False)
    assert eventually(lambda: not services(there).invalidations.connected)
    assert eventually(lambda: services(there).invalidations.connected)

    assert timed(there.test_client(), unblocked).status == 200
    assert shown(timed(there.test_client(), in_memory)) == set()
    redis_server.kill()
    assert shown(timed(there.test_client(), changed)) == set()


def test_without_redis_genauth_is_asked_again_about_opaque_tokens(redis_server, app_on, genauth, sign_in):
    """That somebody was signed out is not received from then on, or just before."""
    app, token = app_on(redis_server.url, TOKEN_VERIFICATION="introspection"), sign_in("omar")
    assert eventually(lambda: services(app).invalidations.connected)
    assert timed(app.test_client(), token).status == 200
    genauth.kick("omar")

    redis_server.kill()

    assert eventually(lambda: timed(app.test_client(), token).status == 401)


def test_a_redis_that_is_away_before_it_begins_has_nothing_changed(redis_server, app_on, genauth, sign_in):
    app, token = app_on(redis_server.url), sign_in("omar")
    timed(app.test_client(), token)
    redis_server.kill()

    response = app.test_client().delete(f"{PATH}/{GITHUB}", headers=token)

    assert (response.status_code, response.json["code"]) == (503, "upstream_unavailable")
    assert genauth.calls(UNLINK) == 0
    assert GITHUB in shown(timed(app.test_client(), token))
