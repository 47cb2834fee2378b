"""Responses from a worker's memory: the same as without it, and never longer than they hold."""

import re
import threading
import time

import pytest

from bff.cache import CachedResponses, Freshness
from bff.models import Session
from bff.resilience import Deadline
from bff.web import ResponseCache, services_of
from bff.web.context import RECORD, RequestRecord
from bff.web.representation import language
from tests.web.linking import SETTINGS, Person, decide

PATH = "/me/linked-accounts"
IDENTITIES = "/api/v3/get-identities"
# By the Fetch standard: with `cache` no-store or reload, or a condition of the page's own; and with no-cache.
BY_BROWSERS = [{"Cache_Control": "no-cache", "Pragma": "no-cache"}, {"Cache_Control": "max-age=0"}]


@pytest.fixture
def cached_app(app_with, sign_in):
    """Applications with a response cache, which invalidations reach and which have the keys to verify tokens with."""
    made = []

    def make(**changed):
        app = app_with(**{"LOCAL_CACHE_SECONDS": "30"} | changed)
        made.append(app)
        eventually(lambda: services_of(app).invalidations.connected)
        ask(app, **sign_in("user-0"))
        return app

    yield make
    for app in made:
        services_of(app).invalidations.stop(wait_seconds=5)


def eventually(truth, seconds=5.0):
    ends = time.monotonic() + seconds
    while not truth():
        assert time.monotonic() < ends, "it did not come true"
        time.sleep(0.01)


def later(seconds, *apps):
    """For these applications so much time has passed."""
    for app in apps:
        app.extensions["clock"].by += seconds


def ask(app, query="", **headers):
    headers = {name.replace("_", "-"): value for name, value in headers.items()}
    return app.test_client(use_cookies=False).get(PATH + query, headers=headers)


def from_memory(app, query="", **headers):
    """Whether this request is answered from memory, which the log and the metrics call a source of its own."""
    before = answers_from_memory(app)
    response = ask(app, query, **headers)
    return response, answers_from_memory(app) != before


def answers_from_memory(app):
    rendered = services_of(app).metrics.render().decode()
    return re.findall(r'linked_accounts_answers_total{.*source="memory".*} (.*)', rendered)


def test_an_identical_request_reaches_neither_flask_nor_redis(cached_app, sign_in, stored, monkeypatch):
    app = cached_app()
    headers = sign_in("mei")
    first = ask(app, **headers)
    reads = stored.info("commandstats")["cmdstat_mget"]["calls"]
    monkeypatch.setattr(app, "full_dispatch_request", pytest.fail)

    answers = [ask(app, **headers) for _ in range(20)]

    assert {answer.data for answer in answers} == {first.data}
    assert all(answer.headers["Cache-Status"].startswith("linked-accounts; hit; ttl=") for answer in answers)
    assert stored.info("commandstats")["cmdstat_mget"]["calls"] == reads


def test_what_is_included_comes_from_memory_too_but_for_what_could_not_be_had(cached_app, genauth, sign_in, stored):
    query, headers = "?include=providers,identities", sign_in("omar")
    app = cached_app()
    eventually(lambda: ask(app, query, **headers).json["linkableProviders"])

    again, remembered = from_memory(app, query, **headers)
    assert remembered
    assert ask(app, query, **headers, If_None_Match=again.headers["ETag"]).status_code == 304
    response, remembered = from_memory(app, query, **headers, If_None_Match=again.headers["ETag"])
    assert (remembered, response.status_code) == (True, 304)

    ask(app, "?include=unlink", **sign_in("kim"))
    kims = sign_in("kim")
    ask(app, "?include=unlink", **kims)
    assert from_memory(app, "?include=unlink", **kims)[1]

    genauth.trouble(path="/api/v3/get-security-info", status=503)
    kims = sign_in("sol")
    ask(app, "?include=unlink", **kims)
    assert not from_memory(app, "?include=unlink", **kims)[1]

    genauth.trouble(path="/api/v3/get-application-enabled-extidps", status=503)
    eventually(lambda: stored.keys("*:providers:*"))  # stored in the background
    stored.delete(*stored.keys("*:providers:*"))
    other = cached_app()
    for _ in range(2):
        response, remembered = from_memory(other, query, **headers)
        assert (response.json["linkableProviders"], remembered) == (None, False)


