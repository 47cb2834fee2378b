"""Every way in which an answer is not the accounts, by code, status and headers."""

import re

import pytest

from bff.web.problems import errors_by_code

PATH = "/me/linked-accounts"
HASTY = {"UPSTREAM_CONNECT_SECONDS": "0.2", "UPSTREAM_DEADLINE_SECONDS": "0.4", "REQUEST_DEADLINE_SECONDS": "0.5"}
IDENTITIES = "/api/v3/get-identities"


def told(response):
    return response.status_code, response.json["code"]


@pytest.mark.parametrize(
    "path", ["/me//linked-accounts", "//me/linked-accounts", "/problems//token-missing", "/me/linked-accounts/"]
)
def test_another_spelling_of_a_path_is_another_path(client, path):
    response = client.get(path, headers={"Host": "evil.example"})

    assert (response.status_code, response.json["code"]) == (404, "not_found")
    assert "Location" not in response.headers


def test_a_problem_says_where_what_and_which_request(client):
    problem = client.get("/no/such/place", headers={"X-Request-Id": "trace-1234"}).json

    assert problem == {
        "type": "/problems/not-found",
        "title": "There is nothing here.",
        "status": 404,
        "code": "not_found",
        "instance": "/no/such/place",
        "requestId": "trace-1234",
    }


@pytest.mark.parametrize("path", ["/no/such/place", "/me/nothing", "/metrics", "/problems/none"])
def test_a_problems_title_is_in_the_readers_language(client_with, path):
    client = client_with(METRICS_TOKEN="watching")
    english, chinese = (client.get(path, headers={"Accept-Language": each}) for each in ("en-GB", "zh-Hant-HK,en;q=0.9"))

    assert english.json["title"].isascii()
    assert re.search(r"[\u4e00-\u9fff]", chinese.json["title"])
    assert (english.headers["Content-Language"], chinese.headers["Content-Language"]) == ("en", "zh")
    assert "Accept-Language" in chinese.headers["Vary"]
    assert english.json | {"title": "", "requestId": ""} == chinese.json | {"title": "", "requestId": ""}


@pytest.mark.parametrize("kind", errors_by_code().values(), ids=errors_by_code())
def test_every_error_has_a_title_in_both_languages(kind):
    assert kind.title_in("en").isascii()
    assert re.fullmatch(r".*[\u4e00-\u9fff].*\u3002", kind.title_in("zh"))


@pytest.mark.parametrize(
    ("path", "instance"),
    [
        ('/\xc3\xa9/ "<', "/%C3%A9/%20%22%3C"),
        ("/a?b#c", "/a%3Fb%23c"),
        ("/a\r\nSet-Cookie:x", "/a%0D%0ASet-Cookie:x"),
        ("//evil.example/x", "/evil.example/x"),
        ("/" + "a" * 5000, "/"),
        ("*", "/*"),
        ("", "/"),
    ],
)
def test_an_instance_is_always_a_reference_to_here(client, path, instance):
    problem = client.get("/x", environ_overrides={"PATH_INFO": path}).json

    assert problem["instance"] == instance


@pytest.mark.parametrize("method", ["POST", "PUT", "PATCH", "DELETE", "TRACE", "FROB"])
def test_a_method_that_is_not_there_names_those_that_are(client, sign_in, method):
    response = client.open(PATH, method=method, headers=sign_in("mei"))

    assert told(response) == (405, "method_not_allowed")
    assert response.headers["Allow"] == "GET, HEAD, OPTIONS"


@pytest.mark.parametrize("path", ["/", "/me", "/me/", f"{PATH}/", "/metrics", "/webhooks/genauth", "/static/x", "/.env"])
def test_there_is_nothing_anywhere_else(client, path):
    assert told(client.get(path)) == (404, "not_found")
    assert client.head(path).data == b""


