"""The Valkey that the service embeds, with what a test does to one: freeze it, kill it, start it again."""

import os
import secrets
import signal
import socket
import time
from contextlib import suppress

from bff.cache.codec import PlainCodec
from bff.server import embedded_valkey as embedded


def legible(key, value):
    """What is stored, as somebody reads it who knows how: without a secret long values are deflated, which hides nothing."""
    return PlainCodec().decode(key.decode(), value) or value


def free_port():
    """A port that nobody has right now. Below those that the system gives to connections, which would take it meanwhile."""
    while True:
        port = 15_000 + secrets.randbelow(15_000)
        with socket.socket() as probe, suppress(OSError):
            probe.bind(("127.0.0.1", port))
            return port


class ValkeyServer:
    """A real server. ``port=None`` means a unix socket; a restart keeps a port, a socket gets a new path."""

    def __init__(self, *, maxmemory="64mb", port=None, extra_args=()):
        self._how = {"maxmemory": maxmemory, "port": port, "options": extra_args}
        self._running = embedded.start(**self._how)

    @property
    def url(self):
        return self._running.url

    @property
    def pid(self):
        return self._running.pid

    def freeze(self):
        """It keeps its connections and answers nothing, as behind a network that swallows packets."""
        os.kill(self.pid, signal.SIGSTOP)

    def thaw(self):
        os.kill(self.pid, signal.SIGCONT)

    def kill(self):
        """It is gone in the middle of whatever it did, and with it what it held."""
        os.kill(self.pid, signal.SIGKILL)
        while self._running.answers():
            time.sleep(0.005)

    def restart(self):
        """Start again, empty."""
        self._running.stop()
        self._running = embedded.start(**self._how)

    def stop(self):
        self._running.stop()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.stop()
