"""What goes into the stream of events: everything that was answered, once, and nothing that did not happen."""

import re
import threading
import time

import pytest

from bff.sandbox import sources
from bff.web import services_of
from tests.web.conftest import client_of
from tests.web.linking import SETTINGS, Person, come_back, decide

PATH, UNLINK, ASKED = "/me/linked-accounts", "/api/v3/unlink-extidp", "/api/v3/get-identities"
STREAM = "la:events"
GITHUB, GOOGLE = sources.GITHUB.id, sources.GOOGLE.id
LINKED, UNLINKED = "linked_account.linked", "linked_account.unlinked"
SECRET = "secret-of-the-webhook-5c1d"
EVENTS = SETTINGS | {"EVENTS_STREAM": STREAM, "WEBHOOK_SECRET": SECRET, "UPSTREAM_DEADLINE_SECONDS": "1"}


@pytest.fixture
def app(app_with):
    return app_with(**EVENTS)


@pytest.fixture
def client(app):
    return client_of(app)


@pytest.fixture
def mei(client, genauth):
    return Person(client, genauth, "mei")


@pytest.fixture
def added(stored):
    """The events that were added since the last call: whose, which source, what happened."""
    seen = ["-"]

    def read(*fields):
        found = stored.xrange(STREAM, seen[0]) if stored.type(STREAM) == b"stream" else []
        seen[0] = f"({found[-1][0].decode()}" if found else seen[0]
        events = [{name.decode(): value.decode() for name, value in event.items()} for _, event in found]
        return [tuple(event[each] for each in fields or ("event", "sourceId")) for event in events]

    return read


@pytest.fixture
def remove(client, sign_in):
    return lambda person, account: client.delete(f"{PATH}/{account}", headers=sign_in(person))


def said(response):
    return response.status_code, response.json.get("code")


def together(*acts):
    threads = [threading.Thread(target=act) for act in acts]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def genauth_says(client, genauth, person, source=GITHUB, type_="github"):
    """GenAuth's own event that an account was linked."""
    user = {"id": genauth.id_of(person), "name": "小明"}
    data = {"user": user, "extIdp": {"id": source, "type": type_}, "identity": {"accessToken": "canary"}}
    headers = {"X-Authing-Webhook-Secret": SECRET}
    return client.post("/webhooks/genauth", json={"eventName": "user:link-account", "data": data}, headers=headers).status_code


def test_an_unlinked_account_is_an_event_with_ids_alone(remove, stored, genauth):
    response = remove("omar", GITHUB)

    ((_, event),) = stored.xrange(STREAM)
    event = {name.decode(): value.decode() for name, value in event.items()}
    assert re.fullmatch(r"20\d\d-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", event.pop("time"))
    assert event == {
        "event": UNLINKED,
        "userId": genauth.id_of("omar"),
        "sourceId": GITHUB,
        "providerType": "github",
        "requestId": response.headers["X-Request-Id"],
        "schemaVersion": "1",
    }


@pytest.mark.parametrize(
    ("person", "account", "fault", "expected"),
    [
        ("omar", "nothing-of-his", {}, 404),
        ("sol", GOOGLE, {}, 409),
        ("omar", GITHUB, {"envelope": {"statusCode": 403, "apiCode": 2217}}, 409),
        ("omar", GITHUB, {"envelope": {"statusCode": 400, "apiCode": 2216}}, 404),
        ("omar", GITHUB, {"status": 503}, 504),
    ],
)
def test_what_did_not_happen_is_no_event(remove, genauth, added, person, account, fault, expected):
    if fault:
        genauth.trouble(path=UNLINK, **fault)

    assert remove(person, account).status_code == expected
    assert added() == []


def test_what_genauth_did_and_could_not_say_is_an_event(remove, genauth, added):
    genauth.trouble(path=UNLINK, ending="reset", carried_out=True)

    assert remove("omar", GITHUB).status_code == 200
    assert added() == [(UNLINKED, GITHUB)]


def test_what_is_linked_again_where_nobody_says_so_and_unlinked_again_is_an_event_again(remove, genauth, added):
    for _ in range(2):
        assert remove("omar", GITHUB).status_code == 200
        genauth.link("omar", "my-github")

    assert added() == [(UNLINKED, GITHUB)] * 2


def test_two_of_one_account_at_once_are_one_event(app_with, sign_in, added):
    answers = []
    apps = [app_with(**EVENTS) for _ in range(2)]
    together(*(lambda a=a: answers.append(client_of(a).delete(f"{PATH}/{GITHUB}", headers=sign_in("omar"))) for a in apps))

    assert sorted(map(said, answers)) == [(200, None), (404, "not_found")]
    assert added() == [(UNLINKED, GITHUB)]


# Found later ------------------------------------------------------------------------------------------------------------------


