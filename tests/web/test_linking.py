"""``POST /me/linked-accounts/links``: a link begins, or what is wrong with the call."""

import io
import json
import re
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from tests.web.conftest import client_of
from tests.web.linking import APP, BACK, LINKS, SETTINGS, US, Person, as_served, query_of

IDENTITIES, LINK_URL = "/api/v3/get-identities", "/api/v3/generate-link-extidp-url"


@pytest.fixture
def person(client_with, genauth):
    """``person("mei")``: their page; settings of ours may follow."""
    return lambda name, **changed: Person(client_with(**SETTINGS | changed), genauth, name)


def told(response):
    return response.status_code, response.json["code"]


def test_a_link_begins_with_an_address_a_state_and_ten_minutes(person, genauth):
    response = person("mei").begin()

    assert response.status_code == 201
    assert response.headers["Cache-Control"] == "private, no-store"
    assert list(response.json) == ["url", "state", "expiresIn"]
    assert response.json["expiresIn"] == 600
    assert re.fullmatch(r"[A-Za-z0-9_-]{43}", response.json["state"])
    assert response.json["url"].startswith(f"{genauth.url}/api/v3/link-extidp?")
    assert query_of(response.json["url"])["ext_idp_conn_identifier"] == "my-github"


def test_genauth_returns_to_us_by_a_form_so_that_no_page_gets_what_it_appends(person):
    response = person("mei").begin()

    asked = query_of(response.json["url"])
    assert asked["target_url"] == f"{US}{LINKS}/{response.json['state']}/return"
    assert (asked["need_url_redirect"], asked["need_form_post"]) == ("true", "true")
    assert APP not in response.json["url"]


def test_without_an_address_of_our_own_it_returns_to_the_page_or_to_a_popups_opener(person):
    mei = person("mei", PUBLIC_URL="")

    asked = query_of(mei.begin().json["url"])
    assert (asked["target_url"], asked["need_url_redirect"]) == (BACK, "true")
    assert "need_form_post" not in asked
    assert "target_url" not in query_of(mei.begin(returnTo=None).json["url"])


def test_every_link_has_a_state_of_its_own(person):
    mei = person("mei")

    assert len({mei.begin().json["state"] for _ in range(3)}) == 3


@pytest.mark.parametrize("address", [APP, f"{APP}/", "com.example.app:/linked", None])
def test_where_a_browser_may_return(person, address):
    assert person("mei").begin(returnTo=address).status_code == 201


@pytest.mark.parametrize(
    "address",
    [
        f"{APP}:8443/",
        "https://user@app.example/",
        "https://app.example@evil.example/",
        "https://app.example\\@evil.example/",
        "javascript:alert(1)",
        "https://app.example.evil.example/",
        "https://evilapp.example/",
        f"{APP}/#x",
        f"{APP}/" + "x" * 2048,
        "com.example.app:/linked/else",
        "\ud800",
        "",
        None,
        7,
        [APP],
    ],
)
def test_a_browser_returns_nowhere_else_and_genauth_is_not_asked(person, genauth, address):
    mei = person("mei")

    response = mei.client.post(LINKS, json={"provider": "my-github", "returnTo": address}, headers=mei.headers)

    assert told(response) == (400, "invalid_request")
    assert "returnTo" in response.json["detail"]
    assert (genauth.calls(IDENTITIES), genauth.calls(LINK_URL)) == (0, 0)


