"""Pages in browsers: the session cookie, who may use it, and what pages on other origins are told."""

import pytest

PATH = "/me/linked-accounts"
PAGE, OTHER, EVIL = "https://app.example", "http://localhost:5173", "https://evil.example"
PREFLIGHT = {"Access-Control-Request-Method": "GET", "Access-Control-Request-Headers": "x-requested-with, authorization"}
ASKED = {"X-Requested-With": "fetch"}


@pytest.fixture
def client(client_with):
    return client_with(SESSION_COOKIE_NAME="sid", CORS_ORIGINS=f"{PAGE},{OTHER}")


@pytest.fixture
def cookie(genauth):
    return lambda person, **token: {"Cookie": f"sid={genauth.token(person, **token)}"}


def code(response):
    return response.status_code, (response.json or {}).get("code")


def told_to_other_origins(response):
    return [name for name, _ in response.headers if name.startswith("Access-Control")]


def who(response):
    return [account["provider"]["type"] for account in response.json["linkedAccounts"]]


@pytest.mark.parametrize("value", ["fetch", "XMLHttpRequest", "0"])
def test_a_page_of_ours_asks_with_the_cookie(client, cookie, value):
    response = client.get(PATH, headers=cookie("mei") | {"X-Requested-With": value, "Origin": PAGE})

    assert response.status_code == 200
    assert who(response) == ["lark", "wechat"]


@pytest.mark.parametrize("method", ["GET", "HEAD"])
@pytest.mark.parametrize("header", [{}, {"X-Requested-With": ""}, {"X-Requested-With": "  "}])
def test_without_the_header_a_cookie_is_not_enough(client, cookie, asked, method, header):
    response = client.open(PATH, method=method, headers=cookie("mei") | header)

    assert response.status_code == 403
    if method == "GET":
        assert response.json["code"] == "csrf_header_missing"
    assert asked() == 0


@pytest.mark.parametrize(
    "origin",
    [
        EVIL,
        "null",
        "",
        PAGE.upper(),
        f"{PAGE}/",
        f"{PAGE}:443",
        f"{PAGE}.evil.example",
        f"https://x.{PAGE[8:]}",
        "https://appxexample",
        f"{PAGE},{EVIL}",
        "http://app.example",
    ],
)
def test_an_origin_that_is_not_on_the_list_may_not_use_the_cookie(client, cookie, asked, origin):
    response = client.get(PATH, headers=cookie("mei") | ASKED | {"Origin": origin})

    assert code(response) == (403, "origin_not_allowed")
    assert "Access-Control-Allow-Origin" not in response.headers
    assert asked() == 0


def test_a_request_without_an_origin_is_judged_by_the_header_alone(client, cookie):
    assert client.get(PATH, headers=cookie("mei") | ASKED).status_code == 200


def test_a_bearer_token_goes_before_the_cookie_and_needs_no_header(client, cookie, sign_in):
    response = client.get(PATH, headers=cookie("mei") | sign_in("omar"))

    assert (response.status_code, who(response)) == (200, ["github", "google"])


def test_a_bad_bearer_token_is_not_replaced_by_a_good_cookie(client, cookie):
    assert code(client.get(PATH, headers=cookie("mei") | ASKED | {"Authorization": "Bearer x.y.z"})) == (401, "token_invalid")


def test_another_scheme_leaves_the_cookie_in_charge(client, cookie):
    headers = cookie("mei") | ASKED | {"Authorization": "Basic c3RhZ2luZzpvcGVu"}

    assert client.get(PATH, headers=headers).status_code == 200


@pytest.mark.parametrize("form", ["{0}; {0}", "{0};{0};{0}", "{0}; nick=mei; {0}", '{0}; sid="{1}"', "{0}; sid = {1} "])
def test_one_session_in_two_cookies_is_one(client, genauth, form):
    token = genauth.token("mei")

    response = client.get(PATH, headers={"Cookie": form.format(f"sid={token}", token)} | ASKED)

    assert response.status_code == 200


@pytest.mark.parametrize("form", ["{0}; {1}", "{0}; {0}; {1}", "{1}; {0}; {1}", "{0}; sid=", "{0}; {1}x; {1}"])
def test_different_sessions_are_none_wherever_they_stand(client, cookie, asked, form):
    sent = {"Cookie": form.format(cookie("mei")["Cookie"], cookie("omar")["Cookie"])}

    assert code(client.get(PATH, headers=sent | ASKED)) == (400, "invalid_request")
    assert asked() == 0