@pytest.fixture
def carried_out_late(remove, genauth, client, added):
    """GenAuth unlinks omar's GitHub, and nobody knows."""
    genauth.trouble(path=UNLINK, ending="reset", carried_out=False)
    assert said(remove("omar", GITHUB)) == (504, "change_unconfirmed")
    genauth.healthy()
    assert added() == []
    genauth.unlink("omar", "my-github")


def test_who_asks_again_finds_it_gone_and_that_is_an_event_once(carried_out_late, remove, added):
    assert said(remove("omar", GITHUB)) == (404, "not_found")
    assert added("event", "sourceId", "providerType") == [(UNLINKED, GITHUB, "github")]

    assert said(remove("omar", GITHUB)) == (404, "not_found")
    assert remove("omar", GOOGLE).status_code == 200
    assert added() == [(UNLINKED, GOOGLE)]


@pytest.mark.parametrize("seconds", [2, 300])
def test_who_looks_again_finds_it_gone_and_that_is_an_event_once(carried_out_late, app, app_with, sign_in, added, seconds):
    for each in (app, app_with(**EVENTS)):
        each.extensions["clock"].by = seconds
        for _ in range(2):
            response = client_of(each).get(f"{PATH}?refresh=true", headers=sign_in("omar"))
            assert [account["id"] for account in response.json["linkedAccounts"]] == [GOOGLE]

    assert added("event", "sourceId", "providerType") == [(UNLINKED, GITHUB, "github")]


def test_it_is_looked_for_when_somebody_was_away_for_days(carried_out_late, app, remove, stored, genauth):
    services_of(app).changes.forget(genauth.id_of("omar"), cause="webhook")
    (marker,) = stored.keys("*:invalidated")
    assert 6 < stored.ttl(marker) / 86_400 <= 7

    remove("omar", GITHUB)

    assert stored.ttl(marker) < 86_400, "there is nothing to look for"


def test_what_genauth_says_is_not_linked_is_an_event_once_no_list_shows_it(remove, genauth, added):
    genauth.linking(refuse_not_linked=True, shown_after_reads=1)
    genauth.unlink("omar", "my-github")

    assert said(remove("omar", GITHUB)) == (404, "not_found")

    assert added() == [(UNLINKED, GITHUB)]


def test_the_next_change_finds_the_one_before_it(carried_out_late, remove, added):
    assert remove("omar", GOOGLE).status_code == 200

    assert added() == [(UNLINKED, GITHUB), (UNLINKED, GOOGLE)]


def test_another_event_between_them_takes_it_from_nobody(carried_out_late, app, client, genauth, remove, added):
    services_of(app).changes.forget(genauth.id_of("omar"), cause="webhook")
    app.extensions["clock"].by = 300

    assert said(remove("omar", GITHUB)) == (404, "not_found")
    assert added() == [(UNLINKED, GITHUB)]


def test_what_is_still_there_is_no_event_whoever_looks(remove, genauth, app, client, sign_in, added):
    genauth.trouble(path=UNLINK, ending="reset", carried_out=False)
    remove("omar", GITHUB)
    genauth.healthy()
    app.extensions["clock"].by = 2

    client.get(f"{PATH}?refresh=true", headers=sign_in("omar"))
    assert added() == []
    assert remove("omar", GITHUB).status_code == 200
    assert added() == [(UNLINKED, GITHUB)]


# Where it cannot be added -----------------------------------------------------------------------------------------------------


@pytest.fixture
def no_stream(stored):
    """Somebody else has that key."""
    stored.set(STREAM, "theirs")


def test_an_unlinked_account_that_others_cannot_learn_of_is_not_confirmed(no_stream, remove, client, sign_in, stored, added):
    assert said(remove("omar", GITHUB)) == (504, "change_unconfirmed")
    assert said(remove("omar", GITHUB)) == (503, "upstream_unavailable"), "it is gone, and to say so is to say that it was told"
    response = client.get(PATH, headers=sign_in("omar"))
    assert [account["id"] for account in response.json["linkedAccounts"]] == [GOOGLE], "nothing old is served"

    stored.delete(STREAM)

    assert said(remove("omar", GITHUB)) == (404, "not_found")
    assert added() == [(UNLINKED, GITHUB)]


def test_a_linked_account_that_others_cannot_learn_of_has_no_outcome_yet(no_stream, mei, client, stored, added):
    link = mei.begin().json
    come_back(client, *decide(link["url"]))
    assert said(mei.outcome(link["state"])) == (503, "upstream_unavailable")

    stored.delete(STREAM)

    assert mei.outcome(link["state"]).json["status"] == "linked"
    assert added() == [(LINKED, GITHUB)]


