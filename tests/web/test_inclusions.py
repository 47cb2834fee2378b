"""``?include=``: what could be linked, beside what is."""

import time

import pytest

PATH = "/me/linked-accounts"
SOURCES = "/api/v3/get-application-enabled-extidps"


@pytest.fixture
def shown(client, sign_in):
    """``shown("providers", "omar")``: the answer with these names included, once the list of sources has arrived."""

    def ask(include, person, **headers):
        headers = sign_in(person) | headers
        ends = time.monotonic() + 5
        while True:
            response = client.get(f"{PATH}?include={include}", headers=headers)
            if response.status_code != 200 or response.json["linkableProviders"] is not None or time.monotonic() > ends:
                return response

    return ask


def test_what_is_not_linked_is_offered_in_genauths_order(shown):
    body = shown("providers", "omar").json

    assert list(body) == ["linkedAccounts", "linkableProviders", "meta"]
    offered = body["linkableProviders"]
    assert [each["identifier"] for each in offered][:2] == ["my-wechat-pc", "my-lark"]
    assert {"my-google", "my-github"}.isdisjoint(identifier for each in offered for identifier in each["identifiers"])
    assert offered[0] == {
        "identifier": "my-wechat-pc",
        "identifiers": ["my-wechat-pc", "my-wechat-mobile"],
        "id": "62f209327ab3cc10d9016ee5",
        "type": "wechat",
        "category": "social",
        "name": "WeChat",
        "logoUrl": "https://files.genauth.example/identity-sources/wechat.svg",
    }
    assert list(offered[0]) == ["identifier", "identifiers", "id", "type", "category", "name", "logoUrl"]


def test_somebody_who_linked_one_source_of_a_provider_is_offered_the_other(genauth, client, shown, sign_in):
    assert [each["type"] for each in shown("providers", "lin").json["linkableProviders"]].count("gitee") == 0
    genauth.answers("lin", [])
    client.get(f"{PATH}?refresh=true", headers=sign_in("lin"))

    assert [each["type"] for each in shown("providers", "omar").json["linkableProviders"]].count("gitee") == 2


def test_the_offered_names_are_in_the_readers_language(shown):
    names = [each["name"] for each in shown("providers", "omar", **{"Accept-Language": "zh"}).json["linkableProviders"]]

    assert {"微信", "飞书", "Gitee 企业版"} <= set(names)


def test_names_combine_in_any_order_and_doubled_ones_count_once(shown):
    one, other = (
        shown(names, "omar") for names in ("providers,identities", "identities,,providers,identities&include=providers")
    )

    assert (one.data, one.headers["ETag"]) == (other.data, other.headers["ETag"])
    assert one.json["linkedAccounts"][0]["identities"]


def test_a_list_that_cannot_be_had_is_null(genauth, client, sign_in):
    genauth.trouble(path=SOURCES, status=503)

    for _ in range(2):
        body = client.get(f"{PATH}?include=providers", headers=sign_in("omar")).json
        assert (body["linkableProviders"], len(body["linkedAccounts"])) == (None, 2)


def test_without_being_asked_for_nothing_is_offered(client, sign_in):
    assert "linkableProviders" not in client.get(f"{PATH}?include=identities", headers=sign_in("omar")).json


def test_the_etag_covers_what_was_included(client, shown, sign_in):
    plain = client.get(PATH, headers=sign_in("omar"))
    response = shown("providers", "omar")
    assert response.headers["ETag"] != plain.headers["ETag"]

    unchanged = shown("providers", "omar", **{"If-None-Match": response.headers["ETag"]})
    assert (unchanged.status_code, unchanged.data) == (304, b"")
    assert shown("providers", "omar", **{"If-None-Match": plain.headers["ETag"]}).status_code == 200
    in_chinese = shown("providers", "omar", **{"If-None-Match": response.headers["ETag"], "Accept-Language": "zh"})
    assert in_chinese.status_code == 200


@pytest.mark.parametrize("name", ["provider", "Providers", "unlinks", "providers;identities", "linkableProviders"])
def test_a_name_that_is_none_is_refused_by_name(client, sign_in, name):
    response = client.get(f"{PATH}?include=providers,{name}", headers=sign_in("omar"))

    assert (response.status_code, response.json["code"]) == (400, "invalid_request")
    assert repr(name) in response.json["detail"]