@pytest.mark.parametrize(
    ("token", "says"),
    [
        (lambda genauth: genauth.token("mei", kind="id", lifetime=-5), "expired"),
        (lambda genauth: genauth.token("omar", kind="id"), "person"),
        (lambda genauth: genauth.token("mei", kind="id", claims={"aud": "another"}), "application"),
        (lambda genauth: genauth.token("mei", kind="id", alg="none"), "JWT"),
        (lambda genauth: genauth.token("mei", kind="id", alg="RS256", key="foreign"), "signed"),
        (lambda genauth: genauth.token("mei", kind="id", key="x" * 40), "signed"),
        (lambda genauth: genauth.token("mei"), "access token"),
        (lambda genauth: genauth.token("mei", kind="id", claims={"x": "y" * 4096}), "4096"),
        (lambda _: "\ud800", "JWT"),
        (lambda _: "", "idToken"),
        (lambda _: None, "idToken"),
    ],
    ids=["expired", "another's", "application", "none", "foreign", "forged", "access", "long", "surrogate", "empty", "missing"],
)
def test_an_id_token_that_will_not_do_is_said_and_goes_nowhere(person, genauth, token, says):
    token = token(genauth)

    response = person("mei").begin(idToken=token)

    assert told(response) == (400, "invalid_request")
    assert says in response.json["detail"]
    assert not token or token not in response.text
    assert (genauth.calls(IDENTITIES), genauth.calls(LINK_URL)) == (0, 0)


@pytest.mark.parametrize("verification", ["jwks", "introspection"])
@pytest.mark.parametrize("alg", ["RS256", "ES256", "HS256"])
def test_an_id_token_that_genauth_signed(person, genauth, alg, verification):
    mei = person("mei", TOKEN_VERIFICATION=verification)

    assert mei.begin(idToken=genauth.token("mei", kind="id", alg=alg)).status_code == 201


def test_the_id_token_may_come_in_its_cookie(person):
    mei = person("mei", ID_TOKEN_COOKIE_NAME="idt")
    cookie = {"Cookie": f"idt={mei.id_token}"}

    assert mei.begin(idToken=None, headers=cookie).status_code == 201
    assert told(mei.begin(idToken=None, headers={"Cookie": f"other={mei.id_token}"})) == (400, "invalid_request")
    assert told(mei.begin(idToken=None, headers={"Cookie": f"idt={mei.id_token}; idt=x"})) == (400, "invalid_request")
    assert told(person("mei").begin(idToken=None, headers=cookie)) == (400, "invalid_request"), "the setting is off"


def test_a_page_links_with_its_cookies_alone(client_with, genauth):
    client = client_with(**SETTINGS, SESSION_COOKIE_NAME="sid", ID_TOKEN_COOKIE_NAME="idt", CORS_ORIGINS=APP)
    cookies = {"Cookie": f"sid={genauth.token('mei')}; idt={genauth.token('mei', kind='id')}", "X-Requested-With": "fetch"}

    begun = client.post(LINKS, json={"provider": "my-github"}, headers=cookies | {"Origin": APP})

    assert begun.status_code == 201
    assert client.get(f"{LINKS}/{begun.json['state']}", headers=cookies).json["status"] == "pending"
    assert told(client.post(LINKS, json={"provider": "my-github"}, headers=cookies)) == (403, "origin_not_allowed")


def test_without_the_secret_genauths_own_check_decides_and_signs_nobody_out(person, genauth):
    mei = person("mei", GENAUTH_APP_SECRET="")

    assert mei.begin().status_code == 201
    refused = mei.begin(idToken=genauth.token("mei", kind="id", key="x" * 40))

    assert told(refused) == (400, "invalid_request")
    assert "id_token" in refused.json["detail"]
    assert mei.client.get("/me/linked-accounts", headers=mei.headers).status_code == 200


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"null",
        b"[]",
        b'"my-github"',
        b"{",
        b"provider=my-github",
        b"\xff",
        b'\xef\xbb\xbf{"provider": "my-github"}',
        b"[" * 10_000,
        b'{"provider": "my-github", "provider": "my-github"}',
        b'{"provider": "my-github", "more": 1}',
        b'{"provider": NaN}',
        b"{}",
        b'{"provider": ""}',
        b'{"provider": null}',
        b'{"provider": ["my-github"]}',
        b'{"provider": "' + b"x" * 257 + b'"}',
        b'{"provider": "my-github", "idToken": {}}',
    ],
)
def test_a_body_that_says_nothing_or_too_much(person, genauth, body):
    mei = person("mei")

    response = mei.client.post(LINKS, data=body, content_type="application/json", headers=mei.headers)

    assert told(response) == (400, "invalid_request")
    assert response.json["detail"]
    assert genauth.calls(IDENTITIES) == 0


