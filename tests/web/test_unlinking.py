"""``DELETE /me/linked-accounts/{id}``: what GenAuth lists afterwards is the answer, whatever it said."""

import threading
import time

import orjson
import pytest
import requests

from bff.sandbox import sources
from bff.web import services_of

PATH, UNLINK = "/me/linked-accounts", "/api/v3/unlink-extidp"
IDENTITIES, FACTS = "/api/v3/get-identities", "/api/v3/get-security-info"
WECHAT, LARK, GOOGLE, GITHUB = (each.id for each in (sources.WECHAT, sources.LARK, sources.GOOGLE, sources.GITHUB))


def ids(response):
    return [account["id"] for account in response.json["linkedAccounts"]]


def said(response):
    return response.status_code, response.json.get("code")


@pytest.fixture
def remove(client, sign_in):
    def delete(person, account, query="", **headers):
        return client.delete(f"{PATH}/{account}{query}", headers=sign_in(person) | headers)

    return delete


@pytest.fixture
def genauth_shows(genauth, sign_in):
    """Whether GenAuth lists an account of somebody's right now."""

    def shows(person, account):
        response = requests.get(f"{genauth.url}{IDENTITIES}", headers=sign_in(person), timeout=5)
        return account in {row.get("extIdpId") for row in response.json()["data"]}

    return shows


def test_an_account_is_unlinked_and_the_list_read_back(remove, client, sign_in, genauth):
    response = remove("omar", GITHUB)

    assert response.status_code == 200
    assert list(response.json) == ["linkedAccounts", "unlinked", "meta"]
    assert ids(response) == [GOOGLE]
    assert response.json["unlinked"] == {
        "id": GITHUB,
        "provider": {
            "type": "github",
            "name": "GitHub",
            "category": "social",
            "logoUrl": "https://files.genauth.example/identity-sources/github.svg",
        },
        "revokeUrl": "https://github.com/settings/applications",
    }
    assert response.headers["Cache-Control"] == "private, no-store"
    asked = [each.path for each in genauth.requests if each.path in {IDENTITIES, UNLINK}]  # the list of sources comes meanwhile
    assert asked[-3:] == [IDENTITIES, UNLINK, IDENTITIES]
    assert genauth.calls(UNLINK) == 1
    assert genauth.calls(FACTS) == 0, "another account remains"


def test_the_next_question_is_a_hit_in_every_application(remove, client, client_with, sign_in, genauth):
    other = client_with()
    for each in (client, other):
        assert ids(each.get(PATH, headers=sign_in("omar"))) == [GITHUB, GOOGLE]
    token = sign_in("omar")
    client.get(PATH, headers=token)
    remove("omar", GITHUB, Authorization=token["Authorization"])
    asked = genauth.calls(IDENTITIES)

    for each in (client, other, client):
        response = each.get(PATH, headers=token)
        assert ids(response) == [GOOGLE]
        assert response.headers["Cache-Status"].startswith("linked-accounts; hit")
    assert genauth.calls(IDENTITIES) == asked


def test_the_answer_shows_what_was_asked_for_in_the_readers_language(remove):
    response = remove("omar", GITHUB, "?include=identities,unlink,providers", **{"Accept-Language": "zh-CN"})

    assert list(response.json) == ["linkedAccounts", "linkableProviders", "unlinked", "meta"]
    (google,) = response.json["linkedAccounts"]
    assert google["provider"]["name"] == "谷歌"
    assert google["identities"]
    assert google["unlink"] == {"allowed": True, "reason": None}, "he has a password"
    assert GITHUB in [each["id"] for each in response.json["linkableProviders"]]


def test_a_page_that_is_not_known_is_null(remove):
    assert remove("mei", LARK).json["unlinked"]["revokeUrl"] is None


