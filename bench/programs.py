"""What is measured: our service as the Procfile starts it, and its peers, each as its own users would start it."""

import os
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Self

from bff.server.dev import web_command

ROOT = Path(__file__).parents[1]
PEERS = Path(__file__).with_name("peers")
PATH = "/me/linked-accounts"
_BIN = Path(sys.executable).parent
_UP_WITHIN_SECONDS = 30.0
_DOWN_WITHIN_SECONDS = 10.0


@dataclass(frozen=True, slots=True)
class World:
    """What every program is told of: GenAuth, Redis, and how long an answer is fresh."""

    genauth: str
    issuer: str
    app_id: str
    redis: str

    def environment(self, port: int, workers: int, changes: Mapping[str, str]) -> dict[str, str]:
        """Ours, and understood by the peers. Nobody is limited, and nothing goes stale under the load unless it is to."""
        return {
            "PATH": f"{_BIN}{os.pathsep}{os.environ.get('PATH', os.defpath)}",
            "HOME": os.environ.get("HOME", "/"),
            "GENAUTH_HOST": self.genauth,
            "GENAUTH_ISSUER": self.issuer,
            "GENAUTH_JWKS_URL": f"{self.genauth}/oidc/.well-known/jwks.json",
            "GENAUTH_APP_ID": self.app_id,
            "REDIS_URL": self.redis,
            "RATE_LIMIT": "off",
            "CACHE_TTL_SECONDS": "3600",
            "TOKEN_ACCEPTED_SECONDS": "3600",
            "LOG_LEVEL": "info",
            "PORT": str(port),
            "WEB_CONCURRENCY": str(workers),
            **changes,
        }


@dataclass(frozen=True, slots=True)
class Program:
    """A way to answer. ``command`` is for a shell, with the port and the number of workers in its environment."""

    name: str
    command: Callable[[], str]
    about: str
    changes: Mapping[str, str] = field(default_factory=dict)
    # Those that answer with accounts are held to them; the two floors answer the same bytes to everyone.
    answers_accounts: bool = True
    path: str = PATH


# The floors run on the service's server with its options (`bff.server`), by its own command.
_GRANIAN = (
    "exec granian --interface wsgi --http 1 --no-ws --host 127.0.0.1 --port $PORT --workers $WEB_CONCURRENCY "
    "--blocking-threads 80 --backlog 4096 --backpressure 4096 --http1-buffer-size 65536 --log-level error"
)

OURS = Program("ours", lambda: f"exec {web_command()}", "this service, as the Procfile starts it")
RECIPE = Program(
    "recipe",
    # One sync worker, keep-alive not being its to give: what `gunicorn app:app` does.
    lambda: "cd bench/peers && exec gunicorn --bind 127.0.0.1:$PORT --workers $WEB_CONCURRENCY --log-level error recipe:app",
    "Flask, gunicorn sync, flask-caching RedisCache, PyJWT at every request",
)
BARE = Program(
    "bare",
    lambda: f"cd bench/peers && {_GRANIAN} bare:app",
    "a Flask route with constant bytes, on the same server",
    answers_accounts=False,
)
NODE = Program(
    "node",
    lambda: "cd bench/peers/node && exec node main.js",
    "Fastify, ioredis, fast-jwt with its cache on, the same contract",
)
FLOOR = Program(
    "floor",
    lambda: f"cd bench/peers && {_GRANIAN} floor:app",
    "a constant answer from the same server, without Flask",
    answers_accounts=False,
)
ALL = (OURS, RECIPE, BARE, NODE, FLOOR)


