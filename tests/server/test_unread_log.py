"""A log that nobody reads, or that there is no way to: the service goes on."""

import fcntl
import os
import signal
import time

import pytest

from bff.server.dev import web_command
from tests.server.service import Service, eventually, session
from tests.server.test_stopping import WITHIN
from tests.timing import in_time

pytestmark = pytest.mark.server


@pytest.fixture
def unread(tmp_path):
    """The first service's output, a pipe of one page that stays open and is read only in the end."""
    pipe = tmp_path / "output-0"
    os.mkfifo(pipe)
    reader = os.open(pipe, os.O_RDONLY | os.O_NONBLOCK)
    fcntl.fcntl(reader, fcntl.F_SETPIPE_SZ, 4096)
    yield reader
    os.close(reader)


def test_the_service_answers_and_stops_while_nobody_reads_its_log(unread, start):
    service = start()
    slowest = 0.0
    with session() as http:
        for _ in range(500):
            started = time.monotonic()
            assert http.get(f"{service.url}/openapi.json", headers={"X-Request-Id": "r" * 128}, timeout=5).status_code == 200
            slowest = max(slowest, time.monotonic() - started)
    code, took = service.end()

    assert code == 0
    assert service.left_behind() == ([], [])
    assert os.read(unread, 4096).endswith(b"\n")
    in_time(slowest, 1)
    in_time(took, WITHIN)


def comes_back_from_a_killed_worker(service, mei):
    killed, other = service.workers()
    for _ in range(100):  # lines enough for a pipe of one page
        service.get("/nowhere")
    os.kill(killed, signal.SIGKILL)
    eventually(lambda: len(service.workers()) == 2 and killed not in service.workers(), within=8)
    assert other in service.workers()
    assert service.get(token=mei).status_code == 200
    return service.end()[0]


def test_the_server_writes_as_the_workers_do(unread, start, mei):
    assert comes_back_from_a_killed_worker(start(), mei) == 0


def test_a_log_whose_reader_is_gone_stops_nobody(tmp_path, start, mei):
    os.mkfifo(tmp_path / "output-0")
    reader = os.open(tmp_path / "output-0", os.O_RDONLY | os.O_NONBLOCK)
    service = start()
    os.close(reader)

    assert comes_back_from_a_killed_worker(service, mei) == 0


class WithoutStreams(Service):
    """The Procfile's web line with all three standard streams closed."""

    def command(self):
        return ["/bin/sh", "-c", f"exec <&- >&- 2>&-; exec {web_command()}"]


def test_no_standard_streams_at_all_stop_nobody(environ, tmp_path, mei):
    service = WithoutStreams({**environ, "REDIS_URL": "embedded"}, tmp_path / "output")
    try:
        eventually(service.is_ready, within=20)
        assert comes_back_from_a_killed_worker(service, mei) == 0
    finally:
        service.clear_away()
