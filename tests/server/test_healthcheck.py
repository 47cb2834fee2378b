"""The command that a container's health check runs."""

import os
import socket
import subprocess
import sys
import threading
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest

from tests.server.service import ROOT
from tests.valkey import free_port


class IPv6(HTTPServer):
    address_family = socket.AF_INET6


@contextmanager
def answering(status, server=HTTPServer, host="127.0.0.1"):
    """A server that gives every request that status; its port, and the paths that were asked for."""
    asked = []

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):
            asked.append(self.path)
            self.send_response(status)
            self.end_headers()

        def log_message(self, *_):
            pass

    with server((host, 0), Handler) as listening:
        threading.Thread(target=listening.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
        try:
            yield listening.server_port, asked
        finally:
            listening.shutdown()


def check(**environ):
    return subprocess.run(
        [sys.executable, "-m", "bff.server.healthcheck"],
        cwd=ROOT,
        env={"PATH": os.environ["PATH"], **{name: str(value) for name, value in environ.items()}},
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )


@pytest.mark.parametrize("host", ["", "0.0.0.0", "127.0.0.1", " "])  # noqa: S104 - as an operator may set it
def test_a_service_that_answers_is_healthy(host):
    with answering(200) as (port, asked):
        # A proxy for the way out is no way to the service beside.
        checked = check(PORT=port, HOST=host, http_proxy="http://127.0.0.1:9")

    assert (checked.returncode, checked.stderr, asked) == (0, "", ["/livez"])


def test_a_service_that_listens_on_ipv6_is_asked_there():
    with answering(200, IPv6, "::1") as (port, asked):
        checked = check(PORT=port, HOST="::")

    assert (checked.returncode, asked) == (0, ["/livez"])


def test_a_service_that_answers_with_an_error_is_not_healthy():
    with answering(503) as (port, _):
        checked = check(PORT=port)

    assert (checked.returncode, checked.stderr) == (1, "/livez answers 503\n")


def test_a_service_that_is_not_there_is_not_healthy():
    checked = check(PORT=free_port())

    assert checked.returncode == 1
    assert checked.stderr.startswith("ConnectionRefusedError: ")
