"""The peers answer the same question, or there is nothing to compare."""

import json
import re
from pathlib import Path

import pytest

from bench import answers, programs
from bench.load.standin import StandIn
from bff.factory import create_app
from bff.sandbox.sandbox import APP_ID
from bff.server.descriptors import MOST_CONNECTIONS
from bff.server.serve import server_options
from bff.settings import Settings

SETTINGS = Settings(genauth_host="http://127.0.0.1:1", genauth_app_id="an-app", redis_url="embedded")
LOCK = programs.PEERS / "node" / "package-lock.json"


@pytest.fixture(scope="module")
def stand_in():
    with StandIn() as genauth:
        yield genauth


@pytest.fixture
def world(stand_in, valkey):
    stand_in.takes(0.0)
    stand_in.forget()
    return programs.World(stand_in.url, stand_in.issuer, stand_in.app_id, valkey.url)


def test_the_stand_in_is_a_genauth_to_the_service(stand_in, world):
    client = create_app(Settings.from_env(world.environment(8000, 1, {}))).test_client()
    (token,) = stand_in.tokens([7])

    answer = client.get(programs.PATH, headers={"Authorization": f"Bearer {token}"})

    answers.check("ours", answer.status_code, answer.data, 7)
    assert stand_in.calls() == 1


def test_a_wrong_person_is_a_wrong_answer(stand_in, world):
    client = create_app(Settings.from_env(world.environment(8000, 1, {}))).test_client()
    (token,) = stand_in.tokens([7])
    answer = client.get(programs.PATH, headers={"Authorization": f"Bearer {token}"})

    with pytest.raises(answers.WrongAnswer):
        answers.check("ours", answer.status_code, answer.data, 8)


@pytest.mark.server
@pytest.mark.parametrize("program", programs.ALL, ids=lambda program: program.name)
def test_a_program_starts_and_answers_rightly_from_genauth_and_from_redis(program, stand_in, world):
    if program.name in programs.missing():
        pytest.skip(f"{program.name} is not installed; `make bench` does it")
    (token,) = stand_in.tokens([5])

    with programs.Running(program, world, cores="0") as running:
        replies = [running.ask(token) for _ in range(2)]

    if program.answers_accounts:
        for status, body in replies:
            answers.check(program.name, status, body, 5)
        assert stand_in.calls() == 1
    else:
        assert replies == [(200, answers.BODY)] * 2


@pytest.mark.parametrize("program", [programs.BARE, programs.FLOOR], ids=lambda program: program.name)
def test_the_floors_have_the_services_server_and_its_options(program):
    ours = server_options(SETTINGS, connections=MOST_CONNECTIONS)

    for name in ("blocking_threads", "backlog", "backpressure"):
        assert f"--{name.replace('_', '-')} {ours[name]} " in program.command()
    assert f"--interface {ours['interface'].value} " in program.command()
    assert f"--http1-buffer-size {ours['http1_settings'].max_buffer_size} " in program.command()


def test_the_lock_file_names_no_registry():
    packages = json.loads(LOCK.read_text())["packages"]

    assert not [name for name, package in packages.items() if "resolved" in package]
    assert all(package.get("integrity") for name, package in packages.items() if name)


def test_every_package_of_the_recipe_is_pinned_and_hashed():
    text = (Path(programs.__file__).parent / "requirements.txt").read_text()

    assert re.findall(r"^([a-z-]+)==", text, re.MULTILINE)
    assert all("--hash=" in block for block in re.split(r"\n(?=[a-z])", text.strip()) if not block.startswith("#"))


def test_the_stand_in_speaks_for_the_application_of_the_sandbox():
    assert StandIn.app_id == APP_ID
