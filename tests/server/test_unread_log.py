"""A log that nobody reads: the pipe is full, and the service goes on."""

import fcntl
import os
import time

import pytest

from tests.server.service import session
from tests.server.test_stopping import WITHIN

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

    assert slowest < 1
    assert (code, took < WITHIN) == (0, True)
    assert service.left_behind() == ([], [])
    assert os.read(unread, 4096).endswith(b"\n")
