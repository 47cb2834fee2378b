"""docs/observability.md names every log event with its fields, every note, every metric with its labels, and every source."""

import ast
import re
from pathlib import Path

import pytest

from bff import errors
from bff.observability import metric_labels

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs/observability.md").read_text()
SOURCES = [path for path in sorted((ROOT / "bff").rglob("*.py")) if "sandbox" not in path.parts]
CODES = {kind.code for kind in vars(errors).values() if hasattr(kind, "code")}
LEVELS = {name: name for name in ("debug", "info", "warning", "error", "critical")} | {"exception": "error"}
METRIC = {"_counter": "counter", "_histogram": "histogram", "_gauge": "gauge", "_info": "gauge"}


def section(title):
    return PAGE.partition(f"# {title}")[2].partition("\n## ")[0]


NOTES_TABLES = section("Notes")
RUNBOOK = section("Runbook")


def rows():
    """Each table's row by the names in its first cell: the text of its other cells. Notes and runbook have rows of their own."""
    for line in PAGE.replace(NOTES_TABLES, "").replace(RUNBOOK, "").splitlines():
        if line.startswith("| `"):
            first, _, others = line.strip("| ").partition("|")
            for name in re.findall(r"`([^`]+)`", first):
                yield name, others


ROWS = dict(rows())


def is_log(node):
    return isinstance(node, ast.Attribute) and node.attr in LEVELS and isinstance(node.value, ast.Name) and "log" in node.value.id


def levels_of(function, aliases):
    """The levels that a call of this function may log at, none if it is no logger's."""
    if is_log(function):
        return {LEVELS[function.attr]}
    if isinstance(function, ast.Name):
        return {"critical"} if function.id == "_died" else aliases.get(function.id, set())
    return set()


def events():
    """Each event of the code: where, its name, its level and its fields."""
    for path in SOURCES:
        tree = ast.parse(path.read_text())
        aliases = {
            node.targets[0].id: {LEVELS[each.attr] for each in ast.walk(node.value) if is_log(each)}
            for node in ast.walk(tree)
            if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name)
        }
        for node in ast.walk(tree):
            if not isinstance(node, ast.Call) or not node.args or not isinstance(node.args[0], ast.Constant):
                continue
            levels = levels_of(node.func, aliases)
            fields = {"exception" if each.arg == "exc_info" else each.arg for each in node.keywords if each.arg}
            if levels:
                yield pytest.param(node.args[0].value, levels, fields, id=f"{path.stem}-{node.args[0].value}")


EVENTS = list(events())


def metrics():
    for node in ast.walk(ast.parse((ROOT / "bff/observability/metrics.py").read_text())):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr in METRIC:
            kind = METRIC[node.func.attr]
            name, _, *labels = [argument.value for argument in node.args]
            yield f"linked_accounts_{name}" + ("_total" if kind == "counter" else ""), kind, set(labels)


METRICS = list(metrics())


def text_of(node):
    """What a literal says, with an ellipsis for what is put in; None for anything else."""
    if isinstance(node, ast.JoinedStr):
        return "".join(part.value if isinstance(part, ast.Constant) else "…" for part in node.values)
    return node.value if isinstance(node, ast.Constant) and isinstance(node.value, str) else None


def notes():
    """The notes that are written out where an error is raised: as ``note=``, or in our functions that make one of a word."""
    for path in SOURCES:
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Call):
                own = node.args[1:] if isinstance(node.func, ast.Name) and node.func.id in ("note", "_require") else []
                named = [each.value for each in node.keywords if each.arg == "note"]
                yield from filter(None, map(text_of, own + named))


NOTES = set(notes())
# Made elsewhere: from PyJWT's errors, of the names of the query's parameters, or chosen before they are raised.
MADE = {
    *("algorithm of another key type", "signature", "claims", "include", "refresh"),
    *("no key set yet", "no key set but a snapshot"),
}


def documented_notes():
    firsts = (line.strip("| ").partition("|")[0] for line in NOTES_TABLES.splitlines() if line.startswith("| `"))
    return {name for first in firsts for name in re.findall(r"`([^`]+)`", first)}


def test_every_note_is_documented_and_no_other():
    assert len(NOTES) > 40
    assert documented_notes() == NOTES | MADE


def test_the_runbook_names_what_there_is():
    events = {event.values[0] for event in EVENTS} | {"log_lines_dropped"}
    known = {name.removeprefix("linked_accounts_") for name, _, _ in METRICS}
    named = set(re.findall(r"`([a-z]+(?:_[a-z]+)+)`", RUNBOOK))
    others = {*CODES, *ROWS, "not_ready", "request_id", "genauth_request_id", "answer_seconds"}

    assert named <= events | known | others, named - events - known - others


def test_events_and_metrics_are_found():
    assert len(EVENTS) > 8
    assert len(METRICS) > 12


@pytest.mark.parametrize(("event", "levels", "fields"), EVENTS)
def test_an_event_is_documented_with_its_level_and_fields(event, levels, fields):
    level, named, _ = ROWS[event].split("|", 2)

    assert levels <= set(re.findall(r"\w+", level))
    assert fields <= set(re.findall(r"`(\w+)`", level + named))


@pytest.mark.parametrize(("metric", "kind", "labels"), METRICS)
def test_a_metric_is_documented_with_its_labels(metric, kind, labels):
    documented, named, _ = ROWS[metric].split("|", 2)

    assert documented.strip() == kind
    assert set(re.findall(r"`(\w+)`", named)) == labels


def test_nothing_else_is_documented():
    known = {event.values[0] for event in EVENTS} | {metric for metric, _, _ in METRICS} | {"log_lines_dropped"}
    words = {*metric_labels.SOURCES, *metric_labels.OUTCOMES, *metric_labels.CACHE_REASONS}

    assert {name for name in ROWS if re.fullmatch(r"\w+", name)} == (known | words) - {"ok"}
