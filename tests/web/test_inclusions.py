"""``?include=``: what could be linked, and what may be unlinked, beside what is linked."""

import itertools
import re
import threading
import time
from base64 import urlsafe_b64encode
from hashlib import blake2b

import pytest

from bff.settings import Settings
from bff.web import services_of
from tests.conftest import clocked

PATH = "/me/linked-accounts"
SOURCES = "/api/v3/get-application-enabled-extidps"
SECURITY = "/api/v3/get-security-info"
ALLOWED, UNKNOWN = (True, None), (None, "unknown")
LAST, MANAGED = (False, "last_login_method"), (False, "managed_by_organization")


@pytest.fixture
def shown(client, sign_in):
    """``shown("providers", "omar")``: the answer with these names included, once the list of sources has arrived."""
    ends = time.monotonic() + 5
    somebody = sign_in("nia")
    while client.get(f"{PATH}?include=providers", headers=somebody).json["linkableProviders"] is None:
        assert time.monotonic() < ends, "it did not arrive"
    tokens = {}

    def ask(include, person, **headers):
        token = tokens.setdefault(person, sign_in(person))
        return client.get(f"{PATH}?include={include}", headers=token | headers)

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


def test_somebody_who_linked_one_source_of_a_provider_is_offered_the_other(genauth, shown):
    community, company = "62f209327ab3cc10d9056ee5", "62f209327ab3cc10d9066ee5"
    genauth.answers("lin", [{"identityId": "1", "extIdpId": community, "provider": "gitee"}])

    offered = shown("providers", "lin").json["linkableProviders"]

    assert [each["id"] for each in offered if each["type"] == "gitee"] == [company]


def test_the_offered_names_are_in_the_readers_language(shown):
    names = [each["name"] for each in shown("providers", "omar", **{"Accept-Language": "zh"}).json["linkableProviders"]]

    assert {"微信", "飞书", "Gitee 企业版"} <= set(names)


def test_names_combine_in_any_order_and_doubled_ones_count_once(shown):
    one, other = (
        shown(names, "omar")
        for names in ("providers,identities,unlink", "unlink,identities,,providers,%20identities&include=providers")
    )

    assert (one.data, one.headers["ETag"]) == (other.data, other.headers["ETag"])
    assert one.json["linkedAccounts"][0]["identities"]


def test_each_combination_has_an_etag_of_its_own_and_the_plain_one_is_over_the_plain_accounts(shown):
    names = ("identities", "providers", "unlink")
    combinations = [",".join(each) for most in range(4) for each in itertools.combinations(names, most)]
    etags = {asked: shown(asked, "kim").headers["ETag"] for asked in combinations}

    assert len({*etags.values()}) == 8
    for asked, etag in etags.items():
        assert {each for each in etags if shown(each, "kim", **{"If-None-Match": etag}).status_code == 304} == {asked}
    accounts = shown("", "kim").data.removeprefix(b'{"linkedAccounts":').partition(b',"meta":{"total"')[0]
    assert etags[""] == f'W/"{urlsafe_b64encode(blake2b(accounts, digest_size=12).digest()).decode()}"'


@pytest.mark.parametrize("trouble", [{"status": 503}, {"envelope": {"statusCode": 200, "data": {}}}], ids=str)
def test_a_list_that_cannot_be_had_is_null(genauth, client, sign_in, trouble):
    genauth.trouble(path=SOURCES, **trouble)

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


# What may be unlinked --------------------------------------------------------------------------------------------------


@pytest.fixture
def unlink(sign_in, client):
    """``unlink("mei")``: what is said of each of somebody's accounts."""

    def ask(person, client=client, query="", headers=None):
        response = client.get(f"{PATH}?include=unlink{query}", headers=headers or sign_in(person))
        assert response.status_code == 200
        said = [account["unlink"] for account in response.json["linkedAccounts"]]
        return [(each["allowed"], each["reason"]) for each in said]

    return ask


@pytest.mark.parametrize(
    ("person", "said"),
    [
        ("omar", [ALLOWED, ALLOWED]),
        ("nia", []),
        ("sol", [LAST]),
        ("kim", [ALLOWED]),
        ("zoe", [ALLOWED]),
        ("eli", [ALLOWED]),
    ],
)
def test_whether_an_account_may_be_unlinked_is_said_before_the_click(unlink, person, said):
    assert unlink(person) == said


