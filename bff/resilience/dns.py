"""TCP connections within a deadline: the host's name looked up, its addresses tried one by one."""

import socket
import threading
from collections.abc import Callable
from concurrent.futures import Future
from typing import Any

from bff.resilience.background import in_background
from bff.resilience.deadline import Deadline

_FAIR_SHARE = 0.25  # seconds; an address gets no less while others wait to be tried

Lookup = Callable[..., list[Any]]


class Unconnected(OSError):
    """No connection came about, so nothing was sent. Its text names types of errors, never addresses or tokens."""


class Unresolved(Unconnected):
    """The host's name was not found, or not in time."""


class Resolver:
    """Looks names up in a thread, since no timeout reaches the C library, and keeps the last addresses of each.

    One look-up per name at a time: while the name server hangs, callers wait for the same thread instead of starting theirs.
    """

    def __init__(self, lookup: Lookup = socket.getaddrinfo) -> None:
        self._lookup = lookup
        self._lock = threading.Lock()
        self._pending: dict[tuple[str, int], Future[list[Any]]] = {}
        self._known: dict[tuple[str, int], list[Any]] = {}

    def addresses(self, host: str, port: int, deadline: Deadline) -> list[Any]:
        """What getaddrinfo returns, or returned before the name server went away; else Unresolved."""
        key = host, port
        known = self._known.get(key)
        with self._lock:
            pending = self._pending.get(key)
            if pending is None:
                pending = Future()
                if in_background(self._look_up, key, pending, name="lookup"):
                    self._pending[key] = pending
                else:
                    pending.set_exception(OSError("no thread is to be had"))
        try:
            # With an address at hand, half of the time is left for connecting to it.
            return pending.result(deadline.remaining() / (2 if known else 1))
        except (OSError, UnicodeError) as error:  # TimeoutError is one
            if known:
                return known
            raise Unresolved(f"name lookup: {type(error).__name__}") from None

    def _look_up(self, key: tuple[str, int], result: "Future[list[Any]]") -> None:
        try:
            found = self._lookup(*key, type=socket.SOCK_STREAM)
            self._known[key] = found
            result.set_result(found)
        except BaseException as error:  # noqa: BLE001 - it is raised where the result is awaited
            result.set_exception(error)
        finally:
            with self._lock:
                self._pending.pop(key, None)


def arm(sock: socket.socket, deadline: Deadline) -> None:
    """Let the next operation end at the deadline. Raise TimeoutError if it has passed: 0 would mean not to wait at all."""
    left = deadline.remaining()
    if left <= 0:
        raise TimeoutError
    sock.settimeout(left)


def open_connection(host: str, port: int, deadline: Deadline, resolver: Resolver) -> socket.socket:
    """A TCP connection to the first address that answers, all of it before the deadline; else Unconnected.

    What comes next ends at the deadline, too: a TLS handshake is part of connecting.
    The time left is shared fairly among the addresses left, so that a dead ``::1`` does not use up that of ``127.0.0.1``.
    """
    addresses = resolver.addresses(host, port, deadline)
    failures: list[OSError] = []
    for tried, (family, kind, protocol, _, address) in enumerate(addresses):
        left = deadline.remaining()
        if left <= 0:
            break
        sock = socket.socket(family, kind, protocol)
        try:
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            sock.settimeout(min(left, max(_FAIR_SHARE, left / (len(addresses) - tried))))
            sock.connect(address)
            arm(sock, deadline)
        except OSError as error:
            sock.close()
            failures.append(error)
        else:
            failures.clear()  # their tracebacks hold this frame, and with it the socket
            return sock
    names = ", ".join(type(error).__name__ for error in failures[:4])
    raise Unconnected(f"connect: {names or 'no time left'}") from (failures[-1] if failures else TimeoutError())
