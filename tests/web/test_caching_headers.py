"""How fresh an answer is, whether it has changed, in which language: what the headers say."""

import pytest

PATH = "/me/linked-accounts"
IDENTITIES = "/api/v3/get-identities"


@pytest.fixture
def app(app_with):
    return app_with(CACHE_TTL_SECONDS="60", TOKEN_ACCEPTED_SECONDS="600")


@pytest.fixture
def clock(app):
    """Move the clock that answers age by."""
    return app.extensions["clock"]


def status(response):
    assert response.status_code == 200
    return response.headers["Cache-Status"], int(response.headers["Age"])


def test_an_answer_says_where_it_came_from_and_how_old_it_is(client, clock, genauth, sign_in):
    headers = sign_in("mei")

    assert status(client.get(PATH, headers=headers)) == ("linked-accounts; fwd=miss", 0)
    clock.by = 20
    told, age = status(client.get(PATH, headers=headers))
    assert age == 20
    assert 32 <= int(told.removeprefix("linked-accounts; hit; ttl=")) <= 46
    clock.by = 70
    assert status(client.get(PATH, headers=headers)) == ("linked-accounts; fwd=stale", 0)
    clock.by = 200
    genauth.trouble(path=IDENTITIES, status=500)
    stale = client.get(PATH, headers=headers)
    told, age = status(stale)
    assert age == 130
    assert told.startswith("linked-accounts; hit; ttl=-")
    assert told.endswith("; detail=stale-if-error")
    assert stale.json["meta"]["stale"] is True


@pytest.mark.parametrize("method", ["GET", "HEAD"])
@pytest.mark.parametrize(
    "query", ["refresh=true", "include=identities&refresh=true", "refresh=true&refresh=true", "%72efresh=tru%65"]
)
def test_a_fresh_answer_can_be_asked_for_once_it_is_two_seconds_old(client, clock, sign_in, asked, method, query):
    headers = sign_in("mei")
    client.get(PATH, headers=headers)

    clock.by = 1
    assert status(client.open(f"{PATH}?{query}", method=method, headers=headers))[0].startswith("linked-accounts; hit")
    assert asked() == 1
    clock.by = 3
    assert status(client.open(f"{PATH}?{query}", method=method, headers=headers)) == ("linked-accounts; fwd=request", 0)
    assert asked() == 2


@pytest.mark.parametrize("value", ["", "1", "TRUE", "True", "yes", "true,true", "true&refresh=false", "true%00", "t" * 300])
def test_a_refresh_that_is_neither_true_nor_false_is_refused(client, sign_in, asked, value):
    response = client.get(f"{PATH}?refresh={value}", headers=sign_in("mei"))

    assert (response.status_code, response.json["code"]) == (400, "invalid_request")
    assert "refresh" in response.json["detail"]
    assert asked() == 0


def test_every_mistake_in_the_query_is_named(client, sign_in):
    detail = client.get(f"{PATH}?refresh=1&include=friends", headers=sign_in("mei")).json["detail"]

    assert "include" in detail
    assert "refresh" in detail


# What browsers and their development tools add by themselves, or a reload does.
@pytest.mark.parametrize(
    "value", ["no-cache", "No-Cache", "max-age=0, no-cache", "no-cache, no-store", "max-age=0", "only-if-cached"]
)
@pytest.mark.parametrize("query", ["", "?refresh=false"])
def test_nothing_that_a_client_adds_by_itself_asks_genauth(client, clock, sign_in, asked, value, query):
    headers = sign_in("mei")
    tag = client.get(PATH, headers=headers).headers["ETag"]
    clock.by = 3

    added = {"Cache-Control": value, "Pragma": "no-cache", "If-None-Match": tag}
    response = client.get(PATH + query, headers=headers | added)

    assert response.status_code == 304
    assert asked() == 1


def test_the_tag_is_that_of_the_data(client, clock, genauth, sign_in):
    headers = sign_in("mei")
    first = client.get(PATH, headers=headers)
    clock.by = 70
    later = client.get(PATH, headers=headers)
    clock.by = 200
    genauth.trouble(path=IDENTITIES, status=500)
    stale = client.get(PATH, headers=headers)

    assert first.json["meta"] != later.json["meta"] != stale.json["meta"]
    assert first.headers["ETag"] == later.headers["ETag"] == stale.headers["ETag"]
    assert first.headers["ETag"].startswith('W/"')


def test_the_tag_changes_with_what_is_shown(client, genauth, sign_in):
    headers = sign_in("mei")

    tags = {
        client.get(PATH, headers=headers).headers["ETag"],
        client.get(f"{PATH}?include=identities", headers=headers).headers["ETag"],
        client.get(PATH, headers=headers | {"Accept-Language": "zh"}).headers["ETag"],
        client.get(PATH, headers=sign_in("omar")).headers["ETag"],
    }

    assert len(tags) == 4


