"""A neighbour cookie in raw UTF-8, through the proxies as docs/configuration.md has them pass on the session alone."""

import re
import shutil
import subprocess
from pathlib import Path

import pytest
import requests

from tests.server.service import ROOT, eventually, session
from tests.valkey import free_port

pytestmark = pytest.mark.server

DOCUMENT = (ROOT / "docs/configuration.md").read_text()
NGINX = """
daemon off; master_process off; pid {folder}/nginx.pid; error_log stderr;
events {{}}
http {{
  access_log off;
  client_body_temp_path {folder}; proxy_temp_path {folder}; fastcgi_temp_path {folder};
  uwsgi_temp_path {folder}; scgi_temp_path {folder};
  {lines}
}}
"""
HAPROXY = """
defaults
    mode http
    timeout connect 2s
    timeout client 5s
    timeout server 5s
listen service
    bind 127.0.0.1:{port}
{lines}
    server service 127.0.0.1:{service}
"""


def documented(language):
    return re.search(rf"```{language}\n(.*?)```", DOCUMENT, re.DOTALL)[1]


def nginx(folder, port, service):
    lines = documented("nginx").replace("location / {", f"location / {{ proxy_pass http://127.0.0.1:{service};")
    lines = lines.replace("server {", f"server {{ listen 127.0.0.1:{port};")
    (folder / "nginx.conf").write_text(NGINX.format(folder=folder, lines=lines))
    return ["nginx", "-p", str(folder), "-c", str(folder / "nginx.conf")]


def haproxy(folder, port, service):
    (folder / "haproxy.cfg").write_text(HAPROXY.format(port=port, service=service, lines=documented("haproxy")))
    return ["haproxy", "-f", str(folder / "haproxy.cfg")]


@pytest.fixture
def through(tmp_path):
    """Start a proxy in front of the service on that port; returns its own port."""
    started = []

    def start(proxy, service):
        if not shutil.which(proxy.__name__):
            pytest.skip(f"{proxy.__name__} is not installed")
        port = free_port()
        with (tmp_path / "printed").open("wb") as printed:
            command = proxy(tmp_path, port, service)
            process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=printed, stderr=printed)
        started.append(process)
        eventually(lambda: answers(port, process, tmp_path / "printed"), within=10)
        return port

    yield start
    for process in started:
        process.terminate()
        process.wait(10)


def answers(port, process, printed: Path):
    assert process.poll() is None, printed.read_text()
    try:
        with session() as http:
            return http.get(f"http://127.0.0.1:{port}/livez", timeout=2).status_code == 200
    except requests.ConnectionError:
        return False


@pytest.mark.parametrize("proxy", [nginx, haproxy])
def test_a_neighbour_in_utf8_signs_nobody_out(start, through, genauth, proxy):
    service = start(SESSION_COOKIE_NAME="__Host-session", WEB_CONCURRENCY="1")
    port = through(proxy, service.port)
    own = f"__Host-session={genauth.token('mei')}"

    def status(*cookies):
        headers = {"Cookie": "; ".join(cookies).encode(), "X-Requested-With": "fetch"}
        with session() as http:
            return http.get(f"http://127.0.0.1:{port}/me/linked-accounts", headers=headers, timeout=5).status_code

    assert status("nick=小明", own) == 200
    assert status(own, "nick=小明") == 200
    assert status(own) == 200
    assert status("nick=小明", "not__Host-session=x") == 401
