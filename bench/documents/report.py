"""Tables as text, which is also Markdown."""

from collections.abc import Iterable, Sequence
from pathlib import Path

from bench.rows import Row, Verdict

_TEXTS = Path(__file__).with_name("texts")
_MARKS = {
    Verdict.REACHED: "reached",
    Verdict.SHORT: "**short**",
    Verdict.WRONG: "**not measured**",
    Verdict.NONE: "for information",
}


def table(rows: Iterable[Row]) -> str:
    """The scenarios with their bars, medians, spread and verdicts."""
    lines = [
        (
            row.scenario,
            row.what,
            _reach(row),
            f"{number(row.value)} {row.unit}".rstrip(),
            f"{number(row.low)} … {number(row.high)}",
            _MARKS[row.verdict],
            row.note,
        )
        for row in rows
    ]
    return grid(("scenario", "what", "reach", "median", "spread", "verdict", "note"), lines)


def _reach(row: Row) -> str:
    if row.bar is None:
        return ""
    return f"{'≤' if row.less_is_better else '≥'} {number(row.bar)} {row.unit}".rstrip()


def grid(head: Sequence[str], lines: Iterable[Sequence[str]]) -> str:
    """A Markdown table that is also aligned as plain text."""
    cells = [list(head), *([str(cell) for cell in line] for line in lines)]
    widths = [max(len(line[column]) for line in cells) for column in range(len(head))]
    drawn = ["| " + " | ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)) + " |" for line in cells]
    drawn.insert(1, "|" + "|".join("-" * (width + 2) for width in widths) + "|")
    return "\n".join(drawn)


def text(name: str, **fields: object) -> str:
    """Prose from `texts`, with its fields filled in."""
    return (_TEXTS / f"{name}.md").read_text().strip().format_map(fields)


def number(value: float) -> str:
    """As many digits as mean something."""
    if value != value:  # noqa: PLR0124 - NaN
        return "none"
    if abs(value) >= 100 or value == int(value):
        return f"{value:,.0f}"
    return f"{value:.2f}" if abs(value) < 10 else f"{value:.1f}"
