"""A test that was late is run again, at most twice; whatever else fails has failed."""

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]
TESTS = """
    from collections import Counter

    import pytest
    from tests.timing import in_time

    runs = Counter()

    @pytest.fixture
    def fresh():
        return []

    @pytest.mark.parametrize("good", [1, 2, 3, 4])
    def test_late_until(fresh, good):
        runs[good] += 1
        assert not fresh
        fresh.append(good)
        in_time(0 if runs[good] == good else 2, 1)

    def test_wrong():
        runs["wrong"] += 1
        assert runs["wrong"] != 1
"""


def test_only_what_was_late_is_run_again(tmp_path):
    file = tmp_path / "test_some.py"
    file.write_text("\n".join(line[4:] for line in TESTS.splitlines()))
    command = [
        sys.executable,
        "-m",
        "pytest",
        "-p",
        "tests.timing",
        "-p",
        "no:cacheprovider",
        "-p",
        "no:randomly",
        "-c",
        os.devnull,
    ]

    ran = subprocess.run([*command, "-rfp", file], cwd=ROOT, capture_output=True, text=True, timeout=60, check=False)

    told = [line.split()[0] + line.partition("::")[2].partition(" ")[0] for line in ran.stdout.splitlines() if "::" in line]
    late = [f"LATEtest_late_until[{good}]:" for good in (2, 3, 3, 4, 4)]
    passed = [f"PASSEDtest_late_until[{good}]" for good in (1, 2, 3)]
    assert sorted(told) == sorted([*late, *passed, "FAILEDtest_late_until[4]", "FAILEDtest_wrong"])
