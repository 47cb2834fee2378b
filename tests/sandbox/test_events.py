"""What happens to people is told to a webhook, in GenAuth's forms; an unlink is told to nobody."""

import json
import subprocess
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs

import pytest
import requests

from bff.sandbox import Sandbox, Webhook
from bff.sandbox.people import CANARY
from tests.server.service import eventually

SECRET_HEADER = "x-authing-webhook-secret"


class Receiver(ThreadingHTTPServer):
    """Keeps what is posted to it, and answers 204, or what ``statuses`` says first."""

    def __init__(self):
        super().__init__(("127.0.0.1", 0), Handler)
        self.received = []
        self.statuses = []
        self.before_it_answers = lambda: None

    @property
    def url(self):
        return f"http://127.0.0.1:{self.server_port}/hook"

    @property
    def messages(self):
        return [json.loads(body) for _, body in self.received]


class Handler(BaseHTTPRequestHandler):
    def do_POST(self):
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.server.received.append((self.headers, body))
        self.server.before_it_answers()
        self.send_response(self.server.statuses.pop(0) if self.server.statuses else 204)
        self.end_headers()

    def log_message(self, *_):
        """Nothing is printed."""


@pytest.fixture
def receiver():
    with Receiver() as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield server
        server.shutdown()
        thread.join()


@pytest.fixture
def told(genauth, receiver):
    """The receiver, as the sandbox's webhook."""
    genauth.webhook(url=receiver.url, secret="hook-secret", retry_seconds=0.01)
    return receiver


def test_a_link_is_told_with_the_user_the_source_and_the_identity(genauth, told):
    genauth.link("kim", "my-wechat-pc")
    ((headers, body),) = told.received
    message = json.loads(body)
    data = message["data"]

    assert (headers["Content-Type"], headers[SECRET_HEADER]) == ("application/json", "hook-secret")
    assert headers["User-Agent"].startswith("authing-webhook@")
    assert message["eventName"] == "user:link-account"
    assert sorted(data) == ["extIdp", "identity", "user"]
    assert data["user"]["id"] == genauth.id_of("kim")
    assert data["extIdp"] == {"id": data["identity"]["extIdpId"], "type": "wechat"}
    assert data["identity"] == data["user"]["identities"][-1]


def test_an_event_holds_the_passwords_hash_and_tokens(genauth, told):
    genauth.sign_in("omar", phone=True)
    user = told.messages[0]["data"]["user"]
    secrets = {user["password"], user["salt"], user["token"]}

    assert len(secrets) == 3
    assert secrets | genauth.canaries("omar") <= set(CANARY.findall(told.received[0][1].decode()))


def test_an_unlink_is_told_to_nobody(ask, genauth, told):
    genauth.unlink("mei", "my-wechat-pc")

    assert {row["provider"] for row in ask("mei").json()["data"]} == {"lark"}
    assert (told.received, genauth.deliveries) == ([], [])


@pytest.fixture
def link_by_the_page(genauth, http):
    def linking(person):
        genauth.linking(consent_page=False)
        query = {
            "ext_idp_conn_identifier": "my-qq",
            "app_id": genauth.app_id,
            "id_token": genauth.token(person, kind="id"),
        }
        return http.get(f"{genauth.url}/api/v3/link-extidp", params=query, timeout=5)

    return linking


def test_a_link_by_the_page_is_told_too_and_the_page_waits_for_nobody(ask, genauth, link_by_the_page, told):
    asked = threading.Event()
    told.before_it_answers = lambda: (asked.wait(5), ask("mei"))

    page = link_by_the_page("mei")
    asked.set()

    assert "Linked" in page.text
    eventually(lambda: [each.statuses for each in genauth.deliveries] == [(204,)], within=5)
    assert told.messages[0]["data"]["extIdp"]["type"] == "qq"


def test_a_link_can_be_told_as_the_recorded_sample_is(genauth, told):
    genauth.webhook(merged=True)
    genauth.link("kim", "my-qq")
    data = told.messages[0]["data"]

    assert sorted(data) == ["primaryUser", "secondaryUser"]
    assert data["primaryUser"]["id"] == genauth.id_of("kim") != data["secondaryUser"]["id"]
    assert [row["provider"] for row in data["secondaryUser"]["identities"]] == ["qq"]


def test_two_accounts_can_become_one(genauth, told):
    genauth.send_event("user:link-account", "mei", "omar")
    data = told.messages[0]["data"]

    assert [data[name]["id"] for name in ("primaryUser", "secondaryUser")] == [genauth.id_of("mei"), genauth.id_of("omar")]


def test_an_event_can_be_doubled_and_form_encoded(genauth, told):
    genauth.webhook(form=True, copies=2)
    genauth.kick("mei")
    (headers, first), (_, second) = told.received
    form = parse_qs(first.decode(), strict_parsing=True)

    assert headers["Content-Type"] == "application/x-www-form-urlencoded"
    assert first == second
    assert form["eventName"] == ["kick"]
    assert [user["id"] for user in json.loads(form["data"][0])["users"]] == [genauth.id_of("mei")]


