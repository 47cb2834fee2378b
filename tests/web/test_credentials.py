"""What may be sent as a session token, and what is answered to everything else. None of it costs GenAuth a question."""

import pytest

PATH = "/me/linked-accounts"
EXPIRED = 'Bearer error="invalid_token", error_description="The access token expired"'
INVALID = 'Bearer error="invalid_token", error_description="The access token is invalid"'
MISSENT = 'Bearer error="invalid_request"'


def told(response):
    return response.status_code, response.json["code"], response.headers.get("WWW-Authenticate")


@pytest.fixture(autouse=True)
def _nobody_asks(request, asked):
    yield
    if "accepted" not in request.node.name:
        assert asked() == 0


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"Authorization": ""},
        {"Authorization": "Bearer"},
        {"Authorization": "Bearer "},
        {"Authorization": "Basic bWVpOnNlY3JldA=="},
        {"Authorization": 'Digest username="mei", realm="people", nonce="x"'},
        {"Authorization": "DPoP eyJhbGciOiJSUzI1NiJ9.e30.x"},
        {"Authorization": "Bearer\teyJhbGciOiJSUzI1NiJ9.e30.x"},
        {"Cookie": "session=eyJhbGciOiJSUzI1NiJ9.e30.x"},
    ],
)
def test_without_a_bearer_token_the_challenge_is_bare(client, headers):
    assert told(client.get(PATH, headers=headers)) == (401, "token_missing", "Bearer")


@pytest.mark.parametrize("sent", ["{}", "Token {}", "JWT {}", "Bearer: {}", "bearer={}", "Bearer", "Bearer ", "", "Basic eA=="])
def test_who_sends_a_token_in_another_way_learns_the_right_one(client, genauth, sent):
    response = client.get(PATH, headers={"Authorization": sent.format(genauth.token("mei"))})

    assert told(response) == (401, "token_missing", "Bearer")
    assert response.json["detail"] == "Send `Bearer <access token>`."


def test_who_sends_nothing_is_only_asked_to_sign_in(client):
    assert "detail" not in client.get(PATH).json


ID_TOKENS = {
    "GenAuth's, HS256": {"kind": "id"},
    "RS256": {"kind": "id", "alg": "RS256"},
    "with a nonce and a scope": {"kind": "id", "claims": {"nonce": "n", "scope": "openid"}},
    "for several": {"kind": "id", "alg": "RS256", "claims": {"aud": ["a", "b"]}},
    "of somebody else": {"kind": "id", "key": "foreign", "alg": "RS256"},
    "expired": {"kind": "id", "lifetime": -60},
}


@pytest.mark.parametrize("how", ID_TOKENS.values(), ids=ID_TOKENS)
@pytest.mark.parametrize("way", ["jwks", "introspection", "cookie"])
def test_who_sends_an_id_token_learns_which_token_to_send(client_with, genauth, how, way):
    token = genauth.token("mei", **how)
    if way == "cookie":
        client, headers = client_with(SESSION_COOKIE_NAME="sid"), {"Cookie": f"sid={token}", "X-Requested-With": "fetch"}
    else:
        client, headers = client_with(TOKEN_VERIFICATION=way), {"Authorization": f"Bearer {token}"}

    for _ in range(2):  # also where a refusal is repeated
        response = client.get(PATH, headers=headers)
        assert told(response) == (401, "token_invalid", INVALID)
        assert response.json["detail"] == "This is an id_token; send the access token."


@pytest.mark.parametrize("token", ["undefined", "null", "[object Object]", "Bearer {}", '"{}"', "<access token>"])
@pytest.mark.parametrize("way", ["jwks", "introspection"])
def test_what_is_no_token_is_called_so(client_with, genauth, token, way):
    client = client_with(TOKEN_VERIFICATION=way)
    token = token.format(genauth.token("mei"))

    response = client.get(PATH, headers={"Authorization": f"Bearer {token}"})

    assert told(response) == (401, "token_invalid", INVALID)
    assert response.json["detail"] == "This is no token. Send `Bearer <access token>`."


def test_an_opaque_token_where_signed_ones_are_needed_is_called_so(client, genauth):
    response = client.get(PATH, headers={"Authorization": f"Bearer {genauth.token('mei', kind='opaque')}"})

    assert told(response) == (401, "token_invalid", INVALID)
    assert response.json["detail"] == "This is no signed token (JWT); send the access token."


def test_an_access_token_that_is_refused_is_not_called_another(client, genauth):
    forged = genauth.token("mei", key="foreign")

    assert "detail" not in client.get(PATH, headers={"Authorization": f"Bearer {forged}"}).json


def test_a_token_in_the_query_or_the_path_is_none(client, genauth):
    token = genauth.token("mei")

    assert told(client.get(f"{PATH}?access_token={token}"))[:2] == (401, "token_missing")
    for path, code in ((f"{PATH}/{token}", "method_not_allowed"), (f"{PATH}s/{token}", "not_found")):
        answer = client.get(path)
        assert (answer.json["code"], answer.json["instance"]) == (code, "/")
        assert token not in answer.text