@pytest.mark.parametrize("form", ["Bearer%20{}", "Bearer:{}", "%22{}%22", "%7B%22token%22%3A%22{}%22%7D"])
def test_who_stores_more_than_the_token_learns_so(client, genauth, form):
    """Modules for signing in keep a token as `Bearer eyJ…`, or as JSON, and so does the cookie that they make of it."""
    token = genauth.token("mei")

    response = client.get(PATH, headers={"Cookie": f"sid={form.format(token)}"} | ASKED)

    assert code(response) == (401, "token_invalid")
    assert response.json["detail"] == "The sid cookie holds no token. Store the access token alone, without `Bearer`."


def test_a_neighbour_in_utf8_is_no_trouble_where_the_server_passes_it_on(client, cookie):
    for neighbour in ("nick=小明".encode().decode("latin-1"), "nick=\xe9"):
        sent = {"Cookie": f"{neighbour}; {cookie('mei')['Cookie']}; {neighbour}"}
        assert client.get(PATH, headers=sent | ASKED).status_code == 200


@pytest.mark.parametrize("left", ["", ";nick=mei", "nick=mei;", "nick=mei;;theme=dark"])
def test_where_the_server_left_cookies_out_nobody_is_signed_out(client, asked, left):
    response = client.get(PATH, headers={"Cookie": left} | ASKED)

    assert code(response) == (400, "invalid_request")
    # A client may have sent it so, too: a server that renders pages passes on the cookies of who has none.
    assert "it was sent so" in response.json["detail"]
    assert "ASCII" in response.json["detail"]
    assert asked() == 0


def test_what_was_left_out_means_nothing_beside_a_token(client, client_with, sign_in):
    assert client.get(PATH, headers=sign_in("mei") | {"Cookie": ""}).status_code == 200
    assert client_with().get(PATH, headers=sign_in("mei") | {"Cookie": ""}).status_code == 200
    assert code(client_with().get(PATH, headers={"Cookie": ""})) == (401, "token_missing")


def test_two_session_cookies_are_none(client, genauth, asked):
    both = {"Cookie": f"sid={genauth.token('mei')}; other=1; sid={genauth.token('omar')}"}

    response = client.get(PATH, headers=both | ASKED)

    assert code(response) == (400, "invalid_request")
    assert "sid" in response.json["detail"]
    assert asked() == 0


@pytest.mark.parametrize(
    ("cookies", "expected"),
    [
        ("sid=", (401, "token_missing")),
        ("SID=x.y.z", (401, "token_missing")),
        ("other=x.y.z", (401, "token_missing")),
        ("sid=x.y.z", (401, "token_invalid")),
        ("sid=two words", (401, "token_missing")),
        (f"sid={'a' * 8193}", (400, "invalid_request")),
    ],
)
def test_a_cookie_that_is_no_session_is_told_apart(client, cookies, expected):
    assert code(client.get(PATH, headers={"Cookie": cookies} | ASKED)) == expected


def test_an_expired_session_in_a_cookie_asks_to_be_refreshed(client, cookie):
    response = client.get(PATH, headers=cookie("max") | ASKED)

    assert code(response) == (401, "token_expired")
    assert response.headers["WWW-Authenticate"].startswith("Bearer")


def test_cookies_mean_nothing_while_cookie_mode_is_off(client_with, cookie):
    assert code(client_with().get(PATH, headers=cookie("mei") | ASKED)) == (401, "token_missing")


def test_a_preflight_is_answered_before_authentication(client, asked):
    response = client.options(PATH, headers={"Origin": PAGE} | PREFLIGHT)

    assert response.status_code == 200
    assert response.headers["Access-Control-Allow-Origin"] == PAGE
    assert response.headers["Access-Control-Allow-Credentials"] == "true"
    assert {"GET", "HEAD", "OPTIONS"} <= set(response.headers["Access-Control-Allow-Methods"].split(", "))
    assert response.headers["Access-Control-Allow-Headers"] == "authorization, x-requested-with"
    assert int(response.headers["Access-Control-Max-Age"]) > 0
    assert asked() == 0


