"""GenAuth's events: who may send them, what each of them makes void, and what becomes of what is none."""

import io
import json
import threading
from contextlib import contextmanager
from urllib.parse import urlencode

import pytest

from bff.factory import create_app
from bff.settings import Settings
from bff.web import services_of
from tests.conftest import PATIENT, clocked
from tests.web.conftest import client_of
from tests.web.contract import ContractClient
from tests.webhooks import EVENTS, recorded

PATH = "/me/linked-accounts"
HOOK = "/webhooks/genauth"
SECRET, NEXT = "secret-of-the-webhook-5c1d", "the-secret-after-it-8e0f"
SHOWN = {"X-Authing-Webhook-Secret": SECRET}
JSON, FORM = "application/json", "application/x-www-form-urlencoded"
STREAM = b"la:events"
LARGEST = 1024 * 1024
CHANGED = (
    *("user:updated", "user:udv-changed", "user:email-verified", "user:password-changed", "user:unblocked", "user:unarchived"),
)
ENDED = ("user:blocked", "user:archived", "user:deleted", "kick")
WATCHING = {"Authorization": "Bearer watching"}


@pytest.fixture(scope="module")
def receiver(_genauth, _valkey, one_authority):
    """An application for all tests that show the secret: what one of them sends is nothing to the others."""
    environ = {
        "GENAUTH_HOST": _genauth.url,
        "GENAUTH_APP_ID": _genauth.app_id,
        "GENAUTH_CA_BUNDLE": str(one_authority),
        "REDIS_URL": _valkey.url,
        "LOCAL_CACHE_SECONDS": "0",
        "RATE_LIMIT": "off",
        "TOKEN_ACCEPTED_SECONDS": "300",
        "WEBHOOK_SECRET": f"{SECRET},{NEXT}",
        "EVENTS_STREAM": STREAM.decode(),
        "METRICS_TOKEN": "watching",
        "LOG_LEVEL": "debug",
    }
    app = clocked(Settings.from_env(environ), **PATIENT)
    app.test_client_class = ContractClient
    yield app
    services_of(app).invalidations.stop()


@pytest.fixture
def later(receiver):
    """In the second after an event nothing that was asked for is kept: let it pass."""

    def turn():
        receiver.extensions["clock"].by += 2

    return turn


@pytest.fixture
def client(receiver, genauth, valkey, later):
    later()
    return client_of(receiver)


@pytest.fixture
def send(client):
    """Send an event, or any other body, as GenAuth would: ``send({"eventName": …})``."""

    def post(event, content_type=JSON, headers=SHOWN, **request):
        body = event if isinstance(event, bytes) else json.dumps(event).encode()
        return client.post(HOOK, data=body, content_type=content_type, headers=headers, **request)

    return post


@pytest.fixture
def counted(client):
    """How many events of that name ended so since the test began; or of another series."""

    def read():
        text = client.get("/metrics", headers=WATCHING).text
        return {name: float(count) for name, _, count in (line.rpartition(" ") for line in text.splitlines() if line[0] != "#")}

    def count(event, result):
        return of_series(f'linked_accounts_webhook_events_total{{event="{event}",result="{result}"}}')

    def of_series(series):
        return read().get(series, 0) - before.get(series, 0)

    before, count.of_series = read(), of_series
    return count


def of(genauth, *people, name="user:updated"):
    ids = [genauth.id_of(person) for person in people]
    return {"eventName": name, "data": {"users": ids} if len(ids) > 1 else {"user": {"id": ids[0], "password": "canary-hash"}}}


# --- Who may send them ---


def test_without_a_secret_there_is_no_such_route(client_with):
    client = client_with()

    assert client.post(HOOK, json={}, headers=SHOWN).status_code == 404
    assert HOOK not in client.get("/openapi.json").json["paths"]


@pytest.mark.parametrize("secret", [SECRET, NEXT], ids=["old", "new"])
@pytest.mark.parametrize("header", ["X-Authing-Webhook-Secret", "X-GenAuth-Token", "X-Authing-Token", "x-genauth-token"])
def test_either_secret_in_any_of_three_headers_lets_in(send, header, secret):
    assert send(recorded("test"), headers={header: secret}).status_code == 204


@pytest.mark.parametrize(
    "headers",
    [
        {"X-GenAuth-Token": "another", "X-Authing-Webhook-Secret": SECRET},
        {"X-GenAuth-Token": NEXT, "X-Authing-Webhook-Secret": ""},
        [("X-GenAuth-Token", "another"), ("X-GenAuth-Token", SECRET)],
        {"X-GenAuth-Token": f" {SECRET} ", "X-Authing-Token": "\u00e9"},
    ],
)
def test_of_two_headers_one_that_is_right_is_enough(send, headers):
    assert send(recorded("test"), headers=headers).status_code == 204


