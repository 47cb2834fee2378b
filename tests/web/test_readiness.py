"""/readyz tells configuration, which keeps requests away, from weather, which does not; with the reason and since when."""

import json
import re
import time
from datetime import UTC, datetime

import pytest

from bff.web import services_of
from tests.timing import in_time

DISCOVERY = "/oidc/.well-known/openid-configuration"
JWKS = "/oidc/.well-known/jwks.json"
INTROSPECTION = "/oidc/token/introspection"
ASKED = "/api/v3/get-identities"
OPAQUE = {"TOKEN_VERIFICATION": "introspection"}
UP = {"status": "up"}


def told(response):
    """The status, what the whole is and what GenAuth is, and why."""
    genauth = response.json["dependencies"]["genauth"]
    return response.status_code, response.json["status"], genauth["status"], genauth.get("reason")


def asked_again(app):
    """What /readyz says once the few seconds have passed for which an earlier check counts."""
    services_of(app).readiness.check()
    return told(app.test_client().get("/readyz"))


def test_ready_when_everything_is_there(client):
    assert client.get("/readyz").json == {"status": "ready", "dependencies": {"redis": UP, "genauth": UP}}


def test_ready_when_genauth_takes_our_secret(client_with):
    assert told(client_with(**OPAQUE).get("/readyz")) == (200, "ready", "up", None)


def test_redis_away_is_degraded_and_still_ready_from_the_start_on(client_with):
    response = client_with(REDIS_URL="redis://127.0.0.1:1").get("/readyz")

    assert told(response) == (200, "degraded", "up", None)
    assert response.json["dependencies"]["redis"]["status"] == "down"


def test_a_problem_says_since_when(app_with, genauth):
    app = app_with()
    asked_again(app)
    genauth.trouble(status=503)
    began = datetime.now(UTC).replace(microsecond=0)

    services_of(app).readiness.check()
    since = {app.test_client().get("/readyz").json["dependencies"]["genauth"]["since"] for _ in range(2)}

    assert len(since) == 1
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ", *since)
    assert began <= datetime.fromisoformat(*since) <= datetime.now(UTC)


@pytest.mark.parametrize(
    ("settings", "reason"),
    [
        ({"GENAUTH_HOST": "{host}/a-path-of-none"}, "discovery_rejected"),
        ({"GENAUTH_JWKS_URL": "{host}/oidc/no-such-keys"}, "key_set_rejected"),
        ({"GENAUTH_ISSUER": "{host}/oidc", "GENAUTH_JWKS_URL": "{host}/oidc/no-such-keys"}, "key_set_rejected"),
        ({"GENAUTH_HOST": "http://127.0.0.1:1"}, "discovery_unavailable"),
        ({**OPAQUE, "GENAUTH_APP_SECRET": "wrong"}, "introspection_rejected"),
        ({**OPAQUE, "GENAUTH_APP_ID": "another"}, "introspection_rejected"),
        ({**OPAQUE, "GENAUTH_HOST": "http://127.0.0.1:1"}, "introspection_unavailable"),
    ],
)
def test_what_was_never_to_be_had_is_misconfigured_and_not_ready(app_with, genauth, settings, reason):
    app = app_with(**{name: value.format(host=genauth.url) for name, value in settings.items()})

    assert asked_again(app) == (503, "not_ready", "misconfigured", reason)


@pytest.mark.parametrize(
    ("path", "body", "reason"),
    [
        (JWKS, {"keys": []}, "key_set_refused"),
        (DISCOVERY, {"issuer": "https://x", "jwks_uri": "http://127.0.0.1/keys"}, "discovery_refused"),
        (DISCOVERY, {"issuer": "http://127.0.0.1", "jwks_uri": "http://169.254.169.254/"}, "discovery_refused"),
        (DISCOVERY, {"issuer": "https://x"}, "discovery_malformed"),
    ],
)
def test_what_is_fetched_and_refused_here_is_misconfigured(app, genauth, path, body, reason):
    genauth.answers_raw(path, body=json.dumps(body).encode())

    assert asked_again(app) == (503, "not_ready", "misconfigured", reason)


def test_keys_that_come_late_make_it_ready(app_with, genauth):
    app = app_with()
    genauth.trouble(path=JWKS, status=503)
    assert asked_again(app)[1] == "not_ready"

    genauth.healthy()
    time.sleep(1.05)  # the first pause between two fetches

    assert asked_again(app) == (200, "ready", "up", None)


@pytest.mark.parametrize(
    ("settings", "trouble", "reason"),
    [
        ({}, {"status": 503}, "discovery_unavailable"),
        ({}, {"status": 429}, "discovery_throttled"),
        ({}, {"path": DISCOVERY, "status": 404}, "discovery_rejected"),
        ({}, {"ending": "hang"}, "discovery_timeout"),
        (OPAQUE, {"status": 503}, "introspection_unavailable"),
        (OPAQUE, {"ending": "reset"}, "introspection_unavailable"),
        (OPAQUE, {"path": INTROSPECTION, "status": 403}, "introspection_malformed"),  # a gateway's page
    ],
)
def test_what_was_fine_and_is_away_is_degraded(app_with, genauth, settings, trouble, reason):
    app = app_with(**settings)
    assert asked_again(app)[1] == "ready"

    genauth.trouble(**trouble)
    assert asked_again(app) == (200, "degraded", "down", reason)

    genauth.healthy()
    assert asked_again(app) == (200, "ready", "up", None)