@pytest.mark.parametrize(
    "account",
    ["nothing-of-his", WECHAT, "62f2093244fa5cb104001ed3", "x" * 256, "links", "%E5%B0%8F%E6%98%8E", "a%20b", "%3Cscript%3E"],
)
def test_what_is_not_linked_is_404_with_what_is(remove, genauth, account):
    response = remove("omar", account)

    assert said(response) == (404, "not_found")
    assert ids(response) == [GITHUB, GOOGLE]
    assert genauth.calls(UNLINK) == 0


@pytest.mark.parametrize("account", ["x" * 257, "x" * 300, "%00", "a%0Ab", "a%7Fb", "%E2%80%AE"])
def test_what_can_be_no_id_is_404_without_asking(remove, genauth, account):
    response = remove("omar", account)

    assert said(response) == (404, "not_found")
    assert "linkedAccounts" not in response.json
    assert genauth.calls(IDENTITIES) == genauth.calls(UNLINK) == 0


@pytest.mark.parametrize("path", ["/", "/a/b", "/a%2Fb"])
def test_what_is_no_path_of_ours_is_404(client, sign_in, path):
    assert said(client.delete(PATH + path, headers=sign_in("omar"))) == (404, "not_found")


def test_an_account_without_a_source_cannot_be_named(remove, client, sign_in, genauth):
    shown = client.get(PATH, headers=sign_in("ada")).json["linkedAccounts"]
    stray = next(each["id"] for each in shown if each["provider"]["type"] == "google")

    response = remove("ada", stray)

    assert said(response) == (404, "not_found")
    assert stray in ids(response)
    assert genauth.calls(UNLINK) == 0


@pytest.mark.parametrize(("query", "status"), [("?include=everything", 400), ("?refresh=perhaps", 400), ("?include=unlink", 200)])
def test_the_query_is_that_of_the_list(remove, genauth, query, status):
    assert remove("omar", GITHUB, query).status_code == status
    assert genauth.calls(UNLINK) == (status == 200)


# The rule -------------------------------------------------------------------------------------------------------------------


def test_the_only_way_to_sign_in_stays(remove, genauth, genauth_shows):
    response = remove("sol", GOOGLE)

    assert said(response) == (409, "last_login_method")
    assert (genauth.calls(FACTS), genauth.calls(UNLINK)) == (1, 0)
    assert genauth_shows("sol", GOOGLE)


@pytest.mark.parametrize(("person", "account"), [("kim", GITHUB), ("zoe", GOOGLE), ("eli", LARK)])
def test_who_can_sign_in_otherwise_may_unlink_the_last(remove, person, account):
    response = remove(person, account)

    assert (response.status_code, ids(response)) == (200, [])


def test_what_genauth_knew_a_moment_ago_does_not_decide(client, remove, sign_in, genauth):
    assert client.get(f"{PATH}?include=unlink", headers=sign_in("kim")).json["linkedAccounts"][0]["unlink"]["allowed"]
    genauth.sign_in("kim", password=False)

    assert said(remove("kim", GITHUB)) == (409, "last_login_method")


def test_a_way_to_sign_in_that_the_application_does_not_offer_is_none(client_with, sign_in, genauth):
    client = client_with(SIGN_IN_METHODS="password")

    assert said(client.delete(f"{PATH}/{GOOGLE}", headers=sign_in("zoe"))) == (409, "last_login_method")
    assert genauth.calls(UNLINK) == 0


def test_genauths_own_word_that_it_is_the_last_is_passed_on(client_with, sign_in, genauth):
    genauth.trouble(path=FACTS, change={"data": {"passwordSet": True}})  # it changed since

    response = client_with().delete(f"{PATH}/{GOOGLE}", headers=sign_in("sol"))

    assert said(response) == (409, "last_login_method")
    assert genauth.calls(UNLINK) == 1


