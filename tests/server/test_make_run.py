"""What ``make run`` starts, without make: the installing has no place in a test that others run beside."""

import json
import os
import re
import signal
import socket
import subprocess
import sys

import pytest

from tests.server.service import Program, eventually
from tests.valkey import free_port

pytestmark = pytest.mark.server


@pytest.fixture
def running(tmp_path):
    program = Program([sys.executable, "-m", "bff.server.dev"], {"PORT": str(free_port())}, tmp_path / "output")
    eventually(lambda: "Ctrl-C ends everything" in program.printed() or program.process.poll() is not None, within=30)
    assert program.process.poll() is None, program.printed()
    program.family()
    yield program
    program.clear_away()


def test_the_printed_line_returns_what_mei_has_linked(running):
    line = re.search(r"^curl .*/me/linked-accounts .*$", running.printed(), re.MULTILINE)[0]

    answer = subprocess.run(["/bin/sh", "-c", line], capture_output=True, text=True, timeout=10, check=True).stdout

    assert '"type":"wechat"' in answer.replace(" ", "")


def test_it_warns_of_nothing_but_the_cache_that_everybody_can_read(running):
    lines = [json.loads(line) for line in running.printed().splitlines() if line.startswith('{"timestamp"')]

    assert {line["event"] for line in lines if line["level"] != "info"} == {"cache_is_plain_json"}


def test_ctrl_c_ends_all_of_it(running):
    assert len(running.family()) >= 7

    # A terminal sends it to the whole foreground group.
    os.killpg(running.pid, signal.SIGINT)

    assert running.process.wait(10) == 0
    assert running.left_behind() == ([], [])


def test_killed_outright_it_takes_everything_along(running):
    running.end(signal.SIGKILL)

    eventually(lambda: running.left_behind() == ([], []), within=5)


@pytest.fixture
def refused(tmp_path):
    """What it says about a port that it cannot use."""

    def said(port):
        program = Program([sys.executable, "-m", "bff.server.dev"], {"PORT": port}, tmp_path / "output")
        try:
            assert program.process.wait(10) == 2
            assert program.left_behind() == ([], [])
            return program.printed()
        finally:
            program.clear_away()

    return said


def test_a_taken_port_is_said_in_a_sentence(refused):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]

        assert refused(str(port)).startswith(f"Cannot listen on 0.0.0.0:{port}: it is taken.")


@pytest.mark.parametrize("port", ["abc", " ", "0", "65536", "8000x"])
def test_what_is_no_port_is_said_in_a_sentence(refused, port):
    assert refused(port) == "PORT is no port: expected a whole number from 1 to 65535.\n"
