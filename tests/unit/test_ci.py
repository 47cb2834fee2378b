""".ci/run: what it tells, and with what code it ends. In place of make there is a stand-in."""

import os
import shutil
import subprocess
import time
from pathlib import Path

import pytest

CI = Path(__file__).parents[2] / ".ci"
MAKE = """#!/bin/sh
echo "make $*" >>made
case "$*" in
  test-pythons) sleep "$PYTHONS_TAKE"; echo "tried the others"; exit "$PYTHONS" ;;
  test) while [ -n "$AFTER" ] && ! grep -q "$AFTER" made; do sleep 0.01; done; exit "$TESTS" ;;
esac
"""


@pytest.fixture
def ci(tmp_path):
    shutil.copytree(CI, tmp_path / ".ci")
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin/make").write_text(MAKE)
    (tmp_path / "bin/make").chmod(0o755)

    def run(*, tests=0, pythons=0, pythons_take=0, after=""):
        environ = {"PATH": f"{tmp_path}/bin:{os.defpath}", "TMPDIR": str(tmp_path), "TESTS": str(tests), "AFTER": after}
        environ |= {"PYTHONS": str(pythons), "PYTHONS_TAKE": str(pythons_take)}
        return subprocess.run(
            ["bash", ".ci/run"], cwd=tmp_path, env=environ, capture_output=True, text=True, timeout=20, check=False
        )

    return run


def test_everything_is_run_and_told(ci, tmp_path):
    ran = ci()

    made = (tmp_path / "made").read_text().splitlines()
    assert ran.returncode == 0
    assert "tried the others" in ran.stdout
    assert sorted(made[-2:]) == ["make test", "make test-pythons"]
    assert made[-3] == "make lint types"


def test_another_python_that_fails_fails_all_of_it(ci):
    ran = ci(pythons=3)

    assert ran.returncode == 3
    assert "tried the others" in ran.stdout


def test_a_test_that_fails_is_told_at_once_and_leaves_nothing_running(ci, tmp_path):
    ran = ci(tests=2, pythons_take=600, after="test-pythons")

    assert ran.returncode == 2
    patience = time.monotonic() + 10
    while any(folder.startswith(str(tmp_path)) for folder in working_folders()):
        assert time.monotonic() < patience
        time.sleep(0.01)


def working_folders():
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            yield str((folder / "cwd").readlink())
        except OSError:
            continue
