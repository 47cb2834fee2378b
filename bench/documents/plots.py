"""Plots as SVG by hand: a few lines and bars need no library. Readable on light and on dark ground."""

import math
from collections.abc import Mapping, Sequence
from html import escape

_COLOURS = ("#2f7ed8", "#e07b00", "#2a9d5c", "#b0489f", "#7a7a7a", "#c23b3b")
_WIDTH, _HEIGHT, _LEFT, _BOTTOM, _TOP, _RIGHT = 720, 360, 64, 48, 36, 150
_INK = "#808890"


def bars(title: str, unit: str, values: Mapping[str, tuple[float, float, float]]) -> str:
    """One bar for each name, (median, lowest, highest), with a whisker from lowest to highest."""
    top = max(high for _, _, high in values.values()) * 1.1 or 1
    height = 40 * len(values) + 60
    parts = [_text(12, 22, title, size=15, weight="bold")]
    for place, (name, (value, low, high)) in enumerate(values.items()):
        y, colour = 44 + 40 * place, _COLOURS[place % len(_COLOURS)]

        def x(number: float) -> float:
            return 110 + number / top * (_WIDTH - 230)

        parts += [
            _text(100, y + 17, name, anchor="end"),
            f'<rect x="110" y="{y}" width="{x(value) - 110:.1f}" height="24" rx="2" fill="{colour}"/>',
            f'<path d="M{x(low):.1f} {y + 12}H{x(high):.1f}" stroke="{_INK}" stroke-width="2"/>',
            _text(x(max(value, high)) + 8, y + 17, f"{value:,.0f} {unit}"),
        ]
    return _svg(height, parts)


def curves(
    title: str,
    across: str,
    up: str,
    lines: Mapping[str, Sequence[tuple[float, float]]],
    *,
    marks: Mapping[float, str] | None = None,
) -> str:
    """A line for each name; both axes logarithmic. ``marks`` are the places named below the horizontal axis."""
    points = [point for line in lines.values() for point in line]
    low_x, high_x = min(x for x, _ in points), max(x for x, _ in points)
    low_y, high_y = min(y for _, y in points if y > 0) / 1.2, max(y for _, y in points) * 1.2

    def place(x: float, y: float) -> tuple[float, float]:
        across_share = _share(x, low_x, high_x)
        return _LEFT + across_share * (_WIDTH - _LEFT - _RIGHT), _HEIGHT - _BOTTOM - _share(y, low_y, high_y) * (
            _HEIGHT - _BOTTOM - _TOP
        )

    parts = [_text(12, 22, title, size=15, weight="bold"), _text(_LEFT, _HEIGHT - 8, across), _text(12, _TOP + 4, up)]
    for value in _ticks(low_y, high_y):
        _, y = place(low_x, value)
        parts += [
            f'<path d="M{_LEFT} {y:.1f}H{_WIDTH - _RIGHT}" stroke="{_INK}" stroke-opacity=".25"/>',
            _text(_LEFT - 6, y + 4, f"{value:g}", anchor="end"),
        ]
    for value, name in (marks or {x: f"{x:,.0f}" for x, _ in points}).items():
        x, _ = place(value, low_y)
        parts.append(_text(x, _HEIGHT - 28, name, anchor="middle"))
    for index, (name, line) in enumerate(lines.items()):
        colour = _COLOURS[index % len(_COLOURS)]
        path = " ".join(f"{x:.1f},{y:.1f}" for x, y in (place(*point) for point in line if point[1] > 0))
        y = _TOP + 20 + 20 * index
        parts += [
            f'<polyline points="{path}" fill="none" stroke="{colour}" stroke-width="2"/>',
            f'<path d="M{_WIDTH - _RIGHT + 12} {y - 4}h18" stroke="{colour}" stroke-width="3"/>',
            _text(_WIDTH - _RIGHT + 36, y, name),
        ]
    return _svg(_HEIGHT, parts)


def _share(value: float, low: float, high: float) -> float:
    return (math.log(value) - math.log(low)) / (math.log(high) - math.log(low)) if high > low else 0.5


def _ticks(low: float, high: float) -> list[float]:
    steps = [factor * 10.0**power for power in range(-4, 10) for factor in (1, 2, 5)]
    return [step for step in steps if low <= step <= high]


def _text(x: float, y: float, text: str, *, anchor: str = "start", size: int = 12, weight: str = "normal") -> str:
    return (
        f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}" font-size="{size}" font-weight="{weight}" fill="{_INK}">'
        f"{escape(text)}</text>"
    )


def _svg(height: float, parts: Sequence[str]) -> str:
    head = f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {height:g}" font-family="system-ui, sans-serif">'
    return "\n".join([head, *parts, "</svg>"]) + "\n"
