import shutil
import subprocess
from pathlib import Path

import pytest

from bff.sandbox import Sandbox

HERE = Path(__file__).parent


@pytest.fixture
def genauth():
    # The clients' offline check reads every published key as RSA, so here there are no others.
    with Sandbox(algorithms=("RS256",)) as sandbox:
        yield sandbox


@pytest.fixture(scope="session")
def npm_packages():
    """The folder of what package-lock.json has, in a node_modules that git ignores."""
    if not (shutil.which("node") and shutil.which("npm")):
        pytest.skip("Node is not installed")
    lock, done = HERE / "package-lock.json", HERE / "node_modules" / ".package-lock.json"
    if not done.exists() or done.stat().st_mtime < lock.stat().st_mtime:
        install = ["npm", "ci", "--ignore-scripts", "--no-audit", "--no-fund"]
        run = subprocess.run(install, cwd=HERE, capture_output=True, text=True, timeout=110, check=False)
        assert run.returncode == 0, run.stderr
    return HERE / "node_modules"
