"""The map of the house, `bff/__init__.py`, names modules and files that are there, and every room."""

import re
from importlib.util import find_spec
from pathlib import Path

import pytest

import bff

ROOT = Path(__file__).parents[2]
MAP = bff.__doc__
FILES = sorted(set(re.findall(r"[\w/.]+\.(?:py|md|example)\b", MAP)))
MODULES = sorted(set(re.findall(r"\b(?:web|accounts|cache|genauth)\.[a-z_]+\b(?!\.)", MAP.partition("The rooms")[0])))


@pytest.mark.parametrize("name", FILES)
def test_a_file_on_the_map_is_there(name):
    assert (ROOT / name).exists() or (ROOT / "bff" / name).exists()


@pytest.mark.parametrize("name", MODULES)
def test_a_module_on_the_map_is_there(name):
    assert find_spec(f"bff.{name}")


def test_every_room_is_on_the_map():
    rooms = {path.parent.name for path in (ROOT / "bff").glob("*/__init__.py")}
    assert rooms <= set(re.findall(r"\w+", MAP))


def test_the_map_is_one_page():
    assert len(MAP.splitlines()) <= 66
