"""Starting, stopping, being away, being another process; what it remembers of the requests."""

import ast
import gc
import pathlib
import signal
import socket
import subprocess
import sys
import time
from contextlib import ExitStack

import pytest
import requests

import bff.sandbox
from bff.sandbox import Sandbox

IDENTITIES = "/api/v3/get-identities"
ROOT = pathlib.Path(__file__).parents[2]


LIFE = """
import pathlib, threading, requests
from bff.sandbox import Sandbox

def left():
    return set(threading.enumerate()), len(list(pathlib.Path("/proc/self/fd").iterdir()))

before = left()
with Sandbox() as genauth, requests.Session() as http:
    genauth.trouble(ending="hang")
    try:
        http.get(genauth.url + "/api/v3/get-identities", timeout=0.1)
    except requests.ReadTimeout:
        print("hung")
genauth.stop()
assert left() == before, (before, left())
"""


def test_a_stopped_sandbox_leaves_nothing_behind():
    # In a process of its own: the threads of other tests come and go.
    lived = subprocess.run([sys.executable, "-c", LIFE], cwd=ROOT, capture_output=True, text=True, timeout=30, check=False)

    assert (lived.stdout, lived.stderr) == ("hung\n", "")


def test_a_sandbox_starts_again_on_its_port():
    with Sandbox() as genauth:
        url = genauth.url
    with genauth:
        assert genauth.url == url
        assert requests.get(f"{url}/oidc/.well-known/jwks.json", timeout=5).status_code == 200


def test_a_sandbox_that_listens_on_every_address_names_one_that_can_be_asked():
    with Sandbox(host="0.0.0.0") as genauth:  # noqa: S104 - what a container has to listen on
        discovery = requests.get(f"{genauth.url}/oidc/.well-known/openid-configuration", timeout=5).json()

    assert genauth.url.startswith("http://127.0.0.1:")
    assert discovery["issuer"] == genauth.issuer == f"{genauth.url}/oidc"
    assert discovery["jwks_uri"].startswith(genauth.url)


def test_two_sandboxes_do_not_accept_each_others_tokens():
    with Sandbox() as one, Sandbox() as other:
        answer = requests.get(other.url + IDENTITIES, headers={"Authorization": one.token("mei")}, timeout=5).json()

    assert answer["apiCode"] == 2020


def test_issuer_and_application_can_be_chosen(http):
    with Sandbox(app_id="a" * 24, app_secret="s" * 32, issuer="https://sign-in.example/oidc") as genauth:
        about = http.get(f"{genauth.url}/oidc/.well-known/openid-configuration", timeout=5).json()
        answer = http.get(genauth.url + IDENTITIES, headers={"Authorization": genauth.token("nia")}, timeout=5).json()

    assert about["issuer"] == genauth.issuer == "https://sign-in.example/oidc"
    assert answer["data"] == []


def test_connections_are_refused_while_it_does_not_listen(ask, genauth):
    ask("mei")
    genauth.stop_listening()
    with pytest.raises(requests.ConnectionError, match="refused"):
        ask("mei")
    genauth.listen_again()

    assert len(ask("mei").json()["data"]) == 5


def test_kept_connections_are_used_again_and_can_be_dropped(ask, genauth):
    for _ in range(3):
        ask("mei")
    used = genauth.accepted
    genauth.drop_connections()
    ask("mei")

    assert (used, genauth.accepted, genauth.connections) == (1, 2, 1)


def test_requests_are_counted_and_recorded(ask, genauth):
    ask("mei", headers={"X-Trace": "abc"})
    ask("omar")
    ask(path=f"{IDENTITIES}?a=b")

    assert (genauth.calls(), genauth.calls(IDENTITIES), genauth.calls(IDENTITIES, person="mei")) == (3, 3, 1)
    assert [request.person for request in genauth.requests] == ["mei", "omar", None]
    first, *_, last = genauth.requests
    assert (first.method, first.path, first.headers["x-trace"], last.query) == ("GET", IDENTITIES, "abc", "a=b")
    genauth.forget_calls()
    assert (genauth.calls(), genauth.requests) == (0, [])


def test_a_client_that_gives_up_a_hanging_answer_leaves_no_connection(ask, genauth):
    genauth.trouble(ending="hang")
    with pytest.raises(requests.ReadTimeout):
        ask("mei", timeout=0.1)

    deadline = time.monotonic() + 5
    while genauth.connections and time.monotonic() < deadline:
        time.sleep(0.01)
    assert genauth.connections == 0


def test_pipelined_requests_are_answered_in_turn(genauth, raw):
    genauth.trouble(person="mei", latency=0.1)
    sock = raw()
    for person in ("mei", "nia"):
        sock.sendall(f"GET {IDENTITIES} HTTP/1.1\r\nHost: x\r\nAuthorization: {genauth.token(person)}\r\n\r\n".encode())
    received = b""
    while not received.endswith(b'"data":[]}'):
        received += sock.recv(65536)

    assert received.count(b"HTTP/1.1 200 OK") == 2


def test_an_old_client_gets_its_connection_closed(genauth, raw):
    sock = raw()
    sock.sendall(b"GET /oidc/.well-known/jwks.json HTTP/1.0\r\n\r\n")
    received = b""
    while chunk := sock.recv(65536):
        received += chunk

    assert b"Connection: close" in received
    assert received.endswith(b"}")


