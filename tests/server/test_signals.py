"""Signals, to whichever process and whenever they come: those that stop the service drain it, the others change nothing."""

import os
import re
import shutil
import signal
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.server.service import ROOT, Program, Service, children, eventually, named
from tests.server.test_stopping import WITHIN
from tests.timing import in_time
from tests.valkey import free_port

pytestmark = pytest.mark.server

LINE = re.search(r"^web: (.*)$", (ROOT / "Procfile").read_text(), re.MULTILINE)[1]
# Every other one that ends a process which does not expect it, and says nothing of a fault of its own.
IGNORED = [
    *(signal.SIGUSR1, signal.SIGUSR2, signal.SIGALRM, signal.SIGVTALRM, signal.SIGPROF, signal.SIGPIPE, signal.SIGIO),
    *(signal.SIGPWR, signal.SIGSTKFLT, signal.SIGRTMIN, signal.SIGRTMIN + 5, signal.SIGRTMAX),
]

UNSHARE = ["unshare", "--pid", "--fork", "--mount-proc", "--kill-child"]


def may_unshare():
    return bool(shutil.which("unshare")) and subprocess.run([*UNSHARE, "true"], capture_output=True, check=False).returncode == 0


first_process = pytest.mark.skipif(not may_unshare(), reason="this machine allows no process namespace")


class ByShell(Service):
    """The Procfile's line as a platform runs it, maybe as the first process of a namespace."""

    def __init__(self, environ, output, *, before=()):
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        Program.__init__(self, [*before, "/bin/sh", "-c", LINE], {"PORT": str(self.port), **environ}, output)
        self.asked_to_stop = self.pid
        if before == UNSHARE:
            self.asked_to_stop = eventually(lambda: children(self.pid), within=5)[0]

    def end(self, signum=signal.SIGTERM):
        self.family()
        asked = time.monotonic()
        os.kill(self.asked_to_stop, signum)
        return self.process.wait(30), time.monotonic() - asked


@pytest.fixture
def by_shell(environ, tmp_path):
    started = []

    def starting(**how):
        started.append(ByShell(environ, tmp_path / f"output-{len(started)}", **how))
        return started[-1]

    yield starting
    for service in started:
        service.clear_away()


@pytest.fixture
def in_flight(genauth):
    """Send a request that GenAuth takes a second and a half to answer; returns a future of the response."""
    with ThreadPoolExecutor(4) as pool:

        def asking(service):
            genauth.trouble(path="/api/v3/get-identities", latency=1.5)
            future = pool.submit(service.get, token=genauth.token("mei"))
            eventually(lambda: genauth.calls("/api/v3/get-identities"), within=5)
            return future

        yield asking


def readiness_of(service):
    """Watch it from now on: the statuses of /readyz in the order in which they appeared, when called."""
    seen = [service.readiness()]

    def watching():
        while seen[-1] is not None:
            status = service.readiness()
            if status != seen[-1]:
                seen.append(status)
            time.sleep(0.02)

    thread = threading.Thread(target=watching)
    thread.start()

    def result():
        thread.join(10)
        return seen

    return result


@pytest.mark.parametrize("before", [(), pytest.param(UNSHARE, marks=first_process)], ids=["a shell", "the first process"])
def test_a_shell_that_runs_the_procfiles_line_passes_sigterm_on(by_shell, in_flight, before):
    service = by_shell(before=before)
    eventually(service.is_ready, within=20)
    answer, readiness = in_flight(service), readiness_of(service)

    code, took = service.end()

    assert (code, answer.result().status_code) == (0, 200)
    assert readiness() == [200, 503, None]
    assert service.left_behind() == ([], [])
    in_time(took, WITHIN)


@first_process
@pytest.mark.parametrize("moment", [0, 0.2, 0.5])
def test_the_first_process_ends_also_when_it_is_asked_while_it_starts(by_shell, moment):
    service = by_shell(before=UNSHARE)
    eventually(lambda: named(service.asked_to_stop, "bff.server.serve"), within=5)
    time.sleep(moment)

    code, took = service.end()

    assert code == 0
    assert "Traceback" not in service.printed()
    assert service.left_behind() == ([], [])
    in_time(took, WITHIN)


