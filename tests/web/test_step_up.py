"""With STEP_UP_SECONDS a change needs a recent sign-in, by the first that says when it was (RFC 9470)."""

import json
import time

import pytest

# What she has not linked: whoever may change something is told so.
PATH, LINKS = "/me/linked-accounts/none", "/me/linked-accounts/links"
NOW, LONG_AGO = 0, 3600


@pytest.fixture
def client(client_with):
    return client_with(CHANGE_RATE_LIMIT="off", STEP_UP_SECONDS="300", ID_TOKEN_COOKIE_NAME="idt")


def ago(seconds):
    """The time so long ago; of None, None, which takes a claim out of a token."""
    return None if seconds is None else int(time.time()) - seconds


@pytest.fixture
def headers(genauth):
    """Those of a request with a token made and a person signed in so many seconds ago, and with an id_token that says so."""

    def make(*, made=NOW, signed_in=None, id_token=None, cookie=None, **token):
        claims = {"iat": ago(made), "auth_time": ago(signed_in)}
        sent = {"Authorization": f"Bearer {genauth.token('mei', claims=claims, **token)}"}
        if id_token is not None:
            sent["X-Id-Token"] = genauth.token("mei", kind="id", claims={"auth_time": ago(id_token)})
        if cookie is not None:
            sent["Cookie"] = f"idt={genauth.token('mei', kind='id', claims={'auth_time': ago(cookie)})}"
        return sent

    return make


def passes(response):
    assert response.json["code"] in {"not_found", "reauthentication_required"}
    return response.json["code"] == "not_found"


def test_who_signed_in_long_ago_is_asked_to_sign_in_again(client, headers):
    response = client.delete(PATH, headers=headers(signed_in=301))

    assert (response.status_code, response.json["code"]) == (401, "reauthentication_required")
    assert response.json["maxAgeSeconds"] == 300
    challenge = 'Bearer error="insufficient_user_authentication", max_age="300"'
    assert response.headers.getlist("WWW-Authenticate") == [challenge]


@pytest.mark.parametrize(
    ("said", "expected"),
    [
        # The access token's auth_time, whatever else is said.
        ({"signed_in": 290}, True),
        ({"signed_in": LONG_AGO, "id_token": NOW, "made": NOW}, False),
        ({"signed_in": NOW, "id_token": LONG_AGO, "made": LONG_AGO}, True),
        # Else the id_token's, by header or cookie.
        ({"id_token": NOW, "made": LONG_AGO}, True),
        ({"id_token": LONG_AGO}, False),
        ({"cookie": NOW, "made": LONG_AGO}, True),
        ({"cookie": LONG_AGO}, False),
        ({"id_token": NOW, "cookie": LONG_AGO}, True),
        ({"id_token": LONG_AGO, "cookie": NOW}, False),
        # Else the time at which the access token was made.
        ({"made": 290}, True),
        ({"made": 301}, False),
        # A clock that is a little ahead is no trouble; a sign-in to come is none.
        ({"signed_in": -50}, True),
        ({"signed_in": -3000}, False),
    ],
    ids=str,
)
def test_the_first_that_says_when_decides(client, headers, said, expected):
    assert passes(client.delete(PATH, headers=headers(**said))) is expected


def test_an_id_token_without_the_time_leaves_it_to_the_access_token(client, headers, genauth):
    id_token = {"X-Id-Token": genauth.token("mei", kind="id")}

    assert [passes(client.delete(PATH, headers=headers(made=made) | id_token)) for made in (NOW, 301)] == [True, False]


@pytest.mark.parametrize("auth_time", ["1700000000", True, None, [1], 1e300, {}])
def test_a_time_that_is_none_says_nothing(client, genauth, auth_time):
    for claims in ({"auth_time": auth_time}, {"auth_time": auth_time, "iat": ago(301)}):
        response = client.delete(PATH, headers={"Authorization": f"Bearer {genauth.token('mei', claims=claims)}"})
        assert passes(response) is ("iat" not in claims)


def test_no_id_token_that_cannot_be_checked_says_when(client_with, headers):
    """Without the application's secret nobody here can tell who made it."""
    client = client_with(CHANGE_RATE_LIMIT="off", STEP_UP_SECONDS="300", GENAUTH_APP_SECRET="")

    assert passes(client.delete(PATH, headers=headers(id_token=NOW, made=301))) is False
    assert passes(client.delete(PATH, headers=headers(id_token=LONG_AGO, made=NOW))) is True


@pytest.mark.parametrize(
    "forged",
    [
        *({"key": "a secret of others, as long as ours"}, {"alg": "none"}),
        *({"claims": {"aud": "another"}}, {"claims": {"sub": "omar"}}),
    ],
    ids=str,
)
def test_an_id_token_that_is_not_this_persons_is_refused(client, headers, genauth, forged):
    id_token = genauth.token("mei", kind="id", **forged)

    response = client.delete(PATH, headers=headers() | {"X-Id-Token": id_token})

    assert (response.status_code, response.json["code"]) == (400, "invalid_request")
    assert id_token not in response.text