def test_an_account_without_a_source_is_nothing_that_anybody_could_unlink(client, unlink, sign_in):
    accounts = client.get(f"{PATH}?include=unlink,identities", headers=sign_in("ada")).json["linkedAccounts"]

    assert [account["provider"]["type"] for account in accounts] == ["github", "google", "hexagon-id"]
    assert unlink("ada") == [ALLOWED, UNKNOWN, ALLOWED]
    assert {tuple(account)[-2:] for account in accounts} == {("identities", "unlink")}


def test_genauth_is_asked_how_somebody_signs_in_only_where_that_decides_and_only_once(app, genauth, unlink):
    for person in ("omar", "mei", "lin", "nia", "ada"):
        unlink(person)
    assert genauth.calls(SECURITY) == 0

    for _ in range(3):
        assert unlink("kim") == [ALLOWED]
    assert genauth.calls(SECURITY) == 1

    app.extensions["clock"].by = 90
    assert unlink("kim") == [ALLOWED]
    assert genauth.calls(SECURITY) == 2


def test_what_a_person_changed_shows_with_a_fresh_answer(app, genauth, unlink):
    assert unlink("sol") == [LAST]
    genauth.sign_in("sol", password=True)
    assert unlink("sol") == [LAST]
    app.extensions["clock"].by = 5

    assert unlink("sol", query="&refresh=true") == [ALLOWED]
    assert genauth.calls(SECURITY) == 2


def test_another_session_of_the_person_is_told_the_same_and_another_person_is_not(genauth, unlink):
    assert (unlink("kim"), unlink("kim"), unlink("sol")) == ([ALLOWED], [ALLOWED], [LAST])
    assert genauth.calls(SECURITY) == 2


@pytest.mark.parametrize(
    ("methods", "person", "said"),
    [("password", "zoe", LAST), ("email", "zoe", ALLOWED), ("email,phone", "kim", LAST), ("none", "kim", LAST)],
)
def test_the_operator_says_what_a_person_can_sign_in_with(client_with, genauth, unlink, methods, person, said):
    assert unlink(person, client_with(SIGN_IN_METHODS=methods)) == [said]
    assert genauth.calls(SECURITY) == (0 if methods == "none" else 1)


@pytest.mark.parametrize(
    ("denied", "person", "said"),
    [
        ("enterprise", "mei", [MANAGED, ALLOWED]),
        ("enterprise", "lin", [ALLOWED, MANAGED]),
        ("google", "omar", [ALLOWED, MANAGED]),
        ("62f209327ab3cc10d9036ee5", "omar", [ALLOWED, MANAGED]),
        ("wechat,GitHub", "omar", [MANAGED, ALLOWED]),
        ("lark", "eli", [MANAGED]),
    ],
)
def test_what_the_operator_denies_is_managed_by_the_organization(client_with, genauth, unlink, denied, person, said):
    client = client_with(UNLINK_DENIED_SOURCES=denied)
    ends = time.monotonic() + 5
    while unlink(person, client) != said and time.monotonic() < ends:
        pass  # the list of sources is on its way

    assert unlink(person, client) == said
    assert genauth.calls(SECURITY) == 0


@pytest.mark.parametrize("trouble", [{"status": 503}, {"envelope": {"statusCode": 200}}], ids=str)
def test_while_nobody_can_say_what_is_an_enterprises_such_a_source_is_not_given_away(client_with, genauth, unlink, trouble):
    genauth.trouble(path=SOURCES, **trouble)
    client = client_with(UNLINK_DENIED_SOURCES="enterprise")

    # By its name Lark is one in any case; Gitee may be.
    assert (unlink("mei", client), unlink("lin", client)) == ([MANAGED, UNKNOWN], [UNKNOWN, UNKNOWN])


@pytest.mark.parametrize("trouble", [{"status": 503}, {"body": b"<html>"}, {"body": b'{"statusCode":200}'}])
def test_what_genauth_does_not_say_is_unknown_and_not_asked_for_again_at_once(genauth, unlink, trouble):
    genauth.trouble(path=SECURITY, **trouble)

    assert unlink("kim") == [UNKNOWN]
    asked = genauth.calls(SECURITY)
    assert unlink("kim") == [UNKNOWN]
    assert genauth.calls(SECURITY) == asked


