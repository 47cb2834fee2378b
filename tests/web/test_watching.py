"""What operators see: readiness, metrics, a line per request; and that nothing a caller sends is in it."""

import json
import os
import subprocess
import sys

import pytest

from bff.web import services_of

PATH = "/me/linked-accounts"
WATCHING = {"Authorization": "Bearer watching"}


@pytest.fixture
def client(client_with):
    return client_with(METRICS_TOKEN="watching")


@pytest.fixture
def lines(written):
    """The log's lines of requests, but for those by which `contract` reads the document."""

    def read():
        found = [json.loads(line) for line in written().out.splitlines()]
        return [line for line in found if line["event"] == "request" and line["route"] != "/openapi.json"]

    return read


def test_the_process_lives_whatever_is_away(client_with, genauth):
    client = client_with(REDIS_URL="redis://127.0.0.1:1")

    assert client.get("/livez").json == {"status": "alive"}
    assert genauth.calls() == 0


def test_draining_is_not_ready(environ):
    """In a process of its own: there is no way back."""
    program = """if True:
        import sys
        from bff.factory import create_app
        from bff.resilience import begin_draining
        begin_draining()
        response = create_app().test_client().get("/readyz")
        sys.stderr.write(f"{response.status_code} {response.json['status']}")
    """

    done = subprocess.run([sys.executable, "-c", program], env=os.environ | environ, capture_output=True, text=True, check=True)

    assert done.stderr == "503 draining"


@pytest.mark.slow
def test_probes_that_fail_do_not_keep_tokens_from_being_verified(app_with, genauth):
    app = app_with(TOKEN_VERIFICATION="introspection")
    client = app.test_client()
    genauth.trouble(path="/oidc/.well-known/openid-configuration", ending="hang")
    dependencies = services_of(app).readiness
    for _ in range(6):
        dependencies.check()
    genauth.healthy()

    token = genauth.token("mei", kind="opaque")

    assert client.get(PATH, headers={"Authorization": f"Bearer {token}"}).status_code == 200


def test_there_are_no_metrics_without_a_token_to_guard_them(client_with):
    assert client_with().get("/metrics", headers=WATCHING).json["code"] == "not_found"


@pytest.mark.parametrize(
    ("headers", "code", "challenge"),
    [
        ({}, "token_missing", "Bearer"),
        ({"Authorization": "Basic d2F0Y2hpbmc="}, "token_missing", "Bearer"),
        ({"Authorization": "Bearer "}, "token_missing", "Bearer"),
        ({"Authorization": "Bearer watchin"}, "token_invalid", 'Bearer error="invalid_token"'),
        ({"Authorization": "Bearer watching2"}, "token_invalid", 'Bearer error="invalid_token"'),
        (
            {"Authorization": "Bearer w\xe4tching"},
            "token_invalid",
            'Bearer error="invalid_token"',
        ),
    ],
)
def test_metrics_are_for_those_with_their_token(client, headers, code, challenge):
    response = client.get("/metrics", headers=headers)

    assert (response.status_code, response.json["code"]) == (401, code)
    assert response.headers["WWW-Authenticate"].startswith(challenge)
    assert "linked_accounts_" not in response.text


def test_a_persons_token_opens_no_metrics(client, sign_in):
    assert client.get("/metrics", headers=sign_in("mei")).status_code == 401


def test_metrics_count_answers_by_rule_and_code(client, genauth, sign_in):
    client.get(PATH, headers=sign_in("mei"))
    client.get(PATH, headers=sign_in("mei"))
    client.get(PATH)
    client.get("/no/such/place-1")
    client.get("/no/such/place-2")

    response = client.get("/metrics", headers=WATCHING)

    assert response.content_type.startswith("text/plain; version=")
    for line in (
        f'linked_accounts_answers_total{{route="{PATH}",source="none",status="401"}} 1.0',
        'linked_accounts_answers_total{route="unmatched",source="none",status="404"} 2.0',
        'linked_accounts_refusals_total{code="token_missing",reason="token_missing"} 1.0',
        f'linked_accounts_answers_total{{route="{PATH}",source="genauth",status="200"}} 2.0',
        'linked_accounts_upstream_calls_total{operation="identities",outcome="ok"}',
    ):
        assert line in response.text


def test_metrics_do_not_grow_with_users_nor_with_what_they_send(client, sign_in):
    def ask(number):
        client.get(PATH, headers=sign_in(f"user-{number}"))
        client.get(f"/nothing/{number}?x={number}", headers={"X-Request-Id": f"request-{number}"})
        client.open(PATH, method=f"FROB{number}", headers={"Origin": f"https://page-{number}.example"})
        client.get(f"/problems/number-{number}")

    def series():
        text = client.get("/metrics", headers=WATCHING).text
        return {line.rpartition(" ")[0] for line in text.splitlines() if not line.startswith("#")}

    ask(1)
    series()
    before = series()
    for number in range(2, 12):
        ask(number)

    assert series() == before


def test_a_request_is_one_line(client, sign_in, lines):
    client.get(PATH, headers=sign_in("mei") | {"X-Request-Id": "trace-1234"})

    (line,) = lines()
    assert line.pop("timestamp").endswith("Z")
    assert line.pop("milliseconds") > 0
    assert line == {
        "level": "info",
        "event": "request",
        "method": "GET",
        "route": PATH,
        "status": 200,
        "source": "genauth",
        "request_id": "trace-1234",
    }


@pytest.mark.parametrize("path", ["/livez", "/readyz"])
def test_a_probe_that_succeeds_is_no_line_at_info(client, lines, path):
    client.get(path)
    client.head(path)
    client.post(path)

    # An earlier test may have had loggers made that write what is below info too.
    assert [(line["method"], line["status"]) for line in lines() if line["level"] != "debug"] == [("POST", 405)]


def test_a_probe_that_fails_is_a_line(client, genauth, lines):
    genauth.trouble(status=404)

    client.get("/readyz")

    assert [(line["route"], line["status"]) for line in lines()] == [("/readyz", 503)]


def test_a_line_says_why(client, lines):
    client.get(PATH, headers={"Authorization": "Bearer x.y.z"})

    (line,) = lines()
    assert (line["status"], line["code"], line["note"]) == (401, "token_invalid", "form")


def test_nothing_that_a_caller_sends_gets_into_a_line(client, sign_in, lines):
    mark = "planted-by-a-caller"
    headers = dict.fromkeys(("User-Agent", "Referer", "Origin", "Accept-Language", "If-None-Match", "Cookie", "Host"), mark)

    client.get(f"{PATH}?include={mark}&{mark}=1", headers=sign_in("mei") | headers | {"X-Request-Id": f"{mark}!"})
    client.get(f"/{mark}", headers=headers)
    client.open(PATH, method=mark.upper(), headers=headers)
    client.get(PATH, headers={"Authorization": f"Bearer {mark}"})
    client.get(f"/problems/{mark}")

    logged = lines()
    assert len(logged) == 5
    assert mark not in json.dumps(logged).lower()