@pytest.mark.parametrize(
    "headers",
    [
        *({}, {"X-GenAuth-Token": ""}, {"X-GenAuth-Token": SECRET[:-1]}, {"X-GenAuth-Token": f"{SECRET}x"}),
        *({"X-GenAuth-Token": SECRET.upper()}, {"X-GenAuth-Token": "\u00e9"}, {"Authorization": f"Bearer {SECRET}"}),
        *({"X-GenAuth-Token": f"a,b,{SECRET}"}, {"Cookie": f"x-authing-token={SECRET}"}, {"X-GenAuth-Token": f"{SECRET};{NEXT}"}),
    ],
)
def test_nothing_else_lets_in_and_nothing_is_forgotten(headers, client_with, genauth, sign_in, asked):
    client, mei = client_with(WEBHOOK_SECRET=SECRET), sign_in("mei")
    client.get(PATH, headers=mei)

    response = client.post(HOOK, json=of(genauth, "mei"), headers=headers)

    assert (response.status_code, response.json["code"]) == (401, "webhook_secret_invalid")
    assert response.headers["WWW-Authenticate"] == "Webhook-Secret"
    client.get(PATH, headers=mei)
    assert asked() == 1


def test_a_secret_in_the_query_lets_nobody_in_and_is_in_no_line(send, written):
    assert send(recorded("test"), headers={}, query_string={"secret": SECRET, "x-genauth-token": SECRET}).status_code == 401
    assert SECRET.encode() not in written().out


def test_the_secret_is_looked_at_before_the_body(send):
    assert send(b"{" * (LARGEST + 1), headers={"X-GenAuth-Token": "another"}).status_code == 401


def test_an_address_that_shows_no_secret_too_often_is_told_to_wait(client_with):
    client = client_with(WEBHOOK_SECRET=SECRET)
    near, far = {"environ_overrides": {"REMOTE_ADDR": "192.0.2.1"}}, {"environ_overrides": {"REMOTE_ADDR": "192.0.2.2"}}

    statuses = [client.post(HOOK, headers={"X-GenAuth-Token": f"guess-{number}"}, **near).status_code for number in range(22)]

    assert statuses == [401] * 20 + [429] * 2
    assert int(client.post(HOOK, **near).headers["Retry-After"]) >= 1
    assert client.post(HOOK, **far).status_code == 401
    hosts = [{"environ_overrides": {"REMOTE_ADDR": f"2001:db8::{number:x}"}} for number in range(21)]
    assert [client.post(HOOK, **host).status_code for host in hosts][-2:] == [401, 429], "an IPv6 /64 is one address"
    good = client.post(HOOK, json=recorded("test"), headers=SHOWN, **near)
    assert good.status_code == 204, "whoever shows the secret is let in all the same"


@pytest.mark.parametrize("method", ["GET", "HEAD", "PUT", "DELETE"])
def test_events_are_posted(client, method):
    response = client.open(HOOK, method=method, headers=SHOWN)

    assert response.status_code == 405
    assert response.headers["Allow"] == "OPTIONS, POST"


def test_whoever_asks_how_events_are_sent_needs_no_secret(client):
    response = client.options(HOOK)

    assert response.status_code == 200
    assert {*response.headers["Allow"].split(", ")} == {"OPTIONS", "POST"}


# --- What each of them makes void ---


@pytest.mark.parametrize("name", ["user:link-account", *CHANGED, *ENDED])
def test_after_an_event_about_somebody_genauth_is_asked_again(name, send, client, genauth, sign_in, asked):
    mei, omar = sign_in("mei"), sign_in("omar")
    before = client.get(PATH, headers=mei).json
    client.get(PATH, headers=omar)
    genauth.unlink("mei", before["linkedAccounts"][0]["id"])
    assert client.get(PATH, headers=mei).json == before

    assert send(of(genauth, "mei", name=name)).status_code == 204

    assert client.get(PATH, headers=mei).json["meta"]["total"] == before["meta"]["total"] - 1
    client.get(PATH, headers=omar)
    assert asked() == 3, "others' accounts stay"


@pytest.mark.parametrize(
    ("name", "again"),
    [("user:link-account", 1), *((name, 1) for name in CHANGED), *((name, 2) for name in ENDED)],
)
def test_an_end_of_sessions_voids_that_genauth_accepted_any_token(name, again, send, client, later, genauth, sign_in, asked):
    sessions = [sign_in("mei", claims={"jti": f"session-{number}"}) for number in range(2)]
    for session in sessions:
        client.get(PATH, headers=session)
    before = asked()

    assert send(of(genauth, "mei", name=name)).status_code == 204
    later()
    assert {client.get(PATH, headers=session).status_code for session in sessions} == {200}

    assert asked() - before == again


