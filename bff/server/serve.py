"""The service's first process, started by `bff.server.launch`, which prepares its environment.

It checks the settings and names every mistake before anything runs, starts the embedded Valkey if that is asked for, and runs
granian in a fork. Asked to stop, it makes the service unready first and stops the server a moment later.

    serve ─┬─ granian ─┬─ worker        SIGTERM, SIGINT: first unready, then the server drains, exit code 0
           │           └─ worker        SIGKILL on any of them: those below it are killed, supervisors remove the rest
           ├─ supervisor ── Valkey      only with REDIS_URL=embedded
           └─ supervisor                of the folder that holds the workers' metrics; only with METRICS_TOKEN
"""

import importlib
import os
import signal
import sys
import traceback
from contextlib import ExitStack, suppress
from pathlib import Path
from types import FrameType
from typing import Any, NoReturn

import structlog
from granian import Granian
from granian.constants import HTTPModes, Interfaces
from granian.http import HTTP1Settings
from granian.log import LogLevels

from bff.factory import THREADS
from bff.observability import logging as logs
from bff.resilience import begin_draining
from bff.server import descriptors
from bff.server import embedded_valkey as embedded
from bff.server.child_processes import Supervisor, tie_forks_to_this_process
from bff.server.listening import CannotListen, hold
from bff.server.log_format import LOGGING
from bff.settings import ConfigurationError, Settings

log = structlog.get_logger()

_APPLICATION = "app"

# Long enough for a load balancer to notice, short enough to leave the rest of the time to requests in flight.
READINESS_LEAD_SECONDS = 1.0

# After the deadline that every request has, only a client that never finished its request can still hold the server.
_OVERTIME_SECONDS = 0.25

_STOPPED_BY = (signal.SIGTERM, signal.SIGINT)


def server_options(settings: Settings, *, connections: int) -> dict[str, Any]:
    """What granian is given besides the application. ``connections`` is how many a worker holds at once."""
    return {
        "address": settings.host,
        "port": settings.port,
        "workers": settings.web_concurrency,
        "interface": Interfaces.WSGI,
        "http": HTTPModes.http1,
        "websockets": False,
        # A request holds its thread while it waits for GenAuth: threads enough that others are answered from memory meanwhile.
        "blocking_threads": THREADS,
        # A crowd that comes at once waits in these queues until its deadline; beyond them connections are refused.
        "backlog": 4096,
        "backpressure": connections,
        "http1_settings": HTTP1Settings(
            # The whole head of a request; the largest that we answer fits easily.
            max_buffer_size=65_536,
            # Half a request holds a connection no longer. Nor does an idle kept one: see docs/configuration.md on proxies.
            header_read_timeout=10_000,
        ),
        "respawn_failed_workers": True,
        "log_level": LogLevels.error,
    }


def main() -> int:
    """Run the service until it ends; the exit code: 0 when it was asked to stop, 2 when the settings cannot be used."""
    try:
        settings = Settings.from_env(os.environ)
        with ExitStack() as running:
            _prepare(settings, running)
            return _Server(settings).exit_code()
    except (ConfigurationError, CannotListen, embedded.ValkeyNotStarted) as error:
        print("The service cannot start:", *(f"  - {mistake}" for mistake in str(error).splitlines()), sep="\n", file=sys.stderr)
        return 2


def _prepare(settings: Settings, running: ExitStack) -> None:
    """Start what the workers need and only the whole service can have one of."""
    running.enter_context(hold(settings.host, settings.port))
    if settings.redis_url == "embedded":
        valkey = embedded.start()
        running.callback(valkey.stop)
        os.environ["REDIS_URL"] = valkey.url
    if metrics := os.environ.get("PROMETHEUS_MULTIPROC_DIR"):
        with suppress(OSError):  # the workers find no folder and say so
            running.callback(Supervisor(Path(metrics)).close)


class _Server:
    """Granian in a fork of this process, and the two signals that stop it within the requests' deadline."""

    def __init__(self, settings: Settings) -> None:
        self._stopping = False
        self._patience = settings.request_deadline_seconds + _OVERTIME_SECONDS
        # Imported before the forks: the workers share these pages, and one that is started again has them already.
        importlib.import_module(_APPLICATION)
        tie_forks_to_this_process()
        sys.stdout.flush()
        signal.pthread_sigmask(signal.SIG_BLOCK, _STOPPED_BY)
        limit = descriptors.raise_limit()
        connections = descriptors.connections_within(limit)
        self._pid = os.fork()
        if self._pid == 0:
            _run_granian(server_options(settings, connections=connections))
        for signum in _STOPPED_BY:
            signal.signal(signum, self._stop)
        signal.signal(signal.SIGALRM, self._stop_accepting)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, _STOPPED_BY)
        # After the fork: logging starts a thread, and so does watching.
        logs.configure(settings.log_level)
        log.info("started", port=settings.port, workers=settings.web_concurrency, descriptors=limit, connections=connections)
        descriptors.watch(self._pid, connections)

    def exit_code(self) -> int:
        """Wait for the end: 0 when it was asked for, else what granian ended with, as a shell would report it."""
        code = os.waitstatus_to_exitcode(os.waitpid(self._pid, 0)[1])
        if self._stopping:
            return 0
        return 128 - code if code < 0 else code or 1

    def _stop(self, signum: int, _: FrameType | None) -> None:
        if not self._stopping:
            self._stopping = True
            begin_draining()
            signal.setitimer(signal.ITIMER_REAL, READINESS_LEAD_SECONDS)
        elif signum == signal.SIGINT:
            self._end_now()  # Ctrl-C twice: a person who does not want to wait

    def _stop_accepting(self, _: int, __: FrameType | None) -> None:
        os.kill(self._pid, signal.SIGTERM)
        signal.signal(signal.SIGALRM, self._end_now)
        signal.setitimer(signal.ITIMER_REAL, self._patience)

    def _end_now(self, *_: object) -> None:
        os.kill(self._pid, signal.SIGKILL)  # and with it the workers


def _run_granian(options: dict[str, Any]) -> NoReturn:
    """Be granian, in the fork; none of the parent's code runs here afterwards."""
    code = 1
    try:
        # A process group of its own: Ctrl-C in a terminal reaches the parent alone, which makes the service unready first.
        os.setpgid(0, 0)
        for signum in _STOPPED_BY:
            signal.signal(signum, signal.SIG_DFL)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, _STOPPED_BY)
        Granian(f"{_APPLICATION}:create_app", factory=True, log_dictconfig=LOGGING, **options).serve()
        code = 0
    except SystemExit as end:
        code = end.code if isinstance(end.code, int) else int(end.code is not None)
    except BaseException:  # noqa: BLE001 - printed and turned into an exit code: the parent's frames below are not ours to unwind
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


if __name__ == "__main__":
    sys.exit(main())
