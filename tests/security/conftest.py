"""The application at its most talkative and most open: debug logs, cookie mode, CORS, a proxy in front, every route there is."""

import json
import re

import certifi
import pytest

from bff.factory import create_app
from bff.settings import Settings
from tests.conftest import PATIENT
from tests.security import effort
from tests.security.service import Service
from tests.valkey import legible

PAGE = "https://app.example"
COOKIE = "session"


def pytest_sessionfinish(exitstatus):
    """A long run without a failure writes down what it tried."""
    if effort.LONG and exitstatus == 0:
        effort.publish()


@pytest.fixture
def everything_on(environ):
    """Every setting that opens a way in."""
    return environ | {
        "LOG_LEVEL": "debug",
        "SESSION_COOKIE_NAME": COOKIE,
        "CORS_ORIGINS": PAGE,
        "TRUSTED_PROXIES": "1",
        "METRICS_TOKEN": "canary-metrics-token-5b1d",
        "WEBHOOK_SECRET": "canary-webhook-secret-77aa",
    }


@pytest.fixture
def service_with(environ):
    """``service_with(CACHE_SECRET=…)``: the application with these settings, called as a server calls it."""

    def make(**changed):
        return Service(create_app(Settings.from_env({**environ, "LOG_LEVEL": "debug", **changed}), **PATIENT))

    return make


@pytest.fixture
def service(service_with):
    return service_with()


@pytest.fixture
def answered_with(genauth, service_with, tmp_path):
    """``answered_with(path, status, headers, body)``: a new service, which GenAuth answers that path with these bytes."""
    one = tmp_path / "one.pem"  # reading all that there are takes longer than the rest of a start
    one.write_text(re.search(r"-----BEGIN.*?-----END CERTIFICATE-----\n", certifi.contents(), re.DOTALL)[0])

    def start(path, status, headers, body):
        genauth.healthy()
        genauth.answers_raw(path, status=status, headers=headers, body=body)
        return service_with(GENAUTH_CA_BUNDLE=str(one))

    return start


@pytest.fixture
def open_service(everything_on):
    return Service(create_app(Settings.from_env(everything_on), **PATIENT))


class Log:
    """What was logged since the last look, as text and as the lines' objects."""

    def __init__(self, log_lines, capture):
        self._log_lines = log_lines
        self._capture = capture

    def read(self):
        out, err = self._capture.readouterr()
        return (self._log_lines.take() + out + err).decode("utf-8", "replace")

    def lines(self, event="request"):
        found = [json.loads(line) for line in self.read().splitlines() if line.startswith("{")]
        return [line for line in found if line["event"] == event]


@pytest.fixture
def log(log_lines, capsysbinary):
    """Everything that was logged at LOG_LEVEL=debug, or went to stdout or stderr."""
    return Log(log_lines, capsysbinary)


@pytest.fixture
def leaves(service, genauth, stored, log):
    """``leaves(rows)``: Nia's account when GenAuth reports these rows, and all that anybody could read then."""

    def ask(*rows, body=None, headers=None):
        genauth.healthy()
        stored.flushall()
        said = body or {"statusCode": 200, "message": "", "data": rows}
        genauth.answers_raw("/api/v3/get-identities", headers=headers or {}, body=json.dumps(said).encode(), person="nia")
        answer = service.accounts_of(genauth.token("nia"), query="include=identities")
        kept = b"".join(legible(key, stored.get(key) or b"") for key in stored.keys("*") if stored.type(key) == b"string")
        return answer.accounts[0], answer.everything + kept.decode("utf-8", "replace") + log.read()

    return ask
