"""One version, wherever it is written."""

import re
import tomllib
from pathlib import Path

from bff import __version__

ROOT = Path(__file__).parents[2]


def test_the_version_is_the_same_everywhere(client):
    assert tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"] == __version__
    assert client.get("/openapi.json").json["info"]["version"] == __version__
    assert re.search(r'image\.version="(.+?)"', (ROOT / "Dockerfile").read_text())[1] == __version__
