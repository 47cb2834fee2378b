"""The parsers under atheris. Only in `make fuzz`, which installs it."""

import importlib.util
import json
import re
import subprocess
import sys

import pytest

from tests.security.effort import LONG, ROOT, tried

RUNS = 60_000
SECONDS = 60
SEEDS = {
    "wire": [b"\0" + sample.read_bytes() for sample in sorted(ROOT.glob("tests/samples/*/200.json"))],
    "stored": [b'[1700000000.0,1700000060.0,["e1"]]' + b'\n[{"id":"e1"}]' * 4, b"[1.0]"],
    "token": [b"eyJzdWIiOiJ1IiwiYXVkIjoiYXBwIiwiZXhwIjoxOTAwMDAwMDAwLCJpYXQiOjE3MDAwMDAwMDAsImlzcyI6ImkiLCJzY29wZSI6InMifQ"],
    "keys": [json.dumps({"keys": [{"kty": "RSA", "n": "AQAB", "e": "AQAB", "kid": "k"}]}).encode()],
}


@pytest.mark.skipif(not LONG, reason="runs in `make fuzz`")
@pytest.mark.skipif(not importlib.util.find_spec("atheris"), reason="atheris is not there: no wheel for this Python or machine")
@pytest.mark.timeout(SECONDS * 3)
@pytest.mark.parametrize("target", SEEDS)
def test_no_input_that_reaches_new_code_breaks_a_parser(tmp_path, target):
    corpus = tmp_path / "corpus"
    corpus.mkdir()
    for number, seed in enumerate(SEEDS[target]):
        (corpus / str(number)).write_bytes(seed)
    options = [f"-runs={RUNS}", f"-max_total_time={SECONDS}", "-max_len=4096", "-timeout=10", f"-artifact_prefix={tmp_path}/"]
    command = [sys.executable, "-m", "tests.security.guided", target, str(corpus), *options]

    ran = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, errors="replace", check=False)

    assert ran.returncode == 0, (ran.stdout + ran.stderr)[-4000:]
    tried(f"parsers guided by coverage (atheris): {target}", int(re.findall(r"Done (\d+) runs", ran.stderr)[-1]))
