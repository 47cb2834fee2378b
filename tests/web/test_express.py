"""The short way in front of Flask: the same answers, sooner, and never longer than they hold."""

import threading
import time

import pytest

PATH = "/me/linked-accounts"
IDENTITIES = "/api/v3/get-identities"
# What tells the time, or the request.
ALIVE = {"Age", "Cache-Status", "Date", "RateLimit", "X-Request-Id"}


@pytest.fixture
def express_with(app_with):
    """Applications with the micro-cache on, whose announcements are heard."""
    made = []

    def make(**changed):
        app = app_with(LOCAL_CACHE_SECONDS="2", **changed)
        made.append(app)
        eventually(lambda: announcements(app).connected)
        return app

    yield make
    for app in made:
        announcements(app).stop()
    for app in made:
        announcements(app).stop(wait_seconds=5)


def announcements(app):
    return app.extensions["linked-accounts"].announcements


def micro_cache(app):
    return app.extensions["linked-accounts"].micro_cache


def eventually(truth, seconds=5.0):
    ends = time.monotonic() + seconds
    while not truth():
        assert time.monotonic() < ends, "it did not come true"
        time.sleep(0.01)


def long_way(app):
    """The same application without anything in front of Flask."""
    return type(app).wsgi_app.__get__(app)


def ask(app, application=None, path=PATH, method="GET", **headers):
    client = app.test_client()
    if application is not None:
        client.application.wsgi_app, kept = application, client.application.wsgi_app
        try:
            return client.open(path, method=method, headers=headers)
        finally:
            app.wsgi_app = kept
    return client.open(path, method=method, headers=headers)


def said(response):
    headers = {name: value for name, value in response.headers if name not in ALIVE}
    return response.status_code, headers, response.data.replace(response.headers["X-Request-Id"].encode(), b"its own")


SETTINGS = [{}, {"CORS_ORIGINS": "https://app.example.com"}, {"SESSION_COOKIE_NAME": "session"}]
REQUESTS = {
    "plain": {},
    "in Chinese": {"Accept-Language": "zh-CN"},
    "with identities": {"path": f"{PATH}?include=identities"},
    "with an empty query": {"path": f"{PATH}?"},
    "with another query": {"path": f"{PATH}?include=identities&x=1"},
    "an unknown include": {"path": f"{PATH}?include=friends"},
    "without a body": {"method": "HEAD"},
    "from a page": {"Origin": "https://app.example.com"},
    "from another page": {"Origin": "https://evil.example"},
    "with a cookie": {"Cookie": "other=1"},
    "unchanged": {"If-None-Match": "*"},
    "changed": {"If-None-Match": 'W/"something-else"'},
    "a fresh one": {"Cache-Control": "no-cache"},
    "with an id": {"X-Request-Id": "a-request-of-mine"},
    "posted": {"method": "POST"},
    "with another scheme": {"Authorization": "Basic bWVpOm1laQ=="},
    "with a token of nobody": {"Authorization": "Bearer nobody"},
    "with two tokens": {"Authorization": "Bearer a,Bearer b"},
}


@pytest.mark.parametrize("settings", SETTINGS, ids=str)
@pytest.mark.parametrize("asked", REQUESTS.values(), ids=REQUESTS.keys())
def test_the_short_way_says_what_the_long_way_says(express_with, sign_in, asked, settings):
    app = express_with(**settings)
    asked = {**sign_in("mei"), **asked}
    ask(app, **sign_in("mei"))  # so that there is something to remember

    flask = ask(app, long_way(app), **asked)
    first, second, third = (ask(app, **asked) for _ in range(3))

    assert said(first) == said(second) == said(third) == said(flask)
    for header in ("Age", "Cache-Status", "X-Request-Id"):
        assert (header in third.headers) == (header in flask.headers)
    if "X-Request-Id" in asked:
        assert third.headers["X-Request-Id"] == asked["X-Request-Id"]


