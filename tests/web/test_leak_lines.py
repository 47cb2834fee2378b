"""A leak that was stopped is told by the field's name, in the log and in the metrics."""

import json

import pytest

from tests.valkey import legible

PATH = "/me/linked-accounts"


def told(output):
    lines = [json.loads(line) for line in output.splitlines() if line.startswith(b"{")]
    return [line["field"] for line in lines if line["event"] == "leak_stopped"]


def test_a_providers_token_is_told_by_the_field_it_was_in(client, genauth, sign_in, written):
    client.get(PATH, headers=sign_in("ivy"))

    output = written().out
    assert told(output) == ["[].avatarUrl"]
    assert not any(canary.encode() in output for canary in genauth.canaries("ivy"))


@pytest.fixture
def opaque(client_with, genauth):
    """A client of a service that takes opaque tokens, no two of which begin alike, and such tokens."""
    return client_with(TOKEN_VERIFICATION="introspection"), lambda person: genauth.token(person, kind="opaque")


def test_the_callers_own_token_in_an_answer_of_genauths_is_told_too(opaque, genauth, written, stored):
    client, token = opaque
    early, late = token("omar"), token("omar")
    rows = [
        {"identityId": "i", "extIdpId": "s", "provider": "github", "userInfoInIdp": {"photo": f"https://x.example/?t={late}"}}
    ]
    genauth.answers("omar", identities=rows)
    client.get(PATH, headers={"Authorization": f"Bearer {early}"})

    response = client.get(PATH, headers={"Authorization": f"Bearer {late}"})

    assert late not in response.text
    assert told(written().out) == ["[].avatarUrl"]
    assert not any(late.encode() in legible(key, stored.get(key)) for key in stored.keys("*"))


def test_the_callers_own_token_in_what_was_stored_for_another_session_is_told_too(opaque, genauth, written):
    client, token = opaque
    early, late = token("omar"), token("omar")
    rows = [
        {"identityId": "i", "extIdpId": "s", "provider": "github", "userInfoInIdp": {"photo": f"https://x.example/?t={early}"}}
    ]
    client.get(PATH, headers={"Authorization": f"Bearer {early}"})
    genauth.answers("omar", identities=rows)
    assert early in client.get(PATH, headers={"Authorization": f"Bearer {late}"}).text, "which is no secret of this session's"
    written()

    response = client.get(PATH, headers={"Authorization": f"Bearer {early}"})

    assert response.headers["Cache-Status"].startswith("linked-accounts; hit")
    assert early not in response.text
    assert response.json["linkedAccounts"][0]["avatarUrl"] is None
    assert told(written().out) == ["[].avatarUrl"]


def test_a_signed_token_of_another_session_is_stopped_for_it_begins_like_the_callers(client, genauth, written):
    early, late = genauth.token("omar"), genauth.token("omar")
    rows = [
        {"identityId": "i", "extIdpId": "s", "provider": "github", "userInfoInIdp": {"photo": f"https://x.example/?t={early}"}}
    ]
    genauth.answers("omar", identities=rows)

    assert early not in client.get(PATH, headers={"Authorization": f"Bearer {late}"}).text
    assert told(written().out) == ["[].avatarUrl"]