def test_a_body_of_another_kind_or_too_large(person, genauth):
    mei = person("mei")
    body = json.dumps({"provider": "my-github", "idToken": mei.id_token, "returnTo": BACK})

    def post(body, kind="application/json"):
        return mei.client.post(LINKS, data=body, content_type=kind, headers=mei.headers)

    for kind in ("text/plain", "application/x-www-form-urlencoded", "multipart/form-data; boundary=x", "", "application/jsonp"):
        answer = post(body, kind)
        assert (*told(answer), answer.json["detail"]) == (415, "invalid_request", "Send the body as application/json.")
    assert told(post(body.ljust(16 * 1024 + 1))) == (413, "invalid_request")
    assert told(post(body.ljust(80 * 1024))) == (413, "invalid_request")
    assert genauth.calls(LINK_URL) == 0
    assert post(body.ljust(16 * 1024), "application/json; charset=utf-8").status_code == 201


@pytest.mark.parametrize(("size", "expected"), [(0, 201), (16 * 1024, 201), (16 * 1024 + 1, 413), (80 * 1024, 413)])
def test_a_body_as_served_is_no_shorter_than_it_is(person, size, expected):
    mei = person("mei")
    body = json.dumps({"provider": "my-github", "idToken": mei.id_token, "returnTo": BACK}).ljust(size).encode()

    assert as_served(mei.client, LINKS, body, content_type="application/json", headers=mei.headers).status_code == expected


@pytest.mark.parametrize("provider", ["github", "My-GitHub", "my-github ", "62f209327ab3cc10d9046ee5", "\ud800", "my-directory"])
def test_a_connection_that_is_none_of_ours_or_has_no_page_is_not_found(person, genauth, provider):
    mei = person("mei")
    mei.accounts()
    asked = genauth.calls(IDENTITIES)

    answer = mei.begin(provider)
    assert told(answer) == (404, "not_found")
    assert "identifier of linkableProviders" in answer.json["detail"]
    assert (genauth.calls(IDENTITIES), genauth.calls(LINK_URL)) == (asked, 0)


def test_while_nobody_knows_the_connections_genauth_says_which_there_are(person, genauth):
    genauth.trouble(path="/api/v3/get-application-enabled-extidps", status=503)
    mei = person("mei")

    assert mei.begin().status_code == 201
    answer = mei.begin("nothing-of-the-sort")
    assert told(answer) == (404, "not_found")
    assert "identifier of linkableProviders" in answer.json["detail"]
    assert told(mei.begin("\ud800")) == (404, "not_found")
    assert genauth.calls(LINK_URL) == 2


def test_what_is_linked_by_any_of_its_connections_is_not_linked_again(person, genauth):
    mei = person("mei")

    for connection in ("my-wechat-pc", "my-wechat-mobile"):
        assert told(mei.begin(connection)) == (409, "already_linked")
    assert genauth.calls(LINK_URL) == 0


