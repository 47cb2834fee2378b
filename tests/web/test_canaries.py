"""Promise 1: no provider token leaves, and no session token; in a body, a header, Redis, the log, the metrics."""

import base64
import json
from urllib.parse import quote

import pytest

from tests.valkey import legible

PATH = "/me/linked-accounts"
PEOPLE = ("mei", "omar", "nia", "max", "rui", "lin", "ada", "bo", "ivy", "yan")
QUERIES = ("", "?include=identities", "?include=identities,identities", "?include=providers,unlink")
CANARY = "provider-token-planted-0123456789abcdef"


@pytest.fixture
def client(client_with):
    return client_with(METRICS_TOKEN="watching", SESSION_COOKIE_NAME="sid", LOG_LEVEL="debug")


@pytest.fixture
def everything(client, stored, written):
    """Whatever anybody could read after the requests: answers, what Redis holds, the log, the metrics."""
    answers = []

    def ask(path=PATH, **request):
        response = client.open(path, **request)
        answers.append(f"{response.headers}{response.text}")
        return response

    def read():
        values = {key: legible(key, stored.get(key)) for key in stored.keys("*")}
        assert values
        assert all(value.startswith(b"[") for key, value in values.items() if key.endswith(b":accounts")), "nobody can read them"
        kept = [f"{key!r} {stored.dump(key)!r} {value!r}" for key, value in values.items()]
        logged = written()
        metrics = client.get("/metrics", headers={"Authorization": "Bearer watching"}).text
        return "\n".join([*answers, *kept, repr(logged.out), repr(logged.err), metrics])

    return ask, read


def spellings(secret):
    raw = secret.encode()
    yield from (secret, quote(secret, safe=""), base64.b64encode(raw).decode().rstrip("="), raw.hex())


def test_no_token_of_anybody_is_anywhere(genauth, everything):
    ask, read = everything
    tokens = {person: genauth.token(person) for person in PEOPLE}
    for person, token in tokens.items():
        for query in QUERIES:
            ask(PATH + query, headers={"Authorization": f"Bearer {token}"})
        ask(headers={"Cookie": f"sid={token}", "X-Requested-With": "fetch"})
        ask(f"{PATH}?refresh=true", headers={"Authorization": f"Bearer {token}"})
        genauth.revoke(token)
        ask(f"{PATH}?refresh=true", headers={"Authorization": f"Bearer {token}"}, method="HEAD")
        ask(f"/{token}", headers={"Cookie": f"sid={token}", "X-Request-Id": token[:100]})
        ask(f"/problems/{person}?t={token}", method="DELETE", headers={"Authorization": f"Token {token}"})

    text = read()
    secrets = {canary for person in PEOPLE for canary in genauth.canaries(person)} | set(tokens.values())
    assert len(secrets) > 30
    assert not [secret for secret in secrets for spelled in spellings(secret) if spelled in text]
    # Nor a session token's signature, the part that makes it one.
    assert not [token for token in tokens.values() if token.rpartition(".")[2] in text]


def test_a_field_that_carries_a_token_is_emptied_and_the_rest_is_served(client, genauth, sign_in, everything):
    ask, read = everything

    (account,) = ask(headers=sign_in("ivy")).json["linkedAccounts"]

    assert account["avatarUrl"] is None
    assert account["displayName"] == "Ivy"
    text = read()
    assert 'linked_accounts_leaks_stopped_total{field="avatarUrl"} 1.0' in text
    assert not [canary for canary in genauth.canaries("ivy") if canary in text]


def row(**changed):
    return {
        "identityId": "62f1000000000000000000a1",
        "extIdpId": "62f1000000000000000000b1",
        "provider": "github",
        "type": "primary",
        "userIdInIdp": "42",
        "userInfoInIdp": {"nickname": "Ivy"},
        "accessToken": CANARY,
        "refreshToken": None,
        "originConnIds": ["62f1000000000000000000c1"],
    } | changed


