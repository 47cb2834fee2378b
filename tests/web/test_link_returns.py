"""The way back from linking, and what came of it."""

import re
from base64 import b64encode
from concurrent.futures import ThreadPoolExecutor
from hashlib import sha256

import pytest

from bff.sandbox.people import CANARY
from tests.web.conftest import client_of
from tests.web.linking import APP, BACK, LINKS, SETTINGS, Person, as_served, come_back, decide, query_of, shown_to_people

IDENTITIES = "/api/v3/get-identities"
BROWSER = {"Accept": "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8"}
NOWHERE = "x" * 43


@pytest.fixture
def app(app_with):
    return app_with(**SETTINGS)


@pytest.fixture
def client(app):
    return client_of(app)


@pytest.fixture
def person(client, genauth):
    return lambda name: Person(client, genauth, name)


def told(response):
    return response.status_code, response.json["code"]


def types(response):
    return [account["provider"]["type"] for account in response.json["linkedAccounts"]]


def test_from_the_click_to_the_new_account(person, client):
    mei = person("mei")
    before = mei.accounts()
    link = mei.begin().json
    assert mei.outcome(link["state"]).json == {"status": "pending", "provider": "my-github", "linkedAccounts": before}

    back = come_back(client, *decide(link["url"]))

    assert back.status_code == 303
    assert back.headers["Location"] == f"{BACK}&link=returned&state={link['state']}"
    assert (back.headers["Referrer-Policy"], back.headers["Cache-Control"], back.data) == (
        "no-referrer",
        "private, no-store",
        b"",
    )
    assert mei.outcome(link["state"]).json["status"] == "linked"
    assert types(mei.outcome(link["state"])) == ["github", "lark", "wechat"]
    assert [account["provider"]["type"] for account in mei.accounts()] == ["github", "lark", "wechat"]


def test_coming_back_voids_what_was_stored_of_the_person(person, client, app_with, genauth):
    mei = person("mei")
    replica = Person(client_of(app_with(**SETTINGS)), genauth, "mei")
    link = mei.begin().json
    assert [len(each.accounts()) for each in (mei, replica)] == [2, 2]

    come_back(client, *decide(link["url"]))

    assert [len(each.accounts()) for each in (mei, replica)] == [3, 3]


def test_another_account_is_not_the_one_that_was_asked_for(person, client):
    mei = person("mei")
    github, google = mei.begin("my-github").json, mei.begin("my-google").json

    come_back(client, *decide(google["url"]))

    assert mei.outcome(google["state"]).json["status"] == "linked"
    assert mei.outcome(github["state"]).json["status"] == "pending"


def test_where_the_connections_are_not_known_any_new_account_is_the_one(person, client, genauth):
    genauth.trouble(path="/api/v3/get-application-enabled-extidps", status=503)
    mei = person("mei")
    link = mei.begin().json
    assert mei.outcome(link["state"]).json["status"] == "pending"

    come_back(client, *decide(link["url"]))

    assert mei.outcome(link["state"]).json["status"] == "linked"


@pytest.mark.parametrize("decision", ["cancel", "somebody-else"])
def test_a_no_is_a_failure_and_changes_nothing(person, client, decision):
    mei = person("mei")
    link = mei.begin().json

    back = come_back(client, *decide(link["url"], decision))

    assert query_of(back.headers["Location"]) == {"tab": "accounts", "link": "failed", "state": link["state"]}
    assert mei.outcome(link["state"]).json["status"] == "failed"
    assert types(mei.outcome(link["state"])) == ["lark", "wechat"]


@pytest.mark.parametrize("method", ["GET", "POST"])
@pytest.mark.parametrize(
    ("query", "link"), [("?success=true&access_token=x", "returned"), ("?success=FALSE", "failed"), ("", "returned")]
)
def test_the_yes_or_no_may_come_in_the_query_too(person, client, method, query, link):
    state = person("mei").begin().json["state"]

    back = client.open(f"{LINKS}/{state}/return{query}", method=method)

    assert back.headers["Location"] == f"{BACK}&link={link}&state={state}"