def test_genauth_is_asked_to_send_an_event_again_that_others_could_not_learn_of(no_stream, client, genauth, stored, added):
    assert genauth_says(client, genauth, "mei") == 503

    stored.delete(STREAM)

    assert [genauth_says(client, genauth, "mei") for _ in range(2)] == [204, 204]
    assert added() == [(LINKED, GITHUB)]


def test_without_the_setting_there_is_no_stream(client_with, sign_in, stored):
    assert client_with(EVENTS_STREAM="").delete(f"{PATH}/{GITHUB}", headers=sign_in("omar")).status_code == 200

    assert stored.exists(STREAM) == 0


# Linked -----------------------------------------------------------------------------------------------------------------------


def test_a_linked_account_is_an_event_once_however_often_its_outcome_is_asked_for(mei, client, genauth, stored, added):
    link = mei.begin().json
    assert mei.outcome(link["state"]).json["status"] == "pending"
    assert added() == []
    come_back(client, *decide(link["url"]))

    outcomes = [mei.outcome(link["state"]) for _ in range(3)]

    assert [each.json["status"] for each in outcomes] == ["linked"] * 3
    ((_, event),) = stored.xrange(STREAM)
    assert event[b"requestId"].decode() == outcomes[0].headers["X-Request-Id"]
    assert added("event", "userId", "sourceId", "providerType") == [(LINKED, genauth.id_of("mei"), GITHUB, "github")]


@pytest.mark.parametrize("type_", ["小明", "mei@mail.example", "Mei Lin", "e" * 65, "git\ud83dhub"])
def test_what_is_no_type_of_a_provider_is_none(client, genauth, added, type_):
    genauth_says(client, genauth, "mei", type_=type_)

    assert added("sourceId", "providerType") == [(GITHUB, "")]


def test_no_link_that_came_to_nothing_is_an_event(mei, client, added):
    link = mei.begin().json
    come_back(client, *decide(link["url"], "cancel"))

    assert mei.outcome(link["state"]).json["status"] == "failed"
    assert added() == []


@pytest.mark.parametrize(
    "order",
    [
        ("ours", "GenAuth's"),
        ("GenAuth's", "ours"),
        ("GenAuth's", "GenAuth's", "ours", "GenAuth's"),
        ("ours", "a replica's"),
        ("a replica's", "GenAuth's", "ours"),
    ],
    ids=", ".join,
)
def test_it_is_one_event_whoever_says_so_first(mei, client, app_with, genauth, added, order):
    link = mei.begin().json
    come_back(client, *decide(link["url"]))
    replica = Person(client_of(app_with(**EVENTS)), genauth, "mei")
    acts = {
        "ours": lambda: mei.outcome(link["state"]).json["status"],
        "a replica's": lambda: replica.outcome(link["state"]).json["status"],
        "GenAuth's": lambda: genauth_says(client, genauth, "mei"),
    }

    assert {acts[each]() for each in order} <= {"linked", 204}

    assert added() == [(LINKED, GITHUB)]


def test_it_is_one_event_though_the_clocks_of_replicas_differ(mei, client, app, app_with, genauth, added):
    app.extensions["clock"].by = 0.9
    link = mei.begin().json
    come_back(client, *decide(link["url"]))

    assert genauth_says(client_of(app_with(**EVENTS)), genauth, "mei") == 204
    assert mei.outcome(link["state"]).json["status"] == "linked"

    assert added() == [(LINKED, GITHUB)]


def test_outcomes_of_two_replicas_at_once_are_one_event(mei, client, app_with, genauth, added):
    link = mei.begin().json
    come_back(client, *decide(link["url"]))
    people = [Person(client_of(app_with(**EVENTS)), genauth, "mei") for _ in range(2)]

    together(*(lambda each=each: each.outcome(link["state"]) for each in people * 2))

    assert added() == [(LINKED, GITHUB)]


def test_what_is_linked_unlinked_and_linked_again_is_three_events(mei, client, genauth, added):
    for _ in range(2):
        link = mei.begin().json
        come_back(client, *decide(link["url"]))
        assert mei.outcome(link["state"]).json["status"] == "linked"
        genauth_says(client, genauth, "mei")
        assert client.delete(f"{PATH}/{GITHUB}", headers=mei.headers).status_code == 200

    assert added() == [(LINKED, GITHUB), (UNLINKED, GITHUB)] * 2


def test_what_was_unlinked_here_and_linked_again_elsewhere_is_an_event_again(client, genauth, sign_in, added):
    for _ in range(2):
        genauth_says(client, genauth, "omar")
        assert client.delete(f"{PATH}/{GITHUB}", headers=sign_in("omar")).status_code == 200
        genauth.link("omar", "my-github")

    assert added() == [(LINKED, GITHUB), (UNLINKED, GITHUB)] * 2


