"""docs/sandbox.md names every person, fault and switch, and its commands do what they are there for."""

import dataclasses
import os
import re
import subprocess
from pathlib import Path

import pytest

from bff.sandbox.control import ROUTES
from bff.sandbox.events import Webhook
from bff.sandbox.faults import COMPRESSIONS, ENDINGS, Fault
from bff.sandbox.malformed import NAMES
from bff.sandbox.people import Linking
from bff.sandbox.sandbox import APP_ID, APP_SECRET

PAGE = (Path(__file__).parents[2] / "docs/sandbox.md").read_text()
COMMANDS = re.findall(r"^    (curl .*)$", PAGE, re.MULTILINE)
QUOTED = set(re.findall(r"`([^`]+)`", PAGE))


def test_every_person_is_there_and_nobody_else(genauth):
    rows = re.findall(r"^\| `([a-z]+)` \|", PAGE.partition("## Tokens")[0], re.MULTILINE)

    assert rows == list(genauth.people)


def test_every_fault_and_every_way_to_link_and_to_tell_is_there():
    assert {field.name for each in (Fault, Linking, Webhook) for field in dataclasses.fields(each)} | {
        *NAMES,
        *ENDINGS,
        *COMPRESSIONS,
    } <= QUOTED


def test_every_switch_has_a_command():
    shown = set()
    for command in COMMANDS:
        path = re.search(r"\$SANDBOX(/sandbox/[a-z-]+)", command)[1]
        method = re.search(r"-X ([A-Z]+)", command)
        shown.add((method[1] if method else "POST" if " -d " in command else "GET", path))

    assert shown == set(ROUTES)


def test_what_a_service_needs_to_know_of_it_is_there():
    assert {APP_ID, APP_SECRET} <= QUOTED


@pytest.mark.parametrize("command", COMMANDS)
def test_a_command_is_carried_out(genauth, command):
    ran = subprocess.run(
        ["/bin/sh", "-c", command],
        env={"SANDBOX": genauth.url, "PATH": os.defpath},
        capture_output=True,
        timeout=10,
        check=False,
    )

    if "drop-connections" in command:
        assert ran.returncode == 52  # its own connection is among them
    else:
        assert (ran.returncode, ran.stderr) == (0, b"")
        assert ran.stdout[:1] in (b"{", b"[")