def test_whoever_only_claims_to_have_linked_has_not(person, client):
    mei = person("mei")
    state = mei.begin().json["state"]

    client.get(f"{LINKS}/{state}/return?success=true")

    assert mei.outcome(state).json["status"] == "unchanged"


def test_what_is_shown_late_is_linked_in_the_end(person, client, genauth):
    mei = person("mei")
    link = mei.begin().json
    genauth.linking(shown_after_reads=1)
    come_back(client, *decide(link["url"]))

    assert mei.outcome(link["state"]).json["status"] == "unchanged"
    assert mei.outcome(link["state"]).json["status"] == "linked"


def test_without_an_address_to_return_to_the_page_closes_itself(person, client):
    link = person("mei").begin(returnTo=None).json

    page = come_back(client, *decide(link["url"]), **{"Accept-Language": "zh-CN"})

    assert page.status_code == 200
    assert "关闭" in shown_to_people(page)
    assert (page.headers["Referrer-Policy"], page.headers["Content-Language"]) == ("no-referrer", "zh")
    assert '<html lang="zh">' in page.text
    (script,) = re.findall(r"<script>(.*?)</script>", page.text)
    policy = page.headers["Content-Security-Policy"]
    assert f"script-src 'sha256-{b64encode(sha256(script.encode()).digest()).decode()}';" in policy
    assert "default-src 'none'" in policy
    assert "frame-ancestors 'none'" in policy


def test_an_app_is_returned_to_by_its_own_address(person, client):
    link = person("mei").begin(returnTo="com.example.app:/linked").json

    back = come_back(client, *decide(link["url"]))

    assert back.headers["Location"] == f"com.example.app:/linked?link=returned&state={link['state']}"


def test_our_words_take_the_place_of_theirs(person, client):
    link = person("mei").begin(returnTo=f"{APP}?state=a&x=%20y&link=b&%6cink=c&&z").json

    back = come_back(client, *decide(link["url"]))

    assert back.headers["Location"] == f"{APP}?x=%20y&z&link=returned&state={link['state']}"


def test_a_way_back_is_gone_once_and_only_by_the_browser_that_comes(person, client, genauth):
    link = person("mei").begin().json
    address, fields = decide(link["url"])
    assert client.head(f"{LINKS}/{link['state']}/return").status_code == 405
    assert come_back(client, address, fields).status_code == 303
    genauth.forget_calls()

    again = come_back(client, address, fields)

    assert told(again) == (410, "link_expired")
    assert again.headers["Referrer-Policy"] == "no-referrer"
    assert genauth.calls() == 0


def test_who_comes_back_again_has_nothing_forgotten_and_nothing_read(person, client, genauth, app):
    mei = person("mei")
    link = mei.begin().json
    come_back(client, *decide(link["url"]))
    app.extensions["clock"].by = 1.5  # what is asked for in the second after a change may be from before it, by another's clock
    mei.accounts()
    genauth.forget_calls()

    cut_off = as_served(client, f"{LINKS}/{link['state']}/return", b"success=f", length=13)

    assert told(cut_off) == (410, "link_expired")
    assert len(mei.accounts()) == 3
    assert genauth.calls(IDENTITIES) == 0


def test_two_that_come_back_at_once_are_one_and_a_page(app, genauth):
    mei = Person(client_of(app), genauth, "mei")
    for _ in range(5):
        way_back = f"{LINKS}/{mei.begin().json['state']}/return"
        with ThreadPoolExecutor(4) as pool:
            backs = list(pool.map(lambda client, path: client.get(path), [client_of(app) for _ in range(4)], [way_back] * 4))
        assert sorted(back.status_code for back in backs) == [303, 410, 410, 410]