AS_ITSELF = {
    "identityId": {"identityId": CANARY},
    "extIdpId": {"extIdpId": CANARY},
    "provider": {"provider": CANARY},
    "type": {"type": CANARY},
    "userIdInIdp": {"userIdInIdp": CANARY},
    "originConnIds": {"originConnIds": [CANARY]},
    "originConnIds as a string": {"originConnIds": json.dumps([CANARY])},
    "nickname": {"userInfoInIdp": {"nickname": CANARY}},
    "nickname, wrapped": {"userInfoInIdp": {"nickname": f"I am {CANARY}!"}},
    "email": {"userInfoInIdp": {"email": f"{CANARY}@example.com"}},
    "username": {"userInfoInIdp": {"username": quote(CANARY, safe="")}},
    "photo": {"userInfoInIdp": {"photo": f"https://x.example/a?token={CANARY}"}},
    "photo, in base64": {"userInfoInIdp": {"photo": f"https://x.example/{base64.b64encode(CANARY.encode()).decode()}"}},
    "custom data": {"userInfoInIdp": {"customData": {"giteeName": CANARY, "giteeLogin": CANARY}}},
}
NESTED = {
    "under oauth": {"accessToken": None, "userInfoInIdp": {"nickname": CANARY, "oauth": json.dumps({"access_token": CANARY})}},
    "under oauth, an object": {"accessToken": None, "userInfoInIdp": {"nickname": CANARY, "oauth": {"a": [{"b": CANARY}]}}},
    "deep": {"accessToken": None, "userInfoInIdp": {"nickname": CANARY, "x": [{"y": {"refreshToken": CANARY}}]}},
    "under an unknown key": {"extra": {"deeper": [CANARY]}, CANARY: CANARY},
    "in a list": {"accessToken": [CANARY], "userInfoInIdp": {"nickname": CANARY}},
}


@pytest.mark.parametrize("changed", (AS_ITSELF | NESTED).values(), ids=(AS_ITSELF | NESTED).keys())
def test_a_token_stays_in_wherever_it_was_put(genauth, sign_in, everything, changed):
    ask, read = everything
    innocent = row(identityId="62f1000000000000000000a2", extIdpId="62f1000000000000000000b2", accessToken=None)
    genauth.answers("ivy", identities=[row(**changed), innocent])

    for query in QUERIES:
        response = ask(PATH + query, headers=sign_in("ivy"))
        assert response.status_code == 200
        assert "62f1000000000000000000b2" in {account["id"] for account in response.json["linkedAccounts"]}

    text = read()
    assert not [spelled for spelled in spellings(CANARY) if spelled in text]


@pytest.mark.parametrize("where", ["nickname", "photo"])
def test_a_session_token_that_genauth_sends_back_is_not_shown_to_anybody(genauth, everything, where):
    ask, _ = everything
    first, second = genauth.token("ivy"), genauth.token("ivy", claims={"jti": "another"})
    for token in (first, second):
        other = second if token == first else first
        genauth.answers("ivy", identities=[row(userInfoInIdp={where: f"https://x.example/?t={token}&u={other}"})])
        ask(f"{PATH}?refresh=true", headers={"Authorization": f"Bearer {token}"})
        assert token not in ask(headers={"Authorization": f"Bearer {token}"}).text


@pytest.mark.parametrize("way", [{}, {"If-None-Match": "x"}], ids=["plain", "conditional"])
def test_a_defect_tells_no_token(client, app_with, genauth, written, monkeypatch, way):
    token = genauth.token("mei")
    app = app_with(LOG_LEVEL="debug")

    def broken(*_, **__):
        raise ValueError(f"could not handle {token}")

    monkeypatch.setattr("bff.accounts.service.LinkedAccounts.of", broken)
    response = app.test_client().get(PATH, headers={"Authorization": f"Bearer {token}"} | way)

    assert response.status_code == 500
    assert token not in response.text + str(response.headers) + written().out.decode()
