"""Descriptors: every open connection takes one, and a process that has none left takes no connection.

A worker whose ``accept`` fails for want of a descriptor would try again without end. granian accepts only while it holds fewer
connections than its ``backpressure``, so that is kept below the limit: whoever comes then waits in the kernel's queue.
"""

import resource
import sys
import threading
import time
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

import structlog

log = structlog.get_logger()

MOST_CONNECTIONS = 4096
# What a worker opens beside them: for each of its threads one to GenAuth and one to Redis, and some files of its own.
_OTHERS = 384
# Of these its own files; where there are few descriptors the rest are one each to GenAuth and Redis for a connection that asks.
_FILES = 48
_FEWEST = 64
_LOOK_SECONDS = 1.0
_LOOK_AGAIN_SECONDS = 60.0  # after a warning


class TooFewDescriptors(Exception):
    """A worker cannot hold even a few connections; the text says what to change."""


def raise_limit() -> int:
    """Raise the limit of open files as far as this process may; returns what it is now."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    with suppress(ValueError, OSError):  # some systems have no hard limit, and a largest soft one that they do not tell
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return sys.maxsize if soft == resource.RLIM_INFINITY else soft


def connections_within(limit: int) -> int:
    """How many connections a worker may hold at once with that limit of open files."""
    if limit < _FEWEST:
        raise TooFewDescriptors(
            f"The limit of open files is {limit}, and a worker needs {_FEWEST} at least and is meant to have thousands. "
            "Raise the limit (ulimit -Hn; in containers nofile; LimitNOFILE of systemd)."
        )
    return min(MOST_CONNECTIONS, max(limit - _OTHERS, (limit - _FILES) // 3))


def watch(parent: int, connections: int) -> None:
    """Log a warning while a child of that process has as many descriptors open as it may hold connections.

    In a thread, as long as this process lives; where there is no ``/proc`` nothing is seen.
    """
    threading.Thread(target=_watch, args=(parent, connections), name="descriptors", daemon=True).start()


def _watch(parent: int, connections: int) -> None:
    while True:
        exhausted = [pid for pid in _children(parent) if _descriptors(pid) >= connections]
        if exhausted:
            log.warning("connections_exhausted", workers=len(exhausted), connections=connections)
        time.sleep(_LOOK_AGAIN_SECONDS if exhausted else _LOOK_SECONDS)


def _children(pid: int) -> Iterable[int]:
    with suppress(OSError):
        return map(int, Path(f"/proc/{pid}/task/{pid}/children").read_text().split())
    return ()


def _descriptors(pid: int) -> int:
    with suppress(OSError):
        return sum(1 for _ in Path(f"/proc/{pid}/fd").iterdir())
    return 0