@pytest.mark.parametrize(
    "state", [NOWHERE, "x", "x" * 44, "x" * 300, "%00" * 43, "..%2f", "\u5fae", "x" * 42 + "%0a", "eyJ" + "x" * 40]
)
def test_a_state_that_is_none_leads_nowhere(person, client, genauth, state):
    mei = person("mei")

    for response in (client.get(f"{LINKS}/{state}/return"), client.post(f"{LINKS}/{state}/return"), mei.outcome(state)):
        assert told(response) in {(410, "link_expired"), (404, "not_found")}
    assert genauth.calls(IDENTITIES) == 0


def test_people_are_shown_a_page_that_says_so(client):
    page = client.get(f"{LINKS}/{NOWHERE}/return", headers=BROWSER | {"Accept-Language": "en"})

    assert (page.status_code, page.headers["Referrer-Policy"]) == (410, "no-referrer")
    assert shown_to_people(page)
    assert "script-src" in page.headers["Content-Security-Policy"]
    assert not re.search(r"<a |<script|href|http", page.text)
    for accept in ("application/json", "*/*", "application/problem+json", "text/html;q=0.1,application/problem+json"):
        assert told(client.get(f"{LINKS}/{NOWHERE}/return", headers={"Accept": accept})) == (410, "link_expired")


def test_coming_back_prolongs_nothing(person, client, app, stored):
    mei = person("mei")
    link = mei.begin().json
    app.extensions["clock"].by = 500

    come_back(client, *decide(link["url"]))

    lifetimes = [stored.ttl(key) for key in stored.keys("la:6:link:*") if not key.endswith(b":returned")]
    assert [0 < seconds <= 100 for seconds in lifetimes] == [True]


def test_after_ten_minutes_a_link_is_over(person, client, app):
    mei = person("mei")
    link = mei.begin().json
    app.extensions["clock"].by = 599
    assert mei.outcome(link["state"]).status_code == 200
    app.extensions["clock"].by = 600

    assert told(mei.outcome(link["state"])) == (410, "link_expired")
    assert told(come_back(client, *decide(link["url"]))) == (410, "link_expired")


def test_another_replica_knows_the_link_and_another_application_does_not(person, app_with, genauth):
    mei = person("mei")
    mei.accounts()
    link = mei.begin().json
    replica = client_of(app_with(**SETTINGS))
    other = client_of(app_with(**SETTINGS, GENAUTH_HOST=genauth.url.replace("127.0.0.1", "localhost")))

    assert told(other.get(f"{LINKS}/{link['state']}/return")) == (410, "link_expired")
    assert come_back(replica, *decide(link["url"])).status_code == 303
    assert mei.outcome(link["state"]).json["status"] == "linked"


def test_a_target_that_is_listed_no_longer_is_not_returned_to(person, client, app_with):
    link = person("mei").begin().json
    changed = client_of(app_with(**SETTINGS | {"RETURN_TO_ORIGINS": "https://other.example"}))

    page = come_back(changed, *decide(link["url"]))

    assert (page.status_code, page.mimetype) == (200, "text/html")


def test_whoever_finished_it_is_not_who_began_it(person, client, log_lines):
    mei, omar = person("mei"), person("omar")
    link = mei.begin().json
    come_back(client, *decide(link["url"]))
    log_lines.take()

    refused = omar.outcome(link["state"])

    assert told(refused) == (403, "link_of_another_person")
    assert "linkedAccounts" not in refused.json
    assert b'"result":"another_person"' in log_lines.take()
    assert mei.outcome(link["state"]).json["status"] == "linked"


def test_a_session_that_genauth_refused_is_nobodys_and_no_other_persons(person, client, genauth, log_lines):
    mei, omar = person("mei"), person("omar")
    link = mei.begin().json
    genauth.trouble(path=IDENTITIES, envelope={"statusCode": 401, "apiCode": 2020})
    assert told(client.get("/me/linked-accounts", headers=omar.headers)) == (401, "token_invalid")
    genauth.healthy()
    log_lines.take()

    assert told(omar.outcome(link["state"])) == (401, "token_invalid")
    assert b"another_person" not in log_lines.take()
    assert told(omar.begin("nothing-of-the-sort")) == (401, "token_invalid")


