"""docs/security.md names the test that holds each defence: every one of them exists."""

import ast
import re

import pytest

from tests.security.effort import DOCUMENT, ENOUGH, LONG, ROOT

NAMED = re.compile(r"`(tests/[\w/]+\.py)(?:::(?:\w+::)?(test_\w+))?`")


def functions(path):
    return {node.name for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.FunctionDef)}


def named():
    return NAMED.findall(DOCUMENT.read_text())


def test_there_are_many():
    assert len([test for _, test in named() if test]) >= 30


@pytest.mark.parametrize(("path", "test"), named(), ids=lambda part: part.rpartition("/")[2])
def test_every_test_it_names_exists(path, test):
    assert (ROOT / path).is_file()
    assert not test or test in functions(ROOT / path)


def test_every_file_of_attacks_is_named():
    files = {f"tests/security/{path.name}" for path in (ROOT / "tests/security").glob("test_*.py")}

    assert files <= {path for path, _ in named()}


@pytest.mark.skipif(LONG, reason="`make fuzz` writes the table in the end")
def test_more_than_a_hundred_thousand_inputs_were_tried():
    together = re.search(r"\*\*together\*\* \| \*\*([\d,]+)\*\*", DOCUMENT.read_text())

    assert together
    assert int(together[1].replace(",", "")) >= ENOUGH
    assert not re.search(r"by status:.*\b500:", DOCUMENT.read_text())
