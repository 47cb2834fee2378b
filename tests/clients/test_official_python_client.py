"""GenAuth's own Python client (PyPI ``genauth``) takes the sandbox for GenAuth."""

import pytest
import requests
from genauth import AuthenticationClient


@pytest.fixture
def client(genauth):
    def signed_in(person, **options):
        return AuthenticationClient(
            app_id=genauth.app_id,
            app_host=genauth.url,
            app_secret=genauth.app_secret,
            access_token=genauth.token(person),
            **options,
        )

    return signed_in


def subjects(answer):
    return [(row["provider"], row["type"], row["userIdInIdp"]) for row in answer["data"]]


def test_it_gets_meis_identities(client):
    answer = client("mei").get_identities()

    assert answer["statusCode"] == 200
    assert subjects(answer) == [
        ("wechat", "openid", "oH_5k5SflrwjGvk7wqpoBKq_cc6M"),
        ("wechat", "unionid", "o9Nka5ibU-lUGQaewqpoBKq_cc6M"),
        ("lark", "open_id", "ou_8bae746eac07cd2564654140d2a9ac61"),
        ("lark", "union_id", "on_093ce5023288856aa0abe4099123b18b"),
        ("lark", "user_id", "23ded785"),
    ]


def test_it_gets_omars_identities(client):
    answer = client("omar").get_identities()

    assert [(provider, kind) for provider, kind, _ in subjects(answer)] == [
        ("google", "openid"),
        ("github", "primary"),
        ("github", "openid"),
    ]


def test_it_is_told_when_a_session_is_over(client):
    answer = client("max").get_identities()

    assert (answer["statusCode"], answer["apiCode"]) == (401, 2020)


def test_it_speaks_its_language(client):
    assert client("max", lang="en-US").get_identities()["message"] == "You are not logged in."


def test_it_gets_the_applications_sources(client):
    sources = client("mei").get_application_enabled_ext_idps()["data"]

    assert {"wechat", "lark", "github"} < {source["type"] for source in sources}


def test_it_gets_the_profile(client, genauth):
    assert client("mei").get_profile()["data"]["userId"] == genauth.id_of("mei")
    assert client("mei").get_user_info_by_access_token(genauth.token("mei"))["sub"] == genauth.id_of("mei")


def test_it_gets_a_url_to_link_with(client, genauth):
    answer = client("nia").generate_link_ext_idp_url("my-google", genauth.app_id, genauth.token("nia", kind="id"))

    assert answer["data"]["url"].startswith(f"{genauth.url}/api/v3/link-extidp?")
    # What a browser does there: the page asks, the person agrees, and the opener gets the outcome.
    assert "postMessage" in requests.post(answer["data"]["url"], data={"decision": "continue"}, timeout=5).text
    assert subjects(client("nia").get_identities()) == [("google", "generic", "google|nia")]


def test_it_unlinks_until_one_way_to_sign_in_is_left(client):
    mei = client("mei")
    wechat, lark = dict.fromkeys(row["extIdpId"] for row in mei.get_identities()["data"])

    assert mei.unlink_ext_idp(wechat)["statusCode"] == 200
    assert mei.unlink_ext_idp(wechat)["statusCode"] == 200
    assert mei.unlink_ext_idp(lark)["apiCode"] == 2217
    assert {provider for provider, _, _ in subjects(mei.get_identities())} == {"lark"}


@pytest.mark.parametrize("method", ["client_secret_post", "client_secret_basic"])
def test_it_introspects_and_revokes(method, client, genauth):
    token = genauth.token("mei")
    mei = client("mei", introspection_endpoint_auth_method=method, revocation_endpoint_auth_method=method)
    before = mei.introspect_token(token)

    assert (before["active"], before["sub"]) == (True, genauth.id_of("mei"))
    assert mei.introspect_token_offline(token)["sub"] == genauth.id_of("mei")
    assert mei.revoke_token(token)
    assert mei.introspect_token(token) == {"active": False}
