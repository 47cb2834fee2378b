"""Child processes that end with us, also when we are killed outright and can clean up nothing ourselves.

There are two kinds. A *fork* asks the kernel to be killed when its parent dies (`tie_forks_to_this_process`). A private *folder*,
with or without a program that runs in it, gets a `Supervisor`: a shell that reads from a pipe whose other end we and our forks
hold. When the last of us has ended, the read returns, and the supervisor kills the program and removes the folder.
"""

import ctypes
import os
import secrets
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

_PR_SET_PDEATHSIG = 1  # linux/prctl.h
_PRCTL = ctypes.CDLL(None).prctl if sys.platform == "linux" else None  # looked up here: as little as possible after a fork

# SIGPIPE: we may be gone before it has printed. Valkey sets handlers of its own for the two signals that `env` holds back.
_SCRIPT = """
trap '' HUP INT QUIT TERM PIPE
umask 077; mkdir -- "$1" || exit; folder=$1; shift
if [ $# -gt 0 ]; then
    if env --block-signal=INT,TERM true 2>/dev/null; then set -- env --block-signal=INT,TERM "$@"; fi
    "$@" </dev/null >"$folder/output" 2>&1 &
fi
echo "$!"
read -r _
if [ -n "$!" ]; then kill -KILL "$!"; wait; fi
rm -rf -- "$folder"
"""


def private_folder(prefix: str) -> Path:
    """A name that nobody guesses, for a folder that a `Supervisor` makes, if it can."""
    try:
        parent = tempfile.gettempdir()
    except FileNotFoundError:  # nothing can be written anywhere
        parent = "/tmp"  # noqa: S108 - whoever makes the folder says that it cannot be made
    return Path(parent, f"{prefix}-{secrets.token_hex(6)}")


class Supervisor:
    """Keeps a folder (mode 0700) and the program started in it until `close` is called or this process has ended.

    Unlike a parent-death signal it does not depend on the thread that started it, needs no code between fork and exec, and works
    on systems without such a signal. It has a session of its own, so that Ctrl-C in a terminal does not end it before us.
    """

    def __init__(self, folder: Path, program: Sequence[str] = ()) -> None:
        """Make the folder and start ``program``, in which ``{folder}`` stands for the folder's path."""
        self.folder = folder
        arguments = [argument.replace("{folder}", str(folder)) for argument in program]
        # The supervisor makes the folder itself: at no moment does the folder exist without one that removes it.
        self._process = subprocess.Popen(  # noqa: S603 - our own script, and arguments that reach it as arguments
            ["/bin/sh", "-c", _SCRIPT, "supervisor", str(folder), *arguments],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            cwd="/",
            start_new_session=True,
        )
        assert self._process.stdout is not None  # noqa: S101 - PIPE was asked for; this tells mypy
        with self._process.stdout as output:
            first_line = output.readline()
        if not first_line:
            raise OSError(f"The folder {folder} cannot be made.")
        self.program_pid = int(first_line) if first_line.strip() else None

    def close(self) -> None:
        """End the program, remove the folder, and return when both are gone. May be called twice."""
        assert self._process.stdin is not None  # noqa: S101 - PIPE was asked for; this tells mypy
        if self._process.stdin.closed:
            return
        with suppress(BrokenPipeError):  # somebody has killed it
            # A line, not only the end of the pipe: a fork of ours may still hold the other end.
            os.write(self._process.stdin.fileno(), b"\n")
        self._process.stdin.close()
        self._process.wait()
        if self.folder.exists():  # it could do nothing any more
            if self.program_pid is not None:
                with suppress(ProcessLookupError):
                    os.kill(self.program_pid, signal.SIGKILL)
            shutil.rmtree(self.folder, ignore_errors=True)


def tie_forks_to_this_process() -> None:
    """From now on a process that is forked here, or by such a fork, is killed as soon as its own parent dies.

    The kernel sends the signal when the *thread* that forked ends, so fork from threads that live as long as their process.
    Programs are tied only where they are started with a ``preexec_fn``: subprocess runs no fork hooks without one.
    """
    parent = os.getpid()

    def note_parent() -> None:
        nonlocal parent
        parent = os.getpid()

    os.register_at_fork(before=note_parent, after_in_child=lambda: _end_with(parent, signal.SIGKILL))


def end_with_parent(parent: int | None = None) -> None:
    """Have the kernel send SIGTERM to this process when the one that started it dies.

    It may have died already, before a line of ours ran: whoever knows its id gives it, and this process ends here.
    """
    _end_with(os.getppid() if parent is None else parent, signal.SIGTERM)


def _end_with(parent: int, signum: signal.Signals) -> None:
    """Linux only; no other system has such a signal."""
    if _PRCTL is None:
        return
    _PRCTL(_PR_SET_PDEATHSIG, signum, 0, 0, 0)
    if os.getppid() != parent:  # it died before we asked
        os._exit(1)
