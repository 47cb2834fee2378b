"""The proxy lines of docs/production.md, with those about cookies of docs/configuration.md among them, and the service behind.

They are taken as they stand there but for names, addresses and paths.
"""

import json
import re
import shutil
import subprocess
import threading
from contextlib import ExitStack, contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from tests.server.service import ROOT, eventually, session
from tests.valkey import free_port

PAGE = (ROOT / "docs/production.md").read_text()
CONFIGURATION = (ROOT / "docs/configuration.md").read_text()
METRICS_TOKEN = "a-token-of-this-test-for-the-metrics"


def block(language, page=PAGE):
    (lines,) = re.findall(rf"(?ms)^```{language}\n(.*?)^```$", page)
    return lines


def replaced(text, *pairs):
    for written, here in pairs:
        assert written in text, written
        text = text.replace(written, here)
    return text


def found(program):
    binary = shutil.which(program) or shutil.which(program, path="/usr/sbin:/usr/local/sbin")
    if binary is None:
        pytest.skip(f"{program} is not installed: make system-packages")
    return binary


@pytest.fixture(scope="module")
def certificate(tmp_path_factory):
    """A certificate for this machine and its key: two files, and one with both, as HAProxy has it."""
    folder = tmp_path_factory.mktemp("tls")
    pem, key, both = (folder / name for name in ("accounts.pem", "accounts.key", "both.pem"))
    made = [found("openssl"), "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "1"]
    names = ["-subj", "/CN=localhost", "-addext", "subjectAltName=IP:127.0.0.1"]
    subprocess.run([*made, *names, "-out", pem, "-keyout", key], check=True, capture_output=True)
    both.write_text(pem.read_text() + key.read_text())
    return pem, key, both


@contextmanager
def nginx(folder, certificate, port, behind):
    cookies = block("nginx", CONFIGURATION)
    lines = replaced(
        block("nginx"),
        ("server {\n", re.search(r"(?ms)^map .*?^}\n", cookies)[0] + "server {\n"),
        ("    location / {\n", "    location / {\n" + re.search(r".*proxy_set_header.*\n", cookies)[0]),
        ("listen 443 ssl", f"listen 127.0.0.1:{port} ssl"),
        ("10.0.0.11:8000", f"127.0.0.1:{behind}"),
        ("    server 10.0.0.12:8000;\n", ""),
        ("/etc/ssl/accounts.example.com.pem", str(certificate[0])),
        ("/etc/ssl/accounts.example.com.key", str(certificate[1])),
    )
    kinds = ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    folders = "".join(f"{kind}_temp_path {folder}/{kind};" for kind in kinds)
    config = folder / "nginx.conf"
    config.write_text(
        f"pid {folder}/pid; daemon off; master_process off; events {{}} http {{ access_log off; {folders}\n{lines} }}"
    )
    with run(folder, [found("nginx"), "-p", str(folder), "-e", str(folder / "error.log"), "-c", str(config)]):
        yield


@contextmanager
def haproxy(folder, certificate, port, behind):
    lines = replaced(
        block("haproxy"),
        ("    option forwardfor\n", block("haproxy", CONFIGURATION) + "    option forwardfor\n"),
        ("bind :443", f"bind 127.0.0.1:{port}"),
        ("10.0.0.11:8000", f"127.0.0.1:{behind}"),
        ("    server second 10.0.0.12:8000\n", ""),
        ("/etc/haproxy/accounts.example.com.pem", str(certificate[2])),
    )
    config = folder / "haproxy.cfg"
    config.write_text(lines)
    with run(folder, [found("haproxy"), "-db", "-f", str(config)]):
        yield


@contextmanager
def run(folder, command):
    with (folder / "said").open("wb") as said:
        process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=said, stderr=said)
    try:
        yield
    finally:
        process.terminate()
        process.wait(10)


@pytest.fixture(params=[nginx, haproxy], ids=lambda proxy: proxy.__name__)
def through(request, tmp_path, certificate):
    """``through(port)``: start the proxy in front of that port and ask it: ``ask(path, **headers)``."""
    with ExitStack() as running:

        def start(behind):
            port = free_port()
            running.enter_context(request.param(tmp_path, certificate, port, behind))
            http = running.enter_context(session())
            http.verify = str(certificate[0])
            url = f"https://127.0.0.1:{port}"
            eventually(lambda: answers(http, url), within=10)
            return lambda path, **headers: http.get(url + path, headers=headers, timeout=10)

        yield start


def answers(http, url):
    try:
        return http.get(f"{url}/livez", timeout=2).status_code == 200
    except OSError:
        return False


@contextmanager
def mirror():
    """A server that answers with the headers that arrived, each name with all of its values; its port."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self):
            fields = {name.lower(): self.headers.get_all(name) for name in self.headers}
            body = json.dumps(fields).encode()
            self.send_response(200)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_):
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
        try:
            yield server.server_port
        finally:
            server.shutdown()


@pytest.mark.server
def test_people_are_answered_through_the_proxy(start, through, mei):
    service = start(TRUSTED_PROXIES="1", METRICS_TOKEN=METRICS_TOKEN, ALLOWED_HOSTS="127.0.0.1")
    ask = through(service.port)

    first = ask("/me/linked-accounts", Authorization=f"Bearer {mei}")
    again = ask("/me/linked-accounts", **{"Authorization": f"Bearer {mei}", "If-None-Match": first.headers["ETag"]})
    metrics = ask("/metrics", Authorization=f"Bearer {METRICS_TOKEN}")

    assert (first.status_code, first.json()["meta"]["total"]) == (200, 2)
    assert again.status_code == 304
    assert metrics.status_code == 404
    assert "forwarded_for_ignored" not in service.printed()


def test_the_service_hears_who_asks_and_nothing_in_disguise(through):
    with mirror() as port:
        ask = through(port)
        headers = ask("/", **{"X-Forwarded-For": "192.0.2.7", "X_Forwarded_For": "192.0.2.8", "Authorization": "Bearer t"}).json()

    # The last address is the one that the nearest proxy saw, and TRUSTED_PROXIES=1 takes that one.
    assert ", ".join(headers["x-forwarded-for"]).split(", ")[-1] == "127.0.0.1"
    assert headers["x-forwarded-proto"] == ["https"]
    assert headers["authorization"] == ["Bearer t"]
    assert not [name for name in headers if "_" in name]


@pytest.mark.server
def test_the_cookies_of_others_do_not_arrive(start, through, mei):
    service = start(TRUSTED_PROXIES="1", SESSION_COOKIE_NAME="__Host-session")
    ask = through(service.port)
    page = {"X-Requested-With": "page"}

    among_others = ask("/me/linked-accounts", **page, Cookie=f"nick=小明; __Host-session={mei}; theme=dark".encode())
    without = ask("/me/linked-accounts", **page, Cookie="nick=小明".encode())
    by_header = ask("/me/linked-accounts", Authorization=f"Bearer {mei}")

    assert (among_others.status_code, by_header.status_code) == (200, 200)
    assert (without.status_code, without.json()["code"]) == (401, "token_missing")