def test_what_may_be_unlinked_is_not_served_beyond_what_it_was_decided_by(cached_app, genauth, sign_in):
    app, kims = cached_app(), sign_in("kim")
    ask(app, "?include=unlink", **kims)
    app.extensions["clock"].by = 50
    ask(app, "?refresh=true", **kims)
    eventually(lambda: from_memory(app, "?include=unlink", **kims)[1])
    assert genauth.calls("/api/v3/get-security-info") == 1

    app.extensions["clock"].by = 75  # the accounts hold for another half a minute, and so would this response
    genauth.sign_in("kim", password=False)

    response, remembered = from_memory(app, "?include=unlink", **kims)
    assert (response.json["linkedAccounts"][0]["unlink"]["allowed"], remembered) == (False, False)


def test_it_is_logged_and_counted_as_any_answer_is_with_memory_as_its_source(cached_app, sign_in, written):
    app = cached_app()
    headers = sign_in("mei")
    ask(app, **headers)
    written()

    response = ask(app, **headers, X_Request_Id="trace-1234")

    assert response.headers["X-Request-Id"] == "trace-1234"
    logged = written().out
    for field in (b'"event":"request"', b'"route":"/me/linked-accounts"', b'"source":"memory"', b'"request_id":"trace-1234"'):
        assert field in logged
    counted = 'linked_accounts_answers_total{route="/me/linked-accounts",source="memory",status="200"} 1.0'
    assert counted in services_of(app).metrics.render().decode()


def test_age_and_lifetime_are_those_of_the_moment(cached_app, sign_in):
    app = cached_app()
    headers = sign_in("mei")
    ask(app, **headers)

    def moments():
        response = ask(app, **headers)
        return int(response.headers["Age"]), int(response.headers["Cache-Status"].rpartition("ttl=")[2])

    age, ttl = moments()
    later(1.1, app)
    later_age, later_ttl = moments()

    assert 1 <= later_age - age <= 2
    assert 1 <= ttl - later_ttl <= 2


def test_a_304_is_kept_apart_from_the_response_with_a_body(cached_app, sign_in):
    app = cached_app()
    headers = sign_in("mei")
    etag = ask(app, **headers).headers["ETag"]

    answers = [ask(app, **headers, **condition) for condition in ({"If_None_Match": etag}, {}, {"If_None_Match": '"x"'}) * 2]

    assert [answer.status_code for answer in answers] == [304, 200, 200] * 2
    assert [bool(answer.data) for answer in answers] == [False, True, True] * 2


def test_nothing_is_served_beyond_the_tokens_end(cached_app, genauth):
    app = cached_app()
    headers = {"Authorization": f"Bearer {genauth.token('mei', lifetime=2)}"}
    assert ask(app, **headers).status_code == 200
    assert ask(app, **headers).status_code == 200

    time.sleep(2.1)

    assert ask(app, **headers).json["code"] == "token_expired"


def test_nothing_is_served_beyond_genauths_acceptance(cached_app, genauth):
    app = cached_app(TOKEN_ACCEPTED_SECONDS="1")
    token = genauth.token("mei")
    ask(app, Authorization=f"Bearer {token}")
    ask(app, Authorization=f"Bearer {token}")
    genauth.revoke(token)

    later(1.1, app)

    assert ask(app, Authorization=f"Bearer {token}").json["code"] == "token_invalid"


def test_nothing_is_served_beyond_the_entrys_freshness(cached_app, genauth, sign_in):
    app = cached_app(CACHE_TTL_SECONDS="1")
    headers = sign_in("omar")
    ask(app, **headers)
    ask(app, **headers)
    genauth.answers("omar", identities=[])

    later(1.3, app)

    assert ask(app, **headers).json["meta"]["total"] == 0