class Running:
    """A program that runs, pinned to ``cores``; a context manager. ``seconds_to_first_answer`` counts from its start."""

    def __init__(self, program: Program, world: World, *, cores: str = "0", workers: int = 1, **changes: str) -> None:
        self._port = _free_port()
        self.program = program
        self.url = f"http://127.0.0.1:{self._port}{program.path}"
        self._started = time.perf_counter()
        self._process = subprocess.Popen(
            ["/bin/sh", "-c", program.command()],
            cwd=ROOT,
            env=world.environment(self._port, workers, {**program.changes, **changes}),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            start_new_session=True,
            preexec_fn=lambda: os.sched_setaffinity(0, _set(cores)),  # noqa: PLW1509 - no thread of ours runs at that moment
        )
        self.seconds_to_first_answer = float("nan")

    def __enter__(self) -> Self:
        try:
            self._wait()
        except BaseException:
            self._end()
            raise
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._end()

    def ask(self, token: str | None = None, **headers: str) -> tuple[int, bytes]:
        """Status and body."""
        sent = {**headers, **({"Authorization": f"Bearer {token}"} if token else {})}
        request = urllib.request.Request(self.url, headers=sent)  # noqa: S310 - a loopback URL of ours
        try:
            with _OPENER.open(request, timeout=15) as answer:
                return answer.status, answer.read()
        except urllib.error.HTTPError as error:
            with error:
                return error.code, error.read()

    def metrics(self, token: str) -> str:
        """What the service counted, with that METRICS_TOKEN; nothing for a program that has no such page."""
        page = urllib.request.Request(f"http://127.0.0.1:{self._port}/metrics", headers={"Authorization": f"Bearer {token}"})
        try:
            with _OPENER.open(page, timeout=15) as answer:
                text: str = answer.read().decode()
                return text
        except urllib.error.HTTPError:
            return ""

    @property
    def pid(self) -> int:
        """The process that was started."""
        return self._process.pid

    def family(self) -> list[int]:
        """Every process that it consists of."""
        return _family(self._process.pid)

    def workers(self) -> list[int]:
        """The processes that answer: those without children of their own that can be a web server."""
        return [pid for pid in _family(self._process.pid) if not _children(pid) and _name(pid) not in {"sh", "valkey-server"}]

    def _wait(self) -> None:
        patience = self._started + _UP_WITHIN_SECONDS
        while time.perf_counter() < patience:
            if self._process.poll() is not None:
                raise RuntimeError(f"{self.program.name} did not start: exit code {self._process.returncode}")
            # Without a token: 401 or a constant, but an answer of the application's.
            with suppress(OSError):
                self.ask()
                self.seconds_to_first_answer = time.perf_counter() - self._started
                return
            time.sleep(0.002)
        raise RuntimeError(f"{self.program.name} did not answer within {_UP_WITHIN_SECONDS:.0f} s")

    def _end(self) -> None:
        with suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGTERM)
        try:
            self._process.wait(_DOWN_WITHIN_SECONDS)
        except subprocess.TimeoutExpired:
            os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait()


def missing() -> list[str]:
    """What has to be installed before everything can be measured."""
    needed: dict[str, object] = {
        "wrk": shutil.which("wrk"),
        "taskset": shutil.which("taskset"),
    }
    needed["recipe"] = (_BIN / "gunicorn").exists()
    needed["node"] = shutil.which("node") and (PEERS / "node" / "node_modules").exists()
    return [name for name, there in needed.items() if not there]


def resident(pid: int) -> float:
    """The process's own memory in MB: resident set size, pages shared with the process it was forked from included."""
    for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
        if line.startswith("Rss:"):
            return int(line.split()[1]) / 1024
    raise RuntimeError(f"no figure for process {pid}")


def _family(pid: int) -> list[int]:
    return [pid, *(descendant for child in _children(pid) for descendant in _family(child))]


def _children(pid: int) -> list[int]:
    try:
        return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    except OSError:
        return []


def _name(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/comm").read_text().strip()
    except OSError:
        return ""


def _set(cores: str) -> set[int]:
    return {int(core) for core in cores.split(",")}


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


_OPENER = urllib.request.build_opener(urllib.request.ProxyHandler({}))
