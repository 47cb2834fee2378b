"""Who may import whom. Reads the imports of every module, so that a shortcut fails here and not in a year."""

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
HOUSE = [ROOT / "app.py", *sorted((ROOT / "bff").rglob("*.py")), *sorted((ROOT / "schemas").rglob("*.py"))]

# One home for each library; a package stands for everything in it.
HOMES = {
    "requests": {"bff.genauth"},
    "urllib3": {"bff.genauth"},
    "httptools": {"bff.genauth.replies"},
    "flask": {"bff.web", "bff.factory", "bff.services", "bff.backends"},
    "flask_smorest": {"bff.web"},
    "flask_cors": {"bff.web"},
    "flask_caching": {"bff.backends", "bff.store"},
    "cachelib": {"bff.backends"},
    "redis": {"bff.backends", "bff.store", "bff.roundtrip"},
    "hiredis": {"bff.roundtrip"},
    "werkzeug": {"bff.web", "bff.factory"},
    "jwt": {"bff.jwks"},
    "prometheus_client": {"bff.metrics"},
    "limits": {"bff.ratelimit", "bff.setting_rules"},
    "marshmallow": {"schemas", "bff.genauth", "bff.web"},
}


def module(path):
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def imports(path):
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield node.module or ""


def within(name, package):
    return name == package or name.startswith(package + ".")


def test_there_is_a_house():
    assert len(HOUSE) > 30


@pytest.mark.parametrize("path", HOUSE, ids=module)
def test_imports_point_inwards(path):
    name = module(path)
    for imported in imports(path):
        if within(name, "schemas"):
            assert not within(imported, "bff"), f"{name} imports {imported}"
        if not within(name, "app"):
            assert not within(imported, "app"), f"{name} imports {imported}"
        if within(name, "bff") and name != "bff.factory" and not within(name, "bff.web"):
            assert not within(imported, "bff.web"), f"{name} imports {imported}"
        assert not within(imported, "tests"), f"{name} imports {imported}"


@pytest.mark.parametrize("path", HOUSE, ids=module)
def test_the_sandbox_is_the_other_side_of_the_wire(path):
    name = module(path)
    for imported in imports(path):
        if within(name, "bff.sandbox"):
            assert not within(imported, "bff") or within(imported, "bff.sandbox"), f"{name} imports {imported}"
            assert not within(imported, "schemas"), f"{name} imports {imported}"
        else:
            assert not within(imported, "bff.sandbox"), f"{name} imports {imported}"


@pytest.mark.parametrize("path", [path for path in HOUSE if not within(module(path), "bff.sandbox")], ids=module)
def test_each_library_has_one_home(path):
    name = module(path)
    for imported in imports(path):
        library = imported.partition(".")[0]
        homes = HOMES.get(library)
        assert homes is None or any(within(name, home) for home in homes), f"{name} imports {library}"


@pytest.mark.parametrize("path", HOUSE, ids=module)
def test_a_module_opens_with_what_it_is_for(path):
    assert ast.get_docstring(ast.parse(path.read_text()))
