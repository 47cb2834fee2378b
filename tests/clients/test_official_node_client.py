"""GenAuth's own Node client (npm ``authing-node-sdk``) takes the sandbox for GenAuth."""

import json
import subprocess

import pytest
import requests

from tests.clients.conftest import HERE


@pytest.fixture
def call(genauth, npm_packages):
    """Call methods of the client, signed in as that person; the answers come in the same order."""

    def calling(person, *calls, **options):
        options = {
            "appId": genauth.app_id,
            "appHost": genauth.url,
            "appSecret": genauth.app_secret,
            "accessToken": genauth.token(person),
            **options,
        }
        run = subprocess.run(
            ["node", "ask.js"],
            cwd=HERE,
            input=json.dumps({"options": options, "calls": calls}),
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert run.returncode == 0, run.stderr
        return json.loads(run.stdout)

    return calling


def kinds(answer):
    return [(row["provider"], row["type"]) for row in answer["data"]]


def test_it_gets_meis_identities(call):
    (answer,) = call("mei", ["getIdentities"])

    assert answer["statusCode"] == 200
    assert kinds(answer) == [
        ("wechat", "openid"),
        ("wechat", "unionid"),
        ("lark", "open_id"),
        ("lark", "union_id"),
        ("lark", "user_id"),
    ]
    assert answer["data"][0]["userInfoInIdp"]["nickname"] == "小明"


def test_it_gets_omars_identities(call):
    (answer,) = call("omar", ["getIdentities"])

    assert kinds(answer) == [("google", "openid"), ("github", "primary"), ("github", "openid")]


def test_it_is_told_when_a_session_is_over(call):
    (answer,) = call("max", ["getIdentities"])

    assert (answer["statusCode"], answer["apiCode"]) == (401, 2020)


def test_it_gets_sources_profile_and_security(call, genauth):
    sources, profile, security = call(
        "mei", ["getApplicationEnabledExtIdps"], ["getProfile", {"withIdentities": True}], ["getSecurityLevel"]
    )

    assert {"wechat", "lark", "github"} < {source["type"] for source in sources["data"]}
    assert (profile["data"]["userId"], len(profile["data"]["identities"])) == (genauth.id_of("mei"), 5)
    assert security["data"]["passwordSet"] is False


def test_it_gets_a_url_to_link_with(call, genauth):
    link = {
        "extIdpConnIdentifier": "my-google",
        "appId": genauth.app_id,
        "idToken": genauth.token("nia", kind="id"),
    }
    way_back = {"needUrlRedirect": True, "needFormPost": True, "targetUrl": "https://app.example/linked?tab=2"}
    plain, posted, nowhere = call(
        "nia",
        ["generateLinkExtIdpUrl", link],
        ["generateLinkExtIdpUrl", link | way_back],
        ["generateLinkExtIdpUrl", link | {"extIdpConnIdentifier": "my-space"}],
    )

    assert plain["data"]["url"].startswith(f"{genauth.url}/api/v3/link-extidp?")
    assert nowhere["statusCode"] == 404
    # What a browser does there: the page asks, the person agrees, and the outcome is on its way to the target.
    page = requests.post(posted["data"]["url"], data={"decision": "continue"}, timeout=5)
    assert 'action="https://app.example/linked?tab=2"' in page.text
    assert 'name="success" value="true"' in page.text
    assert kinds(call("nia", ["getIdentities"])[0]) == [("google", "generic")]


def test_it_unlinks_until_one_way_to_sign_in_is_left(call):
    (before,) = call("mei", ["getIdentities"])
    wechat, lark = dict.fromkeys(row["extIdpId"] for row in before["data"])

    unlinked, again, last, after = call(
        "mei",
        ["unlinkExtIdp", {"extIdpId": wechat}],
        ["unlinkExtIdp", {"extIdpId": wechat}],
        ["unlinkExtIdp", {"extIdpId": lark}],
        ["getIdentities"],
    )

    # GenAuth's 200 says nothing of whether there was anything to unlink.
    assert (unlinked["statusCode"], again["statusCode"], last["apiCode"]) == (200, 200, 2217)
    assert {row["provider"] for row in after["data"]} == {"lark"}


def test_it_verifies_introspects_and_revokes(call, genauth):
    token = genauth.token("mei")

    parsed, before, revoked, after = call(
        "mei", ["parseAccessToken", token], ["introspectToken", token], ["revokeToken", token], ["introspectToken", token]
    )

    assert parsed["sub"] == before["sub"] == genauth.id_of("mei")
    assert (before["active"], revoked, after) == (True, True, {"active": False})


def test_it_identifies_itself_by_basic_authentication_too(call, genauth):
    (state,) = call(
        "mei",
        ["introspectToken", genauth.token("mei")],
        accessToken=None,
        introspectionEndPointAuthMethod="client_secret_basic",
    )

    assert state["active"] is True
