"""Accounts come and go, and GenAuth says no in its documented codes."""

import json
from html.parser import HTMLParser
from urllib.parse import parse_qs, urlsplit

import pytest
import requests

from bff.sandbox.people import CANARY, Linking, People
from bff.sandbox.personas import personas
from tests.server.service import eventually


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


@pytest.mark.parametrize("person", ["zoe", "kim", "eli"])
def test_what_else_somebody_signs_in_with_lets_the_last_account_go(person, ask, unlink):
    (only,) = sources_of(ask, person)

    assert unlink(person, only)["statusCode"] == 200
    assert sources_of(ask, person) == []


def facts(ask, person):
    info = ask(person, "/api/v3/get-security-info").json()["data"]
    profile = ask(person, "/api/v3/get-profile").json()["data"]
    userinfo = ask(person, "/oidc/me").json()
    assert profile["emailVerified"] is userinfo["email_verified"] is info["emailBinded"]
    return [info[name] for name in ("passwordSet", "emailBinded", "phoneBinded")]


def test_the_security_facts_agree_with_what_can_be_unlinked(ask, genauth, unlink):
    known = [facts(ask, person) for person in ("sol", "kim", "zoe", "eli")]
    (only,) = sources_of(ask, "sol")
    genauth.sign_in("zoe", email=False)
    genauth.sign_in("sol", phone=True)

    assert known == [[False, False, False], [True, False, False], [False, True, False], [False, False, True]]
    assert (facts(ask, "zoe"), unlink("zoe", only)["apiCode"]) == ([False, False, False], 2217)
    assert (facts(ask, "sol"), unlink("sol", only)["statusCode"]) == ([False, False, True], 200)


def test_unlinking_what_is_not_linked_is_answered_with_200_and_changes_nothing(ask, genauth, unlink):
    before = ask("sol").json()["data"]
    connection = before[0]["originConnIds"][0]

    assert unlink("sol", connection)["statusCode"] == 200
    assert ask("sol").json()["data"] == before
    genauth.linking(refuse_not_linked=True)
    assert unlink("sol", connection)["apiCode"] == 2216


def test_a_change_is_shown_after_so_many_reads(ask, genauth, unlink):
    genauth.linking(shown_after_reads=2)
    wechat, lark = sources_of(ask, "mei")
    unlink("mei", wechat)

    assert [sources_of(ask, "mei") for _ in range(4)] == [[wechat, lark]] * 2 + [[lark]] * 2
    assert unlink("mei", lark)["apiCode"] == 2217, "what is shown is late, not what is so"


def test_a_change_is_shown_after_so_many_seconds():
    now = [0.0]
    people = People(personas(), clock=lambda: now[0])
    people.linking = Linking(shown_after_seconds=2)
    mei = people.by_key("mei")
    wechat, lark = dict.fromkeys(row["extIdpId"] for row in mei.rows)
    people.sign_in(mei)
    people.change_sign_in(mei, password=True)

    shown = []
    for source, at in ((wechat, 0), (None, 1), (lark, 1), (None, 1.9), (None, 2), (None, 3)):
        now[0] = at
        if source:
            people.unlink(mei, source)
        shown.append(len(people.identities(mei)))

    assert shown == [5, 5, 5, 5, 3, 0]


UNLINK = "/api/v3/unlink-extidp"


def test_an_unlink_cut_off_after_the_fact_is_done(ask, genauth, unlink):
    wechat, lark = sources_of(ask, "mei")
    genauth.trouble(path=UNLINK, ending="reset")
    with pytest.raises(requests.ConnectionError):
        unlink("mei", wechat)

    assert sources_of(ask, "mei") == [lark]


def test_an_unlink_cut_off_before_the_fact_is_not_done(ask, genauth, unlink):
    both = sources_of(ask, "mei")
    genauth.trouble(path=UNLINK, ending="reset", carried_out=False)
    with pytest.raises(requests.ConnectionError):
        unlink("mei", both[0])

    assert sources_of(ask, "mei") == both


@pytest.mark.parametrize("how", [{"status": 504}, {"envelope": 500}])
def test_an_unlink_whose_answer_is_replaced_is_done_if_told_so(how, ask, genauth, http):
    wechat, lark = sources_of(ask, "mei")
    headers = {"Authorization": genauth.token("mei")}
    for carried_out, left in ((None, [wechat, lark]), (True, [lark])):
        genauth.healthy()
        genauth.trouble(path=UNLINK, carried_out=carried_out, **how)
        http.post(genauth.url + UNLINK, json={"extIdpId": wechat}, headers=headers, timeout=5)

        assert sources_of(ask, "mei") == left


@pytest.fixture
def ask_slowly(genauth, raw):
    """Have GenAuth begin to unlink an account of Mei's half a second after it was asked."""

    def asking(source):
        genauth.trouble(path=UNLINK, delay=0.5)
        connection = raw()
        body = json.dumps({"extIdpId": source})
        head = f"POST {UNLINK} HTTP/1.1\r\nHost: x\r\nAuthorization: {genauth.token('mei')}\r\nContent-Length: {len(body)}"
        connection.sendall(f"{head}\r\n\r\n{body}".encode())
        eventually(lambda: genauth.calls(UNLINK), within=5)
        return connection

    return asking


def test_an_unlink_that_is_slow_to_begin_is_done_though_the_client_has_gone(ask, ask_slowly):
    wechat, lark = sources_of(ask, "mei")
    ask_slowly(wechat).close()
    before = sources_of(ask, "mei")

    assert before == [wechat, lark]
    assert eventually(lambda: sources_of(ask, "mei") == [lark], within=5)


