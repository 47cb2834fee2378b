import os
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pytest
import redis

from bff.server import embedded_valkey as embedded
from tests.server.service import ROOT, Program, alive, eventually
from tests.valkey import ValkeyServer, free_port


@pytest.fixture
def valkey():
    with ValkeyServer() as server:
        yield server


def test_it_is_private_and_forgets_rather_than_refuses(valkey):
    with redis.Redis.from_url(valkey.url) as connection:
        settings = connection.config_get("*")

    folder = Path(settings["dir"])
    assert folder.stat().st_mode & 0o777 == 0o700
    assert settings["port"] == "0"
    assert settings["maxmemory-policy"] == "allkeys-lru"
    assert int(settings["maxmemory"]) == 64 * 1024 * 1024
    assert (settings["save"], settings["appendonly"]) == ("", "no")


def test_it_takes_its_folder_along(valkey):
    with redis.Redis.from_url(valkey.url) as connection:
        folder = Path(connection.config_get("dir")["dir"])

    valkey.stop()

    assert not folder.exists()


def test_killed_and_started_again_it_is_empty_on_the_same_port():
    with ValkeyServer(port=free_port()) as server, redis.Redis.from_url(server.url) as connection:
        connection.set("kept", "1")
        url = server.url

        server.kill()
        with pytest.raises(redis.ConnectionError):
            connection.get("kept")
        server.restart()

        assert (server.url, connection.get("kept")) == (url, None)


def test_frozen_it_takes_connections_and_answers_nothing(valkey):
    with redis.Redis.from_url(valkey.url, socket_timeout=0.1) as connection:
        valkey.freeze()
        with pytest.raises(redis.TimeoutError):
            connection.ping()
        valkey.thaw()

        assert connection.ping()


def test_it_ends_with_the_process_that_started_it_however_that_ends():
    program = (
        "import time; from bff.server import embedded_valkey; v = embedded_valkey.start();"
        "print(v.pid, v.supervisor.folder, flush=True); time.sleep(60)"
    )
    with subprocess.Popen([sys.executable, "-c", program], cwd=ROOT, stdout=subprocess.PIPE, text=True) as process:
        pid, folder = process.stdout.readline().split()
        os.kill(process.pid, signal.SIGKILL)

    eventually(lambda: not Path(folder).exists() and not Path(f"/proc/{pid}").exists(), within=5)


def test_it_ends_also_when_that_process_is_killed_while_it_starts(tmp_path):
    program = "from bff.server import embedded_valkey; embedded_valkey.start(); import time; time.sleep(60)"
    for moment in range(12):
        starting = Program([sys.executable, "-c", program], {}, tmp_path / f"output-{moment}")
        while not starting.family():
            time.sleep(0.0005)
        time.sleep(moment * 0.0005)

        starting.process.kill()
        starting.process.wait()

        try:
            eventually(lambda started=starting: started.left_behind() == ([], []), within=3)
        finally:
            starting.clear_away()


def test_without_its_supervisor_it_ends_all_the_same():
    server = embedded.start()
    os.kill(int(Path(f"/proc/{server.pid}/stat").read_text().rpartition(")")[2].split()[1]), signal.SIGKILL)

    server.stop()

    assert not server.supervisor.folder.exists()
    eventually(lambda: not alive(server.pid), within=2)


def test_a_server_that_does_not_start_says_why_and_leaves_nothing(monkeypatch, tmp_path):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))

    with pytest.raises(embedded.ValkeyNotStarted, match="did not start"):
        embedded.start(options=["--nonsense", "1"])

    assert list(tmp_path.iterdir()) == []


def test_without_a_server_to_embed_it_says_what_to_do(monkeypatch, tmp_path):
    monkeypatch.setattr(embedded.importlib.util, "find_spec", lambda _: None)
    monkeypatch.setenv("PATH", str(tmp_path))

    with pytest.raises(embedded.ValkeyNotStarted, match="Install one of them"):
        embedded.start()
