"""Accounts come and go, and GenAuth says no in its documented codes."""

from urllib.parse import parse_qs, urlsplit

import pytest


@pytest.fixture
def unlink(genauth, http):
    def unlinking(person, source):
        headers = {"Authorization": genauth.token(person)}
        return http.post(f"{genauth.url}/api/v3/unlink-extidp", json={"extIdpId": source}, headers=headers, timeout=5).json()

    return unlinking


def sources_of(ask, person):
    return list(dict.fromkeys(row["extIdpId"] for row in ask(person).json()["data"]))


def test_unlinking_takes_every_record_of_the_account(ask, unlink):
    wechat, lark = sources_of(ask, "mei")

    assert unlink("mei", wechat)["statusCode"] == 200
    assert sources_of(ask, "mei") == [lark]


def test_the_last_way_to_sign_in_cannot_be_unlinked(ask, unlink):
    wechat, lark = sources_of(ask, "mei")
    unlink("mei", wechat)

    assert unlink("mei", lark)["apiCode"] == 2217
    assert sources_of(ask, "mei") == [lark]


def test_with_a_password_all_accounts_can_be_unlinked(ask, unlink):
    for source in sources_of(ask, "omar"):
        assert unlink("omar", source)["statusCode"] == 200

    assert sources_of(ask, "omar") == []


def test_a_connections_id_is_not_a_sources_id(ask, unlink):
    connection = ask("mei").json()["data"][0]["originConnIds"][0]

    assert unlink("mei", connection)["apiCode"] == 2216


@pytest.mark.parametrize("source", [None, "", 7])
def test_unlinking_nothing_is_an_invalid_argument(source, unlink):
    assert unlink("mei", source)["statusCode"] == 400


def test_unlinking_concerns_one_person(ask, unlink):
    before = ask("user-1").json()["data"]
    unlink("user-2", before[0]["extIdpId"])

    assert ask("user-1").json()["data"] == before
    assert len(ask("user-2").json()["data"]) == 2


def link_query(genauth, **changes):
    query = {
        "ext_idp_conn_identifier": "my-google",
        "app_id": genauth.app_id,
        "id_token": genauth.token("nia", kind="id"),
    }
    return query | changes


def test_the_link_url_links_the_account(ask, genauth):
    answer = ask("nia", "/api/v3/generate-link-extidp-url", params=link_query(genauth)).json()
    url = urlsplit(answer["data"]["url"])
    page = ask(path=f"{url.path}?{url.query}")

    assert f"{url.scheme}://{url.netloc}" == genauth.url
    assert "postMessage" in page.text
    assert [row["provider"] for row in ask("nia").json()["data"]] == ["google"]


def test_the_link_url_can_send_the_browser_back(ask, genauth):
    query = link_query(genauth, need_url_redirect="true", target_url="http://127.0.0.1:8000/linked")
    page = ask(path="/api/v3/link-extidp", params=query)

    back = urlsplit(page.headers["Location"])
    assert (page.status_code, back.path) == (302, "/linked")
    assert parse_qs(back.query)["success"] == ["true"]


@pytest.mark.parametrize(
    ("change", "status_code"),
    [
        ({"id_token": "nonsense"}, 401),
        ({"id_token": ""}, 400),
        ({"app_id": "f" * 24}, 499),
        ({"ext_idp_conn_identifier": "my-space"}, 404),
    ],
)
def test_a_link_url_is_refused_for(change, status_code, ask, genauth):
    answer = ask("nia", "/api/v3/generate-link-extidp-url", params=link_query(genauth, **change)).json()

    assert answer["statusCode"] == status_code


def test_an_access_token_does_not_identify_anybody(ask, genauth):
    query = link_query(genauth, id_token=genauth.token("nia"))

    assert ask("nia", "/api/v3/generate-link-extidp-url", params=query).json()["apiCode"] == 2020


def test_reset_gives_everything_back(ask, genauth, unlink):
    token = genauth.token("mei")
    before = ask("mei").json()["data"]
    unlink("mei", before[0]["extIdpId"])
    genauth.revoke(token)
    genauth.block("mei")
    genauth.trouble(status=500)
    genauth.reset()

    assert ask(token=token).json()["data"] == before
    assert genauth.calls() == 1