@pytest.mark.parametrize("signum", [signal.SIGTERM, signal.SIGHUP])
def test_a_signal_to_every_process_at_once_is_one_to_the_service(start, in_flight, signum):
    service = start(REDIS_URL="embedded", METRICS_TOKEN="scrape-canary-5b1d-77")
    everybody = [service.pid, *service.family()]
    assert len(everybody) == 7  # serve, granian, two workers, two supervisors and Valkey
    answer, readiness = in_flight(service), readiness_of(service)

    asked = time.monotonic()
    for pid in everybody:
        os.kill(pid, signum)
    eventually(lambda: service.readiness() == 503, within=1)

    assert sorted([service.pid, *service.family()]) == sorted(everybody)  # Valkey, too
    assert service.process.wait(10) == 0
    took = time.monotonic() - asked
    assert answer.result().status_code == 200
    assert readiness() == [200, 503, None]
    assert service.printed().count('"event":"draining"') == 1
    assert "Traceback" not in service.printed()
    assert service.left_behind() == ([], [])
    in_time(took, WITHIN)


@pytest.mark.parametrize("whom", ["granian", "a worker"])
def test_a_signal_to_one_of_the_inner_processes_drains_the_service(start, in_flight, whom):
    service = start()
    answer, readiness = in_flight(service), readiness_of(service)

    os.kill(service.granian if whom == "granian" else service.workers()[1], signal.SIGTERM)

    assert service.process.wait(10) == 0
    assert answer.result().status_code == 200
    assert readiness() == [200, 503, None]
    assert service.left_behind() == ([], [])


def test_other_signals_change_nothing(start, genauth):
    service = start(REDIS_URL="embedded")
    everybody = [service.pid, *service.family()]

    for signum in IGNORED:
        for pid in everybody:
            os.kill(pid, signum)
    time.sleep(0.3)

    assert sorted([service.pid, *service.family()]) == sorted(everybody)
    assert service.readiness() == 200
    assert service.get(token=genauth.token("mei")).status_code == 200
    assert service.end()[0] == 0


def test_what_was_started_to_outlive_its_terminal_does(by_shell):
    service = by_shell(before=["/bin/sh", "-c", 'trap "" HUP; exec "$@"', "nohup"])
    eventually(service.is_ready, within=20)
    everybody = [service.pid, *service.family()]

    for pid in everybody:
        os.kill(pid, signal.SIGHUP)
    time.sleep(0.3)

    assert service.readiness() == 200
    assert sorted([service.pid, *service.family()]) == sorted(everybody)
    assert service.end()[0] == 0


def test_the_lead_is_as_long_as_the_operator_says(start):
    code, took = start(DRAIN_LEAD_SECONDS="0").end()

    assert code == 0
    in_time(took, 0.9)


def test_ctrl_c_twice_does_not_wait(start, in_flight):
    service = start()
    answer = in_flight(service)
    service.process.send_signal(signal.SIGINT)
    eventually(lambda: service.readiness() == 503, within=1)

    code, took = service.end(signal.SIGINT)

    assert code == 0
    assert answer.exception() is not None
    assert service.left_behind() == ([], [])
    in_time(took, 0.9)


def test_workers_that_end_again_and_again_end_the_service_at_once_and_not_well(start):
    service = start(DRAIN_LEAD_SECONDS="20")
    last = service.workers()[-1]  # the one in its place will be the last again
    os.kill(last, signal.SIGKILL)
    eventually(lambda: len(service.workers()) == 2 and last not in service.workers(), within=5)
    os.kill(service.workers()[-1], signal.SIGKILL)

    assert service.process.wait(10) == 1
    assert "draining" not in service.printed()
    assert service.left_behind() == ([], [])


@first_process
def test_the_first_process_buries_whom_others_leave_behind(by_shell):
    service = by_shell(before=UNSHARE)
    eventually(service.is_ready, within=20)
    inside = ["nsenter", f"--target={service.asked_to_stop}", "--pid", "--mount"]

    subprocess.run([*inside, "/bin/sh", "-c", "sleep 0.1 &"], check=True)
    eventually(lambda: any(named(pid, "sleep") for pid in children(service.asked_to_stop)), within=2)

    eventually(lambda: all(named(pid, "bff.server") for pid in children(service.asked_to_stop)), within=2)
    assert service.end()[0] == 0


@pytest.mark.parametrize("supervisor", ["starts", "fails"])
def test_what_came_before_the_start_ends_it_with_nothing_started(by_shell, tmp_path, supervisor):
    asked = (
        "import os, signal, sys; signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM});"
        "os.kill(os.getpid(), signal.SIGTERM); os.execv(sys.argv[1], sys.argv[1:])"
    )
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    if supervisor == "fails":  # as one that the signal has ended: it makes no folder
        (tmp_path / "mkdir").symlink_to(shutil.which("false"))
        path = f"{tmp_path}:{path}"
    service = by_shell(before=["env", "REDIS_URL=embedded", f"PATH={path}", sys.executable, "-c", asked])

    assert service.process.wait(10) == 0
    assert service.printed() == ""
    assert service.left_behind() == ([], [])