@pytest.mark.parametrize("wanted", ["x-evil", "cookie", "x-forwarded-for"])
def test_a_preflight_allows_no_other_headers(client, wanted):
    response = client.options(PATH, headers={"Origin": PAGE} | PREFLIGHT | {"Access-Control-Request-Headers": wanted})

    assert wanted not in response.headers.get("Access-Control-Allow-Headers", "")


@pytest.mark.parametrize("origin", [EVIL, "null", f"{PAGE}.evil.example", "https://appxexample"])
def test_a_preflight_from_elsewhere_is_told_nothing(client, origin):
    response = client.options(PATH, headers={"Origin": origin} | PREFLIGHT)

    assert not told_to_other_origins(response)


def test_options_without_an_origin_says_which_methods_there_are(client):
    response = client.options(PATH)

    assert set(response.headers["Allow"].split(", ")) == {"GET", "HEAD", "OPTIONS"}
    assert not told_to_other_origins(response)


def test_an_answer_can_be_read_by_the_page_that_asked(client, cookie):
    response = client.get(PATH, headers=cookie("mei") | ASKED | {"Origin": OTHER})

    assert response.headers.getlist("Access-Control-Allow-Origin") == [OTHER]
    assert response.headers["Access-Control-Allow-Credentials"] == "true"
    exposed = set(response.headers["Access-Control-Expose-Headers"].split(", "))
    assert {"ETag", "X-Request-Id", "Cache-Status", "Retry-After", "RateLimit", "RateLimit-Policy", "Age"} <= exposed


def test_an_error_can_be_read_by_the_page_that_asked(app_with, genauth, cookie):
    app = app_with(SESSION_COOKIE_NAME="sid", CORS_ORIGINS=PAGE, RATE_LIMIT="3/minute")
    client, page = app.test_client(use_cookies=False), {"Origin": PAGE}
    genauth.trouble(path="/api/v3/get-identities", status=500, times=1)

    def readable(status, **request):
        response = client.open(request.pop("path", PATH), **request)
        assert response.status_code == status
        assert response.headers["Access-Control-Allow-Origin"] == PAGE
        assert response.headers["Access-Control-Allow-Credentials"] == "true"
        return response

    readable(401, headers=page)
    readable(403, headers=page | cookie("mei"))
    readable(404, headers=page, path="/me/nothing")
    readable(405, headers=page, method="POST")
    mei = page | ASKED | cookie("mei")
    readable(503, headers=mei)
    app.extensions["clock"].by = 3  # a failure is repeated for two seconds
    first = readable(200, headers=mei)
    readable(304, headers=mei | {"If-None-Match": first.headers["ETag"]})
    readable(429, headers=mei)
    app.view_functions["me.linked_accounts"] = lambda: 1 / 0
    readable(500, headers=page | ASKED | cookie("omar"))


def test_a_page_elsewhere_may_ask_with_a_bearer_token_but_not_read(client, sign_in):
    response = client.get(PATH, headers=sign_in("mei") | {"Origin": EVIL})

    assert response.status_code == 200
    assert "Access-Control-Allow-Origin" not in response.headers


def test_any_page_may_ask_with_a_bearer_token_where_the_list_says_so(client_with, sign_in):
    client = client_with(CORS_ORIGINS="*")

    for origin in (EVIL, "null"):
        response = client.get(PATH, headers=sign_in("mei") | {"Origin": origin})
        assert response.headers["Access-Control-Allow-Origin"] in {"*", origin}
        assert "Access-Control-Allow-Credentials" not in response.headers


def test_no_page_elsewhere_may_ask_where_there_is_no_list(client_with, sign_in):
    response = client_with().get(PATH, headers=sign_in("mei") | {"Origin": PAGE})

    assert not told_to_other_origins(response)


def test_what_an_answer_depends_on_is_the_same_whoever_asks(client, cookie, sign_in):
    requests = [{}, sign_in("mei"), cookie("mei"), cookie("mei") | ASKED | {"Origin": PAGE}, {"Origin": EVIL}]

    told = {tuple(client.open(PATH, method=m, headers=h).headers.getlist("Vary")) for m in ("GET", "HEAD") for h in requests}

    assert told == {("Authorization, Cookie, Origin, Accept-Language",)}
