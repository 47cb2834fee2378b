"""Lines that may wait for others: none is lost, torn or late."""

import io
import subprocess
import sys
import textwrap
import threading
from pathlib import Path

import pytest

from bff.observability.log_writer import Stdout
from tests.server.service import eventually

ROOT = Path(__file__).parents[2]
LINE = b'{"event":"request","note":"' + b"x" * 150 + b'"}\n'


class Recorder(io.RawIOBase):
    """What was handed to the system, write by write."""

    def __init__(self):
        self.writes = []

    def writable(self):
        return True

    def write(self, data):
        self.writes.append(bytes(data))
        return len(data)


@pytest.fixture
def recorder():
    return Recorder()


@pytest.fixture
def written(recorder):
    return recorder.writes


@pytest.fixture
def stdout(recorder):
    stream = io.BufferedWriter(recorder)
    return Stdout(b"".join, lambda: stream)


def test_a_line_that_may_wait_goes_out_by_itself(stdout, written):
    stdout.write_soon(LINE)

    assert eventually(lambda: written, within=2) == [LINE]


def test_the_second_one_does_too(stdout, written):
    for count in (1, 2, 3):
        stdout.write_soon(LINE)
        assert eventually(lambda count=count: len(written) == count, within=2)


def test_several_go_out_together(stdout, written):
    for _ in range(10):
        stdout.write_soon(LINE)

    assert eventually(lambda: written, within=2) == [LINE * 10]


def test_what_is_told_at_once_takes_those_that_wait_along_in_order(stdout, written):
    stdout.write_soon(b"first\n")
    stdout.write(b"second\n")

    assert written == [b"first\nsecond\n"]


def test_each_write_is_whole_lines_and_no_more_than_a_pipe_takes_at_once(stdout, written):
    for _ in range(1000):
        stdout.write_soon(LINE)
    stdout.write(LINE)

    assert b"".join(written) == LINE * 1001
    assert max(map(len, written)) <= 4096
    assert all(each.endswith(b"\n") for each in written)
    assert len(written) < 60


def test_lines_that_no_pipe_takes_together_are_written_one_after_the_other(stdout, written):
    for _ in range(10):
        stdout.write_soon(LINE * 10)
    stdout.write(LINE)

    assert b"".join(written) == LINE * 101
    assert max(map(len, written)) <= 4096
    assert all(each.endswith(b"\n") for each in written)


def test_a_line_that_no_pipe_takes_at_once_is_written_alone(stdout, written):
    long = b"x" * 9_000 + b"\n"
    for line in (LINE, long, LINE, LINE):
        stdout.write_soon(line)
    stdout.write(long)

    assert written == [LINE, long, LINE * 2, long]


def test_what_waits_is_made_lines_of_when_it_is_written(recorder, written):
    stream = io.BufferedWriter(recorder)
    made = []

    def finish(told):
        made.append(len(told))
        return b"".join([f"{each}\n".encode() for each in told])

    stdout = Stdout(finish, lambda: stream)
    for number in range(5):
        stdout.write_soon(number)
    assert made == []
    stdout.write(b"last\n")

    assert written == [b"0\n1\n2\n3\n4\nlast\n"]
    assert made == [5]


def test_what_is_told_at_once_makes_no_write_longer_either(stdout, written):
    for _ in range(4096 // len(LINE)):
        stdout.write_soon(LINE)
    stdout.write(LINE)

    assert b"".join(written) == LINE * (4096 // len(LINE) + 1)
    assert max(map(len, written)) <= 4096


def test_without_a_thread_to_be_had_a_line_is_written_at_once(stdout, written, monkeypatch):
    def refused(_thread):
        raise RuntimeError("can't start new thread")

    with monkeypatch.context() as crowded:
        crowded.setattr(threading.Thread, "start", refused)
        stdout.write_soon(LINE)
        assert written == [LINE]

    stdout.write_soon(LINE)
    assert eventually(lambda: len(written) == 2, within=2), "and waits again when there is one"


def test_many_threads_lose_none(stdout, written):
    told = [[f"{thread} {line}\n".encode() for line in range(500)] for thread in range(8)]

    def tell(lines):
        for line in lines:
            stdout.write_soon(line)

    threads = [threading.Thread(target=tell, args=(lines,)) for lines in told]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    stdout.write(b"last\n")

    lines = b"".join(written).splitlines(keepends=True)
    assert sorted(lines) == sorted([line for each in told for line in each] + [b"last\n"])


@pytest.mark.parametrize(
    "end",
    [
        "for _ in range(100): stdout.write_soon(b'line\\n')",
        # As a server's workers end: a fork's clean-up is not that of the interpreter.
        """
        stdout.write_soon(b'line\\n' * 50)
        process = multiprocessing.get_context('fork').Process(target=lambda: stdout.write_soon(b'line\\n' * 50))
        time.sleep(0.5); process.start(); process.join()
        """,
        # What waits when a process is forked is its own to tell.
        """
        stdout.write_soon(b'line\\n' * 50)
        process = multiprocessing.get_context('fork').Process(target=lambda: stdout.write_soon(b'line\\n' * 50))
        process.start(); process.join()
        """,
        # Killed, but not in the moment after.
        """
        stdout.write_soon(b'line\\n' * 50)
        time.sleep(0.5)
        if not os.fork():
            stdout.write_soon(b'line\\n' * 50); time.sleep(1); os.kill(os.getpid(), 9)
        os.wait()
        """,
    ],
    ids=["process", "worker", "worker at once", "killed"],
)
def test_a_process_that_ends_has_told_everything(end):
    head = "import multiprocessing, os, time\nfrom bff.observability.log_writer import Stdout\nstdout = Stdout(b''.join)\n"
    program = head + textwrap.dedent(end)

    done = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=True)

    assert done.stdout == "line\n" * 100, done.stderr
