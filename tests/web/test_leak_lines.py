"""A leak that was stopped is told by the field's name, in the log and in the metrics."""

import json

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


def test_the_callers_own_token_in_an_answer_of_genauths_is_told_too(client, genauth, sign_in, written, stored):
    late = genauth.token("omar")
    rows = [
        {"identityId": "i", "extIdpId": "s", "provider": "github", "userInfoInIdp": {"photo": f"https://x.example/?t={late}"}}
    ]
    genauth.answers("omar", identities=rows)
    client.get(PATH, headers=sign_in("omar"))

    response = client.get(PATH, headers={"Authorization": f"Bearer {late}"})

    assert late not in response.text
    assert told(written().out) == ["[].avatarUrl"]
    assert not any(late.encode() in legible(key, stored.get(key)) for key in stored.keys("*"))


def test_the_callers_own_token_in_what_was_stored_for_another_session_is_told_too(client, genauth, written):
    early, late = genauth.token("omar"), genauth.token("omar")
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