def test_every_step_is_audited_once(person, client, log_lines):
    mei = person("mei")
    mei.accounts()
    link = mei.begin().json
    mei.begin("my-lark")
    mei.outcome(link["state"])
    come_back(client, *decide(link["url"]))
    for _ in range(3):
        mei.outcome(link["state"])

    audited = [line for line in log_lines.take().splitlines() if b'"event":"audit"' in line]

    steps = [re.findall(rb'"(?:action|result)":"(\w+)"', line) for line in audited]
    assert sorted(map(sorted, steps)) == [
        [b"already_linked", b"link_started"],
        [b"link_outcome", b"linked"],
        [b"link_returned", b"ok"],
        [b"link_started", b"ok"],
    ]
    assert all(
        re.search(rb'"source_id":"62f2\w+"', line) and re.search(rb'"provider":"(?:github|lark)"', line) for line in audited
    )


def test_while_genauth_is_away_the_outcome_is_not_guessed(person, genauth, app):
    mei = person("mei")
    state = mei.begin().json["state"]
    app.extensions["clock"].by = 3
    genauth.trouble(path=IDENTITIES, status=503)

    assert told(mei.outcome(state)) == (503, "upstream_unavailable")


def test_without_an_address_of_our_own_the_outcome_is_that_of_the_moment(client_with, genauth):
    mei = Person(client_with(**SETTINGS | {"PUBLIC_URL": ""}), genauth, "mei")
    for returns in (BACK, None):
        link = mei.begin("my-github" if returns else "my-google", returnTo=returns).json
        assert mei.outcome(link["state"]).json["status"] == "pending"

        decide(link["url"])

        assert mei.outcome(link["state"]).json["status"] == "linked"


def test_who_asks_many_times_at_once_what_came_of_it_is_told_by_a_few_calls(person, app, genauth):
    mei = person("mei")
    state = mei.begin().json["state"]
    genauth.forget_calls()
    genauth.trouble(path=IDENTITIES, latency=0.5)

    with ThreadPoolExecutor(30) as pool:
        clients = [client_of(app) for _ in range(30)]
        answers = list(pool.map(lambda client: client.get(f"{LINKS}/{state}", headers=mei.headers), clients))

    assert {answer.json["status"] for answer in answers} == {"pending"}
    assert genauth.calls(IDENTITIES) < 12, "two or three where the machine has nothing else to do"


def test_what_is_linked_is_not_asked_for_again(person, client, genauth, app):
    mei = person("mei")
    link = mei.begin().json
    come_back(client, *decide(link["url"]))
    app.extensions["clock"].by = 1.5  # what is asked for in the second after a change may be from before it, by another's clock
    mei.outcome(link["state"])
    genauth.forget_calls()

    assert {mei.outcome(link["state"]).json["status"] for _ in range(5)} == {"linked"}
    assert genauth.calls(IDENTITIES) == 0


def test_without_redis_the_way_back_can_be_gone_again(person, client, app_with, tmp_path):
    link = person("mei").begin().json
    address, fields = decide(link["url"])
    cut_off = client_of(app_with(**SETTINGS | {"REDIS_URL": f"unix://{tmp_path}/nothing.sock"}))

    assert told(come_back(cut_off, address, fields)) == (503, "upstream_unavailable")
    page = come_back(cut_off, address, fields, **BROWSER)
    assert (page.status_code, page.mimetype) == (503, "text/html")
    assert come_back(client, address, fields).status_code == 303


def test_a_form_that_is_too_large_is_not_read(person, client):
    way_back = f"{LINKS}/{person('mei').begin().json['state']}/return"
    form = {"content_type": "application/x-www-form-urlencoded"}

    assert client.post(way_back, data={"x": "y" * 65_537}).status_code == 413
    assert as_served(client, way_back, b"success=false".ljust(65_537, b"&"), **form).status_code == 413
    back = as_served(client, way_back, b"success=false".ljust(65_536, b"&"), **form)
    assert query_of(back.headers["Location"])["link"] == "failed"


