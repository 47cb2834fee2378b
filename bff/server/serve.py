"""The service's first process, started by `bff.server.launch`, which prepares its environment.

It checks the settings and names every mistake before anything runs, starts the embedded Valkey if that is asked for, and runs
granian in a fork. Asked to stop, it makes the service unready first and stops the server a moment later.

    serve ─┬─ granian ─┬─ worker        SIGTERM, SIGINT, SIGHUP, SIGQUIT to any of these, or to all: first unready, then the
           │           └─ worker        server drains, exit code 0. SIGKILL: those below are killed, supervisors remove the rest
           ├─ supervisor ── Valkey      only with REDIS_URL=embedded
           └─ supervisor                of the folder that holds the workers' metrics; only with METRICS_TOKEN
"""

import importlib
import multiprocessing
import os
import signal
import sys
import time
import traceback
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Any, NoReturn

import structlog
from granian import Granian
from granian.constants import HTTPModes, Interfaces
from granian.http import HTTP1Settings
from granian.log import LogLevels

from bff import __version__
from bff.factory import THREADS, warn_about
from bff.observability import logging as logs
from bff.resilience import begin_draining, begin_stopping, changes_end, is_draining, is_stopping
from bff.server import descriptors, half_sent, signals, threads
from bff.server import embedded_valkey as embedded
from bff.server.child_processes import Supervisor, tie_forks_to_this_process
from bff.server.descriptors import TooFewDescriptors
from bff.server.listening import CannotListen, hold, spelled
from bff.server.log_format import LOGGING
from bff.server.threads import TooFewThreads
from bff.setting_addresses import without_secrets
from bff.settings import ConfigurationError, Settings

log = structlog.get_logger()

_APPLICATION = "app"

# After the deadline that a request has, only a client that never finished its request can still hold the server.
_OVERTIME_SECONDS = 0.25


def server_options(settings: Settings, *, connections: int, blocking_threads: int = THREADS) -> dict[str, Any]:
    """What granian is given besides the application. ``connections`` is how many a worker holds at once."""
    return {
        "address": settings.host,
        "port": settings.port,
        "workers": settings.web_concurrency,
        "interface": Interfaces.WSGI,
        "http": HTTPModes.http1,
        "websockets": False,
        # A request holds its thread while it waits for GenAuth: threads enough that others are answered from memory meanwhile.
        "blocking_threads": blocking_threads,
        # A crowd that comes at once waits in these queues until its deadline; beyond them connections are refused.
        "backlog": 4096,
        "backpressure": connections,
        "http1_settings": HTTP1Settings(
            # The whole head of a request; the largest that we answer fits easily.
            max_buffer_size=65_536,
            # How long an idle kept connection lives, and half a head where `half_sent` cannot see it.
            header_read_timeout=int(settings.keepalive_seconds * 1000),
        ),
        "respawn_failed_workers": True,
        "log_level": LogLevels.error,
    }


def main() -> int:
    """Run the service until it ends; the exit code: 0 when it was asked to stop, 2 when the settings cannot be used."""
    signals.hold()
    try:
        settings = Settings.from_env(os.environ)
        with ExitStack() as running:
            _prepare(settings, running)
            return 0 if signals.pending() else _Server(settings).exit_code()
    except (ConfigurationError, CannotListen, TooFewDescriptors, TooFewThreads, embedded.ValkeyNotStarted) as error:
        if isinstance(error, embedded.ValkeyNotStarted) and signals.pending():
            return 0  # the signal came to its supervisor, too, before that expected it
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
    # Imported before the forks: the workers share these pages, and one that is started again has them already.
    importlib.import_module(_APPLICATION)


