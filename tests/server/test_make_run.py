"""What ``make run`` starts, without make: the installing has no place in a test that others run beside."""

import json
import os
import re
import signal
import socket
import subprocess
import sys
import time

import pytest

from tests.server.service import ROOT, Program, eventually, session
from tests.valkey import free_port

pytestmark = pytest.mark.server


@pytest.fixture
def running(tmp_path, request):
    environ = {"PORT": str(free_port()), **getattr(request, "param", {})}
    program = Program([sys.executable, "-m", "bff.server.dev"], environ, tmp_path / "output")
    eventually(lambda: "Ctrl-C ends everything" in program.printed() or program.process.poll() is not None, within=30)
    assert program.process.poll() is None, program.printed()
    program.family()
    yield program
    program.clear_away()


def test_the_printed_line_returns_what_mei_has_linked(running):
    line = re.search(r"^curl .*/me/linked-accounts .*$", running.printed(), re.MULTILINE)[0]

    answer = subprocess.run(["/bin/sh", "-c", line], capture_output=True, text=True, timeout=10, check=True).stdout

    assert '"type":"wechat"' in answer.replace(" ", "")


def test_the_other_printed_lines_show_the_whole_screen(running):
    include, link, unlink = re.findall(r"^curl .*/me/linked-accounts[/?'].*$", running.printed(), re.MULTILINE)

    def run(line):
        return json.loads(subprocess.run(["/bin/sh", "-c", line], capture_output=True, timeout=10, check=True).stdout)

    assert all(account["unlink"]["allowed"] for account in run(include)["linkedAccounts"])
    assert run(link)["url"].startswith("http://127.0.0.1:")
    # Checked here, as with a tenant's secret, and not by GenAuth alone: an id_token that nobody signed is none.
    forged = run(re.sub(r'\.[\w-]{43}"}', f'.{"A" * 43}"}}', link))
    assert forged["detail"] == "The id_token is not signed by GenAuth."
    assert run(unlink)["unlinked"]["provider"]["type"] == "wechat"


def test_what_is_linked_elsewhere_is_shown_at_once(running):
    mei, elsewhere = re.findall(r"^curl .*/me/linked-accounts -H.*$", running.printed(), re.MULTILINE)

    def providers(line):
        printed = subprocess.run(["/bin/sh", "-c", line], capture_output=True, timeout=10, check=True).stdout
        return [account["provider"]["type"] for account in json.loads(printed.removeprefix(b'{"ok":true}'))["linkedAccounts"]]

    # More than once, so that every worker has an answer in its memory.
    assert [providers(mei) for _ in range(6)] == [["lark", "wechat"]] * 6
    assert providers(elsewhere) == ["lark", "qq", "wechat"]
    assert [providers(mei) for _ in range(6)] == [["lark", "qq", "wechat"]] * 6


@pytest.mark.parametrize("running", [{"WEBHOOK_SECRET": " -one-of-my-own-7d1f ,the-one-after-it-2b8c"}], indirect=True)
def test_a_webhook_secret_of_ones_own_is_the_services_and_the_sandboxs(running):
    hook, sandbox = (re.search(pattern, running.printed())[0] for pattern in (r"http:\S+/webhooks/genauth", r"http:\S+/sandbox"))

    with session() as http:
        assert http.post(hook, json={}, headers={"X-Authing-Token": "-one-of-my-own-7d1f"}, timeout=10).status_code == 202
        http.post(f"{sandbox}/event", json={}, timeout=10)
        assert http.get(f"{sandbox}/deliveries", timeout=10).json() == [{"event": None, "statuses": [204]}]


def test_it_warns_of_nothing_but_a_cache_that_everybody_can_read_and_metrics_that_nobody_can(running):
    lines = [json.loads(line) for line in running.printed().splitlines() if line.startswith('{"timestamp"')]
    warnings = [(line["event"], line["setting"]) for line in lines if line["level"] != "info"]

    assert sorted(warnings) == [("cache_is_plain_json", "CACHE_SECRET"), ("setting_warning", "METRICS_TOKEN")]


@pytest.mark.parametrize("signum", [signal.SIGINT, signal.SIGHUP], ids=["Ctrl-C", "a closed terminal"])
def test_a_terminal_ends_all_of_it(running, signum):
    assert len(running.family()) >= 6

    # It sends the signal to the whole foreground group.
    os.killpg(running.pid, signum)

    assert running.process.wait(10) == 0
    assert running.left_behind() == ([], [])


def test_killed_outright_it_takes_everything_along(running):
    running.end(signal.SIGKILL)

    eventually(lambda: running.left_behind() == ([], []), within=5)


@pytest.mark.parametrize("children", [1, 3, 5])
def test_killed_while_it_starts_it_takes_everything_along(tmp_path, children):
    program = Program([sys.executable, "-m", "bff.server.dev"], {"PORT": str(free_port())}, tmp_path / "output")
    while len(program.family()) < children:
        time.sleep(0.001)

    program.end(signal.SIGKILL)

    try:
        eventually(lambda: program.left_behind() == ([], []), within=5)
    finally:
        program.clear_away()


@pytest.mark.parametrize("target", ["run", "sandbox"])
def test_make_says_who_it_is_so_that_nothing_outlives_it(target):
    with subprocess.Popen(["make", "--dry-run", target], cwd=ROOT, stdout=subprocess.PIPE, text=True) as make:
        printed = make.stdout.read()

    assert f"--with-parent {make.pid}" in printed


def test_it_does_not_start_when_who_started_it_has_ended(tmp_path):
    with subprocess.Popen([sys.executable, "-c", "pass"]) as ended:
        pass
    environ = {"PORT": str(free_port())}
    program = Program([sys.executable, "-m", "bff.server.dev", "--with-parent", str(ended.pid)], environ, tmp_path / "output")

    try:
        assert program.process.wait(10) == 1
        assert (program.printed(), program.left_behind()) == ("", ([], []))
    finally:
        program.clear_away()


def test_it_says_what_it_does_before_it_takes_its_time(running):
    assert running.printed().startswith("Starting the sandbox as GenAuth ...\nStarting the service with a private Valkey: ")


def test_yesterdays_token_works_today(tmp_path):
    port, keys = str(free_port()), tmp_path / "keys.pem"
    options = ["--sandbox-port", str(free_port()), "--keys", str(keys)]
    lines = []
    for day in ("yesterday", "today"):
        program = Program([sys.executable, "-m", "bff.server.dev", *options], {"PORT": port}, tmp_path / day)
        eventually(lambda program=program: "Ctrl-C ends everything" in program.printed(), within=30)
        lines.append(re.search(r"^curl .*/me/linked-accounts .*$", program.printed(), re.MULTILINE)[0])
        answer = subprocess.run(["/bin/sh", "-c", lines[0]], capture_output=True, text=True, timeout=10, check=True).stdout
        program.end(signal.SIGINT)
        program.clear_away()

        assert '"total":2' in answer.replace(" ", ""), day

    assert lines[0] != lines[1]


def test_a_taken_port_of_the_sandbox_stops_nothing(tmp_path):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        options = ["--sandbox-port", str(taken.getsockname()[1])]
        program = Program([sys.executable, "-m", "bff.server.dev", *options], {"PORT": str(free_port())}, tmp_path / "output")
        eventually(lambda: "Ctrl-C ends everything" in program.printed(), within=30)
        program.end(signal.SIGINT)
        program.clear_away()

    assert "is not free. The sandbox takes another one, so tokens of earlier runs are not good in this one." in program.printed()


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
