"""Log lines are written by one thread: whole, in order, and without anybody waiting for them."""

import json
import os
import select
import subprocess
import sys
import textwrap
import threading
import time
from pathlib import Path

import pytest

from bff.observability import Recorder
from bff.observability.log_writer import LogWriter
from tests.server.service import eventually
from tests.timing import in_time

ROOT = Path(__file__).parents[2]
LINE = b'{"event":"request","note":"' + b"x" * 150 + b'"}\n'


def report(lines):
    return b"dropped %d\n" % lines


class Output:
    """Keeps what was written, write by write. ``stop`` makes it hang until ``resume``, ``broken`` makes it raise."""

    def __init__(self):
        self.writes = []
        self.broken = False
        self._free = threading.Event()
        self._free.set()
        self.reached = threading.Event()

    def __call__(self, data):
        self.reached.set()
        self._free.wait(10)
        if self.broken:
            raise BrokenPipeError
        self.writes.append(data)

    def stop(self):
        self._free.clear()

    def resume(self):
        self._free.set()

    @property
    def lines(self):
        return b"".join(self.writes).splitlines(keepends=True)


class Counted(Recorder):
    def __init__(self):
        self.dropped = 0

    def log_lines_dropped(self, lines):
        self.dropped += lines


@pytest.fixture
def output():
    output = Output()
    yield output
    output.resume()


@pytest.fixture
def writer(output):
    writer = LogWriter(report, output, capacity=100)
    writer.recorder = Counted()
    return writer


def test_a_line_is_written_by_itself(writer, output):
    for count in (1, 2, 3):
        writer.write(LINE)
        assert eventually(lambda count=count: output.lines == [LINE] * count, within=2)


def test_lines_that_come_together_are_written_together_and_in_order(writer, output):
    for number in range(10):
        writer.write(b"%d\n" % number)
    writer.flush()

    assert output.writes == [b"".join(b"%d\n" % number for number in range(10))]


def test_each_write_is_whole_lines_and_no_more_than_a_pipe_takes_in_one_piece(output):
    writer = LogWriter(report, output)
    for _ in range(1000):
        writer.write(LINE)
    writer.flush()

    assert output.lines == [LINE] * 1000
    assert max(map(len, output.writes)) <= select.PIPE_BUF
    assert all(each.endswith(b"\n") for each in output.writes)
    assert len(output.writes) < 60


def test_a_line_that_is_longer_is_written_alone(writer, output):
    long = b"x" * 9_000 + b"\n"
    for line in (LINE, long, LINE, LINE):
        writer.write(line)
    writer.flush()

    assert output.writes == [LINE, long, LINE * 2]


def test_lines_beyond_the_queue_are_dropped_and_counted_and_nobody_waits(writer, output):
    output.stop()
    writer.write(b"first\n")
    assert output.reached.wait(2)
    started = time.monotonic()

    for _ in range(5_000):
        writer.write(LINE)

    in_time(time.monotonic() - started, 1)
    assert writer.recorder.dropped == 4_900


def test_once_there_is_room_a_line_says_how_many_are_missing(writer, output):
    output.stop()
    writer.write(b"first\n")
    assert output.reached.wait(2)
    for _ in range(150):
        writer.write(LINE)
    output.resume()
    writer.flush()
    writer.write(b"last\n")
    writer.flush()

    assert output.lines == [b"first\n", b"dropped 50\n", *[LINE] * 100, b"last\n"]


def test_lines_that_cannot_be_written_are_counted_and_reported_when_others_can(writer, output):
    output.broken = True
    for _ in range(3):
        writer.write(LINE)
    writer.flush()
    output.broken = False
    writer.write(LINE)
    writer.flush()

    assert writer.recorder.dropped == 3
    assert output.lines == [LINE, b"dropped 3\n"]


def test_flush_waits_for_what_hangs_no_longer_than_it_may(writer, output):
    output.stop()
    writer.write(LINE)
    started = time.monotonic()
    writer.flush(0.2)

    assert in_time(time.monotonic() - started, 1) > 0.15


def test_flush_of_a_full_queue_waits_no_longer_either(writer, output):
    output.stop()
    for _ in range(500):
        writer.write(LINE)
    started = time.monotonic()
    writer.flush(0.2)

    in_time(time.monotonic() - started, 1)


