"""Everything a drill needs: GenAuth, a Valkey and the Procfile's service as processes, and wires between that can be cut."""

import asyncio
import json
import os
import re
import signal
import socket
import sys
import tempfile
from collections import Counter
from contextlib import ExitStack
from pathlib import Path

import redis

from bff.sandbox.sandbox import APP_ID, APP_SECRET
from tests.drills.load import Caller, burst
from tests.drills.proxy import Proxy
from tests.server.service import Program, Service, eventually, session
from tests.valkey import ValkeyServer, free_port

METRICS_TOKEN = "drill-metrics"
IDENTITIES = "/api/v3/get-identities"


class Stage:
    """A context manager. ``settings`` are the service's environment; ``instances`` share GenAuth and Redis.

    Not ``wired``, the service reaches both directly: the wires run in this process, where they would delay what it times.
    """

    def __init__(self, *, instances=1, ready=True, redis_up=True, genauth_up=True, wired=True, **settings):
        self._kept = ExitStack()
        self._instances, self._ready = instances, ready
        self._redis_up, self._genauth_up = redis_up, genauth_up
        self._wired = wired
        self._settings = settings
        self._seen_before = 0

    def __enter__(self):
        try:
            self._set_up()
        except BaseException:
            self._kept.close()
            raise
        return self

    def __exit__(self, *_):
        self._kept.close()

    def _set_up(self):
        self.folder = Path(self._kept.enter_context(tempfile.TemporaryDirectory(prefix="d")))
        self._http = self._kept.enter_context(session())
        command = [sys.executable, "-m", "bff.sandbox", "--port", "0", "--with-parent", str(os.getpid())]
        sandbox = Program(command, {}, self.folder / "genauth")
        self._kept.callback(sandbox.clear_away)
        self.genauth_url = eventually(lambda: sandbox.printed().strip(), within=20)
        self.genauth = self._kept.enter_context(Proxy(int(self.genauth_url.rpartition(":")[2])))
        if not self._genauth_up:
            self.genauth.refuse()
        self.valkey = self._kept.enter_context(ValkeyServer(port=free_port()))
        self._kept.callback(self._thaw)
        self.redis = self._kept.enter_context(Proxy(int(self.valkey.url.rpartition(":")[2].partition("/")[0])))
        if not self._redis_up:
            self.valkey.kill()
        self.services = [self.start_service() for _ in range(self._instances)]
        if self._ready:
            for service in self.services:
                eventually(service.is_ready, within=30)
                service.family()

    def _thaw(self):
        try:
            self.valkey.thaw()
        except ProcessLookupError:
            return

    def start_service(self, **changed):
        """One more instance, or with PORT the successor of one."""
        genauth = self.genauth.url if self._wired else self.genauth_url
        environ = {
            "GENAUTH_HOST": genauth,
            "GENAUTH_APP_ID": APP_ID,
            "GENAUTH_APP_SECRET": APP_SECRET,
            # By way of the proxy too: discovery would name the sandbox's own port.
            "GENAUTH_ISSUER": f"{self.genauth_url}/oidc",
            "GENAUTH_JWKS_URL": f"{genauth}/oidc/.well-known/jwks.json",
            "REDIS_URL": f"redis://127.0.0.1:{self.redis.port}/0" if self._wired else self.valkey.url,
            "WEB_CONCURRENCY": "2",
            "LOG_LEVEL": "info",
            # Counted, so that Redis is asked for it, and never reached.
            "RATE_LIMIT": "1000000/minute",
            "METRICS_TOKEN": METRICS_TOKEN,
            **self._settings,
            **changed,
        }
        number = len(list(self.folder.glob("service-*")))
        service = Service(environ, self.folder / f"service-{number}")
        self._kept.callback(service.clear_away)
        return service

    # People ----------------------------------------------------------------------------------------

    def callers(self, first, count, **how):
        """Numbered people with a token each."""
        names = [f"user-{number}" for number in range(first, first + count)]
        tokens = self.sandbox("POST", "token", {"people": names, **how})["tokens"]
        return [Caller(name, tokens[name]) for name in names]

    def caller(self, number, **how):
        return self.callers(number, 1, **how)[0]

    @property
    def ports(self):
        return [service.port for service in self.services]

    async def warm(self, callers):
        """Everybody asks until every worker has its keys and every caller an entry."""
        for _ in range(3):
            for begin in range(0, len(callers), 40):
                some = callers[begin : begin + 40]
                answers = await burst(self.ports, some * max(1, 16 // len(some)))
        assert all(answer.status == 200 for answer in answers), Counter(answer.source for answer in answers)

    # GenAuth ---------------------------------------------------------------------------------------

    def sandbox(self, method, what, body=None):
        answer = self._http.request(method, f"{self.genauth_url}/sandbox/{what}", json=body or {}, timeout=60)
        assert answer.ok, answer.text
        return answer.json()

    def trouble(self, **how):
        self.sandbox("POST", "trouble", how)

    def healthy(self):
        self.sandbox("DELETE", "trouble")

    def calls_arrived(self):
        """How often get-identities was asked since the stage was set, as GenAuth counts."""
        return self.sandbox("GET", "calls")["paths"].get(IDENTITIES, 0)

    def calls(self):
        """The same as the wire counts: also those that it swallowed."""
        return self.genauth.asked[IDENTITIES]

    # Redis -----------------------------------------------------------------------------------------

    def redis_cli(self, *command):
        """One command, past the proxy."""
        with redis.Redis.from_url(self.valkey.url, socket_timeout=5) as connection:
            return connection.execute_command(*command)

    # What can be seen from outside -----------------------------------------------------------------

    def logged(self):
        """How often each event was logged, over all instances."""
        events = Counter()
        for service in self.services:
            for line in service.printed().splitlines():
                try:
                    events[json.loads(line).get("event", "")] += 1
                except ValueError:
                    events["no JSON"] += 1
        return events

    def metrics(self):
        """Every sample over all instances, ``{name{labels}: value}``; empty where there is no such route."""
        samples = Counter()
        for service in self.services:
            answer = self._http.get(f"{service.url}/metrics", headers={"Authorization": f"Bearer {METRICS_TOKEN}"}, timeout=5)
            if answer.status_code == 200:
                for line in answer.text.splitlines():
                    if match := re.fullmatch(r"([^#\s]+(?:\{.*\})?) (\S+)", line):
                        samples[match[1]] += float(match[2])
        return samples


def connect(port, host="127.0.0.1"):
    """A plain socket, for clients that behave badly."""
    return socket.create_connection((host, port), timeout=5)


def resident(pids):
    """Kilobytes that these processes hold."""
    total = 0
    for pid in pids:
        found = re.search(r"VmRSS:\s+(\d+)", Path(f"/proc/{pid}/status").read_text())
        total += int(found[1]) if found else 0
    return total


def send(signum, pid):
    os.kill(pid, signum)


def kill_all(service):
    """SIGKILL to the launcher; the kernel takes the rest with it."""
    send(signal.SIGKILL, service.pid)


async def later(work, *arguments, **named):
    """Do something that blocks without holding up the load."""
    return await asyncio.to_thread(lambda: work(*arguments, **named))
