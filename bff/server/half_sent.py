"""Closes connections whose client began a request, or never sent anything, and lets the rest wait.

granian has one timer for the head of a request, and on a kept connection the time before it counts too. That timer has to be as
long as an idle connection may live (KEEPALIVE_SECONDS): too long for half a request. What the kernel knows of a connection tells
the two apart: on an idle one we sent last. Only Linux tells; elsewhere that timer is the only one.
"""

import os
import socket
import struct
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

REQUEST_SECONDS = 10.0
_LOOK_SECONDS = 2.0
_A_LITTLE = 1.0
_ESTABLISHED = 1
_DESCRIPTORS = Path("/proc/self/fd")


class _Connection(NamedTuple):
    """From ``struct tcp_info`` in linux/tcp.h: its state, seconds since data was sent and came, packets of data sent."""

    state: int
    since_sent: float
    since_received: float
    sent: int

    @classmethod
    def of(cls, connected: socket.socket) -> "_Connection":
        info = connected.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 160)
        milliseconds = struct.unpack_from("=I", info, 44)[0], struct.unpack_from("=I", info, 52)[0]
        return cls(info[0], milliseconds[0] / 1000, milliseconds[1] / 1000, struct.unpack_from("=I", info, 156)[0])

    @property
    def owes_a_request(self) -> bool:
        """Whether something came after we last sent, or we never sent; also while we work on what came."""
        return self.state == _ESTABLISHED and (self.sent == 0 or self.since_received < self.since_sent)


class HalfSent:
    """The connections of this process to ``port`` whose request is not complete, or is worked on, ``within`` seconds at most."""

    def __init__(self, port: int, *, within: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._port = port
        self._within = within
        self._clock = clock
        self._waiting: dict[str, tuple[int, float]] = {}

    def close_overdue(self) -> int:
        """Close those whose request has not come within ten seconds; returns how many."""
        waiting, closed, now = {}, 0, self._clock()
        for name, connected in _connected(self._port):
            with connected, suppress(OSError):
                seen = _Connection.of(connected)
                if not seen.owes_a_request:
                    continue
                sent, since = self._waiting.get(name, (-1, 0.0))
                if sent != seen.sent:  # another request than at the last look
                    since = now - seen.since_received
                waiting[name] = seen.sent, since
                if self._is_overdue(now - since, seen.since_received):
                    connected.shutdown(socket.SHUT_RDWR)
                    closed += 1
        self._waiting = waiting
        return closed

    def _is_overdue(self, waited: float, silent: float) -> bool:
        # The last byte of a request may have come just now, and it is being answered.
        return waited > REQUEST_SECONDS and (silent > self._within + _A_LITTLE or waited > REQUEST_SECONDS + self._within)


def watch(port: int, *, within: float) -> None:
    """Close what is `HalfSent`, every few seconds, in a thread, as long as this process lives."""
    if not hasattr(socket, "TCP_INFO") or not _DESCRIPTORS.exists():
        return
    half_sent = HalfSent(port, within=within)

    def look() -> None:
        while True:
            time.sleep(_LOOK_SECONDS)
            half_sent.close_overdue()

    threading.Thread(target=look, name="half-sent", daemon=True).start()


def _connected(port: int) -> Iterator[tuple[str, socket.socket]]:
    """The sockets of this process that are bound to the port, each with a name of its own; whoever takes one closes it."""
    for descriptor in os.listdir(_DESCRIPTORS):  # noqa: PTH208 - names are all that is needed of thousands
        with suppress(OSError):
            name = os.readlink(_DESCRIPTORS / descriptor)  # noqa: PTH115 - the same
            if name.startswith("socket:"):
                # A second descriptor: the first one may be closed, and its number taken by another, at any time.
                connected = socket.socket(fileno=os.dup(int(descriptor)))
                if connected.family in (socket.AF_INET, socket.AF_INET6) and connected.getsockname()[1] == port:
                    yield name, connected
                else:
                    connected.close()