def test_nothing_is_served_beyond_the_setting(cached_app, sign_in):
    app = cached_app(LOCAL_CACHE_SECONDS="1")
    headers = sign_in("mei")
    ask(app, **headers)
    assert from_memory(app, **headers)[1]

    later(1.1, app)

    assert not from_memory(app, **headers)[1]


def test_a_stale_answer_is_not_kept(cached_app, genauth, sign_in):
    app = cached_app(CACHE_TTL_SECONDS="1")
    headers = sign_in("mei")
    ask(app, **headers)
    later(1.3, app)
    genauth.trouble(path=IDENTITIES, status=500)
    assert [ask(app, **headers).json["meta"]["stale"] for _ in range(2)] == [True, True]
    genauth.healthy()
    later(2, app)  # a failure is repeated that long

    eventually(lambda: not ask(app, **headers).json["meta"]["stale"], seconds=8.0)


def test_with_the_signing_key_withdrawn_every_session_is_verified_anew(cached_app, sign_in, monkeypatch):
    app = cached_app()
    headers = sign_in("mei")
    ask(app, **headers)
    assert from_memory(app, **headers)[1]

    monkeypatch.setattr("bff.auth.access_tokens.AccessTokens.version", property(lambda _: 4711))

    assert not from_memory(app, **headers)[1]


def test_a_refusal_elsewhere_ends_it_at_once(cached_app, genauth):
    here, elsewhere = cached_app(), cached_app()
    token = {"Authorization": f"Bearer {genauth.token('mei')}"}
    ask(here, **token)
    ask(here, **token)
    time.sleep(0.01)
    genauth.block("mei")
    # The other worker learns of it from another session of the same person.
    assert ask(elsewhere, Authorization=f"Bearer {genauth.token('mei')}").json["code"] == "user_blocked"

    eventually(lambda: ask(here, **token).status_code == 403, seconds=1.0)


def test_a_forced_refresh_is_seen_by_every_worker(cached_app, genauth, sign_in):
    here, elsewhere = cached_app(), cached_app()
    headers = sign_in("omar")
    ask(here, **headers)
    ask(elsewhere, **headers)
    ask(elsewhere, **headers)
    genauth.answers("omar", identities=[])
    later(2.1, here, elsewhere)  # younger is fresh by definition
    ask(elsewhere, **headers)

    assert ask(here, "?refresh=true", **headers).json["meta"]["total"] == 0

    eventually(lambda: ask(elsewhere, **headers).json["meta"]["total"] == 0, seconds=1.0)


def test_what_the_outcome_of_a_link_showed_is_seen_by_every_worker(cached_app, genauth):
    here, elsewhere = (cached_app(**SETTINGS | {"PUBLIC_URL": ""}) for _ in range(2))
    mei, also_mei = (Person(app.test_client(use_cookies=False), genauth, "mei") for app in (here, elsewhere))
    link = mei.begin().json
    for app in (here, elsewhere):
        # What `begin` told of may arrive late: an answer that was begun before is not kept.
        eventually(lambda app=app: from_memory(app, **mei.headers)[1], seconds=1.0)
    decide(link["url"])

    assert mei.outcome(link["state"]).json["status"] == "linked"

    assert len(mei.accounts()) == 3
    eventually(lambda: len(also_mei.accounts()) == 3, seconds=1.0)


def test_an_answer_that_was_to_be_fresh_is_not_kept(cached_app, sign_in):
    app = cached_app()
    headers = sign_in("mei")
    ask(app, "?refresh=true", **headers)

    assert not from_memory(app, "?refresh=true", **headers)[1]
    # That there was something newer may arrive late: an answer that was begun before is not kept.
    eventually(lambda: from_memory(app, "?refresh=false", **headers)[1])