@pytest.mark.parametrize("denied", [LARK, LARK.upper(), "lark", "Lark", "enterprise", f"saml,{LARK}"])
def test_what_the_operator_denies_stays(client_with, sign_in, genauth, denied):
    response = client_with(UNLINK_DENIED_SOURCES=denied).delete(f"{PATH}/{LARK}", headers=sign_in("mei"))

    assert said(response) == (403, "managed_by_organization")
    assert genauth.calls(UNLINK) == 0


@pytest.mark.parametrize("fault", [{"ending": "hang"}, {"status": 503}, {"envelope": 500}, {"change": {"data": {}}}])
def test_while_nobody_can_say_whether_it_is_the_last_nothing_is_sent(client_with, sign_in, genauth, fault):
    genauth.trouble(path=FACTS, **fault)
    client = client_with(UPSTREAM_DEADLINE_SECONDS="1")

    response = client.delete(f"{PATH}/{GOOGLE}", headers=sign_in("sol"))

    assert said(response) in [(503, "upstream_unavailable"), (504, "upstream_timeout")]
    assert "Retry-After" in response.headers
    assert genauth.calls(UNLINK) == 0


@pytest.mark.parametrize("fault", [{"ending": "hang"}, {"status": 502}, {"envelope": 500}, {"ending": "reset"}])
def test_without_a_fresh_list_nothing_is_sent_and_nothing_stale_stands_in(client_with, sign_in, genauth, fault):
    client = client_with(UPSTREAM_DEADLINE_SECONDS="1")
    token = sign_in("omar")
    client.get(PATH, headers=token)
    genauth.trouble(path=IDENTITIES, **fault)

    response = client.delete(f"{PATH}/{GITHUB}", headers=token)

    assert said(response) in [(503, "upstream_unavailable"), (504, "upstream_timeout")]
    assert genauth.calls(UNLINK) == 0


def test_a_change_needs_a_sign_in_that_is_recent_enough_where_that_is_set(client_with, sign_in, genauth):
    client = client_with(STEP_UP_SECONDS="300")

    response = client.delete(f"{PATH}/{GITHUB}", headers=sign_in("omar", claims={"iat": int(time.time()) - 400}))

    assert said(response) == (401, "reauthentication_required")
    assert genauth.calls(IDENTITIES) == genauth.calls(UNLINK) == 0
    assert client.delete(f"{PATH}/{GITHUB}", headers=sign_in("omar")).status_code == 200


# What GenAuth does with it --------------------------------------------------------------------------------------------------


@pytest.fixture
def impatient(client_with):
    return client_with(UPSTREAM_DEADLINE_SECONDS="1", CHANGE_DEADLINE_SECONDS="6")


DONE_AND_NOT_SAID = {
    "slow afterwards": {"latency": 1.5},
    "cut off": {"ending": "close", "carried_out": True},
    "reset": {"ending": "reset", "carried_out": True},
    "half an answer": {"ending": "truncate"},
    "hangs": {"ending": "hang", "carried_out": True},
    "a gateway's page": {"status": 502, "carried_out": True},
    "an error of its own": {"envelope": 500, "carried_out": True},
    "another shape": {"body": "[]", "carried_out": True},
}
NOT_DONE = {
    "slow before": {"delay": 3.0},
    "cut off": {"ending": "close", "carried_out": False},
    "hangs": {"ending": "hang"},
    "a gateway's page": {"status": 503},
    "an error of its own": {"envelope": 500},
    "a yes that is none": {"envelope": {"statusCode": 200, "data": {"success": True}}},
    "a no that nobody knows": {"envelope": {"statusCode": 400, "apiCode": 9999}},
}


@pytest.mark.parametrize("fault", DONE_AND_NOT_SAID.values(), ids=DONE_AND_NOT_SAID)
def test_what_genauth_did_and_could_not_say_is_done(impatient, sign_in, genauth, fault):
    genauth.trouble(path=UNLINK, **fault)
    token = sign_in("omar")

    response = impatient.delete(f"{PATH}/{GITHUB}", headers=token)

    assert (response.status_code, ids(response)) == (200, [GOOGLE])
    assert genauth.calls(UNLINK) == 1
    assert ids(impatient.get(PATH, headers=token)) == [GOOGLE]


