"""What we start ends with us, also when we are killed outright and can tidy nothing ourselves.

Two kinds of children, two ways. A *fork* asks the kernel to be killed when its parent dies (`tie_forks_to_this_process`).
A *folder*, with or without a *program* in it, gets a `Supervisor`: a shell that reads from a pipe whose other end we and our
forks hold. When the last of us is gone the read returns, and the guardian kills the program and removes the folder.
"""

import ctypes
import os
import secrets
import signal
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Self

_PR_SET_PDEATHSIG = 1  # linux/prctl.h
_PRCTL = ctypes.CDLL(None).prctl if sys.platform == "linux" else None  # looked up here: as little as possible after a fork

_GUARD = """
umask 077; mkdir -- "$1" || exit; folder=$1; shift
if [ $# -gt 0 ]; then "$@" </dev/null >"$folder/output" 2>&1 & fi
echo "$!"
read -r _
if [ -n "$!" ]; then kill -KILL "$!"; wait; fi
rm -rf -- "$folder"
"""


class Supervisor:
    """Holds a private folder (mode 0700), and the program started in it, until `close` or until this process is gone.

    Unlike a parent-death signal this outlives the thread that asked for it, needs no code between fork and exec, and also works
    where there is no such signal. The guardian has a session of its own, so Ctrl-C in a terminal does not take it away first.
    """

    def __init__(self, prefix: str, program: Sequence[str] = ()) -> None:
        """Make the folder ``<prefix>-<random>``; in ``program`` the text ``{folder}`` stands for its path."""
        # Named here but made by the guardian: there is no moment at which the folder exists and nobody minds it.
        self.folder = Path(tempfile.gettempdir(), f"{prefix}-{secrets.token_hex(6)}")
        arguments = [argument.replace("{folder}", str(self.folder)) for argument in program]
        self._process = subprocess.Popen(  # noqa: S603 - our own script, and arguments that reach it as arguments
            ["/bin/sh", "-c", _GUARD, "guardian", str(self.folder), *arguments],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            cwd="/",
            start_new_session=True,
        )
        assert self._process.stdout is not None  # noqa: S101 - PIPE was asked for; this tells mypy
        with self._process.stdout as answer:
            said = answer.readline()
        if not said:
            raise OSError(f"The folder {self.folder} cannot be made.")
        self.program_pid = int(said) if said.strip() else None

    def close(self) -> None:
        """End the program, remove the folder, and return when both are gone. May be called twice."""
        assert self._process.stdin is not None  # noqa: S101 - PIPE was asked for; this tells mypy
        if not self._process.stdin.closed:
            # A line, not only the end of the pipe: a fork of ours may hold the other end still.
            self._process.stdin.write(b"\n")
            self._process.stdin.close()
        self._process.wait()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def tie_forks_to_this_process() -> None:
    """From now on a process that is forked here, or by such a fork, is killed at once when its own parent dies.

    The kernel sends the signal when the *thread* that forked ends, so fork from threads that live as long as their process.
    Programs are tied only where they are started with a ``preexec_fn``: subprocess runs no fork hooks without one.
    """
    parent = os.getpid()

    def remember() -> None:
        nonlocal parent
        parent = os.getpid()

    os.register_at_fork(before=remember, after_in_child=lambda: _end_with(parent, signal.SIGKILL))


def end_with_parent() -> None:
    """Be asked to stop (SIGTERM) when the process that started this one dies."""
    _end_with(os.getppid(), signal.SIGTERM)


def _end_with(parent: int, signum: signal.Signals) -> None:
    """Linux only; no other system has such a signal."""
    if _PRCTL is None:
        return
    _PRCTL(_PR_SET_PDEATHSIG, signum, 0, 0, 0)
    if os.getppid() != parent:  # it died before we asked
        os._exit(1)
