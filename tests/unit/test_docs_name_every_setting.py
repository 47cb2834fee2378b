"""The settings are told three times: in the code, in .env.example and in docs/configuration.md. They agree."""

import re
from dataclasses import MISSING, fields
from pathlib import Path

import pytest

from bff.settings import Settings

ROOT = Path(__file__).parents[2]


def settings_of_the_code():
    defaults = {setting.name.upper(): setting.default for setting in fields(Settings)}
    return {name: as_text(defaults[name]) for name in Settings.kinds()}


def as_text(default):
    if default is MISSING:
        return "required"
    if isinstance(default, tuple):
        return ",".join(default)
    return "" if default is None else f"{default:g}" if isinstance(default, float) else str(default)


def settings_of_the_docs():
    rows = re.findall(r"^\| `([A-Z_]+)` \| ([^|]+) \|", (ROOT / "docs/configuration.md").read_text(), re.MULTILINE)
    return {name: default.strip("`").replace("\N{EN DASH}", "") for name, default in rows}


def lines_of_the_example():
    return re.findall(r"^(#?)([A-Z_]+)=(.*)$", (ROOT / ".env.example").read_text(), re.MULTILINE)


def test_the_docs_name_every_setting_with_its_default_and_no_other():
    assert settings_of_the_docs() == settings_of_the_code()


def test_the_example_names_every_setting_with_its_default_and_no_other():
    told = {name: value if optional else "required" for optional, name, value in lines_of_the_example()}

    assert told == settings_of_the_code()


def test_the_example_gives_every_setting_a_sentence():
    for optional, name, value in lines_of_the_example():
        before = (ROOT / ".env.example").read_text().partition(f"\n{optional}{name}={value}\n")[0]
        assert re.fullmatch(r"# [A-Z].+", before.splitlines()[-1]), name


@pytest.mark.parametrize("everything", [False, True], ids=["as it is", "with every comment lifted"])
def test_the_example_can_be_copied_as_it_stands(everything):
    environ = {name: value for optional, name, value in lines_of_the_example() if everything or not optional}

    settings = Settings.from_env(environ)

    assert settings.warnings == ()
    assert settings == Settings(
        genauth_host=settings.genauth_host, genauth_app_id=settings.genauth_app_id, redis_url=settings.redis_url
    )