def test_the_reason_stays_while_the_probe_itself_is_paused(app_with, genauth):
    app = app_with()
    asked_again(app)
    genauth.trouble(status=503)

    reasons = {asked_again(app)[3] for _ in range(8)}

    assert reasons == {"discovery_unavailable"}


@pytest.mark.parametrize(
    "refusal",
    [
        {"status": 401, "body": b'{"error": "invalid_client", "error_description": "client authentication failed"}'},
        {"envelope": {"statusCode": 403, "apiCode": 1001, "message": "", "data": None}},
    ],
)
def test_a_secret_that_genauth_takes_no_longer_is_not_ready_until_it_does(app_with, genauth, refusal):
    app = app_with(**OPAQUE)
    assert asked_again(app)[1] == "ready"

    genauth.trouble(path=INTROSPECTION, **refusal)
    assert asked_again(app) == (503, "not_ready", "misconfigured", "introspection_rejected")

    genauth.healthy()
    assert asked_again(app)[1] == "ready"


def test_a_gateway_that_answers_for_genauth_is_weather_too_for_who_was_never_probed(app_with, genauth, sign_in):
    app = app_with(**OPAQUE)
    assert app.test_client().get("/me/linked-accounts", headers=sign_in("mei", kind="opaque")).status_code == 200

    genauth.trouble(path=INTROSPECTION, status=403)

    assert asked_again(app) == (200, "degraded", "down", "introspection_malformed")


def test_discovery_does_not_matter_where_the_settings_say_all_that_it_would(app_with, genauth):
    app = app_with(GENAUTH_ISSUER=genauth.issuer, GENAUTH_JWKS_URL=f"{genauth.url}{JWKS}")
    genauth.trouble(path=DISCOVERY, status=404)

    assert asked_again(app) == (200, "ready", "up", None)


def test_a_genauth_that_throttles_every_question_is_not_up(app_with, genauth, sign_in, log_lines):
    app = app_with()
    client = app.test_client()
    assert asked_again(app)[1] == "ready"
    genauth.trouble(path=ASKED, status=429, retry_after=20)

    for person in ("mei", "user-1", "user-2", "user-3"):
        client.get("/me/linked-accounts", headers=sign_in(person))

    assert asked_again(app) == (200, "degraded", "down", "identities_circuit_open")
    lines = map(json.loads, log_lines.take().splitlines())
    assert [line["name"] for line in lines if line["event"] == "circuit_opened"] == ["genauth-identities"]


def test_readiness_finds_out_by_itself_whether_people_are_answered_again(app_with, genauth, sign_in):
    app = app_with()
    asked_again(app)
    genauth.trouble(path=ASKED, status=429, retry_after=1)
    for person in ("mei", "user-1", "user-2"):
        app.test_client().get("/me/linked-accounts", headers=sign_in(person))

    time.sleep(1.1)  # the pause that GenAuth asked for is over, and nobody asks any more
    assert asked_again(app) == (200, "degraded", "down", "identities_circuit_open")

    genauth.healthy()
    time.sleep(1.1)
    assert asked_again(app) == (200, "ready", "up", None)
    assert genauth.calls(ASKED) == 5  # three people's and two of a probe, the second of which closed the circuit


def test_a_genauth_that_lets_the_application_do_nothing_is_not_up(app_with, genauth, sign_in):
    app = app_with()
    client = app.test_client()
    genauth.trouble(path=ASKED, envelope={"statusCode": 403, "apiCode": 1001, "message": "", "data": None})

    signed_in = {person: sign_in(person) for person in ("mei", "omar", "user-1", "user-2")}

    def ask(*people):
        for person in people:
            client.get("/me/linked-accounts", headers=signed_in[person])

    ask("mei", "mei", "omar", "mei")
    assert asked_again(app) == (200, "ready", "up", None)
    ask("user-1")
    assert asked_again(app) == (200, "degraded", "down", "identities_forbidden")

    genauth.healthy()
    ask("user-2")
    assert asked_again(app) == (200, "ready", "up", None)


def test_keys_that_can_no_longer_be_fetched_are_degraded_and_fetched_again(app_with, genauth, sign_in):
    app = app_with()
    assert asked_again(app)[1] == "ready"
    genauth.trouble(path=JWKS, status=404)

    app.test_client().get("/me/linked-accounts", headers=sign_in("mei", headers={"kid": "another"}))

    assert asked_again(app) == (200, "degraded", "down", "key_set_rejected")


def test_readiness_is_told_in_time_while_genauth_hangs_and_does_not_hammer_it(app, genauth):
    client = app.test_client()
    asked_again(app)
    genauth.trouble(ending="hang")
    genauth.forget_calls()
    started = time.monotonic()

    answers = [client.get("/readyz") for _ in range(5)]

    in_time(time.monotonic() - started, 1.3 * 2)
    assert answers[-1].json["status"] in {"ready", "degraded"}
    assert genauth.calls() <= 2


def test_a_genauth_that_hangs_from_the_start_on_is_not_ready(client, genauth):
    genauth.trouble(ending="hang")
    started = time.monotonic()

    answers = [told(client.get("/readyz"))[:2] for _ in range(5)]

    in_time(time.monotonic() - started, 1.3 * 2)
    assert set(answers) == {(503, "not_ready")}
    assert genauth.calls() <= 2
