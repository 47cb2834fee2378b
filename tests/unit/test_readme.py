"""What the README says can rot; this says so."""

import re
from pathlib import Path

import pytest

from bff import errors
from bff.errors import BffError

ROOT = Path(__file__).parents[2]
PAGES = sorted(path for path in ROOT.rglob("*.md") if not {"node_modules", ".venv", ".pytest_cache"} & set(path.parts))
README = (ROOT / "README.md").read_text()


def links():
    for page in PAGES:
        for target in re.findall(r"\]\(([^)#]+)(?:#[^)]*)?\)", page.read_text()):
            if "://" not in target:
                yield pytest.param(page, target, id=f"{page.relative_to(ROOT)} {target}")


@pytest.mark.parametrize(("page", "target"), list(links()))
def test_a_link_leads_somewhere(page, target):
    assert (page.parent / target).exists()


def test_every_error_code_is_told():
    codes = {
        kind.code
        for kind in vars(errors).values()
        if isinstance(kind, type) and issubclass(kind, BffError) and "code" in vars(kind)
    }

    assert {code for code in codes if f"`{code}`" not in README} == set()


def test_the_two_commands_exist():
    targets = re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE)

    assert {"run", "test"} <= set(targets)
    assert "make run" in README
    assert "make test" in README