def test_a_host_that_is_not_ours_is_refused(client_with, sign_in):
    client = client_with(ALLOWED_HOSTS="api.example,.Apps.example,[::1]:8000")

    for host in ("api.example", "api.example:8000", "x.apps.example", "apps.example", "API.Example", "api.example.", "[::1]"):
        assert client.get(PATH, headers=sign_in("mei") | {"Host": host}).status_code == 200
    for host in ("api.example.:8000", "X.APPS.example.", "[::1]:443", "api.example:"):
        assert client.get(PATH, headers=sign_in("mei") | {"Host": host}).status_code == 200
    for host in ("evil.example", "api.example.evil", "api.example,evil.example", "", "a b", ".", "api.example..", "[::2]"):
        assert told(client.get(PATH, headers=sign_in("mei") | {"Host": host})) == (400, "invalid_request")
    for host in ("xapps.example", "api.example:8000:1", "api.example@evil.example", "evil.example/.apps.example", "é.example"):
        assert told(client.get(PATH, headers=sign_in("mei") | {"Host": host})) == (400, "invalid_request")
    assert told(client.options(PATH, headers={"Host": "evil.example"})) == (400, "invalid_request")


@pytest.mark.parametrize("path", ["/livez", "/readyz", "/openapi.json", "/docs", "/problems/token-missing"])
def test_what_needs_no_session_is_told_under_any_name(client_with, path):
    client = client_with(ALLOWED_HOSTS="api.example")

    for host in ("api.example", "10.0.0.7:8000", "pod-7", "", "a b"):
        assert client.get(path, headers={"Host": host}).status_code == 200


def test_a_body_on_a_get_changes_nothing_unless_it_is_large(client, sign_in):
    assert client.get(PATH, headers=sign_in("mei"), data=b"x" * 1000).status_code == 200
    assert told(client.get(PATH, headers=sign_in("mei"), data=b"x" * 65537)) == (413, "invalid_request")


def test_a_token_that_genauth_refuses_is_invalid(client, genauth):
    token = genauth.token("mei")
    genauth.revoke(token)

    response = client.get(PATH, headers={"Authorization": f"Bearer {token}"})

    assert told(response) == (401, "token_invalid")
    assert response.headers["WWW-Authenticate"].startswith('Bearer error="invalid_token"')


@pytest.mark.parametrize("api_code", [2005, 2120008, 2130010])
def test_a_blocked_user_is_told_so(client, genauth, sign_in, api_code):
    genauth.block("omar", api_code)

    assert told(client.get(PATH, headers=sign_in("omar"))) == (403, "user_blocked")


TROUBLES = {
    "throttled": ({"status": 429, "retry_after": 17}, 429, "rate_limited"),
    "throttled in the envelope": ({"envelope": 429}, 429, "rate_limited"),
    "internal error": ({"status": 500}, 503, "upstream_unavailable"),
    "bad gateway": ({"status": 502}, 503, "upstream_unavailable"),
    "maintenance": ({"status": 503, "retry_after": 9}, 503, "upstream_unavailable"),
    "refused by the envelope": ({"envelope": 500}, 503, "upstream_unavailable"),
    "reset": ({"ending": "reset"}, 503, "upstream_unavailable"),
    "html": ({"malformed": "html"}, 502, "upstream_malformed"),
    "cut short": ({"malformed": "truncated-json"}, 502, "upstream_malformed"),
    "too large": ({"malformed": "oversized"}, 502, "upstream_malformed"),
    "a redirect": ({"status": 302}, 502, "upstream_malformed"),
    "a gateway's 401": ({"status": 401}, 502, "upstream_malformed"),
    "a gateway's 403": ({"status": 403}, 502, "upstream_malformed"),
    "a gateway's 401 in JSON": ({"status": 401, "body": '{"message":"Unauthorized"}'}, 502, "upstream_malformed"),
    "a right that the application lacks": ({"envelope": {"statusCode": 403, "apiCode": 1001}}, 502, "upstream_forbidden"),
    "a right that nobody knows": ({"envelope": {"statusCode": 403}}, 502, "upstream_forbidden"),
    "hanging": ({"ending": "hang"}, 504, "upstream_timeout"),
    "hanging after the headers": ({"ending": "hang-after-headers"}, 504, "upstream_timeout"),
    "dripping": ({"drip_body": 0.2}, 504, "upstream_timeout"),
}


