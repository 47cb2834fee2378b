"""What a change needs besides a session: of a cookie a page that may use it, a rate, a sign-in that is recent enough."""

import re

import pytest
from flask import jsonify
from flask.testing import FlaskClient

PATH = "/me/change"
PAGE, OTHER, EVIL = "https://app.example", "http://localhost:5173", "https://evil.example"
COOKIES = {"SESSION_COOKIE_NAME": "sid", "CORS_ORIGINS": f"{PAGE},{OTHER}"}
ASKED = {"X-Requested-With": "fetch"}


@pytest.fixture
def client_with(app_with):
    """A client of an application with one more route, which changes nothing and stands where those do that change something."""

    def make(**settings):
        app = app_with(**settings)
        app.test_client_class = FlaskClient  # the route is in no contract
        app.add_url_rule(PATH, "me.change", lambda: jsonify(changed=True), methods=["GET", "POST", "DELETE"])
        return app.test_client(use_cookies=False)

    return make


@pytest.fixture
def cookie(genauth):
    return lambda person, **token: {"Cookie": f"sid={genauth.token(person, **token)}"}


def code(response):
    return response.status_code, response.json.get("code")


@pytest.mark.parametrize("method", ["POST", "DELETE"])
@pytest.mark.parametrize(
    ("headers", "expected"),
    [
        (ASKED | {"Origin": PAGE}, (200, None)),
        (ASKED | {"Origin": OTHER}, (200, None)),
        (ASKED, (403, "origin_not_allowed")),
        ({}, (403, "origin_not_allowed")),
        ({"Origin": PAGE}, (403, "csrf_header_missing")),
        ({"Origin": PAGE, "X-Requested-With": " "}, (403, "csrf_header_missing")),
        *(
            (ASKED | {"Origin": origin}, (403, "origin_not_allowed"))
            for origin in (EVIL, "null", "", "*", f"{PAGE}/", f"{PAGE}:443", f"{PAGE}.evil.example", "http://app.example")
        ),
    ],
)
def test_a_change_with_a_cookie_comes_from_a_page_that_may(client_with, cookie, method, headers, expected):
    assert code(client_with(**COOKIES).open(PATH, method=method, headers=cookie("mei") | headers)) == expected


def test_no_route_changes_anything_for_a_cookie_from_nowhere(client_with, cookie, genauth):
    """Read from the application itself, so that a route which is added later is held to it."""
    client = client_with(**COOKIES)
    rules = [rule for rule in client.application.url_map.iter_rules() if rule.methods & {"POST", "DELETE", "PUT", "PATCH"}]
    changing = [rule for rule in rules if rule.rule not in {PATH, "/me/linked-accounts/links/<state>/return"}]
    assert changing

    for rule in changing:
        (method,) = rule.methods & {"POST", "DELETE", "PUT", "PATCH"}
        for headers in (ASKED, {"Origin": PAGE}, ASKED | {"Origin": EVIL}, {}):
            answer = client.open(re.sub("<.*>", "x", rule.rule), method=method, headers=cookie("mei") | headers, json={})
            assert answer.status_code == 403, rule.rule
    assert genauth.calls("/api/v3/get-identities") == 0


def test_who_reads_needs_no_origin_and_who_sends_a_token_neither(client_with, cookie, sign_in):
    client = client_with(**COOKIES)

    assert client.get(PATH, headers=cookie("mei") | ASKED).status_code == 200
    for origin in ({}, {"Origin": EVIL}):
        assert client.delete(PATH, headers=sign_in("mei") | origin).status_code == 200


@pytest.mark.parametrize(
    ("settings", "base_url", "own", "others"),
    [
        ({}, "https://bff.example", "https://bff.example", ["http://bff.example", "https://x.bff.example", "https://bff.example:8443"]),
        ({}, "https://bff.example:443", "https://bff.example", ["https://bff.example:443"]),
        ({}, "http://localhost:8000", "http://localhost:8000", ["http://localhost", "https://localhost:8000"]),
        ({"PUBLIC_URL": "https://app.example.org/api/"}, "http://10.0.0.1:8000", "https://app.example.org", ["http://10.0.0.1:8000"]),
        ({"PUBLIC_URL": "https://App.example.org:443"}, "http://localhost", "https://app.example.org", ["https://app.example.org:443"]),
        ({"TRUSTED_PROXIES": "1"}, "http://bff.example", "https://bff.example", ["http://bff.example"]),
    ],
)  # fmt: skip
def test_our_own_origin_is_that_of_public_url_or_else_of_the_request(client_with, cookie, settings, base_url, own, others):
    client = client_with(SESSION_COOKIE_NAME="sid", **settings)
    proxied = {"X-Forwarded-Proto": "https", "X-Forwarded-For": "192.0.2.1"} if "TRUSTED_PROXIES" in settings else {}

    def from_page(origin):
        return code(client.post(PATH, base_url=base_url, headers=cookie("mei") | ASKED | proxied | {"Origin": origin}))

    assert from_page(own) == (200, None)
    assert {from_page(origin) for origin in (*others, EVIL)} == {(403, "origin_not_allowed")}