@pytest.mark.parametrize("claims", [{"exp": LONG_AGO}, {"sub": "omar"}], ids=str)
def test_a_browser_that_keeps_sending_an_old_id_token_is_asked_to_sign_in_again(client, headers, genauth, written, claims):
    """No page chose to send it: to be told of a mistake in the call would help nobody."""
    claims = {name: ago(value) if isinstance(value, int) else value for name, value in claims.items()}
    cookie = {"Cookie": f"idt={genauth.token('mei', kind='id', claims=claims)}"}

    response = client.delete(PATH, headers=headers() | cookie)

    assert (response.status_code, response.json["code"]) == (401, "reauthentication_required")
    assert '"action":"unlink","result":"reauthentication_required"' in written().out.decode()


def test_opaque_tokens_are_judged_by_what_introspection_says(client_with, headers):
    client = client_with(CHANGE_RATE_LIMIT="off", STEP_UP_SECONDS="300", TOKEN_VERIFICATION="introspection")

    def asked(**said):
        return passes(client.delete(PATH, headers=headers(kind="opaque", **said)))

    assert asked(signed_in=NOW, made=LONG_AGO)
    assert not asked(signed_in=301)
    assert asked(made=290)
    assert not asked(made=301)
    assert asked(made=301, id_token=NOW)
    assert not asked(made=None)  # nothing says when


def test_a_session_is_as_old_when_it_is_known_as_when_it_was_new(client, headers):
    old = headers(signed_in=301)

    assert [passes(client.delete(PATH, headers=old)) for _ in range(3)] == [False] * 3


def test_without_the_setting_any_session_may_change(client_with, headers):
    assert passes(client_with().delete(PATH, headers=headers(signed_in=LONG_AGO) | {"X-Id-Token": "not even read"}))


def test_whoever_is_asked_to_sign_in_again_is_in_the_audit(client, headers, genauth, written):
    client.delete(PATH, headers=headers(signed_in=301))
    id_token = genauth.token("mei", kind="id", claims={"auth_time": ago(301)})
    client.post(LINKS, json={"provider": "my-github", "idToken": id_token}, headers=headers())

    lines = [line for line in map(json.loads, written().out.splitlines()) if line["event"] == "audit"]
    assert [(line["action"], line["result"]) for line in lines] == [
        (action, "reauthentication_required") for action in ("unlink", "link_started")
    ]
    assert genauth.calls("/api/v3/get-identities") == 0


def test_who_only_looks_is_never_asked(client, headers):
    assert client.get("/me/linked-accounts", headers=headers(signed_in=LONG_AGO)).status_code == 200


def test_linking_needs_a_recent_sign_in(client, headers, genauth):
    def begin(signed_in, **members):
        id_token = genauth.token("mei", kind="id", claims={"auth_time": ago(signed_in)})
        response = client.post(LINKS, json={"provider": "my-github", "idToken": id_token} | members, headers=headers())
        return response.status_code, response.json.get("code")

    assert begin(301) == (401, "reauthentication_required")
    assert genauth.calls("/api/v3/generate-link-extidp-url") == 0
    assert begin(NOW) == (201, None)


def test_no_id_token_is_in_the_log_or_in_an_answer(client_with, headers, written, genauth):
    client = client_with(
        CHANGE_RATE_LIMIT="off", STEP_UP_SECONDS="300", ID_TOKEN_COOKIE_NAME="idt", LOG_LEVEL="debug", METRICS_TOKEN="watching"
    )
    canary = genauth.token("mei", kind="id", claims={"name": "canary"})
    others = genauth.token("omar", kind="id", claims={"name": "canary"})
    answers = [
        client.delete(PATH, headers=headers() | sent)
        for token in (canary, others, f"{canary}x", canary.rpartition(".")[2])
        for sent in ({"X-Id-Token": token}, {"Cookie": f"idt={token}"}, {"X-Id-Token": f"{token}, {token}"})
    ]
    answers.append(client.get("/metrics", headers={"Authorization": "Bearer watching"}))

    seen = written().out.decode() + "".join(f"{each.headers}{each.text}" for each in answers)
    assert {404, 400} <= {each.status_code for each in answers}
    assert not [part for token in (canary, others) for part in token.split(".")[1:] if part in seen]


def test_a_piece_of_the_id_token_is_no_requests_id(client, headers):
    sent = headers(id_token=NOW)
    piece = sent["X-Id-Token"].split(".")[1][:40]

    response = client.delete(PATH, headers=sent | {"X-Request-Id": piece})

    assert response.headers["X-Request-Id"] != piece