def test_what_was_delayed_does_not_happen_after_a_reset(ask, ask_slowly, genauth):
    wechat, lark = sources_of(ask, "mei")
    connection = ask_slowly(wechat)
    genauth.reset()

    assert connection.recv(4096).startswith(b"HTTP/1.1 404 ")
    assert sources_of(ask, "mei") == [wechat, lark]


LINK = "/api/v3/link-extidp"


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
    genauth.linking(consent_page=False)
    page = ask(path=f"{url.path}?{url.query}")

    assert f"{url.scheme}://{url.netloc}" == genauth.url
    assert "postMessage" in page.text
    assert CANARY.search(page.text) is None
    assert [row["provider"] for row in ask("nia").json()["data"]] == ["google"]


def test_the_link_url_can_send_the_browser_back(ask, genauth):
    genauth.linking(consent_page=False)
    query = link_query(genauth, need_url_redirect="true", target_url="http://127.0.0.1:8000/linked?tab=2#top")
    page = ask(path=LINK, params=query)

    back = urlsplit(page.headers["Location"])
    assert (page.status_code, back.path, back.fragment) == (302, "/linked", "top")
    returned = parse_qs(back.query)
    assert (returned["tab"], returned["success"]) == (["2"], ["true"])
    assert ask(token=returned["access_token"][0]).json()["data"] == json.loads(returned["identities"][0])
    assert set(CANARY.findall(returned["identities"][0])) <= genauth.canaries("nia")
    assert returned["id_token"][0].count(".") == 2


def test_the_way_back_can_have_the_sessions_tokens_alone(ask, genauth):
    genauth.linking(consent_page=False)
    query = link_query(genauth, need_url_redirect="True", target_url="com.example.app:/linked", only_redirect_token="true")
    back = ask(path=LINK, params=query).headers["Location"]

    assert back.startswith("com.example.app:/linked?")
    assert parse_qs(urlsplit(back).query).keys() == {"success", "access_token", "id_token"}


@pytest.mark.parametrize("target", ["https://app.example/\r\nSet-Cookie: a=b", "https://app.example/小明"])
def test_the_way_back_stays_one_header(target, ask, genauth):
    genauth.linking(consent_page=False)
    page = ask(path=LINK, params=link_query(genauth, need_url_redirect="true", target_url=target))

    assert page.headers["Location"].isascii()
    assert "Set-Cookie" not in page.headers


class Form(HTMLParser):
    """A page's one form: where it goes, its hidden fields, its buttons."""

    def __init__(self, page):
        super().__init__()
        self.action, self.fields, self.buttons = None, {}, {}
        self._button = None
        self.feed(page.text)

    def handle_starttag(self, tag, attrs):
        attrs = dict(attrs)
        if tag == "form":
            self.action = attrs["action"]
        elif tag == "input":
            self.fields[attrs["name"]] = attrs["value"]
        elif tag == "button":
            self._button = attrs.get("value")

    def handle_data(self, data):
        if self._button:
            self.buttons[data], self._button = {"decision": self._button}, None


@pytest.mark.parametrize(
    ("button", "success", "message", "sources"),
    [
        ("Continue", "true", "", ["google"]),
        ("Cancel", "false", "The person cancelled.", []),
        ("This account is somebody else's", "false", "That account is bound to another user.", []),
    ],
)
def test_the_page_asks_first(button, success, message, sources, ask, genauth, http):
    query = link_query(genauth, need_url_redirect="true", target_url="https://app.example/linked")
    form = Form(ask(path=LINK, params=query | {"lt": "1"}))
    before = ask("nia").json()["data"]
    page = http.post(genauth.url + form.action, data=form.buttons[button], timeout=5, allow_redirects=False)

    returned = parse_qs(urlsplit(page.headers["Location"]).query, keep_blank_values=True)
    assert parse_qs(urlsplit(form.action).query)["lt"] == ["1"]
    assert returned["errMsg"] == [message]
    assert (before, returned["success"]) == ([], [success])
    assert ("id_token" in returned) == (success == "true")
    assert [row["provider"] for row in ask("nia").json()["data"]] == sources


def test_the_way_back_can_be_a_form(ask, genauth):
    genauth.linking(consent_page=False)
    query = link_query(genauth, need_form_post="true", target_url='https://app.example/?a="1"&lt=2')
    form = Form(ask(path=LINK, params=query))

    assert form.action == 'https://app.example/?a="1"&lt=2'
    assert form.fields["success"] == "true"
    assert form.fields["id_token"].count(".") == 2
    assert CANARY.search(form.fields["identities"])


def test_a_wrong_button_is_an_invalid_argument(genauth, http):
    assert http.post(genauth.url + LINK, params=link_query(genauth), timeout=5).json()["statusCode"] == 400


def test_linking_what_is_linked_fails_on_the_way_back(ask, genauth):
    query = link_query(
        genauth, id_token=genauth.token("sol", kind="id"), need_url_redirect="true", target_url="https://a.example/"
    )
    genauth.linking(consent_page=False)

    assert parse_qs(urlsplit(ask(path=LINK, params=query).headers["Location"]).query)["success"] == ["false"]


@pytest.mark.parametrize(
    ("change", "status_code"),
    [
        ({"id_token": "nonsense"}, 401),
        ({"id_token": ""}, 400),
        ({"app_id": "f" * 24}, 404),
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
    genauth.sign_in("mei", phone=True)
    unlink("mei", before[0]["extIdpId"])
    genauth.linking(refuse_not_linked=True, shown_after_reads=5)
    unlink("mei", before[-1]["extIdpId"])
    genauth.revoke(token)
    genauth.block("mei")
    genauth.trouble(status=500)
    genauth.reset()

    assert ask(token=token).json()["data"] == before
    assert genauth.calls() == 1
    assert unlink("mei", "nothing")["statusCode"] == 200
    assert facts(ask, "mei") == [False, False, False]
