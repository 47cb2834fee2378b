"""What get-identities and its siblings say of each person."""

import json

import pytest


def kinds(response):
    return [(row["provider"], row["type"]) for row in response.json()["data"]]


def test_mei_has_wechat_in_two_records_and_lark_in_three(ask):
    response = ask("mei")

    assert kinds(response) == [
        ("wechat", "openid"),
        ("wechat", "unionid"),
        ("lark", "open_id"),
        ("lark", "union_id"),
        ("lark", "user_id"),
    ]
    assert len({row["extIdpId"] for row in response.json()["data"]}) == 2
    assert response.json()["data"][0]["userInfoInIdp"]["nickname"] == "小明"


def test_omars_github_token_is_also_inside_his_user_info(ask, genauth):
    rows = ask("omar").json()["data"]

    github = next(row for row in rows if row["provider"] == "github")
    places = [github["accessToken"], github["userInfoInIdp"]["accessToken"]]
    places.append(json.loads(github["userInfoInIdp"]["oauth"])["access_token"])
    assert set(places) < genauth.canaries("omar")
    assert len(set(places)) == 3


def test_nia_has_linked_nothing(ask):
    assert ask("nia").json()["data"] == []


def test_lin_has_two_sources_of_one_provider(ask):
    rows = ask("lin").json()["data"]

    assert {row["provider"] for row in rows} == {"gitee"}
    assert len({row["extIdpId"] for row in rows}) == 2
    assert all(row["userInfoInIdp"]["customData"]["giteeLogin"] for row in rows)


def test_ada_lacks_what_merged_accounts_lack(ask):
    rows = ask("ada").json()["data"]

    assert "userInfoInIdp" not in rows[0]
    assert rows[1]["userInfoInIdp"] is None
    assert any("extIdpId" not in row for row in rows)
    assert "hexagon-id" in {row["provider"] for row in rows}


def test_bo_is_answered_like_the_documentations_sample_result(ask):
    data = ask("bo").json()["data"]

    assert isinstance(data, dict)
    assert json.loads(data["originConnIds"])


def test_ivys_avatar_carries_her_providers_token(ask, genauth):
    photo = ask("ivy").json()["data"][0]["userInfoInIdp"]["photo"]

    assert any(canary in photo for canary in genauth.canaries("ivy"))


def test_yans_names_are_easily_lost(ask):
    profiles = [row["userInfoInIdp"] for row in ask("yan").json()["data"]]

    assert profiles[0]["nickname"] == "\u200b\u3164"
    assert profiles[0]["photo"].startswith("http://thirdwx.qlogo.cn/")
    assert {type(profile.get("customData")) for profile in profiles} == {type(None), str, list}


def test_there_is_any_number_of_numbered_people_and_each_is_always_the_same(ask, genauth):
    first, again, other = ask("user-99999"), ask("user-99999"), ask("user-100000")

    assert first.json()["data"] == again.json()["data"]
    assert kinds(first) == [("wechat", "openid"), ("wechat", "unionid"), ("github", "primary"), ("github", "openid")]
    assert len({genauth.id_of(f"user-{n}") for n in range(1000)}) == 1000
    assert not {row["userIdInIdp"] for row in first.json()["data"]} & {row["userIdInIdp"] for row in other.json()["data"]}


def test_a_stranger_has_no_token(genauth):
    with pytest.raises(KeyError, match="nobody here is called 'eve'"):
        genauth.token("eve")


@pytest.mark.parametrize("person", ["mei", "omar", "lin", "ada", "bo", "ivy", "yan", "user-7"])
def test_every_provider_token_is_a_canary_of_its_owner(person, ask, genauth):
    canaries = genauth.canaries(person)

    assert canaries
    assert all(canary.startswith(f"provider-token-{person}-") and len(canary) >= 24 for canary in canaries)
    tokens = [value for row in json.loads(ask(person).text, object_pairs_hook=tokens_of) for value in row]
    assert set(tokens) <= canaries


