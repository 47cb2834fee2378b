"""What make does before any Python of ours runs: with stand-ins for Python, for nothing is to be installed here."""

import os
import re
import shutil
import stat
import subprocess
from pathlib import Path

import pytest

MAKEFILE = Path(__file__).parents[2] / "Makefile"
FITS, TOO_OLD = "exit 0", "exit 1"
# As `python3 -m venv` leaves it where Debian's package python3-venv is missing.
NO_PIP = 'case "$*" in *pip*) exit 1 ;; esac'
# As `python3 -m venv --clear .venv`: what was there is gone, and there is a Python that works.
NEW = """
case "$*" in
  --version) echo Python 3.99.0 ;;
  "-m venv --clear .venv")
    rm -rf .venv; mkdir -p .venv/bin; touch .venv/pyvenv.cfg; cp "$0" .venv/bin/python ;;
  "-m pip "*) echo "$*" >>installed ;;
esac
"""


def program(file, script):
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(f"#!/bin/sh\n{script}\n")
    file.chmod(file.stat().st_mode | stat.S_IXUSR)


@pytest.fixture
def make(tmp_path):
    shutil.copy(MAKEFILE, tmp_path)
    (tmp_path / "requirements.txt").touch()
    program(tmp_path / "python3", NEW)

    def run(*arguments):
        command = ["make", f"PYTHON={tmp_path}/python3", *arguments]
        # The make that may run these tests hands its own flags on in MAKEFLAGS and its like.
        environ = {name: value for name, value in os.environ.items() if not name.startswith(("MAKE", "MFLAGS"))}
        ran = subprocess.run(command, cwd=tmp_path, env=environ, capture_output=True, text=True, timeout=20, check=True)
        return ran.stdout

    return run


def earlier(folder, python):
    """A .venv of an earlier run, with everything installed."""
    (folder / ".venv").mkdir()
    (folder / ".venv/pyvenv.cfg").touch()
    (folder / ".venv/of-an-earlier-run").touch()
    (folder / ".venv/.run-installed").touch()
    if python:
        program(folder / ".venv/bin/python", python)


@pytest.mark.parametrize("python", [TOO_OLD, None, NO_PIP], ids=["too old", "gone", "half made"])
def test_an_environment_whose_python_does_not_fit_is_made_anew(make, tmp_path, python):
    earlier(tmp_path, python)

    said = make(".venv/.run-installed")

    assert not (tmp_path / ".venv/of-an-earlier-run").exists()
    assert (tmp_path / "installed").read_text() == "-m pip install --quiet --require-hashes -r requirements.txt\n"
    assert said.startswith("Making .venv with Python 3.99.0 ...\nInstalling the packages of requirements.txt ...\n")


def test_an_environment_that_fits_stays_as_it_is(make, tmp_path):
    earlier(tmp_path, FITS)

    make(".venv/.run-installed")

    assert (tmp_path / ".venv/of-an-earlier-run").exists()
    assert not (tmp_path / "installed").exists()


def test_the_first_run_makes_one_and_the_second_has_it(make, tmp_path):
    make(".venv/.run-installed")
    make(".venv/.run-installed")

    assert (tmp_path / "installed").read_text().count("install") == 1


def test_the_targets_are_told_by_make_alone(make):
    told = set(re.findall(r"^  (make [a-z-]+) ", make(), re.MULTILINE))

    assert {"make run", "make sandbox", "make test", "make test-quick"} <= told
