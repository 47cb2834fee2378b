"""The parts that most tests need, all real: a GenAuth on a port, a Valkey on a socket, the application between them."""

import signal
import threading
from pathlib import Path
from types import SimpleNamespace

import certifi
import pytest
import redis

from bff.factory import create_app
from bff.observability import logging as logs
from bff.sandbox import Sandbox
from bff.server import embedded_valkey as embedded
from bff.settings import Settings
from tests.clock import Clock

pytest_plugins = ["tests.timing"]


class LogLines:
    """What the application logged, kept here instead of being written into the report of the tests."""

    def __init__(self):
        self._lock = threading.Lock()
        self._lines = b""

    def write(self, lines):
        with self._lock:
            self._lines += lines

    def take(self):
        """Everything since the last time."""
        logs.WRITER.flush()
        with self._lock:
            lines, self._lines = self._lines, b""
        return lines


LOG_LINES = LogLines()


def pytest_configure():
    logs.WRITER.output = LOG_LINES.write
    signal.signal(signal.SIGHUP, signal.SIG_DFL)  # under nohup, what tests start would ignore it as well


@pytest.fixture(autouse=True)
def log_lines():
    """What was logged since the test began: ``log_lines.take()``."""
    LOG_LINES.take()
    return LOG_LINES


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item, call):
    """Show the log of a test that failed."""
    report = yield
    if report.failed and (lines := LOG_LINES.take()):
        report.sections.append(("Log lines", lines.decode()))
    return report


# For applications of tests that are not about Redis or GenAuth being away: on a machine with much to do they are only slow.
PATIENT = {"redis_seconds": 10.0, "hint_seconds": 10.0}


def clocked(settings, **how):
    """An application whose linked accounts age by a clock that a test can turn: ``app.extensions["clock"].by = 90``."""
    clock = Clock()
    app = create_app(settings, clock=clock, **how)
    app.extensions["clock"] = clock
    return app


@pytest.fixture(scope="session")
def _genauth():
    with Sandbox() as sandbox:
        yield sandbox


@pytest.fixture
def genauth(_genauth):
    """A healthy GenAuth that nobody has asked anything."""
    _genauth.reset()
    return _genauth


@pytest.fixture(scope="session")
def _valkey():
    server = embedded.start()
    yield server
    server.stop()


@pytest.fixture
def valkey(_valkey):
    """A real Valkey, emptied; `redis` is a connection to it."""
    for thread in threading.enumerate():
        if thread.name in {"providers", "jwks"}:  # an earlier test's application still fetches, and would store it for ours
            thread.join(10)
    with redis.Redis.from_url(_valkey.url) as connection:
        connection.flushall()
        connection.config_set("maxmemory", 64_000_000)
        connection.config_set("maxmemory-policy", "allkeys-lru")
    return _valkey


@pytest.fixture
def stored(valkey):
    """What Redis holds: a connection of the test's own."""
    with redis.Redis.from_url(valkey.url) as connection:
        yield connection


@pytest.fixture(scope="session")
def one_authority(tmp_path_factory):
    """A file with one of certifi's authorities: every application of a test would load the hundreds of the system's."""
    file = tmp_path_factory.mktemp("authorities") / "one.pem"
    end = "-----END CERTIFICATE-----\n"
    file.write_text(Path(certifi.where()).read_text().partition(end)[0] + end)
    return file


@pytest.fixture
def environ(genauth, valkey, one_authority):
    """The smallest environment that works."""
    return {
        "GENAUTH_HOST": genauth.url,
        "GENAUTH_APP_ID": genauth.app_id,
        "GENAUTH_APP_SECRET": genauth.app_secret,
        "GENAUTH_CA_BUNDLE": str(one_authority),
        "REDIS_URL": valkey.url,
        "LOG_LEVEL": "info",
        "RATE_LIMIT": "off",
        "LOCAL_CACHE_SECONDS": "0",  # what a test changes behind our back is to be seen at once
    }


@pytest.fixture
def app_with(environ):
    """An application with some settings of its own: ``app_with(CACHE_TTL_SECONDS="1")``. Its clock is in its extensions."""

    def make(**changed):
        return clocked(Settings.from_env({**environ, **changed}), **PATIENT)

    return make


@pytest.fixture
def app(app_with):
    return app_with()


@pytest.fixture
def client(app):
    return app.test_client()


@pytest.fixture
def sign_in(genauth):
    """The headers of a request by somebody: ``sign_in("mei")``; what `Sandbox.token` takes may follow."""

    def headers(person, **token):
        return {"Authorization": f"Bearer {genauth.token(person, **token)}"}

    return headers


@pytest.fixture
def written(capfdbinary, log_lines):
    """Call for what was logged (``out``, with all that went to stdout) and printed to stderr since the last call, in bytes."""

    def read():
        captured = capfdbinary.readouterr()
        return SimpleNamespace(out=log_lines.take() + captured.out, err=captured.err)

    read()
    return read