def test_what_is_no_http_is_a_400(raw):
    sock = raw()
    sock.sendall(b"\x16\x03\x01 hello\r\n\r\n")

    assert sock.recv(65536).startswith(b"HTTP/1.1 400")


@pytest.mark.parametrize("file", sorted(pathlib.Path(bff.sandbox.__file__).parent.glob("*.py")), ids=lambda file: file.name)
def test_the_other_side_of_the_wire_imports_nothing_of_this_one(file):
    imported = set()
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.Import):
            imported |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            imported.add(node.module)

    ours = {name for name in imported if name.split(".")[0] in {"app", "bff", "schemas"}}
    assert all(name.startswith("bff.sandbox") for name in ours)


@pytest.fixture
def command():
    started = []

    def start(*arguments, **more):
        process = subprocess.Popen([sys.executable, *arguments], cwd=ROOT, stdout=subprocess.PIPE, text=True, **more)
        started.append(process)
        return process

    yield start
    for process in started:
        process.kill()
        process.wait()
        process.stdout.close()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_the_command_prints_its_url_and_ends_well(number, command):
    process = command("-m", "bff.sandbox", "--port", "0", "--app-id", "b" * 24)
    url = process.stdout.readline().strip()
    token = requests.post(f"{url}/sandbox/token", json={"person": "nia"}, timeout=5).json()["token"]
    headers = {"Authorization": token, "x-genauth-app-id": "b" * 24}
    answer = requests.get(url + IDENTITIES, headers=headers, timeout=5).json()
    process.send_signal(number)

    assert answer["data"] == []
    assert process.wait(timeout=10) == 0


def test_with_kept_keys_yesterdays_token_is_good_today(command, tmp_path):
    file = tmp_path / "keys.pem"

    def run(port, *arguments):
        process = command("-m", "bff.sandbox", "--port", port, "--keys", str(file), *arguments)
        return process, process.stdout.readline().strip()

    yesterday, url = run("0")
    tokens = [
        requests.post(f"{url}/sandbox/token", json={"person": "nia", "alg": alg}, timeout=5).json()["token"]
        for alg in ("RS256", "ES256")
    ]
    yesterday.terminate()
    yesterday.wait(10)
    _, again = run(url.rpartition(":")[2])
    answers = [requests.get(url + IDENTITIES, headers={"Authorization": token}, timeout=5).json() for token in tokens]

    assert again == url
    assert [answer["data"] for answer in answers] == [[], []]
    assert file.stat().st_mode & 0o077 == 0
    assert list(tmp_path.iterdir()) == [file]


@pytest.mark.parametrize("file", ["missing/keys.pem", "not-keys.pem", "."])
def test_keys_that_cannot_be_kept_are_said_in_a_sentence(command, tmp_path, file):
    (tmp_path / "not-keys.pem").write_text("-----BEGIN PRIVATE KEY-----\nexample\n-----END PRIVATE KEY-----\n")
    process = command("-m", "bff.sandbox", "--port", "0", "--keys", str(tmp_path / file), stderr=subprocess.PIPE)

    with process.stderr as errors:
        (sentence,) = errors.readlines()
    assert process.wait(timeout=10) == 1
    assert sentence.startswith("cannot use the keys of ")


def test_the_command_says_when_its_port_is_taken(command):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        process = command("-m", "bff.sandbox", "--port", str(taken.getsockname()[1]), stderr=subprocess.DEVNULL)

        assert process.wait(timeout=10) == 1


@pytest.mark.skipif(sys.platform != "linux", reason="PR_SET_PDEATHSIG is Linux's")
def test_it_does_not_start_when_its_parent_has_ended(command):
    ended = command("-c", "pass")
    ended.wait(timeout=10)

    sandbox = command("-m", "bff.sandbox", "--port", "0", "--with-parent", str(ended.pid))

    assert sandbox.wait(timeout=10) == 0
    assert sandbox.stdout.read() == ""


@pytest.mark.skipif(sys.platform != "linux", reason="PR_SET_PDEATHSIG is Linux's")
def test_it_ends_with_its_parent_however_that_ends(command):
    launch = (
        "import subprocess, sys, time\n"
        "subprocess.Popen([sys.executable, '-m', 'bff.sandbox', '--port', '0', '--with-parent'])\n"
        "time.sleep(60)"
    )
    parent = command("-c", launch)
    url = parent.stdout.readline().strip()
    assert requests.get(f"{url}/sandbox/calls", timeout=5).json()["calls"] == 0
    parent.kill()

    deadline = time.monotonic() + 10
    while time.monotonic() < deadline:
        try:
            requests.get(f"{url}/sandbox/calls", timeout=5)
        except requests.ConnectionError:
            return
        time.sleep(0.05)
    pytest.fail("it outlived its parent")


def test_connections_that_arrive_while_it_stops_are_closed(monkeypatch):
    """What asyncio had accepted, and nobody knew of yet, was left to the garbage collector."""
    left = []
    monkeypatch.setattr(sys, "unraisablehook", lambda unraisable: left.append(str(unraisable.exc_value)))
    for _ in range(20):
        with ExitStack() as clients:
            sandbox = Sandbox().start()
            port = int(sandbox.url.rpartition(":")[2])
            for _ in range(8):
                clients.enter_context(socket.create_connection(("127.0.0.1", port)))
            sandbox.stop()
        del sandbox
        gc.collect()

    assert left == []
