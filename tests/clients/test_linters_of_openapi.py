"""/openapi.json as those read it who generate clients: redocly's and spectral's rules find nothing in it, not even a warning."""

import json
import os
import subprocess

import pytest

from bff.factory import create_app
from bff.settings import Settings

# Neither looks for a newer version of itself, nor reports what it does.
QUIET = {**os.environ, "REDOCLY_TELEMETRY": "off", "REDOCLY_SUPPRESS_UPDATE_NOTICE": "true", "NO_COLOR": "1"}
SETTINGS = {
    "least": {},
    "most": {"SESSION_COOKIE_NAME": "__Host-session", "METRICS_TOKEN": "watching-from-the-tower", "WEBHOOK_SECRET": "events"},
}


@pytest.fixture
def documents(tmp_path):
    """The document as it is served with different settings, each in a file."""
    for name, changed in SETTINGS.items():
        environ = {
            "GENAUTH_HOST": "http://127.0.0.1:1",
            "GENAUTH_APP_ID": "an-app",
            "REDIS_URL": "redis://127.0.0.1:1",
            **changed,
        }
        served = create_app(Settings.from_env(environ)).test_client().get("/openapi.json")
        (tmp_path / f"{name}.json").write_bytes(served.data)
    return [str(tmp_path / f"{name}.json") for name in SETTINGS]


def test_linters_find_nothing(documents, npm_packages, tmp_path):
    rules = tmp_path / "rules.json"
    rules.write_text(json.dumps({"extends": ["spectral:oas"]}))
    commands = [
        [npm_packages / ".bin/redocly", "lint", *documents, "--extends=recommended-strict", "--format=stylish"],
        [npm_packages / ".bin/spectral", "lint", *documents, "--ruleset", rules, "--fail-severity=hint"],
    ]

    running = [
        subprocess.Popen(each, cwd=tmp_path, env=QUIET, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        for each in commands
    ]

    for process in running:
        printed, _ = process.communicate(timeout=90)
        assert process.returncode == 0, printed