@pytest.mark.parametrize("method", ["GET", "HEAD"])
@pytest.mark.parametrize("form", ["{}", '"x", {}', "*", "{strong}"])
def test_what_has_not_changed_is_not_sent_again(client, sign_in, method, form):
    headers = sign_in("mei")
    tag = client.get(PATH, headers=headers).headers["ETag"]
    condition = {"If-None-Match": form.format(tag, strong=tag.removeprefix("W/"))}

    response = client.open(PATH, method=method, headers=headers | condition)

    assert (response.status_code, response.data) == (304, b"")
    assert response.headers["ETag"] == tag
    assert response.headers["Cache-Status"].startswith("linked-accounts; hit")


@pytest.mark.parametrize("condition", ['W/"other"', "", '"', "W/", "not a tag"])
def test_what_has_changed_or_cannot_be_compared_is_sent(client, sign_in, condition):
    response = client.get(PATH, headers=sign_in("mei") | {"If-None-Match": condition})

    assert response.status_code == 200


def test_conditions_that_are_not_ours_change_nothing(client, sign_in):
    others = {
        "If-None-Match": '"y"',
        "If-Match": '"x"',
        "If-Modified-Since": "Fri, 01 Jan 2100 00:00:00 GMT",
        "If-Unmodified-Since": "Thu, 01 Jan 1970 00:00:00 GMT",
        "Range": "bytes=0-3",
    }

    response = client.get(PATH, headers=sign_in("mei") | others)

    assert response.status_code == 200
    assert response.json["meta"]["total"] == 2


@pytest.mark.parametrize(
    ("accepted", "language"),
    [
        (None, "en"),
        ("", "en"),
        ("*", "en"),
        ("en", "en"),
        ("zh", "zh"),
        ("zh-CN", "zh"),
        ("zh-TW", "zh"),
        ("zh-Hans-CN", "zh"),
        ("ZH-cn", "zh"),
        ("de, zh;q=0.5", "zh"),
        ("en;q=0.8, zh;q=0.9", "zh"),
        ("zh;q=0.8, en;q=0.9", "en"),
        ("zh;q=0", "en"),
        ("zh;q=0, *", "en"),
        ("fr", "en"),
        ("zhx", "en"),
        (";;q=,,\x7f", "en"),
        ("zh;q=abc", "en"),
        ("en-GB,en;q=0.9", "en"),
        ("zh-CN,en;q=0.9", "zh"),
        ("zh-CN,zh;q=0.9,en;q=0.8", "zh"),
        ("zh-HK,en-GB;q=0.9", "zh"),
        ("zh-CN,*", "zh"),
        ("*,zh-CN", "zh"),
        ("*;q=0.9,zh-TW;q=0.1", "zh"),
        ("fr-CA,zh-TW;q=0.5,en;q=0.4", "zh"),
        ("fr-CA,en-US;q=0.5,zh;q=0.4", "en"),
        ("en-US;q=0.8,zh-Hant-HK", "zh"),
        ("zh-CN;q=0,en;q=0.1", "en"),
        ("zh_CN", "zh"),
        ("zh-CN;q=0.9, en-US;q=0.9", "zh"),
        ("zh-x-private", "zh"),
        ("-zh, enx, x-zh", "en"),
    ],
)
def test_providers_are_named_in_the_readers_language(client, sign_in, accepted, language):
    headers = sign_in("mei") | ({"Accept-Language": accepted} if accepted is not None else {})

    response = client.get(PATH, headers=headers)

    assert ("微信" in response.json["linkedAccounts"][1]["provider"]["name"]) == (language == "zh")
    assert response.headers["Content-Language"] == language
    problem = client.get(PATH, headers={"Accept-Language": accepted} if accepted is not None else {})
    assert problem.headers["Content-Language"] == language
    assert problem.json["title"] == {"en": "Sign in to see your linked accounts.", "zh": "请登录以查看已绑定的账号。"}[language]


def test_https_is_insisted_on_where_a_proxy_says_that_it_was_used(client_with, sign_in):
    behind = client_with(TRUSTED_PROXIES="1")

    assert "max-age=" in behind.get("/livez", headers={"X-Forwarded-Proto": "https"}).headers["Strict-Transport-Security"]
    assert "Strict-Transport-Security" not in behind.get("/livez", headers={"X-Forwarded-Proto": "http"}).headers
    assert "Strict-Transport-Security" not in client_with().get("/livez", headers={"X-Forwarded-Proto": "https"}).headers
