"""Start the service for real: ``python -m bff.server.launch granian OPTIONS app:create_app``, as the Procfile does.

Checks the settings and names every mistake before anything runs, starts the embedded Valkey where it is asked for, then
runs granian in a fork and stands beside it: asked to stop, it takes readiness away first and lets the server drain
afterwards. What follows ``granian`` on the command line is granian's own, see ``granian --help``.

    launch ─┬─ granian ─┬─ worker        SIGTERM, SIGINT: readiness, a moment later the server, exit code 0
            │           └─ worker        SIGKILL on any of them: those below it are killed, the guardian tidies
            └─ guardian ── Valkey
"""

import importlib
import os
import signal
import sys
import traceback
from contextlib import ExitStack
from types import FrameType
from typing import NoReturn

from bff.resilience import begin_draining
from bff.server import embedded_valkey as embedded
from bff.server.child_processes import Supervisor, tie_forks_to_this_process
from bff.settings import ConfigurationError, Settings

# Long enough for a load balancer or a test to notice, short enough to leave the rest of the time to what is in flight.
READINESS_LEAD_SECONDS = 1.0

# After the deadline that every request has, only a client that never finished asking can still hold the server.
_OVERTIME_SECONDS = 0.25

_STOPPED_BY = (signal.SIGTERM, signal.SIGINT)


def main(command: list[str]) -> int:
    """Run the service until it ends; the exit code: 0 when it was asked to stop, 2 when the settings cannot be used."""
    if command[:1] != ["granian"]:
        print("Usage: python -m bff.server.launch granian OPTIONS app:create_app", file=sys.stderr)
        return 2
    try:
        settings = Settings.from_env(os.environ)
        with ExitStack() as kept:
            _furnish(settings, kept)
            return _Server(command[1:], settings.request_deadline_seconds + _OVERTIME_SECONDS).outcome()
    except ConfigurationError as error:
        return _refuse(error.mistakes)
    except embedded.ValkeyNotStarted as error:
        return _refuse([str(error)])


def _refuse(mistakes: list[str]) -> int:
    print("The service cannot start:", *(f"  - {mistake}" for mistake in mistakes), sep="\n", file=sys.stderr)
    return 2


def _furnish(settings: Settings, kept: ExitStack) -> None:
    """Put into the environment what the workers need and only the whole service can have one of, and take out what harms."""
    # granian begins every request's environ with the process's own: such a variable would be a header that nobody sent.
    for name in [name for name in os.environ if name.startswith("HTTP_")]:
        del os.environ[name]
    if settings.redis_url == "embedded":
        valkey = embedded.start()
        kept.callback(valkey.stop)
        os.environ["REDIS_URL"] = valkey.url
    # prometheus-client adds up the workers' metrics through files in one folder, named when it is imported.
    os.environ["PROMETHEUS_MULTIPROC_DIR"] = str(kept.enter_context(Supervisor("linked-accounts-metrics")).folder)


class _Server:
    """Granian in a fork of this process, and the two signals that end it: at most ``patience`` seconds after it was told."""

    def __init__(self, arguments: list[str], patience: float) -> None:
        self._asked = False
        self._patience = patience
        # Imported before the forks: every worker shares these pages, and one that comes back is there at once.
        importlib.import_module(arguments[-1].partition(":")[0])
        importlib.import_module("granian.cli")
        tie_forks_to_this_process()
        sys.stdout.flush()
        signal.pthread_sigmask(signal.SIG_BLOCK, _STOPPED_BY)
        self._pid = os.fork()
        if self._pid == 0:
            _run_granian(arguments)
        for signum in _STOPPED_BY:
            signal.signal(signum, self._stop)
        signal.signal(signal.SIGALRM, self._stop_accepting)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, _STOPPED_BY)

    def outcome(self) -> int:
        """Wait for the end: 0 when it was asked for, else what granian ended with, as a shell would tell it."""
        code = os.waitstatus_to_exitcode(os.waitpid(self._pid, 0)[1])
        if self._asked:
            return 0
        return 128 - code if code < 0 else code or 1

    def _stop(self, signum: int, _: FrameType | None) -> None:
        if not self._asked:
            self._asked = True
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


def _run_granian(arguments: list[str]) -> NoReturn:
    """Be granian, in the fork; nothing of the parent's runs here afterwards."""
    code = 1
    try:
        # Out of the terminal's reach: Ctrl-C goes to the parent alone, which takes readiness away first.
        os.setpgid(0, 0)
        for signum in _STOPPED_BY:
            signal.signal(signum, signal.SIG_DFL)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, _STOPPED_BY)
        importlib.import_module("granian.cli").cli.main(arguments, "granian", auto_envvar_prefix="GRANIAN")
    except SystemExit as end:
        code = end.code if isinstance(end.code, int) else int(end.code is not None)
    except BaseException:  # noqa: BLE001 - told and turned into an exit code: the parent's frames below are not ours to unwind
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
