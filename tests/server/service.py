"""The service as the Procfile starts it, seen from outside: a port, a process and its descendants."""

import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from contextlib import suppress
from pathlib import Path

import requests

from bff.server.dev import web_command
from tests.valkey import free_port

ROOT = Path(__file__).parents[2]


def session():
    """An HTTP client that no proxy setting or .netrc leads astray."""
    http = requests.Session()
    http.trust_env = False
    return http


def eventually(happens, *, within):
    """What ``happens`` returns once that is true; the test fails when the seconds have passed."""
    patience = time.monotonic() + within
    while not (result := happens()):
        assert time.monotonic() < patience, "it did not happen in time"
        time.sleep(0.02)
    return result


def alive(pid):
    try:
        return "\nState:\tZ" not in Path(f"/proc/{pid}/status").read_text()
    except OSError:
        return False


def children(pid):
    try:
        return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    except OSError:
        return []


def descendants(pid):
    return [each for child in children(pid) for each in (child, *descendants(child))]


def started_with(variable):
    """The processes that have this in their environment."""
    found = set()
    for folder in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            if variable.encode() in (folder / "environ").read_bytes().split(b"\0"):
                found.add(int(folder.name))
    return found


def named(pid, part):
    return part in Path(f"/proc/{pid}/cmdline").read_text()


def listeners(port):
    """How many sockets listen on that port: each worker has its own."""
    rows = [row.split() for row in Path("/proc/net/tcp").read_text().splitlines()[1:]]
    return sum(row[1].endswith(f":{port:04X}") and row[3] == "0A" for row in rows)


class Program:
    """A program of ours in a session and a temporary folder of its own, so that what it leaves behind can be seen."""

    def __init__(self, command, environ, output):
        # A short path: a unix socket's has 107 characters at most.
        self.temporary = Path(tempfile.mkdtemp(prefix="t"))
        inherited = {name: os.environ[name] for name in ("HOME", "LANG") if name in os.environ}
        path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
        self.output = output
        with output.open("wb") as file:
            self.process = subprocess.Popen(
                command,
                cwd=ROOT,
                env={**inherited, "PATH": path, "TMPDIR": str(self.temporary), **environ},
                stdin=subprocess.DEVNULL,
                stdout=file,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        self._seen = set()

    @property
    def pid(self):
        return self.process.pid

    def printed(self):
        return self.output.read_text()

    def family(self):
        """Everything that it started and that runs, without itself."""
        self._seen.update(descendants(self.pid))
        return [pid for pid in self._seen if alive(pid)]

    def left_behind(self):
        self._seen.update(started_with(f"TMPDIR={self.temporary}") - {self.pid})  # orphans, too
        return self.family(), list(self.temporary.iterdir())

    def end(self, signum=signal.SIGTERM):
        """Send the signal and wait; returns the exit code and the seconds it took."""
        self.family()
        asked = time.monotonic()
        self.process.send_signal(signum)
        return self.process.wait(30), time.monotonic() - asked

    def clear_away(self):
        """Whatever the test did: nothing stays."""
        self.family()
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()
        for pid in self._seen:
            if alive(pid):
                os.kill(pid, signal.SIGKILL)
        shutil.rmtree(self.temporary, ignore_errors=True)


class Service(Program):
    """The Procfile's web line. Its process is the launcher itself: the shell replaces itself by it."""

    def __init__(self, environ, output):
        asked = environ.get("PORT", "")
        self.port = int(asked) if asked.isdigit() else free_port()
        host = environ.get("HOST", "127.0.0.1")
        self.url = f"http://[{host}]:{self.port}" if ":" in host else f"http://{host}:{self.port}"
        self.environ = environ
        super().__init__(self.command(), {"PORT": str(self.port), **environ}, output)

    def command(self):
        return ["/bin/sh", "-c", f"exec {web_command()}"]

    def get(self, path="/me/linked-accounts", *, token=None, timeout=10):
        headers = {"Authorization": f"Bearer {token}"} if token else {}
        with session() as http:
            return http.get(self.url + path, headers=headers, timeout=timeout)

    def readiness(self):
        """The status of /readyz on a new connection, None when there is none to be had."""
        try:
            return self.get("/readyz").status_code
        except requests.ConnectionError:
            return None

    def is_ready(self):
        assert self.process.poll() is None, self.printed()
        return self.readiness() == 200

    @property
    def granian(self):
        return next(child for child in children(self.pid) if named(child, "bff.server"))

    def workers(self):
        return children(self.granian)