FAILURES = {
    "GenAuth is down": lambda genauth, _: genauth.trouble(path=IDENTITIES, status=500),
    "GenAuth asks for a pause": lambda genauth, _: genauth.trouble(path=IDENTITIES, status=429, retry_after=7),
    "GenAuth speaks nonsense": lambda genauth, _: genauth.trouble(path=IDENTITIES, malformed="html"),
    "GenAuth sends us elsewhere": lambda genauth, _: genauth.trouble(path=IDENTITIES, status=302),
    "GenAuth hangs": lambda genauth, _: genauth.trouble(path=IDENTITIES, ending="hang"),
    "GenAuth refuses the token": lambda genauth, token: genauth.revoke(token),
    "the user is blocked": lambda genauth, _: genauth.block("mei"),
    "the signing keys are away": lambda genauth, _: genauth.trouble(path="/oidc/.well-known/jwks.json", status=500),
}


@pytest.mark.parametrize("method", ["GET", "HEAD"])
@pytest.mark.parametrize("fails", FAILURES.values(), ids=FAILURES.keys())
def test_the_short_way_fails_as_the_long_way_does(app_with, genauth, fails, method):
    """Each way in a service of its own, for a failure may be remembered."""
    token = genauth.token("mei")
    fails(genauth, token)
    impatient = {
        "UPSTREAM_CONNECT_SECONDS": "0.5",
        "UPSTREAM_DEADLINE_SECONDS": "0.5",
        "REQUEST_DEADLINE_SECONDS": "1",
        "RATE_LIMIT": "100/minute",
    }
    here, there = (app_with(GENAUTH_APP_ID=genauth.app_id, **impatient) for _ in range(2))

    short = ask(here, method=method, Authorization=f"Bearer {token}")
    long = ask(there, long_way(there), method=method, Authorization=f"Bearer {token}")

    assert short.status_code >= 400
    assert said(short) == said(long)


@pytest.mark.parametrize("token", ["x" * 9000, "x.y.z", "linked-accounts", "ü", "a=b"])
def test_the_short_way_refuses_as_the_long_way_does(app, token):
    headers = {"Authorization": f"Bearer {token}", "X-Request-Id": "a-request-of-mine"}

    short, long = ask(app, **headers), ask(app, long_way(app), **headers)

    assert short.status_code in {400, 401}
    assert said(short) == said(long)


def test_the_short_way_limits_as_the_long_way_does(app_with, sign_in):
    app = app_with(RATE_LIMIT="3/minute")
    headers = sign_in("mei")

    answers = [ask(app, application, **headers) for application in (None, long_way(app), None, None, long_way(app))]

    assert [answer.status_code for answer in answers] == [200, 200, 200, 429, 429]
    assert [answer.headers["RateLimit"].partition(";t=")[0] for answer in answers] == [
        f'"user";r={left}' for left in (2, 1, 0, 0, 0)
    ]
    assert said(answers[3]) == said(answers[4])


def test_a_repeated_question_reaches_neither_flask_nor_redis(express_with, sign_in, stored):
    app = express_with()
    headers = sign_in("mei")
    ask(app, **headers)
    ask(app, **headers)
    reads = stored.info("commandstats")["cmdstat_mget"]["calls"]

    answers = [ask(app, **headers) for _ in range(20)]

    assert all(answer.headers["Cache-Status"].startswith("linked-accounts; hit; ttl=") for answer in answers)
    assert stored.info("commandstats")["cmdstat_mget"]["calls"] == reads


def test_redis_is_asked_twice_about_what_has_to_be_asked_for(app_with, sign_in, stored):
    app = app_with(CACHE_TTL_SECONDS="1")
    headers = sign_in("mei")
    ask(app, **headers)
    ask(app, **headers)
    time.sleep(1.2)
    stored.config_resetstat()

    assert ask(app, **headers).headers["Cache-Status"] == "linked-accounts; fwd=stale"

    # Once to look, and once more while taking the turn to ask GenAuth.
    assert stored.info("commandstats")["cmdstat_mget"]["calls"] == 2


def test_a_plain_question_does_not_reach_flask(app, sign_in, monkeypatch):
    ask(app, path="/livez")  # and with it the contract that every answer is held to
    monkeypatch.setattr(app, "full_dispatch_request", pytest.fail)
    headers = sign_in("mei")

    assert [ask(app, **headers).status_code for _ in range(2)] == [200, 200]