@pytest.mark.parametrize(("name", "status"), [("user:link-account", 403), *((name, 200) for name in (*CHANGED, *ENDED))])
def test_what_genauth_refused_is_asked_again_unless_an_account_was_linked(name, status, send, client, genauth, sign_in):
    headers = sign_in("mei")
    genauth.block("mei")
    assert client.get(PATH, headers=headers).status_code == 403
    genauth.unblock("mei")
    assert client.get(PATH, headers=headers).status_code == 403, "remembered for some seconds"

    send(of(genauth, "mei", name=name))

    assert client.get(PATH, headers=headers).status_code == status


def test_of_two_users_that_became_one_both_are_asked_for_again(send, client, genauth, sign_in, asked):
    everybody = [sign_in(person) for person in ("mei", "omar")]
    for headers in everybody:
        client.get(PATH, headers=headers)
    pair = {"primaryUser": {"id": genauth.id_of("mei")}, "secondaryUser": {"id": genauth.id_of("omar"), "identities": []}}

    assert send({"eventName": "user:link-account", "data": pair}).status_code == 204

    for headers in everybody:
        client.get(PATH, headers=headers)
    assert asked() == 4


def test_a_new_link_is_passed_on_to_those_who_read_our_events(send, stored):
    assert send(recorded("link-account") | {"eventName": "user:updated"}).status_code == 204
    assert stored.xlen(STREAM) == 0
    for _ in range(2):
        assert send(recorded("link-account")).status_code == 204
    assert send(recorded("link-account-of-two-users")).status_code == 204

    ((_, event),) = stored.xrange(STREAM)
    said = {value.decode() for value in event.values()}
    ids = {"6064925fb31803716a9df11f", "62f209327xxxxcc10d966ee5"}
    assert {"linked_account.linked", "github", *ids} <= said
    assert not {*secrets_of(recorded("link-account"))} & (said - ids)


def test_everybody_of_a_list_is_forgotten_and_an_id_that_is_none_is_left_out(send, client, genauth, sign_in, asked, counted):
    everybody = [sign_in(person) for person in ("mei", "omar")]
    for headers in everybody:
        client.get(PATH, headers=headers)
    others = [{"id": f"user-{number}"} for number in range(1000)]
    users = [*others, 7, genauth.id_of("mei"), {"id": "x" * 257}, {"userId": genauth.id_of("omar")}]

    assert send({"eventName": "kick", "data": {"users": users}}).status_code == 204

    for headers in everybody:
        client.get(PATH, headers=headers)
    assert asked() == 4
    assert counted.of_series("linked_accounts_records_left_out_total") == 2
    assert counted.of_series('linked_accounts_forgotten_total{cause="webhook"}') == 1002


@pytest.mark.parametrize("content_type", [FORM, f"{FORM}; charset=utf-8"])
def test_a_form_says_the_same(content_type, send, client, genauth, sign_in, asked):
    mei = sign_in("mei")
    client.get(PATH, headers=mei)
    event = of(genauth, "mei")
    form = urlencode({"eventName": event["eventName"], "data": json.dumps(event["data"])}).encode()

    assert send(form, content_type=content_type).status_code == 204

    client.get(PATH, headers=mei)
    assert asked() == 2


@pytest.mark.parametrize("content_type", [JSON, "application/json; charset=utf-8", "application/vnd.api+json", FORM, None])
def test_whatever_json_is_called(content_type, send, counted):
    assert send({"eventName": "kick", "data": {"users": ["a"]}}, content_type=content_type).status_code == 204
    assert counted("kick", "forgotten") == 1


def test_half_an_emoji_costs_no_event(send):
    body = b'{"eventName": "user:updated", "data": {"user": {"id": "a", "nickname": "\\ud83d", "name": "\xff", "score": NaN}}}'

    assert send(b"\xef\xbb\xbf" + body).status_code == 204
    assert send(b"eventName=user:updated&data=" + body.partition(b'"data": ')[2][:-1], FORM).status_code == 204


@pytest.mark.parametrize("bytes_", [100_000, LARGEST])
def test_an_event_may_be_as_long_as_organisations_are(bytes_, send):
    body = json.dumps({"eventName": "organization:tree-updated", "data": {"organization": ""}}).encode()

    assert send(body.replace(b'""', b'"' + b"x" * (bytes_ - len(body)) + b'"')).status_code == 202


