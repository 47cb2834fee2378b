"""Real clusters and real sentinels on loopback: the Valkey that the service embeds, started several times."""

import subprocess
import time
from contextlib import ExitStack

import redis

from bff.server import embedded_valkey as embedded
from tests.valkey import ValkeyServer, free_port

_NODE_TIMEOUT = "500"  # milliseconds until a silent node counts as gone
_AT_ONCE = ("--repl-diskless-sync-delay", "0")  # else a master waits five seconds for more replicas to come


def _until(what, seconds=15.0):
    patience = time.monotonic() + seconds
    while time.monotonic() < patience:
        try:
            if what():
                return
        except redis.RedisError:
            pass
        time.sleep(0.05)
    raise TimeoutError


class Cluster:
    """Three masters, and one replica for the first of them."""

    SLOTS = ((0, 5460), (5461, 10922), (10923, 16383))

    def __init__(self):
        self._ports = []
        self._stack = ExitStack()
        self.nodes = []

    def __enter__(self):
        with self._stack:
            for _ in range(4):
                port, bus = free_port(), free_port()
                args = ("--cluster-enabled", "yes", "--cluster-port", str(bus), "--cluster-node-timeout", _NODE_TIMEOUT)
                more = ("--cluster-require-full-coverage", "no", "--cluster-replica-validity-factor", "0", *_AT_ONCE)
                self.nodes.append(self._stack.enter_context(ValkeyServer(port=port, extra_args=(*args, *more))))
                self._ports.append((port, bus))
            self._join()
            self._stack = self._stack.pop_all()
        return self

    def _join(self):
        first_id = self.ask(0, "CLUSTER", "MYID")
        for n, (first, last) in enumerate(self.SLOTS):
            self.ask(n, "CLUSTER", "ADDSLOTSRANGE", first, last)
            self.ask(n, "CLUSTER", "SET-CONFIG-EPOCH", n + 1)
        for n in range(1, 4):
            port, bus = self._ports[0]
            self.ask(n, "CLUSTER", "MEET", "127.0.0.1", port, bus)
        _until(lambda: self.ask(3, "CLUSTER", "REPLICATE", first_id))
        _until(lambda: all(self.knows(n, first_id) for n in range(4)))
        _until(lambda: b"master_link_status:up" in self.ask(3, "INFO", "replication"))

    def knows(self, n, first_id):
        """Whether that node has seen all of them, with the replica in its place."""
        lines = self.ask(n, "CLUSTER", "NODES").decode().splitlines()
        up = b"cluster_state:ok" in self.ask(n, "CLUSTER", "INFO")
        return up and len(lines) == 4 and sum(first_id.decode() in line for line in lines) == 2

    def ask(self, n, *command):
        """One command to one node, in its own words."""
        connection = redis.connection.Connection(port=self._ports[n][0], socket_timeout=2, protocol=2)
        try:
            connection.send_command(*command)
            return connection.read_response()
        finally:
            connection.disconnect()

    @property
    def url(self):
        return "redis+cluster://" + ",".join(f"127.0.0.1:{port}" for port, _ in self._ports[:3])

    def keys(self):
        """How many keys about people all of them hold."""
        total = 0
        for n in range(4):
            try:
                if b"role:master" in self.ask(n, "INFO", "replication"):
                    total += len(self.ask(n, "KEYS", "la:6:{*"))
            except (redis.RedisError, OSError):
                continue
        return total

    def flush(self):
        for n in range(3):
            self.ask(n, "FLUSHALL")

    def __exit__(self, *_):
        self._stack.close()


class Sentinels:
    """A master, a replica, and three sentinels that watch them."""

    NAME = "main"

    def __init__(self, folder):
        self._folder = folder
        self._stack = ExitStack()
        self._ports = []

    def __enter__(self):
        with self._stack:
            self.master = self._stack.enter_context(ValkeyServer(port=free_port(), extra_args=_AT_ONCE))
            port = int(self.master.url.rpartition(":")[2].partition("/")[0])
            self.replica = self._stack.enter_context(
                ValkeyServer(port=free_port(), extra_args=("--replicaof", f"127.0.0.1 {port}", *_AT_ONCE))
            )
            for n in range(3):
                self._watch(n, port)
            _until(lambda: self._replica_is_in_step() and all(map(self._complete, self._ports)))
            self._stack = self._stack.pop_all()
        return self

    def _watch(self, n, master):
        port = free_port()
        config = self._folder / f"sentinel-{n}.conf"
        config.write_text(
            f"port {port}\nbind 127.0.0.1\ndir {self._folder}\nprotected-mode no\n"
            f"sentinel monitor {self.NAME} 127.0.0.1 {master} 2\n"
            f"sentinel down-after-milliseconds {self.NAME} 500\n"
            f"sentinel failover-timeout {self.NAME} 3000\n"
        )
        process = subprocess.Popen(
            [embedded.binary(), config, "--sentinel"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        self._stack.callback(process.wait)
        self._stack.callback(process.kill)
        self._ports.append(port)

    def _replica_is_in_step(self):
        with redis.Redis.from_url(self.replica.url) as connection:
            return connection.info("replication")["master_link_status"] == "up"

    def _complete(self, port):
        with redis.Redis(port=port, socket_timeout=1) as connection:
            state = connection.sentinel_master(self.NAME)
            return state["num-slaves"] == 1 and state["num-other-sentinels"] == 2

    @property
    def url(self):
        return "redis+sentinel://" + ",".join(f"127.0.0.1:{port}" for port in self._ports) + f"/{self.NAME}"

    def __exit__(self, *_):
        self._stack.close()
