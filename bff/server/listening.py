"""The address that the service listens on, tried and held before anything runs.

granian binds with SO_REUSEPORT, a socket for each worker: a second service of this user would share the port without a word.
"""

import errno
import socket

_HINTS = {
    errno.EADDRINUSE: "it is taken. Set PORT to another one, or end what listens there",
    errno.EACCES: "this user may not listen there. Set PORT to 1024 or above, or grant CAP_NET_BIND_SERVICE",
    errno.EADDRNOTAVAIL: "HOST is no address of this machine",
    errno.EAFNOSUPPORT: "this machine has no IPv6. Set HOST to an IPv4 address, such as 0.0.0.0",
}


class CannotListen(Exception):
    """The address is not to be had; the text says why, and what to do."""


def hold(host: str, port: int) -> socket.socket:
    """Bind the address against everybody but our own workers, until the socket is closed. It takes no connection itself."""
    try:
        held = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET)
    except OSError as error:
        raise _cannot_listen(host, port, error) from None
    try:
        # Past connections that linger in TIME_WAIT, not past anybody who listens.
        held.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        held.bind((host, port))
        held.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 0)
        # From here on it lets in sockets with this option, which the workers' have, and a second service's first one has not.
        held.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    except OSError as error:
        held.close()
        raise _cannot_listen(host, port, error) from None
    return held


def spelled(host: str, port: int) -> str:
    """As it stands in a URL."""
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def _cannot_listen(host: str, port: int, error: OSError) -> CannotListen:
    return CannotListen(f"Cannot listen on {spelled(host, port)}: {_HINTS.get(error.errno or 0, error.strerror)}.")