def test_other_bodies_are_no_longer_than_before(client, sign_in):
    response = client.post(f"{PATH}/links", data=b"x" * 65_537, content_type=JSON, headers=sign_in("mei"))

    assert response.status_code == 413


# --- What is answered to the recorded ones ---

VOID = {"user-updated", "user-udv-changed", "user-email-verified", "user-password-changed", "user-password-changed-with-the-user"}
VOID |= {"user-blocked", "user-deleted", "user-deleted-of-a-custom-database", "kick", "link-account", "link-account-of-two-users"}
IGNORED = {"login", "login-without-an-envelope", "register", "refresh-token", "mfa-verified", "permission-add"}
IGNORED |= {"organization-created"}


@pytest.mark.parametrize("case", sorted(VOID | IGNORED | {"test"}))
def test_a_recorded_event_is_answered_and_nothing_of_it_is_kept(case, send, counted, written, stored):
    event = recorded(case)
    flat = {name: value if isinstance(value, str) else json.dumps(value) for name, value in event.items()}

    for response in (send(event), send(urlencode(flat).encode(), FORM)):
        assert response.status_code == (202 if case in IGNORED else 204)
        assert response.data == b""
        assert response.headers["Cache-Control"] == "private, no-store"
        assert "Content-Type" not in response.headers

    name = "other" if case in IGNORED else event.get("eventName", "test")
    assert counted(name, "ignored" if case in IGNORED else "nobody" if case == "test" else "forgotten") == 2
    logged = written()
    left = b"".join([logged.out, logged.err, *(key + (stored.dump(key) or b"") for key in stored.scan_iter() if key != STREAM)])
    assert not [secret for secret in secrets_of(event) if secret.encode() in left]


def secrets_of(value, name=""):
    """Every text of an event but its name."""
    if isinstance(value, dict):
        for key, each in value.items():
            yield from secrets_of(each, key)
    elif isinstance(value, list):
        for each in value:
            yield from secrets_of(each, name)
    elif isinstance(value, str) and len(value) > 6 and name not in {"eventName", "provider", "type"}:
        yield value


def test_every_recorded_event_is_a_case():
    assert {file.stem for file in EVENTS.iterdir()} == VOID | IGNORED | {"test"}


# --- What is no event ---

NOBODY = {"eventName": "kick", "data": {}}
BAD = {
    "empty": (b"", JSON),
    "empty, as a form": (b"", FORM),
    "begun": (b"{", JSON),
    "an array": (b"[]", JSON),
    "a text": (b'"user:updated"', JSON),
    "nested too deeply": (b"[" * 10_000 + b"]" * 10_000, JSON),
    "nested too deeply inside": (b'{"eventName":"kick","data":' + b'{"user":' * 10_000 + b"1" + b"}" * 10_001, JSON),
    "not JSON": (b"<event/>", "text/xml"),
    "a form without data": (b"eventName=user:updated", FORM),
    "a form with empty data": (b"eventName=kick&data=", FORM),
    "a form whose data is not JSON": (b"eventName=kick&data=users", FORM),
    "a form of an unknown event without data": (b"eventName=login", FORM),
    "a form of many fields": (b"a=b&" * 1000 + urlencode({"eventName": "kick", "data": '{"users": ["a"]}'}).encode(), FORM),
    "a form that is called JSON": (b"eventName=kick&data=%7B%7D", JSON),
    "without data": (b'{"eventName": "kick"}', JSON),
    "of nobody": (json.dumps(NOBODY).encode(), JSON),
    "of numbers": (b'{"eventName": "kick", "data": {"users": [1, 2]}}', JSON),
    "of a hundred thousand numbers": (json.dumps({"eventName": "kick", "data": {"users": [*range(100_000)]}}).encode(), JSON),
    "of objects without ids": (b'{"eventName": "kick", "data": {"users": [{}, {"name": "x"}]}}', JSON),
    "of a hundred thousand": (json.dumps({"eventName": "kick", "data": {"users": ["a"] * 100_000}}).encode(), JSON),
    "of an id of 257 characters": (json.dumps({"eventName": "kick", "data": {"users": ["x" * 257]}}).encode(), JSON),
    "of an id with NUL": (b'{"eventName": "user:updated", "data": {"userId": "payload\\u0000"}}', JSON),
}


