"""What docs/production.md names is there, and its look at a token tells the kinds of tokens apart."""

import json
import re
import subprocess
from pathlib import Path

import pytest

from bff import errors
from bff.settings import Settings

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs/production.md").read_text()
NAMED = set(re.findall(r"`([A-Za-z0-9_]+)`", PAGE))
# Names of others: of tokens and OpenID documents, and a variable that is not read.
FOREIGN = {"id_token", "at_hash", "jwks_uri", "HTTP_PROXY", "RS256", "ES256"}


def test_every_setting_that_it_names_is_one():
    assert {name for name in NAMED - FOREIGN if name.isupper()} <= set(Settings.kinds()) | {"TOKEN", "USER"}


def test_every_code_event_metric_and_reason_that_it_names_is_one():
    codes = {kind.code for kind in vars(errors).values() if isinstance(kind, type) and "code" in vars(kind)}
    told = (ROOT / "docs/observability.md").read_text()
    words = {name for name in NAMED - FOREIGN - codes if re.fullmatch(r"[a-z]+(_[a-z]+)+", name)}

    # A reason of /readyz is told in two parts: `discovery_…`, and how it ended.
    parts = {word: re.fullmatch(r"(?:discovery|key_set|introspection)_(.+)", word) for word in words}
    assert len(words) > 10
    assert [word for word in words if f"`{word}`" not in told and not (parts[word] and f"`{parts[word][1]}`" in told)] == []


@pytest.mark.parametrize(
    ("kind", "alg", "seen"),
    [("access", "RS256", ("RS256", "scope")), ("access", "HS256", ("HS256", "scope")), ("id", "RS256", ("RS256", "nonce"))],
)
def test_the_look_at_a_token_shows_what_it_is(genauth, kind, alg, seen):
    header, claims = map(json.loads, look_at(genauth.token("mei", kind=kind, alg=alg)).stdout.splitlines())

    assert header["alg"] == seen[0]
    assert seen[1] in claims
    assert claims["aud"] == genauth.app_id


def test_the_look_at_an_opaque_token_is_an_error(genauth):
    assert look_at(genauth.token("mei", kind="opaque")).returncode != 0


def look_at(token):
    (line,) = re.findall(r"(?m)^python3 -c .*$", PAGE)
    return subprocess.run(
        ["/bin/sh", "-c", line],
        env={"TOKEN": token, "PATH": "/usr/bin:/bin"},
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
