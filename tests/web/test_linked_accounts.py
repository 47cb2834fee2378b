"""``GET /me/linked-accounts`` as a frontend meets it."""

from datetime import UTC, datetime, timedelta

import pytest

PATH = "/me/linked-accounts"


def accounts(response):
    return response.json["linkedAccounts"]


def test_wechat_openid_and_unionid_are_one_account(client, sign_in):
    response = client.get(PATH, headers=sign_in("mei"))

    assert response.status_code == 200
    assert [account["provider"]["type"] for account in accounts(response)] == ["lark", "wechat"]
    assert accounts(response)[1]["identityTypes"] == ["openid", "unionid"]
    assert accounts(response)[0]["identityTypes"] == ["open_id", "union_id", "user_id"]


def test_an_account_has_every_field_of_the_contract_and_no_other(client, sign_in):
    account = accounts(client.get(PATH, headers=sign_in("omar")))[0]

    assert list(account) == ["id", "provider", "displayName", "email", "avatarUrl", "identityTypes"]
    assert list(account["provider"]) == ["type", "name", "category", "logoUrl"]


def test_meta_counts_the_accounts_and_says_when_genauth_was_asked(client, sign_in):
    meta = client.get(PATH, headers=sign_in("omar")).json["meta"]

    fetched = datetime.strptime(meta.pop("fetchedAt"), "%Y-%m-%dT%H:%M:%SZ").replace(tzinfo=UTC)
    assert meta == {"total": 2, "stale": False}
    assert timedelta(0) <= datetime.now(UTC) - fetched < timedelta(seconds=10)


def test_somebody_who_linked_nothing_gets_an_empty_list(client, sign_in):
    response = client.get(PATH, headers=sign_in("nia"))

    assert (response.status_code, accounts(response), response.json["meta"]["total"]) == (200, [], 0)


def test_two_sources_of_one_provider_are_two_accounts(client, sign_in):
    found = accounts(client.get(PATH, headers=sign_in("lin")))

    assert [account["provider"]["type"] for account in found] == ["gitee", "gitee"]
    assert len({account["id"] for account in found}) == 2


def test_a_record_without_a_source_and_a_provider_nobody_knows_are_served(client, sign_in):
    found = accounts(client.get(PATH, headers=sign_in("ada")))

    assert len(found) > 1
    assert all(account["id"] and account["provider"]["name"] for account in found)


def test_names_are_found_wherever_a_provider_puts_them_and_no_mail_address_is_given_away(client, sign_in):
    found = {account["provider"]["name"]: account for account in accounts(client.get(PATH, headers=sign_in("yan")))}

    assert {name: account["displayName"] for name, account in found.items()} == {
        "WeChat": "彦",
        "Gitee Community": "yan-opens",
        "Gitee Enterprise": "彦工",
        "Lark": "彦",
        "Google": "y•••",
    }
    assert found["Google"]["email"] == "y•••@gmail.example"
    assert found["WeChat"]["avatarUrl"] == "https://thirdwx.qlogo.cn/mmopen/vi_32/yan/132"


@pytest.mark.parametrize("compress", [None, "gzip", "deflate"])
@pytest.mark.parametrize("body", ["strays", "list-in-object"])
def test_what_can_be_read_of_an_answer_is_served(client, genauth, sign_in, body, compress):
    genauth.trouble(path="/api/v3/get-identities", malformed=body, compress=compress)

    response = client.get(PATH, headers=sign_in("mei"))

    assert (response.status_code, [account["displayName"] for account in accounts(response)]) == (200, ["小明"])


def test_the_documentations_object_for_array_is_understood(client, sign_in):
    assert len(accounts(client.get(PATH, headers=sign_in("bo")))) == 1


def test_names_and_logos_come_from_the_application_and_follow_the_language(client, sign_in):
    headers = sign_in("mei")

    english = accounts(client.get(PATH, headers=headers))[1]["provider"]
    chinese = accounts(client.get(PATH, headers=headers | {"Accept-Language": "zh-CN,zh;q=0.9,en;q=0.8"}))[1]["provider"]

    assert english["name"] == "WeChat"
    assert "微信" in chinese["name"]
    assert english["logoUrl"].startswith("https://")
    assert english["category"] == "social"