def test_an_outcome_that_was_asked_for_before_another_account_was_linked_and_is_being_unlinked_confirms_nothing(
    mei, client, app, genauth, added
):
    link = mei.begin().json
    come_back(client, *decide(link["url"]))
    asked = genauth.calls(ASKED)
    genauth.trouble(path=ASKED, latency=0.4)
    outcome = threading.Thread(target=mei.outcome, args=(link["state"],))
    outcome.start()
    while genauth.calls(ASKED) == asked:
        time.sleep(0.005)

    genauth.link("mei", "my-google")
    services_of(app).changes.hold(genauth.id_of("mei"), GOOGLE, 20)
    outcome.join()

    assert added() == [(LINKED, GITHUB)]
    assert services_of(app).changes.unconfirmed(genauth.id_of("mei")) == (GOOGLE,)


def test_a_link_whose_note_of_the_event_was_lost_is_still_one_event(mei, client, stored, added):
    link = mei.begin().json
    come_back(client, *decide(link["url"]))
    before = set(stored.keys("la:6:link:*"))
    assert mei.outcome(link["state"]).json["status"] == "linked"
    noted = {key for key in set(stored.keys("la:6:link:*")) - before if stored.type(key) == b"string"}

    stored.delete(*noted)  # as by a process that is killed between the two

    assert mei.outcome(link["state"]).json["status"] == "linked"
    assert added() == [(LINKED, GITHUB)]


def test_what_was_unlinked_elsewhere_and_linked_again_here_is_an_event_again(mei, client, genauth, app, added):
    for seconds in (0, 60):
        app.extensions["clock"].by = seconds
        link = mei.begin().json
        come_back(client, *decide(link["url"]))
        assert mei.outcome(link["state"]).json["status"] == "linked"
        genauth.unlink("mei", "my-github")

    assert added() == [(LINKED, GITHUB)] * 2


def test_where_the_connections_are_not_known_each_new_account_is_an_event(mei, client, genauth, added):
    genauth.trouble(path="/api/v3/get-application-enabled-extidps", status=503)
    link = mei.begin().json
    genauth.link("mei", "my-google")
    come_back(client, *decide(link["url"]))

    assert mei.outcome(link["state"]).json["status"] == "linked"
    assert set(added("sourceId", "providerType")) == {(GITHUB, "github"), (GOOGLE, "google")}


def test_a_link_is_counted_once_and_nothing_older_is_served(mei, client, app_with, genauth, app):
    replica = Person(client_of(app_with(**EVENTS)), genauth, "mei")
    link = mei.begin().json
    assert len(replica.accounts()) == 2
    decide(link["url"])  # and the browser does not come back

    for _ in range(2):
        assert mei.outcome(link["state"]).json["status"] == "linked"

    assert genauth_says(client, genauth, "mei") == 204
    assert len(replica.accounts()) == 3
    assert counted(app, "forgotten", cause="link_outcome") == counted(app, "events_added", event=LINKED) == 1


def test_what_is_unlinked_is_counted_and_what_could_not_be_added_too(remove, app, stored):
    remove("omar", GITHUB)
    stored.set(STREAM, "theirs")
    remove("omar", GOOGLE)

    assert counted(app, "forgotten", cause="unlink") == counted(app, "events_added", event=UNLINKED) == 1
    assert counted(app, "events_failed", event=UNLINKED) == 1


def counted(app, metric, **labels):
    (label,) = labels.items()
    line = 'linked_accounts_{}_total{{{}="{}"}} ([0-9.]+)'.format(metric, *label)
    return float((re.search(line, services_of(app).metrics.render().decode()) or [0, 0])[1])


# A stream of its own size -----------------------------------------------------------------------------------------------------


def test_the_stream_keeps_about_ten_thousand_events(remove, stored):
    pipeline = stored.pipeline()
    for n in range(10_500):
        pipeline.xadd(STREAM, {"event": n})
    pipeline.execute()

    remove("omar", GITHUB)

    assert 10_000 <= stored.xlen(STREAM) <= 10_200
    ((_, last),) = stored.xrevrange(STREAM, count=1)
    assert last[b"event"].decode() == UNLINKED


@pytest.mark.parametrize("policy", ["noeviction", "volatile-lru"])
def test_a_redis_that_becomes_full_keeps_what_was_answered(remove, stored, added, genauth, policy):
    genauth.trouble(path=UNLINK, latency=0.2)
    before = stored.info("memory")["used_memory"]

    def fill():
        while not genauth.calls(UNLINK):
            time.sleep(0.005)
        stored.config_set("maxmemory-policy", policy)
        stored.config_set("maxmemory", before // 2)

    filling = threading.Thread(target=fill)
    filling.start()
    response = remove("omar", GITHUB)
    filling.join()

    assert (said(response), added()) == ((200, None), [(UNLINKED, GITHUB)])
