"""Threads: how many each worker may have where processes and threads are limited, as small machines and containers do.

granian starts a thread when a request finds none idle, and a worker whose thread cannot be started is gone at once. So a worker
gets no more than there is room for; of a crowd, some then wait for a thread, and some are refused with 503.
"""

import os
import resource
import sys
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from bff.factory import THREADS

_FEWEST = 4
# Beside those that answer requests: a worker's own (log, signals, probes, look-ups), and those of the processes around them.
_OF_A_WORKER = 14
_OF_THE_SERVICE = 10
_PRIVILEGED = 1 << 21 | 1 << 24  # CAP_SYS_ADMIN and CAP_SYS_RESOURCE (linux/capability.h): no RLIMIT_NPROC for them


class TooFewThreads(Exception):
    """The workers that were asked for do not fit; the text says what to change."""


def for_each(workers: int, room: int) -> int:
    """How many threads of a worker answer requests, where the service may start so many more processes and threads."""
    threads = min(THREADS, (room - _OF_THE_SERVICE) // workers - _OF_A_WORKER)
    if threads < _FEWEST:
        needed = _OF_THE_SERVICE + workers * (_OF_A_WORKER + _FEWEST)
        raise TooFewThreads(
            f"The limit of processes and threads leaves room for {room} more, and WEB_CONCURRENCY={workers} needs {needed}. "
            "Raise the limit (pids.max of the container, ulimit -u), or lower WEB_CONCURRENCY."
        )
    return threads


def room(proc: Path = Path("/proc"), cgroups: Path = Path("/sys/fs/cgroup")) -> int:
    """How many more processes and threads may be started here, the smallest that any limit leaves; no limit is `sys.maxsize`."""
    return max(0, min([sys.maxsize, *_left_by_cgroups(proc, cgroups), *_left_by_user(proc)]))


def _left_by_cgroups(proc: Path, cgroups: Path) -> Iterator[int]:
    """What is left in this process's cgroup and in each around it, of version 1 (``4:pids:/a/b``) and 2 (``0::/a/b``)."""
    with suppress(OSError):
        for line in (proc / "self/cgroup").read_text().splitlines():
            _, controllers, path = line.split(":", 2)
            if controllers and "pids" not in controllers.split(","):
                continue
            mounted = cgroups / "pids" if controllers else cgroups
            # In a container the path may be that of the machine, while the container's own cgroup is mounted at the top.
            for folder in (mounted / path.strip("/"), *(mounted / path.strip("/")).parents):
                with suppress(OSError, ValueError):  # not there, or "max"
                    yield int((folder / "pids.max").read_text()) - int((folder / "pids.current").read_text())


def _left_by_user(proc: Path) -> Iterator[int]:
    """What ``ulimit -u`` leaves to this user, raised as far as it may be."""
    _, hard = resource.getrlimit(resource.RLIMIT_NPROC)
    with suppress(ValueError, OSError):
        resource.setrlimit(resource.RLIMIT_NPROC, (hard, hard))
    limit, _ = resource.getrlimit(resource.RLIMIT_NPROC)
    status = _status(proc / "self")
    if limit == resource.RLIM_INFINITY or os.getuid() == 0 or int(status.get("CapEff", "0"), 16) & _PRIVILEGED:
        return
    if not proc.is_dir():  # as on macOS; nobody says what the others use
        return
    everybody = [_status(folder) for folder in proc.iterdir() if folder.name.isdigit()]
    user = str(os.getuid())
    yield limit - sum(int(each.get("Threads", "0")) for each in everybody if each.get("Uid", "").split("\t")[0] == user)


def _status(process: Path) -> dict[str, str]:
    with suppress(OSError):
        lines = (process / "status").read_text(errors="replace").splitlines()
        return {name: value.strip() for name, _, value in (line.partition(":") for line in lines)}
    return {}