@pytest.mark.parametrize(
    ("envelope", "expected"),
    [
        ({"statusCode": 499, "apiCode": 2213}, (409, "already_linked")),
        ({"statusCode": 403, "apiCode": 2213}, (409, "already_linked")),
        ({"statusCode": 499, "apiCode": 2215}, (409, "linked_to_another_person")),
        ({"statusCode": 403, "apiCode": "2215"}, (409, "linked_to_another_person")),
        ({"statusCode": 403, "apiCode": 2216}, (404, "not_found")),
        ({"statusCode": 404}, (404, "not_found")),
        ({"statusCode": 499, "apiCode": 2011}, (404, "not_found")),
        ({"statusCode": 401, "apiCode": "2011"}, (404, "not_found")),
        ({"statusCode": 401, "apiCode": 2020}, (400, "invalid_request")),
        ({"statusCode": 500}, (503, "upstream_unavailable")),
        ({"statusCode": 429}, (429, "rate_limited")),
        ({"statusCode": 403, "apiCode": 1001}, (502, "upstream_forbidden")),
        ({"statusCode": 200, "data": {"url": "javascript:alert(1)"}}, (502, "upstream_malformed")),
        ({"statusCode": 200, "data": {}}, (502, "upstream_malformed")),
    ],
)
def test_what_genauth_says_against_it(person, genauth, envelope, expected):
    genauth.trouble(path=LINK_URL, envelope=envelope)
    mei = person("mei")

    assert told(mei.begin()) == expected

    genauth.healthy()
    assert mei.client.get("/me/linked-accounts", headers=mei.headers).status_code == 200, "nobody is signed out"


def test_somebody_who_is_blocked_meanwhile_is_shut_out_everywhere(person, genauth):
    mei = person("mei")
    genauth.trouble(path=LINK_URL, envelope={"statusCode": 403, "apiCode": 2005})

    assert told(mei.begin()) == (403, "user_blocked")
    assert told(mei.client.get("/me/linked-accounts", headers=mei.headers)) == (403, "user_blocked")


def test_a_stale_list_does_not_begin_a_link(person, genauth):
    mei = person("mei")
    mei.accounts()
    genauth.trouble(path=IDENTITIES, status=503)

    assert told(mei.begin()) == (503, "upstream_unavailable")
    assert genauth.calls(LINK_URL) == 0


def test_without_redis_no_link_begins(person, tmp_path):
    mei = person("mei", REDIS_URL=f"unix://{tmp_path}/nothing.sock")

    assert told(mei.begin()) == (503, "upstream_unavailable")


def test_nobody_begins_a_link_without_a_session(client_with):
    client = client_with(**SETTINGS)

    assert told(client.post(LINKS, json={"provider": "my-github"})) == (401, "token_missing")
    assert told(client.get(f"{LINKS}/{'x' * 43}")) == (401, "token_missing")


class SlowBody(io.BytesIO):
    """A body that comes when it is let."""

    def __init__(self):
        super().__init__(b"something")
        self.asked_for, self.comes = threading.Event(), threading.Event()

    def readinto(self, buffer):
        self.asked_for.set()
        assert self.comes.wait(20)
        return super().readinto(buffer)


def test_who_sends_a_body_slowly_keeps_nobody_from_an_answer(app_with, genauth):
    app = app_with(**SETTINGS)
    mei = Person(client_of(app), genauth, "mei")
    way_back = f"{LINKS}/{mei.begin().json['state']}/return"
    bodies = [SlowBody() for _ in range(6)]

    def send(body, path):
        return client_of(app).post(path, input_stream=body, content_type="application/json", headers=mei.headers).status_code

    with ThreadPoolExecutor(6) as pool:
        answers = [pool.submit(send, *each) for each in zip(bodies, [LINKS, way_back] * 3, strict=True)]
        try:
            assert all(body.asked_for.wait(10) for body in bodies)
            assert len(mei.accounts()) == 2
        finally:
            for body in bodies:
                body.comes.set()

    assert sorted(answer.result() for answer in answers) == [303, 400, 400, 400, 410, 410]


def test_one_person_who_begins_many_links_at_once_gets_an_answer_to_each(app_with, genauth):
    app = app_with(**SETTINGS)
    people = [Person(client_of(app), genauth, "mei") for _ in range(30)]
    people[0].begin()
    genauth.trouble(path=IDENTITIES, latency=0.2)

    with ThreadPoolExecutor(30) as pool:
        answers = list(pool.map(lambda mei: mei.begin(), people))

    assert {answer.status_code for answer in answers} <= {201, 503}
    assert len({answer.json["state"] for answer in answers if answer.status_code == 201}) >= 20
