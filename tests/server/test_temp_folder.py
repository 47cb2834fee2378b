"""A temp folder that is full, read-only or not there: the service goes on, or says in a sentence why it cannot."""

import os
import subprocess
from contextlib import ExitStack, suppress

import pytest

from tests.server.service import alive

pytestmark = pytest.mark.server

WITH_METRICS = {"METRICS_TOKEN": "scrape-canary-5b1d-77"}


@pytest.fixture
def folder(tmp_path):
    """``folder("size=1m")``: a file system of its own with these options."""
    with ExitStack() as mounted:

        def mount(options):
            target = tmp_path / "small"
            target.mkdir()
            if subprocess.run(
                ["mount", "-t", "tmpfs", "-o", options, "tmpfs", target], capture_output=True, check=False
            ).returncode:
                pytest.skip("no file system of its own is to be had here")
            mounted.callback(subprocess.run, ["umount", "--lazy", target], check=False)
            return target

        yield mount


def fill(folder):
    """Leave no byte."""
    ballast = os.open(folder / "ballast", os.O_CREAT | os.O_WRONLY)
    with suppress(OSError):
        while True:
            os.write(ballast, bytes(4096))
    os.close(ballast)


def wander(service, mei):
    """Ask for as many different things as there are, so that everything is counted that can be."""
    paths = ["/livez", "/readyz", "/docs", "/openapi.json", "/nowhere", "/problems/token-expired", "/me/linked-accounts"]
    return {service.get(path, token=token).status_code for path in paths for token in (mei, "made-up", None) for _ in range(2)}


def test_a_disk_that_fills_up_stops_nobody(start, folder, mei):
    small = folder("size=1m")
    service = start(TMPDIR=str(small), **WITH_METRICS)
    workers = service.workers()
    fill(small)

    assert wander(service, mei) == {200, 401, 404}
    assert all(map(alive, workers))
    # There is room for the files of one of the two.
    assert service.printed().count('"event":"metrics_lost"') == 1
    assert "linked_accounts_answers_total" in service.get("/metrics", token=WITH_METRICS["METRICS_TOKEN"]).text
    assert service.end()[0] == 0
    assert [file.name for file in small.iterdir()] == ["ballast"]


def test_without_metrics_there_are_no_files(service, mei):
    wander(service, mei)

    assert list(service.temporary.iterdir()) == []


def unwritable(folder):
    """Settings with which Python finds no folder to write to, and ``/tmp`` is one where nobody can write."""
    (folder / "sitecustomize.py").write_text("import tempfile; tempfile.tempdir = '/proc'")
    return {"PYTHONPATH": str(folder)}


@pytest.mark.parametrize(("changed", "lost"), [({}, 0), (WITH_METRICS, 2)])
def test_where_nothing_can_be_written_it_serves(start, tmp_path, mei, changed, lost):
    service = start(**unwritable(tmp_path), **changed)

    assert wander(service, mei) == {200, 401, 404}
    assert service.printed().count('"event":"metrics_lost"') == lost
    if changed:
        assert service.get("/metrics", token=WITH_METRICS["METRICS_TOKEN"]).status_code == 200
    assert service.end()[0] == 0


def test_where_nothing_can_be_written_a_private_valkey_is_refused_in_a_sentence(start, tmp_path):
    service = start(ready=False, REDIS_URL="embedded", **unwritable(tmp_path))

    assert service.process.wait(10) == 2
    first, second = service.printed().splitlines()
    assert first == "The service cannot start:"
    assert second.startswith("  - The folder /proc/")
    assert second.endswith("Set TMPDIR to a folder that this user may write to, or REDIS_URL to a server.")
