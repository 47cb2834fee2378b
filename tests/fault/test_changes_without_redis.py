"""Redis freezes while an account is unlinked: the answer is true, and the next question agrees, frozen and thawed."""

import threading

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


def test_a_redis_that_is_away_before_it_begins_has_nothing_changed(redis_server, app_on, genauth, sign_in):
    app, token = app_on(redis_server.url), sign_in("omar")
    timed(app.test_client(), token)
    redis_server.kill()

    response = app.test_client().delete(f"{PATH}/{GITHUB}", headers=token)

    assert (response.status_code, response.json["code"]) == (503, "upstream_unavailable")
    assert genauth.calls(UNLINK) == 0
    assert GITHUB in shown(timed(app.test_client(), token))