@pytest.mark.parametrize(
    "token",
    [
        "x",
        "a.b.c",
        "eyJhbGciOiJSUzI1NiJ9",
        "two words",
        "semi;colon",
        'quo"ted',
        "b\x01ell",
        "b\x7fell",
        "\N{LATIN SMALL LETTER E WITH ACUTE}",
        "=" * 20,
        "a" * 8192,
    ],
)
def test_what_has_not_the_form_of_a_token_is_invalid(client, token):
    assert told(client.get(PATH, headers={"Authorization": f"Bearer {token}"})) == (401, "token_invalid", INVALID)


@pytest.mark.parametrize("token", ["a" * 8193, "\N{LATIN SMALL LETTER E WITH ACUTE}" * 9000])
def test_more_than_eight_kibibytes_are_not_looked_at(client, token):
    assert told(client.get(PATH, headers={"Authorization": f"Bearer {token}"})) == (400, "invalid_request", MISSENT)


@pytest.mark.parametrize("join", [",", ", ", ",Bearer ", ",Basic "])
def test_two_credentials_are_none(client, genauth, join):
    header = f"Bearer {genauth.token('mei')}{join}{genauth.token('omar')}"

    assert told(client.get(PATH, headers={"Authorization": header})) == (400, "invalid_request", MISSENT)


def test_a_bearer_token_behind_another_scheme_is_doubled_too(client, genauth):
    headers = [("Authorization", "Basic eA=="), ("Authorization", f"Bearer {genauth.token('mei')}")]

    assert told(client.get(PATH, headers=headers)) == (400, "invalid_request", MISSENT)
    assert told(client.get(PATH, headers={"Authorization": f"{headers[0][1]},{headers[1][1]}"}))[0] == 400


@pytest.mark.parametrize("scheme", ["bearer", "BEARER", "Bearer  "])
def test_the_schemes_spelling_is_accepted(client, genauth, scheme):
    assert client.get(PATH, headers={"Authorization": f"{scheme} {genauth.token('mei')}"}).status_code == 200


FORGERIES = {
    "alg none": {"alg": "none"},
    "alg None": {"alg": "none", "headers": {"alg": "None"}},
    "signed by a stranger": {"key": "foreign"},
    "foreign issuer": {"claims": {"iss": "https://evil.example/oidc"}},
    "no issuer": {"claims": {"iss": None}},
    "wrong audience": {"claims": {"aud": "another-application"}},
    "no audience": {"claims": {"aud": None}},
    "no expiry": {"claims": {"exp": None}},
    "no subject": {"claims": {"sub": None}},
    "not yet valid": {"claims": {"nbf": 4102444800}},
    "issued in the future": {"claims": {"iat": 4102444800}},
    "an id_token": {"kind": "id"},
    "an id_token signed RS256": {"kind": "id", "alg": "RS256"},
    "critical extension": {"headers": {"crit": ["exp"]}},
    "forged and expired": {"key": "foreign", "lifetime": -60},
}


@pytest.mark.parametrize("how", FORGERIES.values(), ids=FORGERIES.keys())
def test_what_is_no_access_token_of_ours_is_invalid(client, genauth, how):
    headers = {"Authorization": f"Bearer {genauth.token('mei', **how)}"}

    assert told(client.get(PATH, headers=headers)) == (401, "token_invalid", INVALID)


def test_the_public_key_is_no_secret_to_sign_with(client, genauth):
    token = genauth.token("mei", alg="HS256", key=genauth.public_key_pem)

    assert told(client.get(PATH, headers={"Authorization": f"Bearer {token}"})) == (401, "token_invalid", INVALID)


def test_an_expired_token_is_told_apart(client, sign_in):
    assert told(client.get(PATH, headers=sign_in("max"))) == (401, "token_expired", EXPIRED)


@pytest.mark.parametrize("headers", [{}, {"Authorization": "Bearer x.y.z"}])
def test_head_has_the_same_status_and_challenge_without_a_body(client, headers):
    get, head = client.get(PATH, headers=headers), client.head(PATH, headers=headers)

    assert (head.status_code, head.data) == (get.status_code, b"")
    assert head.headers["WWW-Authenticate"] == get.headers["WWW-Authenticate"]
    assert head.mimetype == "application/problem+json"


def test_a_request_id_that_is_the_token_is_not_repeated(client_with, genauth, written):
    token = genauth.token("mei", kind="opaque")
    client = client_with(TOKEN_VERIFICATION="introspection")

    for offered in (token, token[:20], f"id-{token}"):
        response = client.get("/livez", headers={"Authorization": f"Bearer {token}", "X-Request-Id": offered})
        assert response.headers["X-Request-Id"] != offered
        assert token[:20] not in response.headers["X-Request-Id"]
    assert token[:20].encode() not in written().out