@pytest.mark.parametrize("fault", NOT_DONE.values(), ids=NOT_DONE)
def test_what_genauth_did_not_do_is_not_confirmed(impatient, sign_in, genauth, fault):
    genauth.trouble(path=UNLINK, **fault)
    token = sign_in("omar")

    response = impatient.delete(f"{PATH}/{GITHUB}", headers=token)

    assert said(response) == (504, "change_unconfirmed")
    assert genauth.calls(UNLINK) == 1
    assert genauth.calls(IDENTITIES) == 3, "before, afterwards, and once more"
    assert ids(impatient.get(PATH, headers=token)) == [GITHUB, GOOGLE]


def test_what_is_carried_out_later_is_seen_by_the_next_question(impatient, sign_in, genauth, genauth_shows):
    genauth.trouble(path=UNLINK, delay=2.5)
    token = sign_in("omar")
    assert said(impatient.delete(f"{PATH}/{GITHUB}", headers=token)) == (504, "change_unconfirmed")
    assert ids(impatient.get(PATH, headers=token)) == [GITHUB, GOOGLE], "as it is, and kept by nobody"

    while genauth_shows("omar", GITHUB):
        threading.Event().wait(0.02)

    assert ids(impatient.get(PATH, headers=token)) == [GOOGLE]


def test_a_list_that_shows_it_a_little_late_is_asked_once_more(remove, genauth):
    genauth.linking(shown_after_reads=1)

    response = remove("omar", GITHUB)

    assert (response.status_code, ids(response)) == (200, [GOOGLE])
    assert genauth.calls(IDENTITIES) == 3


def test_what_cannot_be_read_back_is_not_confirmed_and_nothing_old_is_served(impatient, sign_in, genauth):
    token = sign_in("omar")
    impatient.get(PATH, headers=token)
    after = threading.Event()
    genauth.trouble(path=UNLINK, latency=0.25)

    def dies():
        while not genauth.calls(UNLINK):
            after.wait(0.005)
        genauth.trouble(path=IDENTITIES, status=503)

    death = threading.Thread(target=dies)
    death.start()
    response = impatient.delete(f"{PATH}/{GITHUB}", headers=token)
    death.join()

    assert said(response) == (504, "change_unconfirmed")
    assert said(impatient.get(PATH, headers=token)) == (503, "upstream_unavailable"), "the list before it is no stale answer"
    genauth.healthy()
    impatient.application.extensions["clock"].by = 2.1  # a failure is repeated for two seconds
    assert ids(impatient.get(f"{PATH}?refresh=true", headers=token)) == [GOOGLE]


def test_genauths_word_that_it_is_not_linked_comes_with_what_is(remove, genauth):
    genauth.trouble(path=UNLINK, envelope={"statusCode": 400, "apiCode": 2216})

    response = remove("omar", GITHUB)

    assert said(response) == (404, "not_found")
    assert ids(response) == [GITHUB, GOOGLE]


@pytest.mark.parametrize(
    ("envelope", "expected"),
    [
        ({"statusCode": 403, "apiCode": 2217}, (409, "last_login_method")),
        ({"statusCode": 401, "apiCode": 2020}, (401, "token_invalid")),
        ({"statusCode": 403, "apiCode": 2005}, (403, "user_blocked")),
        ({"statusCode": 429}, (429, "rate_limited")),
    ],
)
def test_genauths_clear_no_is_passed_on_and_nothing_is_held_back(client, sign_in, genauth, envelope, expected):
    genauth.trouble(path=UNLINK, envelope=envelope)
    token = sign_in("omar")

    assert said(client.delete(f"{PATH}/{GITHUB}", headers=token)) == expected
    genauth.healthy()
    again = client.get(PATH, headers=token)
    if expected[0] in {401, 403}:
        assert said(again) == expected, "it was said of the session, and holds"
    else:
        assert ids(again) == [GITHUB, GOOGLE]
        assert client.delete(f"{PATH}/{GITHUB}", headers=token).status_code == 200