@pytest.mark.parametrize("added", BY_BROWSERS, ids=str)
def test_what_browsers_add_to_a_fetch_costs_neither_flask_nor_redis(cached_app, sign_in, added):
    app = cached_app()
    headers = sign_in("mei")
    tag = ask(app, **headers).headers["ETag"]
    ask(app, **headers, If_None_Match=tag)

    response, is_from_memory = from_memory(app, **headers, If_None_Match=tag, **added)

    assert (response.status_code, is_from_memory) == (304, True)


def test_while_invalidations_do_not_arrive_nothing_is_served_from_memory(cached_app, sign_in):
    app = cached_app()
    headers = sign_in("mei")
    ask(app, **headers)
    assert from_memory(app, **headers)[1]
    services_of(app).invalidations.stop(wait_seconds=5)
    eventually(lambda: not services_of(app).invalidations.connected)

    assert not any(from_memory(app, **headers)[1] for _ in range(2))


def test_an_answer_begun_before_an_invalidation_is_not_kept(cached_app, genauth, sign_in):
    app = cached_app()
    headers = sign_in("mei")
    genauth.trouble(path=IDENTITIES, latency=0.3)
    asking = threading.Thread(target=ask, args=(app,), kwargs=headers)
    asking.start()
    time.sleep(0.15)
    services_of(app).responses.invalidate("somebody else even")
    asking.join()

    assert not from_memory(app, **headers)[1]
    assert from_memory(app, **headers)[1]


def test_nobody_gets_the_response_to_somebody_else(cached_app, sign_in):
    app = cached_app()
    mei, omar = sign_in("mei"), sign_in("omar")
    expected = {"mei": ask(app, **mei).data, "omar": ask(app, **omar).data}

    for _ in range(5):
        assert ask(app, **mei).json["linkedAccounts"] != ask(app, **omar).json["linkedAccounts"]
        assert (ask(app, **mei).data, ask(app, **omar).data) == (expected["mei"], expected["omar"])


def test_a_response_from_memory_counts_against_the_limit(cached_app, sign_in):
    app = cached_app(RATE_LIMIT="5/minute", CORS_ORIGINS="https://app.example.com")
    headers = sign_in("mei") | {"Origin": "https://app.example.com"}

    answers = [ask(app, **headers) for _ in range(8)]

    assert [answer.status_code for answer in answers] == [200] * 5 + [429] * 3
    assert [answer.headers["RateLimit"].split(";")[1] for answer in answers] == ["r=4", "r=3", "r=2", "r=1", "r=0"] + ["r=0"] * 3
    assert {answer.headers["Access-Control-Allow-Origin"] for answer in answers} == {"https://app.example.com"}
    assert [answer.headers.get_all("RateLimit-Policy") for answer in answers] == [['"user";q=5;w=60']] * 8
    refused = 'linked_accounts_answers_total{route="/me/linked-accounts",source="none",status="429"} 3.0'
    assert refused in services_of(app).metrics.render().decode()


# Everything in a request that decides its response, and two values of each that are not the same.
DECISIVE = {
    "REQUEST_METHOD": ("GET", "HEAD"),
    "QUERY_STRING": ("", "include=identities"),
    "wsgi.url_scheme": ("http", "https"),
    "HTTP_AUTHORIZATION": ("Bearer a", "Bearer b"),
    "HTTP_COOKIE": ("session=a", "session=b"),
    "HTTP_X_REQUESTED_WITH": (None, "fetch"),
    "HTTP_ORIGIN": (None, "https://app.example.com"),
    "HTTP_IF_NONE_MATCH": (None, '"etag"'),
    "HTTP_HOST": ("a.example", "b.example"),
    "HTTP_ACCESS_CONTROL_REQUEST_PRIVATE_NETWORK": (None, "true"),
}
HEADERS = [name for name in DECISIVE if name.startswith("HTTP_")]


class Echo:
    """An application that keeps every response and counts the requests that reach it."""

    def __init__(self):
        self.reached = 0

    def __call__(self, environ, start_response):
        self.reached += 1
        now = time.time()
        environ[RECORD].freshness = Freshness(Session("mei", now + 60, "token", "digest"), now, now + 60, now + 60)
        start_response("200 OK", [])
        decided_by = [language(environ.get("HTTP_ACCEPT_LANGUAGE", "")), *map(environ.get, DECISIVE)]
        return [repr(decided_by).encode()]


