"""A drill as SVG, by hand: each answer a dot, its latency over the moment it was asked, the fault a shaded stretch."""

from html import escape
from math import log10

WIDTH, HEIGHT = 860, 300
LEFT, RIGHT, TOP, BOTTOM = 62, 16, 46, 44
LEAST, MOST = 0.001, 5.0
KINDS = {
    "fresh": "fresh, from memory or GenAuth",
    "stale": "the last good answer, stale",
    "error": "errors",
}


def drawn(outcome):
    """The whole SVG document."""
    origin = min(answer.begun for answer in outcome.answers)
    end = max(answer.begun for answer in outcome.answers)
    spread = max(end - origin, 0.001)

    def x(moment):
        return LEFT + (moment - origin) / spread * (WIDTH - LEFT - RIGHT)

    def y(seconds):
        share = log10(min(max(seconds, LEAST), MOST) / LEAST) / log10(MOST / LEAST)
        return HEIGHT - BOTTOM - share * (HEIGHT - TOP - BOTTOM)

    parts = [_HEAD.format(width=WIDTH, height=HEIGHT, title=escape(f"{outcome.name}: {outcome.fault}"))]
    for begun, over, name in outcome.picture.spans:
        parts.append(
            f'<rect class="fault" x="{x(begun):.1f}" y="{TOP}" width="{max(1.5, x(over) - x(begun)):.1f}" '
            f'height="{HEIGHT - TOP - BOTTOM}"/><text class="name" x="{x(begun) + 4:.1f}" y="{TOP - 5}">{escape(name)}</text>'
        )
    for seconds, label in ((0.001, "1 ms"), (0.01, "10 ms"), (0.1, "100 ms"), (0.25, "250 ms"), (1, "1 s"), (3.5, "3.5 s")):
        line = "limit" if seconds == 3.5 else "grid"
        parts.append(
            f'<line class="{line}" x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{y(seconds):.1f}" y2="{y(seconds):.1f}"/>'
            f'<text x="{LEFT - 6}" y="{y(seconds) + 4:.1f}" text-anchor="end">{label}</text>'
        )
    parts += [
        f'<text x="{x(origin + second):.1f}" y="{HEIGHT - BOTTOM + 16}" text-anchor="middle">{second} s</text>'
        for second in range(0, int(spread) + 1, max(1, int(spread) // 12))
    ]
    for kind in KINDS:
        # A dot of many answers is drawn once.
        dots = {(round(x(a.begun)), round(y(a.seconds))) for a in outcome.answers if kind_of(a) == kind}
        marks = "".join(f"M{left} {top}h.01" for left, top in sorted(dots))
        parts.append(f'<path class="{kind}" d="{marks}"/>' if marks else "")
    place = LEFT
    for kind, label in KINDS.items():
        count = sum(kind_of(answer) == kind for answer in outcome.answers)
        parts.append(
            f'<path class="{kind}" d="M{place + 4} {HEIGHT - 11}h.01"/>'
            f'<text x="{place + 12}" y="{HEIGHT - 7}">{count:,} {label}</text>'
        )
        place += 290
    return "\n".join([*filter(None, parts), "</svg>\n"])


def kind_of(answer):
    return "error" if answer.status != 200 else "stale" if answer.stale else "fresh"


_HEAD = """<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" role="img"
  font-family="system-ui,sans-serif" font-size="12">
<title>{title}</title>
<style>
  rect.paper {{ fill: #fff }} text {{ fill: #333 }} .title {{ font-size: 14px; font-weight: 600 }} .name {{ fill: #8a3b12 }}
  .fault {{ fill: #f6c9a8; opacity: .35 }} .grid {{ stroke: #ddd }} .limit {{ stroke: #c0392b; stroke-dasharray: 5 4 }}
  path {{ stroke-width: 4; stroke-linecap: round; fill: none }}
  .fresh {{ stroke: #2f7d4f; opacity: .55 }} .stale {{ stroke: #c98a00; opacity: .6 }} .error {{ stroke: #c0392b; opacity: .9 }}
</style>
<rect class="paper" width="100%" height="100%"/>
<text class="title" x="62" y="24">{title}</text>"""