# Several at once ------------------------------------------------------------------------------------------------------------


def together(*acts):
    answers = [None] * len(acts)
    gate = threading.Barrier(len(acts))

    def run(n):
        gate.wait()
        answers[n] = acts[n]()

    threads = [threading.Thread(target=run, args=(n,)) for n in range(len(acts))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return answers


@pytest.mark.parametrize("slow", [{}, {"path": UNLINK, "latency": 0.2}, {"path": IDENTITIES, "latency": 0.1}])
def test_two_at_once_never_remove_both(client_with, sign_in, genauth, genauth_shows, slow):
    if slow:
        genauth.trouble(**slow)
    here, there = client_with(), client_with()

    answers = together(
        lambda: here.delete(f"{PATH}/{WECHAT}", headers=sign_in("mei")),
        lambda: there.delete(f"{PATH}/{LARK}", headers=sign_in("mei")),
    )

    assert sorted(map(said, answers)) == [(200, None), (409, "last_login_method")]
    genauth.healthy()
    assert genauth_shows("mei", WECHAT) != genauth_shows("mei", LARK)


def test_two_of_one_account_at_once_unlink_it_once(client_with, sign_in, genauth):
    here, there = client_with(), client_with()

    answers = together(*(lambda each=each: each.delete(f"{PATH}/{GITHUB}", headers=sign_in("omar")) for each in (here, there)))

    assert sorted(map(said, answers)) == [(200, None), (404, "not_found")]
    assert genauth.calls(UNLINK) == 1


def test_who_waits_for_a_change_in_vain_is_answered_in_time(client_with, sign_in, genauth):
    genauth.trouble(path=UNLINK, latency=0.8, times=1)
    brief = dict.fromkeys(("CHANGE_DEADLINE_SECONDS", "UPSTREAM_DEADLINE_SECONDS", "UPSTREAM_CONNECT_SECONDS"), "0.3")
    here, there = client_with(), client_with(**brief)
    first = threading.Thread(target=lambda: here.delete(f"{PATH}/{GITHUB}", headers=sign_in("omar")))
    first.start()
    while not genauth.calls(UNLINK):
        threading.Event().wait(0.005)

    response = there.delete(f"{PATH}/{GOOGLE}", headers=sign_in("omar"))
    first.join()

    assert said(response) == (503, "upstream_unavailable")
    assert genauth.calls(UNLINK) == 1


def test_a_removal_that_may_still_come_about_keeps_the_last_account(impatient, client_with, sign_in, genauth, genauth_shows):
    genauth.trouble(path=UNLINK, delay=2.5, times=1)
    token = sign_in("mei")
    assert said(impatient.delete(f"{PATH}/{WECHAT}", headers=token)) == (504, "change_unconfirmed")

    response = client_with().delete(f"{PATH}/{LARK}", headers=token)

    assert said(response) == (503, "upstream_unavailable")
    assert int(response.headers["Retry-After"]) > 1
    assert genauth.calls(UNLINK) == 1
    while genauth_shows("mei", WECHAT):
        threading.Event().wait(0.02)
    assert genauth_shows("mei", LARK)


def test_a_list_that_shows_a_removal_late_does_not_let_both_go(client_with, sign_in, genauth, genauth_shows):
    genauth.linking(shown_after_seconds=1.0)
    client, token = client_with(), sign_in("mei")

    assert said(client.delete(f"{PATH}/{WECHAT}", headers=token)) == (504, "change_unconfirmed")
    assert said(client.delete(f"{PATH}/{LARK}", headers=token)) == (503, "upstream_unavailable")

    while genauth_shows("mei", WECHAT):
        threading.Event().wait(0.02)
    assert genauth_shows("mei", LARK)


@pytest.mark.parametrize(
    "no",
    [
        {"envelope": {"statusCode": 429}},
        {"envelope": {"statusCode": 403, "apiCode": 2217}},
        {"envelope": {"statusCode": 403, "apiCode": 1001}},
    ],
)
def test_a_no_to_the_second_try_does_not_forget_the_first(client_with, sign_in, genauth, no):
    genauth.trouble(path=UNLINK, ending="hang", times=1)
    client = client_with(UPSTREAM_DEADLINE_SECONDS="1", CHANGE_DEADLINE_SECONDS="6", SIGN_IN_METHODS="none")
    token = sign_in("user-7")
    assert said(client.delete(f"{PATH}/{WECHAT}", headers=token)) == (504, "change_unconfirmed")
    genauth.trouble(path=UNLINK, times=1, **no)
    assert client.delete(f"{PATH}/{WECHAT}", headers=token).status_code in {409, 429, 502}

    assert said(client.delete(f"{PATH}/{GITHUB}", headers=token)) == (503, "upstream_unavailable")

    assert genauth.calls(UNLINK) == 2


def test_what_is_not_linked_by_genauths_word_is_no_account_that_stays(client_with, sign_in, genauth):
    genauth.linking(shown_after_seconds=20.0, refuse_not_linked=True)
    client, token = client_with(SIGN_IN_METHODS="none"), sign_in("user-7")
    assert said(client.delete(f"{PATH}/{WECHAT}", headers=token)) == (504, "change_unconfirmed")
    assert said(client.delete(f"{PATH}/{WECHAT}", headers=token)) == (404, "not_found")

    assert said(client.delete(f"{PATH}/{GITHUB}", headers=token)) == (503, "upstream_unavailable")

    assert genauth.calls(UNLINK) == 2


def test_what_was_not_confirmed_can_be_asked_for_again(impatient, sign_in, genauth):
    genauth.trouble(path=UNLINK, ending="hang", times=1)
    token = sign_in("omar")
    assert said(impatient.delete(f"{PATH}/{GITHUB}", headers=token)) == (504, "change_unconfirmed")

    response = impatient.delete(f"{PATH}/{GITHUB}", headers=token)

    assert (response.status_code, ids(response)) == (200, [GOOGLE])
    token_again = impatient.get(PATH, headers=token)
    assert ids(token_again) == [GOOGLE]
    assert token_again.headers["Cache-Status"].startswith("linked-accounts; hit")


# Redis ----------------------------------------------------------------------------------------------------------------------


def test_without_redis_nothing_is_changed(client_with, sign_in, genauth):
    client = client_with(REDIS_URL="redis://127.0.0.1:1/0")

    response = client.delete(f"{PATH}/{GITHUB}", headers=sign_in("omar"))

    assert said(response) == (503, "upstream_unavailable")
    assert genauth.calls(UNLINK) == 0


@pytest.fixture
def hearing(client_with):
    """A client as `client_with` makes one, of an application that hears what others change, as a worker does."""
    buses = []

    def make(**changed):
        client = client_with(**changed)
        buses.append(services_of(client.application).invalidations)
        while not buses[-1].connected:
            threading.Event().wait(0.005)
        return client

    yield make
    for bus in buses:
        bus.stop(wait_seconds=5)


def loses_the_change(stored, before):
    stored.flushall()
    for key, value in before.items():  # as a replica that was promoted before it had heard of the last writes
        stored.set(key, value, ex=60)


@pytest.mark.parametrize("changed_before", [False, True])
def test_a_redis_that_lost_the_change_does_not_let_both_go(hearing, sign_in, genauth, stored, changed_before):
    client, other = (hearing(SIGN_IN_METHODS="none") for _ in range(2))
    token, before = sign_in("user-7"), {}
    if changed_before:
        services_of(client.application).changes.forget("user-7", cause="webhook")
        before = {key: stored.get(key) for key in stored.keys("*:invalidated")}
        for each in (client, other):
            each.application.extensions["clock"].by = 5
    genauth.linking(shown_after_seconds=20.0)
    assert said(client.delete(f"{PATH}/{WECHAT}", headers=token)) == (504, "change_unconfirmed")

    loses_the_change(stored, before)

    for each in (client, other):
        assert said(each.delete(f"{PATH}/{GITHUB}", headers=token)) == (503, "upstream_unavailable")
    assert genauth.calls(UNLINK) == 1


def test_a_redis_that_lost_the_change_brings_no_old_list_back(hearing, sign_in, stored):
    here, there, token = hearing(), hearing(), sign_in("omar")
    services_of(here.application).changes.forget("omar", cause="webhook")
    for each in (here, there):
        each.application.extensions["clock"].by = 5
        each.get(PATH, headers=token)
    before = {key: stored.get(key) for key in stored.keys("*")}
    assert here.delete(f"{PATH}/{GITHUB}", headers=token).status_code == 200

    loses_the_change(stored, before)

    for each in (here, there):
        assert ids(each.get(PATH, headers=token)) == [GOOGLE]


def test_what_is_noted_of_a_change_outlives_short_lived_answers(client_with, sign_in, genauth, stored):
    client = client_with(CACHE_TTL_SECONDS="1", CACHE_STALE_SECONDS="0", TOKEN_ACCEPTED_SECONDS="1")
    genauth.linking(shown_after_seconds=20.0)
    assert said(client.delete(f"{PATH}/{WECHAT}", headers=sign_in("mei"))) == (504, "change_unconfirmed")

    (key,) = stored.keys("*:invalidated")
    assert stored.ttl(key) > 25


# Who did it -----------------------------------------------------------------------------------------------------------------


def test_who_asks_while_accounts_change_waits_for_no_other_process(client_with, sign_in, genauth):
    """Nothing is kept then, so each process asks: one after the other they would answer too late."""
    clients = [client_with(UPSTREAM_DEADLINE_SECONDS="1.9", REQUEST_DEADLINE_SECONDS="1.9") for _ in range(2)]
    services_of(clients[0].application).changes.hold(genauth.id_of("omar"), GITHUB, 30)
    genauth.trouble(path=IDENTITIES, latency=1.0)
    token, answers = sign_in("omar"), []
    threads = [threading.Thread(target=lambda c=c: answers.append(c.get(PATH, headers=token).status_code)) for c in clients * 2]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert answers == [200] * 4
    assert genauth.calls(IDENTITIES) == 2


def test_each_change_and_each_refusal_of_one_is_an_audit_line(remove, log_lines, genauth):
    remove("omar", GITHUB)
    remove("omar", "nothing-of-his")
    remove("sol", GOOGLE)

    lines = [orjson.loads(line) for line in log_lines.take().splitlines()]
    audit = [each for each in lines if each["event"] == "audit"]
    assert [(each["action"], each["result"], each["source_id"], each["provider"]) for each in audit] == [
        ("unlink", "ok", GITHUB, "github"),
        ("unlink", "not_found", None, None),
        ("unlink", "last_login_method", GOOGLE, "google"),
    ]
    assert all(each["person"] and each["request_id"] for each in audit)


def test_a_worker_that_did_not_confirm_is_waited_for_until_it_answers_nothing_from_memory(client, sign_in, stored):
    token = sign_in("omar")
    channel = services_of(client.application).invalidations.channel
    with stored.pubsub() as worker:  # one that hangs
        worker.subscribe(channel)
        worker.get_message(timeout=5)
        began = time.monotonic()

        assert client.delete(f"{PATH}/{GITHUB}", headers=token).status_code == 200

        assert time.monotonic() - began > 1.1
