"""The real server from the Procfile, for a test's length, and raw sockets to be rude to it with."""

import os
import re
import socket
import subprocess
import sys
import time
from contextlib import contextmanager, suppress
from pathlib import Path

from bff.server.dev import web_command
from tests.security.effort import ROOT
from tests.valkey import free_port


class Served:
    """A running service. ``said`` is what it wrote since it started."""

    def __init__(self, port, output, process):
        self.port = port
        self._output = output
        self.process = process

    @property
    def said(self):
        return self._output.read_text(errors="replace")

    def raw(self, sent, *, seconds=3.0, quiet=0.15):
        """Whatever comes back for these bytes until the server closes, or an answer is complete and it keeps quiet."""
        got = b""
        with socket.create_connection(("127.0.0.1", self.port), timeout=seconds) as connection, suppress(OSError):
            connection.sendall(sent)
            while part := connection.recv(65536):
                got += part
                connection.settimeout(quiet)
        return got

    def statuses(self, sent, **how):
        """The status of each answer that came back."""
        return [int(status) for status in re.findall(rb"HTTP/1\.[01] (\d{3}) ", self.raw(sent, **how))]


@contextmanager
def serving(environ, folder, limit=""):
    """Start the Procfile's ``web:`` line, after the shell's command ``limit``; it ends with the block."""
    port = free_port()
    output = folder / "output"
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("GENAUTH_")}
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    with output.open("wb") as written:
        process = subprocess.Popen(
            ["/bin/sh", "-c", f"{limit}\nexec {web_command()}"],
            cwd=ROOT,
            env=inherited | environ | {"PORT": str(port), "WEB_CONCURRENCY": "1", "PATH": path},
            stdout=written,
            stderr=subprocess.STDOUT,
        )
    served = Served(port, output, process)
    try:
        patience = time.monotonic() + 30
        while True:
            assert process.poll() is None, served.said
            assert time.monotonic() < patience, served.said
            with suppress(OSError):
                if served.statuses(b"GET /livez HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n") == [200]:
                    break
            time.sleep(0.05)
        yield served
    finally:
        process.terminate()
        process.wait(15)
