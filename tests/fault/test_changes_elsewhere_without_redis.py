"""Redis is frozen around an event of GenAuth's: taken or to be sent again, and what was taken holds, frozen and thawed."""

import pytest

from bff.sandbox import sources
from tests.fault.conftest import PATH, eventually, redis_is_back, services, timed

SETTINGS = {
    "WEBHOOK_SECRET": "secret-of-the-webhook-7f3a",
    "LOCAL_CACHE_SECONDS": "300",
    "CACHE_TTL_SECONDS": "3600",
    "TOKEN_ACCEPTED_SECONDS": "300",
}


@pytest.fixture
def replicas(redis_server, app_on, sign_in):
    """Two, which have Omar's list in memory, and his token."""
    made, token = [app_on(redis_server.url, **SETTINGS) for _ in range(2)], sign_in("omar")
    for app in made:
        timed(app.test_client(), token)
        assert eventually(lambda app=app: services(app).invalidations.connected)
        for _ in range(2):
            assert timed(app.test_client(), token).status == 200
    yield made, token
    for seconds in (0, 5):
        for app in made:
            services(app).invalidations.stop(wait_seconds=seconds)


def send(app, genauth, name):
    return app.test_client().post(
        "/webhooks/genauth",
        json={"eventName": name, "data": {"user": {"id": genauth.id_of("omar")}}},
        headers={"X-Authing-Webhook-Secret": SETTINGS["WEBHOOK_SECRET"]},
    )


def unlinked(genauth, _token):
    genauth.unlink("omar", "my-github")


def signed_out(genauth, token):
    genauth.revoke(token["Authorization"].removeprefix("Bearer "))


def shows_less(response):
    return response.status_code == 200 and [each["id"] for each in response.json["linkedAccounts"]] == [sources.GOOGLE.id]


def refuses(response):
    return response.status_code == 401


@pytest.fixture(params=[("user:updated", unlinked, shows_less), ("kick", signed_out, refuses)], ids=["changed", "signed-out"])
def event(request):
    """Its name, what happened, and whether an answer shows that."""
    return request.param


def test_an_event_that_finds_redis_frozen_is_to_be_sent_again(replicas, redis_server, genauth, event):
    (here, there), token = replicas
    name, happen, is_so = event
    happen(genauth, token)
    redis_server.freeze()
    try:
        response = send(here, genauth, name)
    finally:
        redis_server.thaw()
    assert response.status_code == 503
    assert int(response.headers["Retry-After"]) >= 1

    assert eventually(lambda: redis_is_back(here))
    assert send(here, genauth, name).status_code == 204

    for app in (here, there):
        assert is_so(app.test_client().get(PATH, headers=token))


def test_what_an_event_changed_stays_so_when_redis_freezes_and_thaws(replicas, redis_server, genauth, event):
    (here, there), token = replicas
    name, happen, is_so = event
    happen(genauth, token)

    assert send(here, genauth, name).status_code == 204

    redis_server.freeze()
    try:
        for app in (there, here):
            assert is_so(app.test_client().get(PATH, headers=token))
    finally:
        redis_server.thaw()
    for app in (there, here):
        assert eventually(lambda app=app: redis_is_back(app))
        assert is_so(app.test_client().get(PATH, headers=token))
