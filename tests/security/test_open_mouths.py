"""Whoever opens many connections and never finishes a request, to the real server from the Procfile."""

import json
import resource
import socket
import time
from contextlib import ExitStack, suppress
from pathlib import Path

import pytest

from bff.factory import THREADS
from bff.sandbox import Sandbox
from bff.server.descriptors import MOST_CONNECTIONS, connections_within
from bff.server.dev import web_command
from bff.server.half_sent import HalfSent
from bff.server.serve import server_options
from bff.settings import Settings
from tests.clock import Clock
from tests.security.served import serving
from tests.server.service import Service
from tests.timing import in_time

pytestmark = pytest.mark.server

SETTINGS = Settings(genauth_host="http://127.0.0.1:1", genauth_app_id="an-app", redis_url="embedded")
DESCRIPTORS = 300
LIVE = b"GET /livez HTTP/1.1\r\nHost: app.example\r\n\r\n"
HALF = b"GET /livez HTTP/1.1\r\nHost: app.example\r\nX-Slow: "


class Few(Service):
    """The Procfile's web line with hardly any open files."""

    def command(self):
        return ["/bin/sh", "-c", f"ulimit -n 48; exec {web_command()}"]


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


@pytest.mark.slow
def test_half_a_head_holds_a_connection_for_ten_seconds_and_an_idle_one_lives_on(served_with):
    served = served_with("")
    with ExitStack() as opened:
        half, silent, idle = (opened.enter_context(socket.create_connection(("127.0.0.1", served.port))) for _ in range(3))
        half.sendall(HALF)
        idle.sendall(LIVE)
        assert b"alive" in idle.recv(4096)
        begun = time.monotonic()
        for end in (half, silent):
            end.settimeout(20)
            assert not end.recv(4096).startswith(b"HTTP/1.1 200")
        took = time.monotonic() - begun

        assert in_time(took, 15) > 9
        idle.sendall(LIVE)
        assert b"alive" in idle.recv(4096)


def test_an_idle_kept_connection_lives_as_long_as_the_setting_says(served_with):
    served = served_with("export KEEPALIVE_SECONDS=1.2")
    with socket.create_connection(("127.0.0.1", served.port), timeout=5) as idle:
        idle.sendall(LIVE)
        assert b"alive" in idle.recv(4096)
        begun = time.monotonic()

        assert idle.recv(4096) == b""

    assert time.monotonic() - begun > 1
    assert server_options(SETTINGS, connections=100)["http1_settings"].header_read_timeout == 75_000


class Pair:
    """Our end of a connection, as a worker has it, and the client's."""

    def __init__(self, listener):
        self.client = socket.create_connection(listener.getsockname())
        self.ours = listener.accept()[0]

    def hear(self, sent):
        time.sleep(0.02)  # the kernel's times are that coarse
        self.client.sendall(sent)
        time.sleep(0.02)
        assert self.ours.recv(4096) == sent

    def answer(self):
        time.sleep(0.02)
        self.ours.sendall(b"HTTP/1.1 204 No Content\r\n\r\n")

    def is_open(self):
        self.client.setblocking(False)
        with suppress(BlockingIOError):
            while said := self.client.recv(4096):
                assert said
            return False
        return True


@pytest.fixture
def watched():
    """``pair()`` makes a connection, and ``look(12)`` closes what is half sent, so many seconds later."""
    with socket.create_server(("127.0.0.1", 0)) as listener, ExitStack() as opened:
        clock = Clock()
        half_sent = HalfSent(listener.getsockname()[1], within=3.5, clock=clock)

        def pair():
            made = Pair(listener)
            opened.enter_context(made.client)
            opened.enter_context(made.ours)
            return made

        def look(seconds):
            clock.by += seconds
            return half_sent.close_overdue()

        yield pair, look


def test_who_began_a_request_or_none_at_all_has_ten_seconds_and_the_deadline(watched):
    pair, look = watched
    half, silent, second = pair(), pair(), pair()
    half.hear(HALF)
    second.hear(LIVE)
    second.answer()
    second.hear(HALF)

    assert (look(0), look(13)) == (0, 0)
    assert look(1) == 3
    assert not any(each.is_open() for each in (half, silent, second))


def test_who_drips_has_no_longer(watched):
    pair, look = watched
    dripping = pair()

    for _ in range(13):
        dripping.hear(b"x")
        assert look(1) == 0
    dripping.hear(b"x")

    assert look(2) == 1


def test_who_was_answered_may_be_idle_and_each_request_counts_anew(watched):
    pair, look = watched
    idle, busy = pair(), pair()
    idle.hear(LIVE)
    idle.answer()
    for _ in range(5):
        busy.hear(LIVE)
        assert look(8) == 0
        busy.answer()

    assert look(3600) == 0
    assert idle.is_open()
    assert busy.is_open()


def test_the_limit_of_open_files_is_raised_and_said(served_with):
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    hard = min(hard, 5_000)

    served = served_with(f"ulimit -Sn 256; ulimit -Hn {hard}")

    limits = Path(f"/proc/{worker_of(served)}/limits").read_text()
    assert f"Max open files {hard}" in " ".join(limits.split())
    (line,) = lines(served, "started")
    assert (line["descriptors"], line["connections"], line["workers"]) == (hard, connections_within(hard), 1)


@pytest.mark.parametrize("limit", [64, 96, 256, 448, 1_024, 4_096, 65_536, 2**30])
def test_a_worker_holds_fewer_connections_than_it_has_descriptors(limit):
    connections = connections_within(limit)
    own = 40  # more than what an idle one has open

    # Whoever asks has a thread, and each thread a connection to GenAuth and one to Redis.
    assert 0 < connections <= min(MOST_CONNECTIONS, limit - own - 2 * min(connections, THREADS))
    assert server_options(SETTINGS, connections=connections)["backpressure"] == connections


def test_where_there_are_too_few_descriptors_a_sentence_says_so(environ, tmp_path):
    # Its accept would fail for want of one and be tried again without end.
    few = Few(environ, tmp_path / "output")
    try:
        assert few.process.wait(10) == 2
        assert few.printed().startswith("The service cannot start:\n  - The limit of open files is 48, and a worker needs 64")
        assert few.left_behind() == ([], [])
    finally:
        few.clear_away()


def test_where_there_are_descriptors_enough_a_worker_holds_thousands_of_connections():
    assert connections_within(65_536) == MOST_CONNECTIONS == 4096