def test_a_form_that_is_cut_off_can_be_sent_again(person, client):
    way_back = f"{LINKS}/{person('mei').begin().json['state']}/return"
    form = {"length": 13, "content_type": "application/x-www-form-urlencoded"}

    assert as_served(client, way_back, b"success=f", **form).status_code == 400
    back = as_served(client, way_back, b"success=false", **form)
    assert query_of(back.headers["Location"])["link"] == "failed"


def test_whatever_is_wrong_with_a_way_back_people_see_a_page_and_no_next_one_learns_of_it(person, client):
    way_back = f"{LINKS}/{person('mei').begin().json['state']}/return"

    def answers(**headers):
        yield client.post(way_back, data={"x": "y" * 65_537}, headers=headers)
        yield as_served(client, way_back, b"cut", length=9, headers=headers)
        yield client.open(way_back, method="HEAD", headers=headers)

    for page, plain in zip(answers(**BROWSER), answers(), strict=True):
        assert (page.mimetype, plain.mimetype) == ("text/html", "application/problem+json")
        assert page.status_code == plain.status_code in (413, 400, 405)
        assert page.headers["Referrer-Policy"] == plain.headers["Referrer-Policy"] == "no-referrer"
        assert "frame-ancestors 'none'" in page.headers["Content-Security-Policy"]


def test_nothing_that_genauth_appends_is_kept_or_told(app_with, genauth, stored, written):
    client = client_of(app_with(**SETTINGS, LOG_LEVEL="debug", METRICS_TOKEN="watching"))
    mei = Person(client, genauth, "mei")
    link = mei.begin().json
    address, fields = decide(link["url"])
    assert {"access_token", "id_token"} <= fields.keys()
    secrets = [fields["access_token"], fields["id_token"], mei.id_token, *CANARY.findall(str(fields))]
    assert len(secrets) > 3

    back = come_back(client, address, fields)
    again = client.get(f"{LINKS}/{link['state']}/return", query_string=fields, headers=BROWSER)
    outcome = mei.outcome(link["state"])
    refused = mei.begin(idToken=mei.id_token + "x", returnTo=f"{APP}/{mei.id_token}#")
    metrics = client.get("/metrics", headers={"Authorization": "Bearer watching"})

    seen = b"".join(
        [part for each in (back, again, outcome, refused, metrics) for part in (each.data, str(each.headers).encode())]
    )
    seen += written().out + b"".join(
        key + (stored.get(key) if stored.type(key) == b"string" else b"") for key in stored.keys("*")
    )
    for secret in secrets:
        for part in (secret, secret[:40], secret[-40:]):
            assert part.encode() not in seen
    assert link["state"].encode() not in written().out


def test_fifty_people_link_and_unlink_at_once_and_none_gets_anothers(app, genauth):
    states = []

    def link_and_unlink(number):
        somebody = Person(client_of(app), genauth, f"user-{number}")
        connection = ("my-google", "my-qq", "my-lark")[number % 3]
        begun = somebody.begin(connection).json
        come_back(somebody.client, *decide(begun["url"]))
        outcome = somebody.outcome(begun["state"]).json
        another = somebody.outcome(states[-1]).json["code"] if states else "link_of_another_person"
        states.append(begun["state"])
        ids = {account["provider"]["type"]: account["id"] for account in outcome["linkedAccounts"]}
        left = somebody.client.delete(f"/me/linked-accounts/{ids.pop('github')}", headers=somebody.headers)
        seen = [
            sorted(account["provider"]["type"] for account in each) for each in (left.json["linkedAccounts"], somebody.accounts())
        ]
        names = {account["displayName"] for account in left.json["linkedAccounts"]}
        return (
            outcome["status"],
            another,
            seen == [sorted(["wechat", connection.removeprefix("my-")])] * 2,
            all(str(number) in name for name in names),
        )

    with ThreadPoolExecutor(16) as pool:
        results = set(pool.map(link_and_unlink, range(1000, 1050)))
    assert results == {("linked", "link_of_another_person", True, True)}
