"""Which signals stop the service, and that no process of it can miss or misunderstand one.

They come to one process or to all of them at once (systemd, Heroku), at any moment, and the first process may be PID 1, for which
the kernel drops what nobody handles. So they are held back from the first moment, in whatever is started later too, and a thread
of each process that is concerned waits for them; supervisors and Valkey are not.
"""

import signal
import threading
from collections.abc import Callable, Iterable

_STOP = frozenset({signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGQUIT})
# What else ends a process that does not expect it, and tells of no fault of its own. Some systems have not all of them.
_NAMES = ("SIGUSR1", "SIGUSR2", "SIGALRM", "SIGVTALRM", "SIGPROF", "SIGPIPE", "SIGIO", "SIGPWR", "SIGSTKFLT")


def hold() -> None:
    """Hold back the signals that stop the service and ignore what is no fault, in this process and all that it starts."""
    signal.pthread_sigmask(signal.SIG_BLOCK, _STOP)
    for signum in _ignored():
        signal.signal(signum, signal.SIG_IGN)
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)  # whoever starts us may ignore it, and then no child's end is known


def stopping() -> frozenset[signal.Signals]:
    """The signals that stop the service. Not SIGHUP when it was ignored from the start, as ``nohup`` has it."""
    return _STOP - {signal.SIGHUP} if signal.getsignal(signal.SIGHUP) is signal.SIG_IGN else _STOP


def pending() -> bool:
    """Whether one of them came that nobody has waited for yet."""
    return not stopping().isdisjoint(signal.sigpending())


def on_each(awaited: Iterable[int], act: Callable[[int, int], object]) -> None:
    """Call ``act`` with each of these signals that comes and its sender's process id, in a thread of this process.

    The id is 0 where the system does not say it. Of two that come at once, ``act`` may see one.
    """

    def wait() -> None:
        while True:
            act(*_wait_for(awaited))

    threading.Thread(target=wait, name="signals", daemon=True).start()


def _wait_for(awaited: Iterable[int]) -> tuple[int, int]:
    if hasattr(signal, "sigwaitinfo"):
        came = signal.sigwaitinfo(awaited)
        return came.si_signo, came.si_pid
    return signal.sigwait(awaited), 0


def _ignored() -> set[int]:
    real_time = set(range(signal.SIGRTMIN, signal.SIGRTMAX + 1)) if hasattr(signal, "SIGRTMIN") else set()
    return {getattr(signal, name) for name in _NAMES if hasattr(signal, name)} | real_time
