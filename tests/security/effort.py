"""How hard to try: for seconds in `make test`, at length in `make fuzz`; how much was tried, for docs/security.md; work."""

import os
import re
import sys
import threading
from collections import Counter
from collections.abc import Callable
from pathlib import Path

from hypothesis import HealthCheck, settings

ENOUGH = 100_000
LONG = os.environ.get("FUZZ") == "long"
ROOT = Path(__file__).parents[2]
DOCUMENT = ROOT / "docs" / "security.md"
_TABLE = re.compile(r"(<!-- tried -->\n).*(<!-- /tried -->)", re.DOTALL)

_tried: Counter[str] = Counter()
_answers: Counter[int] = Counter()
_lock = threading.Lock()


def examples(quick: int, long: int) -> settings:
    """Hypothesis's settings: so many examples in `make test`, so many in `make fuzz`."""
    return settings(
        max_examples=long if LONG else quick,
        deadline=None,
        suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow, HealthCheck.data_too_large],
    )


def tried(what: str, times: int = 1) -> None:
    """Count inputs that were made up and tried. ``what`` is a row of the table in docs/security.md."""
    with _lock:
        _tried[what] += times


def answered(status: int) -> None:
    """Count an answer of the application's."""
    with _lock:
        _answers[status] += 1


def calls_made(act: Callable[[], object]) -> int:
    """How many functions are called, C's included, while ``act`` runs in this thread: work that no other load changes."""
    calls = 0

    def count(_frame: object, event: str, _arg: object) -> None:
        nonlocal calls
        calls += event in {"call", "c_call"}

    before = sys.getprofile()
    sys.setprofile(count)
    try:
        act()
    finally:
        sys.setprofile(before)
    return calls


def table() -> str:
    """What was tried so far, in Markdown."""
    rows = [f"| {what} | {times:,} |" for what, times in sorted(_tried.items(), key=lambda row: -row[1])]
    total = f"| **together** | **{_tried.total():,}** |"
    said = ", ".join(f"{status}: {times:,}" for status, times in sorted(_answers.items()))
    return "\n".join(["| tried | inputs |", "|---|---:|", *rows, total, "", f"The application's answers by status: {said}.", ""])


def publish() -> None:
    """Write the table into docs/security.md, unless only a part was run."""
    if _tried.total() < ENOUGH:
        return
    document = DOCUMENT.read_text()
    written = _TABLE.sub(lambda found: f"{found[1]}\n{table()}\n{found[2]}", document)
    DOCUMENT.write_text(written)