@pytest.fixture
def echo():
    return Echo()


@pytest.fixture
def cached_echo(echo):
    """What the echo answers through a response cache to a request with these variables."""
    responses = CachedResponses(30.0, person=lambda user_id: user_id)
    cache = ResponseCache(echo, responses, connected=lambda: True, cookies=True)

    def get(**variables):
        plain = {"REQUEST_METHOD": "GET", "QUERY_STRING": "", "PATH_INFO": PATH, "wsgi.url_scheme": "http"}
        environ = {name: value for name, value in {**plain, **variables}.items() if value is not None}
        environ[RECORD] = RequestRecord("request-id", time.monotonic(), Deadline.after(5))
        return b"".join(cache(environ, lambda *_: None))

    return get


def test_the_same_request_is_answered_once(cached_echo, echo):
    assert cached_echo() == cached_echo()
    assert echo.reached == 1


@pytest.mark.parametrize("name", DECISIVE)
def test_what_decides_a_response_tells_requests_apart(cached_echo, echo, name):
    answers = [cached_echo(**{name: value}) for value in DECISIVE[name] * 2]

    assert answers[:2] == answers[2:]
    assert answers[0] != answers[1]
    assert echo.reached == 2


def test_the_language_tells_requests_apart_and_not_how_it_is_asked_for(cached_echo, echo):
    def ask(*fields):
        return {cached_echo(HTTP_ACCEPT_LANGUAGE=field) for field in fields}

    english = ask(None, "", "en", "de", "EN-gb,en;q=0.9", "x" * 60_000)
    chinese = ask("zh", "zh-CN,zh;q=0.9,en;q=0.8", "ZH-tw")

    assert (len(english), len(chinese), echo.reached) == (1, 1, 2)
    assert english != chinese


@pytest.mark.parametrize("name", HEADERS)
@pytest.mark.parametrize("value", ["", "None", "null", "-", "0"])
def test_a_header_that_is_absent_is_another_one_than_an_empty_one(cached_echo, name, value):
    assert cached_echo(**{name: None}) != cached_echo(**{name: value})


@pytest.mark.parametrize("name", HEADERS)
@pytest.mark.parametrize(
    "joined", ["\0", ",", ", ", "', '", '", "', "'", '"', "\\', '", "\n", "|", "\x1f"], ids=[str(number) for number in range(11)]
)
def test_what_one_header_ends_with_is_not_what_the_next_begins_with(cached_echo, name, joined):
    position = HEADERS.index(name)
    following = HEADERS[(position + 1) % len(HEADERS)]

    answers = [
        cached_echo(**{name: "a" + joined + "b", following: "c"}),
        cached_echo(**{name: "a", following: "b" + joined + "c"}),
        cached_echo(**{name: "a" + joined + "b" + joined + "c", following: None}),
        cached_echo(**{name: "a" + joined + "b" + joined + "c", following: ""}),
        cached_echo(**{name: "ab", following: "c"}),
        cached_echo(**{name: "a", following: "bc"}),
    ]

    assert len(set(answers)) == len(answers)


@pytest.mark.parametrize(
    "variables",
    [
        {"HTTP_RANGE": "bytes=0-1"},
        {"HTTP_IF_RANGE": '"etag"'},
        {"HTTP_TRANSFER_ENCODING": "chunked"},
        {"CONTENT_LENGTH": "5"},
        {"REQUEST_METHOD": "POST"},
        {"REQUEST_METHOD": "OPTIONS"},
        {"PATH_INFO": "/me/something-else"},
    ],
    ids=str,
)
def test_what_asks_for_something_else_is_never_answered_from_memory(cached_echo, echo, variables):
    for _ in range(3):
        cached_echo(**variables)

    assert echo.reached == 3