class _Server:
    """Granian in a fork of this process, and the signals that stop it within the requests' deadline."""

    def __init__(self, settings: Settings) -> None:
        self._lead = settings.drain_lead_seconds
        self._patience = settings.request_deadline_seconds + _OVERTIME_SECONDS
        self._longest_patience = settings.longest_deadline_seconds + _OVERTIME_SECONDS
        tie_forks_to_this_process()
        sys.stdout.flush()
        limit = descriptors.raise_limit()
        connections = descriptors.connections_within(limit)
        blocking_threads = threads.for_each(settings.web_concurrency, threads.room())
        stopping = signals.stopping()
        service = os.getpid()
        self._pid = os.fork()
        if self._pid == 0:
            options = server_options(settings, connections=connections, blocking_threads=blocking_threads)
            _run_granian(options, service, stopping, within=settings.longest_deadline_seconds)
        # After the fork: these start threads.
        signals.on_each(stopping, self._stop)
        logs.configure(settings.log_level)
        log.info(
            "started",
            version=__version__,
            address=spelled(settings.host, settings.port),
            workers=settings.web_concurrency,
            threads=blocking_threads,
            descriptors=limit,
            connections=connections,
            genauth=settings.genauth_host,
            verification=settings.token_verification,
            redis=without_secrets(settings.redis_url),
            off=", ".join(_off(settings)),
        )
        warn_about(settings)
        descriptors.watch(self._pid, connections)

    def exit_code(self) -> int:
        """Wait for the end: 0 when it was asked for, else what granian ended with, as a shell would report it."""
        ended = 0
        while ended != self._pid:  # PID 1 also inherits, and buries, whom others leave behind
            ended, status = os.wait()
        code = os.waitstatus_to_exitcode(status)
        if is_draining():
            return 0
        return 128 - code if code < 0 else code or 1

    def _stop(self, signum: int, _: int) -> None:
        if is_draining():
            return
        begin_draining()
        log.info("draining", signal=signal.Signals(signum).name, lead_seconds=self._lead)
        _wait_unless_hurried(self._lead)
        begin_stopping()
        os.kill(self._pid, signal.SIGTERM)
        over = time.monotonic() + self._longest_patience
        _wait_unless_hurried(self._patience)
        # A change may have been sent to GenAuth: whoever asked for it is to learn how it ended.
        _wait_unless_hurried(min(over, changes_end().at + _OVERTIME_SECONDS) - time.monotonic())
        os.kill(self._pid, signal.SIGKILL)  # and with it the workers


def _off(settings: Settings) -> Iterator[str]:
    """The settings without which something is off, and those that switch it off."""
    for name in ("cache_secret", "cors_origins", "metrics_token", "session_cookie_name", "trusted_proxies", "webhook_secret"):
        if not getattr(settings, name):
            yield name.upper()
    for name in ("rate_limit", "change_rate_limit", "cache_stale_seconds", "local_cache_seconds"):
        if not getattr(settings, name):
            yield name.upper()


def _wait_unless_hurried(seconds: float) -> None:
    """Wait, but no longer than until Ctrl-C is pressed again: by a person who does not want to."""
    over = time.monotonic() + seconds
    while time.monotonic() < over and signal.SIGINT not in signal.sigpending():
        time.sleep(0.02)


def _run_granian(options: dict[str, Any], service: int, stopping: Iterable[int], *, within: float) -> NoReturn:
    """Be granian, in the fork; none of the parent's code runs here afterwards. ``within``: the seconds that a request has."""

    def application() -> Callable[..., object]:  # in each worker
        # Not granian's handler for its first process, which the fork has inherited. The worker's own is set after this.
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        signals.on_each(stopping, act)
        created: Callable[..., object] = importlib.import_module(_APPLICATION).create_app(options["blocking_threads"], warn=False)
        half_sent.watch(options["port"], within=within)
        return created

    def act(_: int, sender: int) -> None:
        # Not from above us: sent to us alone, or to every process. The first one makes the service unready before it stops us.
        if not is_stopping() and sender != os.getppid():
            os.kill(service, signal.SIGTERM)
        elif callable(stop := signal.getsignal(signal.SIGTERM)):
            stop(signal.SIGTERM, None)  # granian's, which finishes what is in flight
        else:
            os._exit(0)  # nothing is: granian has not got so far

    code = 1
    try:
        multiprocessing.set_start_method("fork")  # not the default of every Python; the workers share what was imported
        signals.on_each(stopping, act)
        Granian(_APPLICATION, log_dictconfig=LOGGING, **options).serve(target_loader=application, wrap_loader=False)
        code = 0
    except SystemExit as end:
        code = end.code if isinstance(end.code, int) else int(end.code is not None)
    except BaseException:  # noqa: BLE001 - printed and turned into an exit code: the parent's frames below are not ours to unwind
        traceback.print_exc()
    finally:
        logs.WRITER.flush()
        with suppress(OSError):
            sys.stderr.flush()
        os._exit(code)


if __name__ == "__main__":
    sys.exit(main())