@pytest.mark.parametrize(
    ("switch", "event", "whose"),
    [
        (lambda genauth: genauth.block("mei"), "user:blocked", "user"),
        (lambda genauth: genauth.block("mei", 2004), "user:deleted", "users"),
        (lambda genauth: genauth.unblock("mei"), "user:unblocked", "user"),
        (lambda genauth: genauth.sign_in("mei", password=True), "user:updated", "user"),
        (lambda genauth: genauth.kick("mei"), "kick", "users"),
        (lambda genauth: genauth.link("mei", "my-qq"), "user:link-account", "user"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_what_a_switch_changes_is_told_once_it_is_so(switch, event, whose, genauth, told):
    switch(genauth)
    (message,) = told.messages
    users = message["data"][whose]

    assert message["eventName"] == event
    assert (users[0] if whose == "users" else users)["id"] == genauth.id_of("mei")


def test_events_without_a_user_object_have_the_shapes_of_the_documentation(genauth, told):
    genauth.webhook(plain_ids=True)
    genauth.send_event(None)
    genauth.send_event("user:password-changed", "mei")
    genauth.send_event("kick", "mei", "user-1")
    genauth.send_event("login", "mei")
    mei = genauth.id_of("mei")
    *others, login = told.messages

    assert others == [
        {"description": "A test from GenAuth Webhook"},
        {"eventName": "user:password-changed", "data": {"userId": mei}},
        {
            "eventName": "kick",
            "data": {"users": [mei, genauth.id_of("user-1")], "application": {"id": genauth.app_id}},
        },
    ]
    assert login["id"] == mei


def test_a_kick_ends_every_session_and_later_ones_are_good(ask, genauth):
    before = [genauth.token("mei"), genauth.token("mei", kind="opaque")]
    genauth.kick("mei")
    after = [genauth.token("mei"), genauth.token("mei", kind="opaque")]

    assert [ask(token=token).json()["statusCode"] for token in before + after] == [401, 401, 200, 200]
    genauth.reset()
    assert ask(token=before[0]).json()["statusCode"] == 200


def test_a_deleted_person_is_no_user(ask, genauth):
    token = genauth.token("kim")
    genauth.block("kim", 2004)

    assert ask(token=token).json()["apiCode"] == 2004


def test_what_is_answered_with_5xx_is_sent_again(genauth, told):
    told.statuses = [503, 500]
    genauth.kick("mei")
    told.statuses = [401]
    genauth.kick("mei")
    told.statuses = [503] * 9
    genauth.kick("mei")

    assert [each.statuses for each in genauth.deliveries] == [(503, 500, 204), (401,), (503,) * 4]
    assert len({body for _, body in told.received}) == 1


def test_the_secret_goes_in_the_header_that_is_asked_for(genauth, told):
    genauth.webhook(header="x-genauth-token")
    genauth.kick("mei")
    genauth.webhook(secret="")
    genauth.kick("mei")
    (first, _), (second, _) = told.received

    assert (first["x-genauth-token"], first[SECRET_HEADER], second["x-genauth-token"]) == ("hook-secret", None, None)


def test_a_switch_waits_for_nobody_if_told_so(genauth, told):
    answering = threading.Event()
    told.before_it_answers = lambda: answering.wait(5)
    genauth.webhook(wait=False)
    genauth.kick("mei")
    undelivered = genauth.deliveries
    answering.set()

    assert undelivered == []
    eventually(lambda: [each.statuses for each in genauth.deliveries] == [(204,)], within=5)


def test_a_reset_brings_the_first_webhook_back(genauth, told):
    genauth.kick("mei")
    genauth.reset()
    genauth.kick("mei")

    assert (genauth.deliveries, len(told.received)) == ([], 1)


def test_a_stopping_sandbox_gives_up_what_is_not_delivered(receiver):
    receiver.statuses = [503]
    with Sandbox(webhook=Webhook(receiver.url, "hook-secret", retry_seconds=60, wait=False)) as genauth:
        genauth.kick("mei")
        eventually(lambda: receiver.received, within=5)

    assert [each.statuses for each in genauth.deliveries] == [(503,)]


def test_the_command_takes_the_url_and_the_secret(receiver):
    command = [
        sys.executable,
        "-m",
        "bff.sandbox",
        "--port",
        "0",
        "--webhook-url",
        receiver.url,
        "--webhook-secret",
        "hook-secret",
    ]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as sandbox:
        try:
            url = sandbox.stdout.readline().strip()
            requests.post(f"{url}/sandbox/link", json={"person": "mei", "source": "my-qq"}, timeout=5)
        finally:
            sandbox.terminate()

    ((headers, _),) = receiver.received
    assert headers[SECRET_HEADER] == "hook-secret"


def test_the_command_refuses_a_url_that_nothing_can_be_sent_to():
    command = [sys.executable, "-m", "bff.sandbox", "--port", "0", "--webhook-url", "hooks.example"]
    ran = subprocess.run(command, capture_output=True, text=True, timeout=10, check=False)

    assert (ran.returncode, ran.stderr.splitlines()[-1]) == (
        2,
        "python -m bff.sandbox: error: url begins with http:// or https://, unlike 'hooks.example'",
    )