def tokens_of(pairs):
    """The values under accessToken and refreshToken at any depth, in place of the objects they were in."""
    found = [value for name, value in pairs if name in {"accessToken", "refreshToken"} and value]
    for _, value in pairs:
        nested = value if isinstance(value, list) else []
        found += [token for each in nested for token in (each if isinstance(each, list) else [each]) if isinstance(token, str)]
    if any(name == "statusCode" for name, _ in pairs):
        return [[token for token in found if token.startswith("provider-token")]]
    return found


def test_recorded_identities_are_answered_as_they_are(ask, genauth):
    genauth.answers("mei", identities={"anything": ["at all", None]})

    assert ask("mei").json()["data"] == {"anything": ["at all", None]}
    assert len(ask("omar").json()["data"]) == 3


def test_rui_is_locked_and_others_can_be(ask, genauth):
    genauth.block("mei", 2120008)
    blocked = {person: ask(person) for person in ("rui", "mei")}
    genauth.unblock("mei")
    genauth.unblock("rui")

    assert {person: response.json()["apiCode"] for person, response in blocked.items()} == {"rui": 2005, "mei": 2120008}
    assert {(response.status_code, response.json()["statusCode"]) for response in blocked.values()} == {(200, 403)}
    assert ask("mei").json()["statusCode"] == ask("rui").json()["statusCode"] == 200


def test_the_applications_sources_include_some_that_nobody_linked(ask, genauth):
    sources = ask(path="/api/v3/get-application-enabled-extidps").json()["data"]

    everybody = [genauth.people, *(f"user-{n}" for n in range(3))]
    linked = {
        row.get("extIdpId") for person in everybody[0] if person not in {"max", "rui", "bo"} for row in ask(person).json()["data"]
    }
    assert {"qq", "linkedin"} <= {source["type"] for source in sources if source["extIdpId"] not in linked}
    assert {"identifier", "extIdpId", "type", "extIdpType", "bindUrl", "name", "name_en"} <= set(sources[0])
    assert all(source["logo"].startswith("https://") for source in sources if "logo" in source)


def test_several_connections_share_a_source(ask):
    sources = ask(path="/api/v3/get-application-enabled-extidps").json()["data"]

    wechat = [source for source in sources if source["type"] == "wechat"]
    assert len(wechat) == 2
    assert len({source["extIdpId"] for source in wechat}) == 1
    assert len({source["identifier"] for source in wechat}) == 2


def test_the_profile_says_what_the_scope_admits(ask, genauth):
    full = ask("mei", "/api/v3/get-profile?withIdentities=true").json()["data"]
    narrow = ask(path="/api/v3/get-profile", token=genauth.token("mei", claims={"scope": "openid"})).json()["data"]

    assert (full["userId"], full["email"], len(full["identities"])) == (genauth.id_of("mei"), "mei@people.example", 5)
    assert "email" not in narrow
    assert "identities" not in narrow


def test_security_info_tells_who_has_a_password(ask):
    info = {person: ask(person, "/api/v3/get-security-info").json()["data"] for person in ("mei", "omar")}

    assert (info["mei"]["passwordSet"], info["omar"]["passwordSet"]) == (False, True)
    assert set(info["mei"]) == {
        "passwordSecurityLevel",
        "mfaEnrolled",
        "passwordSet",
        "emailBinded",
        "phoneBinded",
        "securityScore",
    }


def test_messages_are_chinese_unless_english_is_asked_for(ask):
    chinese, english = ask(), ask(headers={"x-authing-lang": "en-US"})

    assert chinese.json()["message"] == "尚未登录，无权限访问此请求"  # noqa: RUF001  # as GenAuth puts it
    assert english.json()["message"] == "You are not logged in."


def test_an_unknown_path_is_a_404_in_json(ask):
    response = ask("mei", "/api/v3/get-everything")

    assert response.status_code == response.json()["statusCode"] == 404


@pytest.mark.parametrize("header", ["x-authing-app-id", "x-genauth-app-id"])
def test_the_application_may_be_named_under_either_prefix(header, ask, genauth):
    ours = ask("mei", headers={header: genauth.app_id})
    another = ask("mei", headers={header: "f" * 24})

    assert ours.json()["statusCode"] == 200
    assert another.json()["apiCode"] == 2011
