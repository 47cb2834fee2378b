"""Load from wrk: closed loops that ask again as soon as they are answered."""

import json
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

SCRIPT = Path(__file__).with_name("wrk.lua")


class WrongAnswer(Exception):
    """A program answered something else than it should: there is nothing left to measure."""


class NothingMeasured(Exception):
    """Not one answer came in time, as on a machine that is busy with something else."""


@dataclass(frozen=True, slots=True)
class Figures:
    """One run. ``milliseconds`` is the latency by percentile, as text: ``"50"``, ``"99.9"``."""

    requests: int
    per_second: float
    mean: float
    milliseconds: dict[str, float]

    @property
    def p50(self) -> float:
        """The median latency."""
        return self.milliseconds["50"]

    @property
    def p99(self) -> float:
        """The latency that one in a hundred exceeds."""
        return self.milliseconds["99"]


@dataclass(frozen=True, slots=True)
class Load:
    """A way of asking: ``callers`` connections for ``seconds``, users at random, or each ``once`` in the file's order.

    With ``zipf``, the users at random are those of a crowd: the n-th of the file is asked for n ** -zipf times as often as the
    first. Before each request a connection waits for ``pause`` seconds on average.
    """

    tokens: Path
    callers: int
    seconds: float
    once: bool = False
    first: int = 0
    seed: int = 1
    zipf: float = 0.0
    pause: float = 0.0


def command(load: Load, url: str, core: int | None) -> list[str]:
    """Wrk's command line, pinned to a core."""
    pinned = ["taskset", "-c", str(core)] if core is not None else []
    order = "once" if load.once else "random"
    return [
        *pinned, "wrk", "-t", "1", "-c", str(load.callers), "-d", f"{max(1, round(load.seconds))}s", "--timeout", "10s",
        "-s", str(SCRIPT), url, "--", str(load.tokens), order, str(load.first), str(load.seed), str(load.zipf),
        str(round(load.pause * 1000)),
    ]  # fmt: skip


def apply(load: Load, url: str, core: int | None) -> Figures:
    """Ask, and tell how it went; raises what `read` raises."""
    return read(subprocess.run(command(load, url, core), check=True, capture_output=True, text=True).stdout)


def read(output: str) -> Figures:
    """The figures in what wrk printed; raises `WrongAnswer` when any was an error, `NothingMeasured` when there were none."""
    told = json.loads(output.strip().rsplit("\n", 1)[-1])
    if not told["requests"]:
        raise NothingMeasured("No answer came in time.")
    if told["failed"] or told["broken"]:
        raise WrongAnswer(f"{told['failed']} errors and {told['broken']} broken connections in {told['requests']} answers")
    per_second = told["requests"] / told["microseconds"] * 1e6
    return Figures(told["requests"], per_second, told["mean"], told["milliseconds"])


def write_tokens(path: Path, tokens: Sequence[str]) -> Path:
    """A file for wrk."""
    path.write_text("\n".join(tokens) + "\n")
    return path