def test_nothing_is_kept_beyond_the_tokens_end(express_with, genauth):
    app = express_with()
    headers = {"Authorization": f"Bearer {genauth.token('mei', lifetime=2)}"}
    assert ask(app, **headers).status_code == 200
    assert ask(app, **headers).status_code == 200

    time.sleep(2.1)

    assert ask(app, **headers).json["code"] == "token_expired"


def test_nothing_is_kept_beyond_genauths_acceptance(express_with, genauth):
    app = express_with(TOKEN_ACCEPTED_SECONDS="1")
    token = genauth.token("mei")
    ask(app, Authorization=f"Bearer {token}")
    ask(app, Authorization=f"Bearer {token}")
    genauth.revoke(token)

    time.sleep(1.1)

    assert ask(app, Authorization=f"Bearer {token}").json["code"] == "token_invalid"


def test_a_refusal_elsewhere_ends_it_at_once(express_with, genauth):
    here, elsewhere = express_with(), express_with()
    token = {"Authorization": f"Bearer {genauth.token('mei')}"}
    ask(here, **token)
    ask(here, **token)
    time.sleep(0.01)
    genauth.block("mei")
    # The other worker learns of it from another session of the same person.
    assert ask(elsewhere, Authorization=f"Bearer {genauth.token('mei')}").json["code"] == "user_blocked"

    eventually(lambda: ask(here, **token).status_code == 403, seconds=1.0)


def test_a_forced_refresh_is_seen_by_every_worker(express_with, genauth, sign_in):
    here, elsewhere = express_with(), express_with()
    headers = sign_in("omar")
    ask(here, **headers)
    ask(elsewhere, **headers)
    ask(elsewhere, **headers)
    genauth.answers("omar", identities=[])
    time.sleep(2.1)  # younger is fresh by definition
    ask(elsewhere, **headers)

    assert ask(here, **headers, **{"Cache-Control": "no-cache"}).json["meta"]["total"] == 0

    eventually(lambda: ask(elsewhere, **headers).json["meta"]["total"] == 0, seconds=1.0)


def test_while_nobody_would_hear_of_changes_nothing_is_kept(express_with, sign_in, monkeypatch):
    app = express_with()
    headers = sign_in("mei")
    ask(app, **headers)
    ask(app, **headers)
    monkeypatch.setattr(type(announcements(app)), "connected", property(lambda _: False))
    dispatched = []
    flask = app.full_dispatch_request
    monkeypatch.setattr(app, "full_dispatch_request", lambda: dispatched.append(1) or flask())

    ask(app, **headers, Origin="https://page.example", **{"If-None-Match": "x"})
    ask(app, **headers, Origin="https://page.example", **{"If-None-Match": "x"})

    assert len(dispatched) == 2


def test_an_answer_begun_before_a_change_is_not_kept(express_with, genauth, sign_in):
    app = express_with()
    headers = sign_in("mei")
    genauth.trouble(path="/api/v3/get-identities", latency=0.3)
    asking = threading.Thread(target=ask, args=(app,), kwargs=headers)
    asking.start()
    time.sleep(0.15)
    micro_cache(app).forget("somebody else even")
    asking.join()

    assert not micro_cache(app)._kept


def test_people_are_told_apart(express_with, sign_in):
    app = express_with()
    mei, omar = sign_in("mei"), sign_in("omar")
    expected = {"mei": ask(app, **mei).data, "omar": ask(app, **omar).data}

    for _ in range(5):
        assert ask(app, **mei).json["linkedAccounts"] != ask(app, **omar).json["linkedAccounts"]
        assert (ask(app, **mei).data, ask(app, **omar).data) == (expected["mei"], expected["omar"])


def test_a_repeated_question_counts_against_the_limit(express_with, sign_in):
    app = express_with(RATE_LIMIT="5/minute")
    headers = sign_in("mei")

    statuses = [ask(app, **headers).status_code for _ in range(7)]

    assert statuses == [200] * 5 + [429] * 2
