"""The Dockerfile and compose.yaml, read. `make image-check` builds the image and runs it."""

import json
import os
import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
import yaml

from bff.server.dev import web_command

ROOT = Path(__file__).parents[2]
DOCKERFILE = (ROOT / "Dockerfile").read_text()
INSTRUCTIONS = [line for line in DOCKERFILE.replace("\\\n", " ").splitlines() if line and not line.startswith("#")]
COMPOSE = yaml.safe_load((ROOT / "compose.yaml").read_text())
SERVICES = COMPOSE["services"]


def instructions(name, *, stage=-1):
    """The arguments of those instructions of a stage; the last one is the image."""
    stages = re.split(r"(?m)^(?=FROM )", "\n".join(INSTRUCTIONS))
    return [line.partition(" ")[2].strip() for line in stages[stage].splitlines() if line.startswith(f"{name} ")]


def checked(program, *arguments):
    """The output of a linter that is among the packages for development; "" where it finds nothing."""
    binary = shutil.which(program, path=f"{Path(sys.executable).parent}:{os.environ['PATH']}")
    if binary is None:
        pytest.skip(f"{program} is not installed; it comes with requirements-dev.txt")
    ran = subprocess.run([binary, *arguments], cwd=ROOT, capture_output=True, text=True, timeout=60, check=False)
    return ran.stdout + ran.stderr if ran.returncode else ""


def test_hadolint_finds_nothing():
    assert checked("hadolint", "Dockerfile") == ""


def test_compose_yaml_is_what_the_compose_specification_allows():
    assert checked("check-jsonschema", "--builtin-schema", "vendor.compose-spec", "compose.yaml") == ""


def test_image_check_says_what_it_misses_and_is_left_out():
    ran = subprocess.run(
        [sys.executable, "-m", "tests.image"], cwd=ROOT, env={"PATH": ""}, capture_output=True, text=True, timeout=60, check=False
    )

    assert re.match(r"image-check is left out: (it needs root|first apt-get install .*podman)", ran.stdout)
    assert (ran.returncode, ran.stderr) == (0, "")


# The image ---------------------------------------------------------------------------------------------


def test_the_image_starts_as_the_procfile_does():
    (command,) = instructions("CMD")

    assert json.loads(command) == web_command().split()
    assert instructions("ENTRYPOINT") == []


def test_the_image_is_not_root_and_says_so_by_number():
    (user,) = instructions("USER")

    assert re.fullmatch(r"[1-9]\d*:[1-9]\d*", user)


def test_the_image_names_the_version_that_it_is():
    version = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]

    assert f'org.opencontainers.image.version="{version}"' in DOCKERFILE


def test_both_stages_stand_on_one_base_that_can_be_replaced():
    assert INSTRUCTIONS[0] == "ARG BASE=docker.io/library/python:3.11-slim-bookworm"
    assert [line for line in INSTRUCTIONS if line.startswith("FROM ")] == ["FROM ${BASE} AS build", "FROM ${BASE}"]


def test_the_image_installs_packages_by_their_hashes():
    installs = [line for line in INSTRUCTIONS if "pip install" in line]

    assert installs
    assert all("--require-hashes" in line for line in installs)


def test_what_the_image_is_made_of_is_enough_to_start_and_nothing_else_gets_in(tmp_path):
    ignored, *let_in = [line for line in (ROOT / ".dockerignore").read_text().splitlines() if line and not line.startswith("#")]
    copied = [line.split()[0] for line in instructions("COPY", stage=1)]
    assert ignored == "*"
    assert {f"!{name}" for name in copied} == {line for line in let_in if line.startswith("!")}
    for name in copied:
        source = ROOT / name
        if source.is_dir():
            shutil.copytree(source, tmp_path / name, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(source, tmp_path / name)

    modules = "import app, bff.server.healthcheck, bff.server.launch, bff.server.serve, bff.sandbox.__main__"
    imported = subprocess.run(
        [sys.executable, "-c", modules], cwd=tmp_path, env={}, capture_output=True, text=True, timeout=60, check=False
    )

    assert imported.stderr == ""
    assert imported.returncode == 0


# compose.yaml ------------------------------------------------------------------------------------------


def test_compose_publishes_on_loopback_only():
    published = [port for service in SERVICES.values() for port in service.get("ports", [])]

    assert published
    assert all(port.startswith("127.0.0.1:") for port in published)
    assert "host" not in {service.get("network_mode") for service in SERVICES.values()}


def test_compose_starts_each_when_what_it_needs_is_healthy():
    needs = SERVICES["service"]["depends_on"]

    assert set(needs) == set(SERVICES) - {"service"}
    for name, need in needs.items():
        assert need["condition"] == "service_healthy"
        assert SERVICES[name]["healthcheck"]["test"]
    assert instructions("HEALTHCHECK")  # the service brings its own


def test_composes_valkey_is_bounded_and_may_forget():
    command = " ".join(SERVICES["valkey"]["command"])

    assert re.search(r"--maxmemory \d+mb --maxmemory-policy allkeys-l[rf]u ", command)


@pytest.mark.parametrize("name", SERVICES)
def test_compose_gives_no_container_more_than_it_needs(name):
    service = SERVICES[name]

    assert service["read_only"]
    assert service["cap_drop"] == ["ALL"]
    assert service["security_opt"] == ["no-new-privileges:true"]
    assert {"mem_limit", "pids_limit"} <= set(service)


def test_compose_asks_the_application_that_the_sandbox_is():
    from bff.sandbox.sandbox import APP_ID, APP_SECRET

    settings = SERVICES["service"]["environment"]
    assert (settings["GENAUTH_APP_ID"], settings["GENAUTH_APP_SECRET"]) == (APP_ID, APP_SECRET)
    assert SERVICES["sandbox"]["command"][-4:] == [
        "--webhook-url",
        f"{settings['PUBLIC_URL']}/webhooks/genauth",
        "--webhook-secret",
        settings["WEBHOOK_SECRET"],
    ]