def test_the_list_waits_for_a_slow_genauth_no_longer_than_a_moment(environ, genauth, unlink):
    genauth.trouble(path=SECURITY, delay=2.0)
    client = clocked(Settings.from_env(environ)).test_client(use_cookies=False)

    assert unlink("kim", client) == [UNKNOWN]


def test_a_fact_that_genauth_leaves_out_is_not_taken_for_a_no(genauth, unlink):
    genauth.answers_raw(SECURITY, body=b'{"statusCode":200,"data":{"emailBinded":false,"phoneBinded":false}}')

    assert unlink("sol") == [UNKNOWN]


def test_beside_a_stale_list_nothing_is_asked(app, genauth, unlink, sign_in):
    headers = sign_in("kim")
    assert unlink("kim", headers=headers) == [ALLOWED]
    app.extensions["clock"].by = 90
    genauth.trouble(path="/api/v3/get-identities", status=503)

    assert unlink("kim", headers=headers) == [UNKNOWN]
    assert genauth.calls(SECURITY) == 1


@pytest.mark.parametrize(
    ("envelope", "code"),
    [(b'{"statusCode":401,"apiCode":2020}', "token_invalid"), (b'{"statusCode":403,"apiCode":2005}', "user_blocked")],
)
def test_whoever_genauth_refuses_there_is_refused_as_elsewhere(client, genauth, sign_in, envelope, code):
    headers = sign_in("kim")
    assert client.get(PATH, headers=headers).status_code == 200
    genauth.answers_raw(SECURITY, body=envelope)

    assert client.get(f"{PATH}?include=unlink", headers=headers).json["code"] == code
    asked = genauth.calls()
    assert client.get(PATH, headers=headers).json["code"] == code
    assert genauth.calls() == asked


def test_who_is_refused_after_an_unlink_is_told_of_it_all_the_same(client, genauth, sign_in):
    headers, github = sign_in("omar"), "62f209327ab3cc10d9046ee5"
    genauth.answers_raw(SECURITY, body=b'{"statusCode":401,"apiCode":2020}')

    response = client.delete(f"{PATH}/{github}?include=unlink", headers=headers)

    assert (response.status_code, response.json["unlinked"]["id"]) == (200, github)
    assert [each["unlink"]["reason"] for each in response.json["linkedAccounts"]] == ["unknown"]
    assert client.get(PATH, headers=headers).json["code"] == "token_invalid"


def test_the_plain_answer_stays_as_it_was(client, unlink, sign_in):
    def plain():
        answer = client.get(PATH, headers=sign_in("kim"))
        return re.sub(rb'"fetchedAt":"[^"]+"', b"", answer.data), answer.headers["ETag"]  # the second may have passed

    before = plain()
    unlink("kim", query=",providers")

    assert plain() == before


def test_a_crowd_asks_how_somebody_signs_in_once(app, genauth, sign_in):
    headers, client = sign_in("kim"), app.test_client(use_cookies=False)
    client.get(PATH, headers=headers)
    genauth.trouble(path=SECURITY, delay=0.2)
    ask = lambda: app.test_client(use_cookies=False).get(f"{PATH}?include=unlink", headers=headers)  # noqa: E731
    threads = [threading.Thread(target=ask) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert genauth.calls(SECURITY) == 1


def test_after_a_change_how_somebody_signs_in_is_asked_anew(app, genauth, unlink):
    unlink("kim")
    genauth.sign_in("kim", password=False)
    services_of(app).changes.forget(genauth.id_of("kim"), cause="webhook")
    app.extensions["clock"].by = 3

    assert unlink("kim") == [LAST]


def test_who_asks_after_a_change_shares_no_question_that_was_asked_before_how_somebody_signs_in(app, genauth, unlink, sign_in):
    headers = sign_in("kim")
    early = []
    genauth.trouble(path=SECURITY, latency=0.3, times=1)
    asking = threading.Thread(target=lambda: early.extend(unlink("kim", app.test_client(use_cookies=False), headers=headers)))
    asking.start()
    ends = time.monotonic() + 5
    while genauth.calls(SECURITY) == 0:
        assert time.monotonic() < ends, "it was not asked"
        time.sleep(0.005)
    genauth.sign_in("kim", password=False)
    services_of(app).changes.forget(genauth.id_of("kim"), cause="webhook", wait=False)

    late = unlink("kim", headers=headers)
    asking.join()

    assert (early, late) == ([ALLOWED], [LAST])
