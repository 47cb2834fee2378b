"""The machine that is measured on: its cores, who uses them, and how quiet it is."""

import os
import platform
import time
from collections.abc import Iterable
from pathlib import Path
from types import TracebackType
from typing import Self

_TICKS = os.sysconf("SC_CLK_TCK")
# Above this, somebody else's work shows in the figures.
QUIET = 0.05

CORES = os.cpu_count() or 1
SERVER_CORE = 0
# The load generator, Valkey and GenAuth: what would be other machines.
OTHER_CORE = 1 if CORES > 1 else 0


def about() -> str:
    """One line on the machine."""
    model = next(
        (
            line.partition(":")[2].strip()
            for line in Path("/proc/cpuinfo").read_text().splitlines()
            if line.startswith("model name")
        ),
        platform.machine(),
    )
    return f"{CORES} cores ({model}), Python {platform.python_version()}"


def seconds_used(pids: Iterable[int]) -> float:
    """CPU time of these processes so far, their own and the kernel's for them."""
    total = 0
    for pid in pids:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        total += int(fields[11]) + int(fields[12])
    return total / _TICKS


class Disturbance:
    """How much of the machine others used during a block, from 0 to 1; a context manager.

    Ours is everything below this process, ended children included.
    """

    def __init__(self, pids: Iterable[int]) -> None:
        """``pids`` besides our children that ended within the block."""
        self._pids = tuple(pids)
        self.share = 0.0

    def __enter__(self) -> Self:
        self._at, self._busy, self._ours = time.monotonic(), _busy(), self._used()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        if error is None:
            elapsed = time.monotonic() - self._at
            others = _busy() - self._busy - (self._used() - self._ours)
            self.share = max(0.0, others / (elapsed * CORES))

    def _used(self) -> float:
        times = os.times()
        return seconds_used(self._pids) + times.user + times.system + times.children_user + times.children_system


def _busy() -> float:
    user, nice, system, _idle, _wait, irq, softirq, steal = map(
        int, Path("/proc/stat").read_text().split("\n", 1)[0].split()[1:9]
    )
    return (user + nice + system + irq + softirq + steal) / _TICKS
