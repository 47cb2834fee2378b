"""The address that the service listens on: refused in a sentence, before anything runs, where it is not to be had."""

import os
import shutil
import socket

import pytest
import requests

from bff.server.dev import web_command
from tests.server.service import Program, eventually, session
from tests.valkey import free_port

pytestmark = pytest.mark.server


@pytest.fixture
def refused(start):
    """What the service says when it cannot start, in sentences alone."""

    def said(**changed):
        service = start(ready=False, **changed)
        assert service.process.wait(10) == 2
        assert service.left_behind() == ([], [])
        first, *others = service.printed().splitlines()
        assert first == "The service cannot start:"
        assert all(line.startswith("  - ") and line.endswith(".") for line in others)
        return "\n".join(others)

    return said


def test_a_second_start_on_the_port_is_refused_and_the_first_serves_on(start, refused, mei):
    first = start()

    assert f"Cannot listen on 0.0.0.0:{first.port}: it is taken." in refused(PORT=str(first.port), REDIS_URL="embedded")
    assert {first.get(token=mei).status_code for _ in range(8)} == {200}


def test_of_two_that_start_at_once_one_is_refused(start):
    port = str(free_port())
    both = [start(ready=False, PORT=port) for _ in range(2)]

    eventually(lambda: any(service.process.poll() is not None for service in both), within=10)
    (ended,) = [service for service in both if service.process.poll() is not None]
    (other,) = [service for service in both if service is not ended]

    assert ended.process.poll() == 2
    eventually(other.is_ready, within=20)


@pytest.mark.parametrize("shared", [False, True])
def test_a_port_that_another_program_has_is_refused(refused, shared):
    with socket.socket() as other:
        other.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, shared)
        other.bind(("127.0.0.1", 0))
        other.listen()

        assert "it is taken" in refused(PORT=str(other.getsockname()[1]))


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"PORT": "abc"}, "PORT is not a whole number"),
        ({"PORT": "0"}, "PORT is out of bounds"),
        ({"HOST": "app.example"}, "HOST is not an IP address"),
        ({"HOST": "192.0.2.7"}, "HOST is no address of this machine"),
        ({"HOST": "2001:db8::7"}, "Cannot listen on [2001:db8::7]:"),
    ],
)
def test_an_address_that_is_not_to_be_had_is_refused(refused, changed, said):
    assert said in refused(**changed)


@pytest.mark.skipif(os.getuid() != 0 or not shutil.which("setpriv"), reason="needs root, to have less than root may")
def test_a_port_that_this_user_may_not_have_is_refused(environ, tmp_path):
    # In a network of its own, where the low ports are for the privileged.
    less = ["unshare", "--net", "setpriv", "--bounding-set=-net_bind_service", "--inh-caps=-net_bind_service"]
    program = Program([*less, "/bin/sh", "-c", f"exec {web_command()}"], {**environ, "PORT": "80"}, tmp_path / "output")
    try:
        code = program.process.wait(10)
    finally:
        program.clear_away()
    if program.printed().startswith(("unshare:", "setpriv:")):
        pytest.skip("no network of its own is to be had here")

    assert code == 2
    assert "Cannot listen on 0.0.0.0:80: this user may not listen there." in program.printed()


def test_it_listens_where_host_says(start, mei):
    service = start(HOST="127.0.0.2")

    assert service.get(token=mei).status_code == 200
    with session() as http, pytest.raises(requests.ConnectionError):
        http.get(f"http://127.0.0.1:{service.port}/livez", timeout=2)


@pytest.mark.skipif(not socket.has_ipv6, reason="no IPv6")
def test_it_listens_on_ipv6_too(start, mei):
    service = start(HOST="::1")

    assert service.get(token=mei).status_code == 200
