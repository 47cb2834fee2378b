"""Tokens for another application, of another issuer or by another algorithm: counted by reason, and said aloud."""

import json

import pytest

PATH = "/me/linked-accounts"
INTROSPECTION = "/oidc/token/introspection"
WATCHING = {"Authorization": "Bearer watching"}


@pytest.fixture
def told(log_lines):
    def read():
        return [line for line in map(json.loads, log_lines.take().splitlines()) if line["event"] == "tokens_mostly_refused"]

    return read


def ask(client, *tokens):
    assert {client.get(PATH, headers={"Authorization": f"Bearer {token}"}).status_code for token in tokens} == {401}


def counted(client, reason):
    series = f'linked_accounts_refusals_total{{code="token_invalid",reason="{reason}"}} 3.0'
    return series in client.get("/metrics", headers=WATCHING).text.splitlines()


@pytest.mark.parametrize(
    ("token", "reason", "expected", "found"),
    [
        ({"claims": {"aud": "another-application"}}, "audience", "{app}", "another-application"),
        ({"claims": {"aud": ["one", "two"]}}, "audience", "{app}", "one, two"),
        ({"claims": {"aud": None}}, "audience", "{app}", "nothing"),
        ({"claims": {"iss": "https://other.example/oidc"}}, "issuer", "{issuer}", "https://other.example/oidc"),
        ({"alg": "HS256"}, "algorithm", "RS256 or ES256", "HS256"),
        ({"claims": {"aud": "any text,\nhowever <made>"}}, "audience", "{app}", "[no name]"),
        ({"claims": {"aud": "x" * 2000}}, "audience", "{app}", "[no name]"),
    ],
)
def test_tokens_for_others_are_counted_and_said_aloud(client_with, genauth, told, token, reason, expected, found):
    client = client_with(METRICS_TOKEN="watching")

    ask(client, *[genauth.token(f"user-{number}", **token) for number in range(3)])

    (line,) = told()
    expected = expected.format(app=genauth.app_id, issuer=genauth.issuer)
    assert (line["reason"], line["found"]) == (reason, found)
    assert expected in line["expected"].split(" or ") or expected == line["expected"]
    assert counted(client, reason)


def test_opaque_tokens_for_others_too(client_with, genauth, told):
    client = client_with(METRICS_TOKEN="watching", TOKEN_VERIFICATION="introspection")
    body = {"active": True, "sub": "somebody", "client_id": "another-application"}
    genauth.answers_raw(INTROSPECTION, body=json.dumps(body).encode())

    ask(client, "one", "two", "three")

    (line,) = told()
    assert (line["reason"], line["expected"], line["found"]) == ("client_id", genauth.app_id, "another-application")
    assert counted(client, "client_id")


def test_forged_and_expired_tokens_say_nothing_of_our_settings(client_with, genauth, told):
    client = client_with(METRICS_TOKEN="watching")

    ask(client, *[genauth.token("mei", key="foreign", claims={"jti": number}) for number in range(3)])
    ask(client, *[genauth.token("mei", lifetime=-60, claims={"jti": number}) for number in range(3)])

    assert told() == []
    assert counted(client, "signature")


def test_an_error_without_a_reason_of_its_own_is_counted_by_its_code(client_with):
    client = client_with(METRICS_TOKEN="watching")
    client.get(PATH)
    client.get("/nowhere")

    lines = client.get("/metrics", headers=WATCHING).text.splitlines()

    for code in ("token_missing", "not_found"):
        assert f'linked_accounts_refusals_total{{code="{code}",reason="{code}"}} 1.0' in lines