def test_a_change_without_a_page_is_told_what_it_lacks(client_with, cookie):
    response = client_with(**COOKIES).delete(PATH, headers=cookie("mei") | ASKED)

    assert "Origin" in response.json["detail"]


@pytest.mark.parametrize("method", ["POST", "DELETE"])
@pytest.mark.parametrize("path", ["/me/linked-accounts", "/me/linked-accounts/62f20932", "/me/linked-accounts/links"])
def test_a_page_of_a_listed_origin_may_change_something(client_with, method, path):
    def preflight(origin):
        wanted = {"Access-Control-Request-Method": method, "Access-Control-Request-Headers": "content-type, x-id-token"}
        return client_with(**COOKIES).options(path, headers={"Origin": origin} | wanted).headers

    told = preflight(PAGE)
    assert told["Access-Control-Allow-Origin"] == PAGE
    assert method in told["Access-Control-Allow-Methods"].split(", ")
    assert told["Access-Control-Allow-Headers"] == "content-type, x-id-token"
    assert "Access-Control-Allow-Methods" not in preflight(EVIL)


def test_the_contract_is_to_be_read_by_any_page_and_changed_by_none(client_with):
    response = client_with(**COOKIES).options("/docs", headers={"Origin": EVIL, "Access-Control-Request-Method": "POST"})

    assert "Access-Control-Allow-Methods" not in response.headers


def test_changes_have_a_limit_of_their_own_besides_that_of_all_requests(client_with, sign_in):
    client = client_with(CHANGE_RATE_LIMIT="2/minute", RATE_LIMIT="5/minute")
    elsewhere = client_with(CHANGE_RATE_LIMIT="2/minute", RATE_LIMIT="5/minute")

    first = client.post(PATH, headers=sign_in("mei"))
    second = elsewhere.delete(PATH, headers=sign_in("mei"))
    third = client.post(PATH, headers=sign_in("mei"))

    assert [code(each) for each in (first, second, third)] == [(200, None), (200, None), (429, "rate_limited")]
    assert first.headers.getlist("RateLimit-Policy") == ['"user";q=5;w=60, "change";q=2;w=60']
    assert [each.partition(";t=")[0] for each in first.headers["RateLimit"].split(", ")] == ['"user";r=4', '"change";r=1']
    assert 0 < int(third.headers["Retry-After"]) <= 60
    assert '"change";r=0' in third.headers["RateLimit"]
    assert client.post(PATH, headers=sign_in("omar")).status_code == 200
    # Whoever has used up their changes may still look, until all requests together are too many.
    looked = [client.get(PATH, headers=sign_in("mei")) for _ in range(3)]
    assert [each.status_code for each in looked] == [200, 200, 429]
    assert looked[0].headers["RateLimit-Policy"] == '"user";q=5;w=60'


def test_either_limit_can_be_off(client_with, sign_in):
    only_changes = client_with(CHANGE_RATE_LIMIT="1/minute", RATE_LIMIT="off")
    assert [only_changes.post(PATH, headers=sign_in("mei")).status_code for _ in range(2)] == [200, 429]

    neither = client_with(CHANGE_RATE_LIMIT="off", RATE_LIMIT="off").post(PATH, headers=sign_in("mei"))
    assert (neither.status_code, "RateLimit" in neither.headers) == (200, False)


def test_a_change_that_no_page_of_ours_sent_counts_for_nobody(client_with, cookie):
    client = client_with(CHANGE_RATE_LIMIT="1/minute", **COOKIES)
    for _ in range(3):
        client.post(PATH, headers=cookie("mei") | ASKED | {"Origin": EVIL})

    assert client.post(PATH, headers=cookie("mei") | ASKED | {"Origin": PAGE}).status_code == 200