def test_nothing_to_flush_starts_no_thread(writer):
    before = threading.active_count()
    writer.flush()

    assert threading.active_count() == before


def test_without_a_thread_to_be_had_lines_wait_for_one(writer, output, monkeypatch):
    def refused(_thread):
        raise RuntimeError("can't start new thread")

    with monkeypatch.context() as crowded:
        crowded.setattr(threading.Thread, "start", refused)
        writer.write(b"first\n")

    writer.write(b"second\n")
    writer.flush()
    assert output.lines == [b"first\n", b"second\n"]


def test_many_threads_lose_none(output):
    writer = LogWriter(report, output)
    expected = [[f"{thread} {line}\n".encode() for line in range(500)] for thread in range(8)]

    def log(lines):
        for line in lines:
            writer.write(line)

    threads = [threading.Thread(target=log, args=(lines,)) for lines in expected]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    writer.flush()

    assert sorted(output.lines) == sorted(line for each in expected for line in each)
    for thread, lines in enumerate(expected):
        assert [line for line in output.lines if line.startswith(b"%d " % thread)] == lines


HEAD = """
    import multiprocessing, os, sys, time
    from bff.observability.log_writer import LogWriter
    writer = LogWriter(lambda lines: b"dropped %d\\n" % lines)
    LINE = b"x" * 150 + b"\\n"
"""


def program(text):
    return [sys.executable, "-c", textwrap.dedent(HEAD) + textwrap.dedent(text)]


@pytest.mark.parametrize(
    "end",
    [
        "for _ in range(100): writer.write(b'line\\n')",
        # As a server's workers end: a fork's clean-up is not that of the interpreter.
        """
        writer.write(b'line\\n' * 50)
        process = multiprocessing.get_context('fork').Process(target=lambda: writer.write(b'line\\n' * 50))
        time.sleep(0.5); process.start(); process.join()
        """,
        # What is in the queue when a process is forked is its own to write.
        """
        writer.write(b'line\\n' * 50)
        process = multiprocessing.get_context('fork').Process(target=lambda: writer.write(b'line\\n' * 50))
        process.start(); process.join()
        """,
        # Killed, but not in the moment after.
        """
        writer.write(b'line\\n' * 50)
        time.sleep(0.5)
        if not os.fork():
            writer.write(b'line\\n' * 50); time.sleep(1); os.kill(os.getpid(), 9)
        os.wait()
        """,
    ],
    ids=["process", "worker", "worker at once", "killed"],
)
def test_a_process_that_ends_has_written_everything(end):
    done = subprocess.run(program(end), cwd=ROOT, capture_output=True, text=True, check=True)

    assert done.stdout == "line\n" * 100, done.stderr


FLOOD = """
    started = time.monotonic()
    for _ in range(20_000): writer.write(LINE)
    print(time.monotonic() - started, file=sys.stderr, flush=True)
"""


def flooded(stdout, text=FLOOD, **options):
    """Run the program to its end: the seconds that its 20,000 lines took the caller, and those until it had ended."""
    started = time.monotonic()
    done = subprocess.run(program(text), cwd=ROOT, stdout=stdout, stderr=subprocess.PIPE, check=False, timeout=30, **options)
    assert done.returncode == 0, done.stderr
    return float(done.stderr), time.monotonic() - started


def test_a_pipe_that_nobody_reads_holds_nobody_up():
    reader, pipe = os.pipe()
    try:
        logging, ending = flooded(pipe)
        os.close(pipe)
        written = b"".join(iter(lambda: os.read(reader, 1 << 20), b""))
    finally:
        os.close(reader)

    assert (logging < 3, ending < 10) == (True, True)
    assert written.startswith(b"x" * 150 + b"\n")


def test_a_pipe_that_nobody_reads_holds_no_worker_up_at_its_end():
    worker = """
        def work():
            for _ in range(20_000): writer.write(LINE)
        started = time.monotonic()
        process = multiprocessing.get_context("fork").Process(target=work)
        process.start(); process.join()
        print(time.monotonic() - started, file=sys.stderr, flush=True)
        assert process.exitcode == 0
    """
    reader, pipe = os.pipe()
    try:
        logging, _ = flooded(pipe, worker)
    finally:
        os.close(reader)
        os.close(pipe)

    assert logging < 6


