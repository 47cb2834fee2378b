"""Whoever opens many connections and never finishes a request, to the real server from the Procfile."""

import json
import resource
import socket
import time
from contextlib import ExitStack
from pathlib import Path

import pytest

from bff.sandbox import Sandbox
from bff.server.descriptors import MOST_CONNECTIONS, connections_within
from bff.server.serve import server_options
from bff.settings import Settings
from tests.security.served import serving

pytestmark = pytest.mark.server

SETTINGS = Settings(genauth_host="http://127.0.0.1:1", genauth_app_id="an-app", redis_url="embedded")
DESCRIPTORS = 300
HALF = b"GET /livez HTTP/1.1\r\nHost: app.example\r\nX-Slow: "


@pytest.fixture
def served_with(tmp_path):
    """``served_with("ulimit -n 300")``: a service of one worker, started under that limit."""
    with ExitStack() as running:
        genauth = running.enter_context(Sandbox())
        environ = {"GENAUTH_HOST": genauth.url, "GENAUTH_APP_ID": genauth.app_id, "REDIS_URL": "embedded"}
        yield lambda limit: running.enter_context(serving(environ, tmp_path, limit))


def lines(served, event):
    said = [json.loads(line) for line in served.said.splitlines() if line.startswith("{")]
    return [line for line in said if line["event"] == event]


def children(pid):
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def worker_of(served):
    (granian,) = [pid for pid in children(served.process.pid) if "bff.server" in Path(f"/proc/{pid}/cmdline").read_text()]
    (worker,) = children(granian)
    return worker


def eventually(truth):
    patience = time.monotonic() + 10
    while not truth():
        assert time.monotonic() < patience
        time.sleep(0.05)


def test_half_sent_requests_leave_a_worker_its_descriptors(served_with):
    served = served_with(f"ulimit -n {DESCRIPTORS}")
    descriptors = Path(f"/proc/{worker_of(served)}/fd")

    with ExitStack() as open_mouths:
        for _ in range(DESCRIPTORS + 50):
            mouth = open_mouths.enter_context(socket.create_connection(("127.0.0.1", served.port)))
            mouth.sendall(HALF)
        eventually(lambda: lines(served, "connections_exhausted"))

        # Accepting has paused: it never comes to the failure that would be repeated without end.
        assert len([*descriptors.iterdir()]) < DESCRIPTORS - 50

    eventually(lambda: served.statuses(b"GET /livez HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n") == [200])
    assert len(lines(served, "connections_exhausted")) == 1


def test_half_a_head_holds_a_connection_for_ten_seconds():
    assert server_options(SETTINGS, connections=100)["http1_settings"].header_read_timeout == 10_000


def test_the_limit_of_open_files_is_raised_and_said(served_with):
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    hard = min(hard, 5_000)

    served = served_with(f"ulimit -Sn 256; ulimit -Hn {hard}")

    limits = Path(f"/proc/{worker_of(served)}/limits").read_text()
    assert f"Max open files {hard}" in " ".join(limits.split())
    (line,) = lines(served, "started")
    assert (line["descriptors"], line["connections"], line["workers"]) == (hard, connections_within(hard), 1)


@pytest.mark.parametrize("limit", [16, 256, 1_024, 4_096, 65_536, 2**30])
def test_a_worker_holds_fewer_connections_than_it_has_descriptors(limit):
    connections = connections_within(limit)

    assert 0 < connections <= min(MOST_CONNECTIONS, limit - min(limit // 2, 2 * 128))  # two for each of its threads
    assert server_options(SETTINGS, connections=connections)["backpressure"] == connections


def test_where_there_are_descriptors_enough_a_worker_holds_thousands_of_connections():
    assert connections_within(65_536) == MOST_CONNECTIONS == 4096