@pytest.mark.parametrize(("trouble", "status", "code"), TROUBLES.values(), ids=TROUBLES.keys())
def test_genauths_troubles_have_a_code_each(client_with, genauth, sign_in, trouble, status, code):
    genauth.trouble(path=IDENTITIES, **trouble)

    # Only who waits in vain is in a hurry: five megabytes take a busy machine as long as that.
    response = client_with(**HASTY if status == 504 else {}).get(PATH, headers=sign_in("mei"))

    assert told(response) == (status, code)
    assert "openresty" not in response.text


@pytest.mark.parametrize(("status", "code"), [(429, "rate_limited"), (503, "upstream_unavailable")])
@pytest.mark.parametrize(("asked_for", "passed_on"), [("17", "17"), ("0.2", None), ("soon", None)])
def test_how_long_genauth_wants_to_be_left_alone_is_passed_on(client, genauth, sign_in, status, code, asked_for, passed_on):
    genauth.trouble(path=IDENTITIES, status=status, retry_after=asked_for)

    response = client.get(PATH, headers=sign_in("mei"))

    assert told(response) == (status, code)
    if passed_on:
        assert response.headers["Retry-After"] == passed_on


@pytest.mark.parametrize("warm", [True, False], ids=["keys known", "keys unknown"])
def test_genauth_refusing_connections_is_unavailable(client, genauth, sign_in, warm):
    if warm:
        client.get(PATH, headers=sign_in("omar"))
    genauth.stop_listening()
    try:
        assert told(client.get(PATH, headers=sign_in("mei"))) == (503, "upstream_unavailable")
    finally:
        genauth.listen_again()


@pytest.mark.parametrize(
    "envelope",
    [
        {"statusCode": 401, "apiCode": 2020, "message": "SECRET MESSAGE"},
        {"statusCode": 403, "apiCode": 2005, "message": "SECRET MESSAGE"},
        {"statusCode": 429, "message": "SECRET MESSAGE"},
        {"statusCode": 500, "message": "SECRET MESSAGE"},
        {"statusCode": 404, "apiCode": 4004, "message": "SECRET MESSAGE"},
        {"statusCode": 200, "message": "SECRET MESSAGE", "data": "SECRET MESSAGE"},
    ],
)
def test_genauths_own_words_are_never_shown(client, genauth, sign_in, envelope):
    genauth.trouble(path=IDENTITIES, envelope=envelope)

    response = client.get(PATH, headers=sign_in("mei"))

    assert response.status_code >= 400
    assert "SECRET" not in response.text + str(response.headers)


def test_a_defect_of_ours_is_told_without_its_trace(client, sign_in, written, monkeypatch):
    def broken(*_, **__):
        raise RuntimeError("token is eyJhbGciOiJSUzI1NiJ9.canary")

    monkeypatch.setattr("bff.accounts.service.LinkedAccounts.of", broken)
    response = client.get(PATH, headers=sign_in("mei"))

    assert told(response) == (500, "internal_error")
    assert response.json.keys() == {"type", "title", "status", "code", "instance", "requestId"}
    logged = written().out
    assert b'"event":"defect"' in logged
    assert response.json["requestId"].encode() in logged
    assert b"RuntimeError" in logged
    assert b"canary" not in logged


def test_a_defect_before_the_view_is_told_alike(client, sign_in, monkeypatch):
    monkeypatch.setattr("bff.auth.sessions.Sessions.of", lambda *_: 1 / 0)

    assert told(client.get(PATH, headers=sign_in("mei"))) == (500, "internal_error")