def test_a_pipe_whose_reader_is_gone_holds_nobody_up():
    reader, pipe = os.pipe()
    os.close(reader)
    try:
        logging, ending = flooded(pipe)
    finally:
        os.close(pipe)

    assert (logging < 3, ending < 10) == (True, True)


@pytest.mark.parametrize("closing", ["sys.stdout.close()", "sys.stdout = None", "os.close(1)"])
def test_without_stdout_lines_are_lost_and_nobody_waits(closing):
    logging, ending = flooded(subprocess.DEVNULL, f"\n    {closing}" + FLOOD)

    assert (logging < 3, ending < 10) == (True, True)


def test_a_process_without_stdout_writes_no_line_into_a_file_that_has_its_number(tmp_path):
    other = tmp_path / "other"
    text = f"""
        taken = os.open({str(other)!r}, os.O_CREAT | os.O_WRONLY)
        assert taken == 1, taken
        writer.write(LINE); writer.flush()
    """
    subprocess.run(["sh", "-c", 'exec "$@" >&-', "sh", *program(text)], cwd=ROOT, check=True)

    assert other.read_bytes() == b""


@pytest.mark.parametrize("blocking", [True, False], ids=["blocking", "non-blocking"])
def test_a_slow_reader_gets_whole_lines_and_the_number_of_those_that_are_missing(blocking):
    reader, pipe = os.pipe()
    os.set_blocking(pipe, blocking)
    slow = FLOOD + "\n    time.sleep(0.5); writer.flush(20); writer.write(b'last\\n')"
    process = subprocess.Popen(program(slow), cwd=ROOT, stdout=pipe, stderr=subprocess.PIPE)
    os.close(pipe)
    received = b""
    while part := os.read(reader, 16 * 1024):
        received += part
        time.sleep(0.002)
    os.close(reader)
    _, errors = process.communicate(timeout=20)

    assert float(errors) < 3
    lines = received.splitlines(keepends=True)
    whole = lines.count(b"x" * 150 + b"\n")
    missing = [int(line.split()[1]) for line in lines if line.startswith(b"dropped ")]
    assert lines[-1] == b"last\n"
    assert (whole + sum(missing), whole + len(missing) + 1) == (20_000, len(lines))


def test_lines_of_several_processes_on_one_pipe_stay_whole():
    text = """
        for _ in range(4):
            if not os.fork():
                for number in range(1000):
                    writer.write(b"%d %s\\n" % (os.getpid(), b"y" * (number % 400)))
                writer.flush(20); os._exit(0)
        for _ in range(4): os.wait()
    """
    done = subprocess.run(program(text), cwd=ROOT, capture_output=True, check=True)

    lines = done.stdout.splitlines()
    assert len(lines) == 4000
    by_process = {}
    for line in lines:
        pid, _, rest = line.partition(b" ")
        assert rest == b"y" * (by_process.setdefault(pid, 0) % 400)
        by_process[pid] += 1


def test_the_service_answers_while_nobody_reads_its_log(environ):
    text = """
        import sys, time
        from bff.factory import create_app
        from bff.settings import Settings
        client = create_app(Settings.from_env()).test_client()
        for _ in range(2_000):
            assert client.get("/nowhere", headers={"X-Request-Id": "r" * 64}).status_code == 404
        print("answered", file=sys.stderr, flush=True)
    """
    reader, pipe = os.pipe()
    command = [sys.executable, "-c", textwrap.dedent(text)]
    try:
        done = subprocess.run(
            command, cwd=ROOT, env={**os.environ, **environ}, stdout=pipe, stderr=subprocess.PIPE, check=False, timeout=60
        )
        os.close(pipe)
        written = b"".join(iter(lambda: os.read(reader, 1 << 20), b""))
    finally:
        os.close(reader)

    assert (done.returncode, done.stderr) == (0, b"answered\n")
    assert len(written) > 40_000
    for line in written.splitlines()[:-1]:
        assert json.loads(line)["event"]