def test_names_fall_back_to_the_brands_while_the_applications_list_is_away(client, genauth, sign_in):
    genauth.trouble(path="/api/v3/get-application-enabled-extidps", status=500)

    provider = accounts(client.get(PATH, headers=sign_in("mei")))[1]["provider"]

    assert provider == {"type": "wechat", "name": "WeChat", "category": "social", "logoUrl": None}


def test_identities_are_shown_when_asked_for(client, sign_in):
    found = accounts(client.get(f"{PATH}?include=identities", headers=sign_in("mei")))

    wechat = found[1]["identities"]
    assert [identity["type"] for identity in wechat] == ["openid", "unionid"]
    assert all(list(identity) == ["id", "type", "subject", "connectionIds"] for identity in wechat)
    assert all(identity["connectionIds"] for identity in wechat)


@pytest.mark.parametrize("query", ["include=friends", "include=identities,friends", "include=identities&include=friends"])
def test_an_unknown_include_is_named(client, sign_in, query):
    response = client.get(f"{PATH}?{query}", headers=sign_in("mei"))

    assert (response.status_code, response.json["code"]) == (400, "invalid_request")
    assert "friends" in response.json["detail"]


def test_the_second_question_is_answered_from_memory(client, genauth, sign_in):
    headers = sign_in("mei")

    first, second = client.get(PATH, headers=headers), client.get(PATH, headers=headers)

    assert first.headers["Cache-Status"] == "linked-accounts; fwd=miss"
    assert second.headers["Cache-Status"].startswith("linked-accounts; hit; ttl=")
    assert first.json == second.json
    assert genauth.calls("/api/v3/get-identities") == 1


def test_a_new_process_finds_the_memory_warm(app_with, genauth, sign_in):
    headers = sign_in("mei")
    app_with().test_client().get(PATH, headers=headers)

    again = app_with().test_client().get(PATH, headers=headers)

    assert again.headers["Cache-Status"].startswith("linked-accounts; hit")
    assert genauth.calls("/api/v3/get-identities") == 1


def test_an_unchanged_answer_is_not_sent_again(client, sign_in):
    headers = sign_in("mei")
    first = client.get(PATH, headers=headers)

    again = client.get(PATH, headers=headers | {"If-None-Match": first.headers["ETag"]})

    assert (again.status_code, again.data) == (304, b"")
    assert again.headers["ETag"] == first.headers["ETag"]
    assert again.headers["Cache-Control"] == "private, no-store"
    assert "X-Request-Id" in again.headers


def test_head_is_get_without_a_body(client, sign_in):
    headers = sign_in("mei")

    head, get = client.head(PATH, headers=headers), client.get(PATH, headers=headers)

    assert (head.status_code, head.data) == (200, b"")
    assert head.headers["ETag"] == get.headers["ETag"]
    assert head.headers["Content-Length"] == get.headers["Content-Length"]


def test_options_says_what_is_allowed_without_a_session(client):
    response = client.options(PATH)

    assert response.status_code in {200, 204}
    assert {method.strip() for method in response.headers["Allow"].split(",")} == {"GET", "HEAD", "OPTIONS"}


@pytest.mark.parametrize("person", ["mei", "nobody"])
def test_every_answer_says_what_it_depends_on_and_is_kept_by_nobody(client, sign_in, person):
    response = client.get(PATH, headers=sign_in("mei") if person == "mei" else {})

    assert response.headers["Cache-Control"] == "private, no-store"
    assert response.headers["Vary"] == "Authorization, Cookie, Origin, Accept-Language"
    assert response.headers["X-Content-Type-Options"] == "nosniff"


def test_a_request_id_is_kept_when_it_is_one_and_minted_when_it_is_not(client):
    assert client.get("/livez", headers={"X-Request-Id": "abcd.1234_Z-9"}).headers["X-Request-Id"] == "abcd.1234_Z-9"
    for unfit in ("short", "x" * 129, "with space", "tab\there", "<script>"):
        assert client.get("/livez", headers={"X-Request-Id": unfit}).headers["X-Request-Id"] != unfit