@pytest.mark.parametrize("case", BAD)
def test_what_is_no_event_is_refused_without_a_word_of_it(case, send, written):
    body, content_type = BAD[case]

    response = send(body, content_type)

    assert (response.status_code, response.json["code"]) == (400, "invalid_request")
    lines = [json.loads(line) for line in written().out.splitlines()]
    assert [(line["event"], line["note"][:5]) for line in lines if line["event"] != "request" or "note" in line] == [
        ("request", "event")
    ]
    assert "payload" not in f"{lines}{response.text}"


@pytest.mark.parametrize("content_type", [JSON, FORM])
@pytest.mark.parametrize("chunked", [False, True])
def test_too_long_a_body_is_413(content_type, chunked, client, written):
    body = b"payload=" + b"x" * (LARGEST + 1 - 8)
    how = {"environ_overrides": {"wsgi.input_terminated": True}, "headers": {**SHOWN, "Transfer-Encoding": "chunked"}}

    response = client.post(HOOK, data=body, content_type=content_type, **(how if chunked else {"headers": SHOWN}))

    assert (response.status_code, response.json["code"]) == (413, "invalid_request")
    assert b"payload" not in written().out


def test_an_event_of_nobody_is_taken(send, counted):
    assert send({"eventName": "user:deleted", "data": {"users": []}}).status_code == 204
    assert counted("user:deleted", "nobody") == 1


@pytest.mark.parametrize("event", [{}, {"eventName": None, "user": {"id": "a"}}, {"eventName": "user:unlinked", "data": None}])
def test_what_means_nothing_to_us_is_taken(event, send, counted):
    assert send(event).status_code == 202
    assert counted("other", "ignored") == 1


# --- Where it cannot be done ---


class Slow(io.RawIOBase):
    """A body whose client takes its time."""

    def __init__(self, body):
        self.begun, self.go_on = threading.Event(), threading.Event()
        self._rest = io.BytesIO(body)

    def readable(self):
        return True

    def readinto(self, buffer):
        self.begun.set()
        assert self.go_on.wait(10)
        return self._rest.readinto(buffer)


@pytest.fixture
def slowly():
    """Send an event of an application slowly; the block runs while its body has not come. Yields the answers so far."""

    @contextmanager
    def sending(app, event):
        body, answers = json.dumps(event).encode(), []
        slow = Slow(body)
        how = {
            "content_type": JSON,
            "headers": SHOWN,
            "environ_overrides": {"wsgi.input": slow, "CONTENT_LENGTH": str(len(body))},
        }
        thread = threading.Thread(target=lambda: answers.append(client_of(app).post(HOOK, **how).status_code))
        thread.start()
        try:
            assert slow.begun.wait(10)
            yield answers
        finally:
            slow.go_on.set()
            thread.join(10)

    return sending


def test_an_event_that_comes_slowly_holds_nobody_up(app_with, slowly, sign_in):
    app = app_with(WEBHOOK_SECRET=SECRET)
    with slowly(app, recorded("user-updated")) as answers:
        assert client_of(app).post(HOOK, json=recorded("kick"), headers=SHOWN).status_code == 204
        assert client_of(app).get(PATH, headers=sign_in("mei")).status_code == 200
        assert answers == []

    assert answers == [204]


def test_where_too_many_events_are_one_more_is_to_be_sent_again(environ, slowly, sign_in):
    app = create_app(Settings.from_env({**environ, "WEBHOOK_SECRET": SECRET}), threads=2, **PATIENT)
    with slowly(app, recorded("user-updated")) as first, slowly(app, recorded("user-updated")) as second:
        response = app.test_client().post(HOOK, json=recorded("kick"), headers=SHOWN)
        assert (response.status_code, response.headers["Retry-After"]) == (503, "1")
        assert app.test_client().get(PATH, headers=sign_in("mei")).status_code == 200
        assert app.test_client().post(HOOK, json=recorded("kick")).status_code == 401, "strangers take no event's place"

    assert first + second == [204, 204]
    assert app.test_client().post(HOOK, json=recorded("kick"), headers=SHOWN).status_code == 204


def test_an_event_that_redis_cannot_be_told_of_is_to_be_sent_again(client_with, genauth):
    client = client_with(WEBHOOK_SECRET=SECRET, REDIS_URL="redis://127.0.0.1:1", METRICS_TOKEN="watching")

    response = client.post(HOOK, json=of(genauth, "mei"), headers=SHOWN)

    assert (response.status_code, response.json["code"]) == (503, "upstream_unavailable")
    assert int(response.headers["Retry-After"]) >= 1
    assert 'event="user:updated",result="unavailable"} 1.0' in client.get("/metrics", headers=WATCHING).text
    assert client.post(HOOK, json=recorded("login"), headers=SHOWN).status_code == 202
    assert client.post(HOOK, json=recorded("login")).status_code == 401
