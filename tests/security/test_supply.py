"""What comes from elsewhere comes as it was chosen, and nothing that must stay here was committed.

There is no list of known vulnerabilities here: one that is not fetched anew each time tells nothing. With a network:
``pip-audit --require-hashes -r requirements.txt``.
"""

import re
import shutil
import subprocess

import pytest

from tests.security.effort import ROOT

PINNED = sorted([*ROOT.glob("requirements*.txt"), *ROOT.glob("tests/security/requirements*.txt")])
# What a credential looks like when it is one; the made-up ones of tests and sandbox name themselves as such.
CREDENTIALS = {
    "a private key": r"-----BEGIN (?:[A-Z]+ )?PRIVATE KEY-----",
    "a cloud's access key": r"\b(?:AKIA|ASIA)[0-9A-Z]{16}\b",
    "a GitHub token": r"\b(?:gh[pousr]_[A-Za-z0-9]{36}|github_pat_[A-Za-z0-9_]{60,})\b",
    "a Slack token": r"\bxox[abprs]-[A-Za-z0-9-]{20,}",
    "a Google key": r"\bAIza[0-9A-Za-z_-]{35}\b",
    "a signed token": r"\beyJ[A-Za-z0-9_-]{20,}\.eyJ[A-Za-z0-9_-]{20,}\.[A-Za-z0-9_-]{40,}",
    "an address with credentials": r"https?://[^\s/:@\"'{}$]+:[^\s/@\"'{}$]{12,}@[a-z0-9.-]+",
}
MADE_UP = ("canary", "example", "user:password", "u:p@")


@pytest.mark.parametrize("path", PINNED, ids=lambda path: path.name)
def test_every_package_is_pinned_and_hashed(path):
    lines = re.sub(r"\\\n\s*", " ", path.read_text()).splitlines()
    packages = [line for line in lines if line and not line.lstrip().startswith("#")]

    assert packages
    for package in packages:
        assert re.match(r"[A-Za-z0-9._\[\],-]+==\S+ ", package), package
        assert "--hash=sha256:" in package, package


@pytest.mark.parametrize("path", PINNED, ids=lambda path: path.name)
def test_no_package_comes_from_another_place(path):
    assert not re.search(
        r"(?m)^\s*(--index-url|--extra-index-url|--find-links|--trusted-host|-e\s)|git\+|file:| @ ", path.read_text()
    )


def test_packages_are_installed_by_their_hashes():
    makefile = (ROOT / "Makefile").read_text()

    for line in makefile.splitlines():
        if re.search(r"pip install .*-r ", line):
            assert "--require-hashes" in line, line


def test_nodes_packages_are_locked_with_their_hashes():
    import json

    packages = json.loads((ROOT / "tests/clients/package-lock.json").read_text())["packages"]

    assert all("integrity" in package for name, package in packages.items() if name)


def tracked():
    if not shutil.which("git") or not (ROOT / ".git").exists():
        pytest.skip("not a git checkout")
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    return [ROOT / name for name in listed.split("\0") if name]


def test_no_credential_was_committed():
    for path in tracked():
        if not path.is_file():
            continue
        for number, line in enumerate(path.read_text(errors="replace").splitlines(), 1):
            for what, form in CREDENTIALS.items():
                found = re.search(form, line)
                # The patterns above are no credentials, and made-up ones say so.
                if found and path.name != "test_supply.py" and not any(word in line for word in MADE_UP):
                    pytest.fail(f"{path.relative_to(ROOT)}:{number} looks like {what}")


def test_no_environment_and_no_key_file_was_committed():
    names = [path.name for path in tracked()]

    assert not [name for name in names if name == ".env" or name.endswith((".pem", ".key", ".p12", ".pfx", ".netrc", ".pyc"))]


def test_no_rule_of_the_security_linter_is_off_in_the_service():
    """ruff's S rules are bandit's; what is excused in bff, schemas or app is excused on its line, with its reason."""
    import tomllib

    lint = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["ruff"]["lint"]

    assert lint["select"] == ["ALL"]
    assert not [rule for rule in lint["ignore"] if re.fullmatch(r"S\d*", rule)]
    ours = [rules for path, rules in lint["per-file-ignores"].items() if path.startswith(("bff", "schemas", "app"))]
    excused = {rule for rules in ours for rule in rules}
    assert {rule for rule in excused if re.fullmatch(r"S\d+", rule)} <= {"S105", "S106"}  # the sandbox's made-up credentials
