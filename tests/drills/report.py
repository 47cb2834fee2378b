"""What the drills found, for people: lines in the terminal, a table in docs/reliability.md, pictures beside it."""

import re
from pathlib import Path

from tests.drills.picture import drawn

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "reliability.md"
IMAGES = ROOT / "docs" / "img"
# The faults that a picture tells more of than a row.
DRAWN = (
    "genauth-5xx",
    "genauth-black-hole",
    "genauth-dripping-body",
    "redis-frozen",
    "redis-killed",
    "rolling-restart",
    "replica-killed",
)


def told(outcome):
    """One drill for the terminal: what was done, what came back, each claim."""
    verdict = "broken" if outcome.broken else "held"
    claims = "".join(f"\n      {'ok' if truth else 'NO'}  {sentence}" for sentence, truth in outcome.claims)
    figures = "".join(f"\n      {figure}" for figure in outcome.figures)
    return (
        f"{outcome.name} ({outcome.took:.0f} s): {verdict}\n    {outcome.fault} | {outcome.load}\n    {answers_of(outcome)} | "
        f"errors {outcome.errors} | worst {outcome.worst:.3f} s, p99 {outcome.p99:.3f} s | calls {outcome.upstream}"
        f"{claims}{figures}"
    )


def answers_of(outcome):
    return ", ".join(f"{source} {count:,}" for source, count in outcome.counted.most_common())


HEAD = (
    "| drill | promise | fault | load | answers | errors | p99 / worst, s | calls | verdict |\n"
    "|---|---|---|---|---|---|---|---|---|\n"
)


def row(outcome):
    """One drill for the table."""
    verdict = "**broken**: " + "; ".join(outcome.broken) if outcome.broken else f"held ({len(outcome.claims)} claims)"
    times = f"{outcome.p99:.3f} / {outcome.worst:.3f}" if outcome.answers else "-"
    cells = (
        f"`{outcome.name}`",
        outcome.promise,
        outcome.fault,
        outcome.load,
        "<br>".join(filter(None, [answers_of(outcome), *outcome.figures])),
        str(outcome.errors),
        times,
        str(outcome.upstream),
        verdict,
    )
    return "| " + " | ".join(cells) + " |\n"


def write(outcomes):
    """Table and pictures into docs/; the rows of drills that did not run stay as they were."""
    page = PAGE.read_text()
    rows = dict(re.findall(r"^\| `([a-z0-9-]+)` (\|.*\n)", between(page, "table"), re.MULTILINE))
    table = {name: f"| `{name}` {rest}" for name, rest in rows.items()}
    table |= {outcome.name: row(outcome) for outcome in outcomes}
    page = replaced(page, "table", HEAD + "".join(table.values()))
    PAGE.write_text(page)
    IMAGES.mkdir(exist_ok=True)
    for outcome in outcomes:
        if outcome.name in DRAWN and outcome.picture:
            (IMAGES / f"drill-{outcome.name}.svg").write_text(drawn(outcome))


def between(page, name):
    return page.partition(f"<!-- {name} -->\n")[2].partition(f"<!-- /{name} -->")[0]


def replaced(page, name, content):
    before, begin, rest = page.partition(f"<!-- {name} -->\n")
    _, end, after = rest.partition(f"<!-- /{name} -->")
    assert begin, f"docs/reliability.md has no place for the {name}"
    assert end, f"the {name} in docs/reliability.md does not end"
    return before + begin + content + end + after
