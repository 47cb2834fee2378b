"""Whose tokens are accepted where discovery's issuer is not to the letter the one that tokens say."""

import pytest

PATH = "/me/linked-accounts"
DISCOVERY = "/oidc/.well-known/openid-configuration"


def told(response):
    return response.status_code, (response.json or {}).get("code")


@pytest.mark.parametrize("tail", ["", "/"])
@pytest.mark.parametrize("by", ["discovery", "a setting"])
def test_a_slash_at_the_end_of_the_issuer_signs_nobody_out(client_with, genauth, sign_in, by, tail):
    if by == "discovery":
        genauth.trouble(path=DISCOVERY, change={"issuer": genauth.issuer + tail})
    client = client_with(**({} if by == "discovery" else {"GENAUTH_ISSUER": genauth.issuer + tail}))

    for person in ("mei", "omar"):  # with a key that is fetched for it, and with one that is at hand
        assert told(client.get(PATH, headers=sign_in(person))) == (200, None)


@pytest.mark.parametrize("tail", ["/", "//", "/x", "?", " ", "%2F"])
def test_any_other_difference_is_another_issuer(client, genauth, sign_in, tail):
    client.get(PATH, headers=sign_in("mei"))
    token = genauth.token("mei", claims={"iss": genauth.issuer + tail})

    assert told(client.get(PATH, headers={"Authorization": f"Bearer {token}"})) == (401, "token_invalid")


def test_another_hosts_issuer_is_no_reason_to_sign_in_again(client, genauth, sign_in):
    """The tokens may be good: what is wrong is the configuration, or what stands before GenAuth."""
    genauth.trouble(path=DISCOVERY, change={"issuer": "https://elsewhere.example/oidc"})

    assert told(client.get(PATH, headers=sign_in("mei"))) == (503, "upstream_unavailable")
