"""Redis as a cluster or behind sentinels, and a Redis in which others write: promise 6 where there is more than one server."""

import tempfile
import threading
from contextlib import contextmanager, suppress
from pathlib import Path

import redis

from tests.drills.drill import drill
from tests.drills.redis_drills import ASKING, Fault, boot_without, through
from tests.drills.stage import Stage
from tests.fault.nodes import Cluster, Sentinels
from tests.security.villain import Villain

# Sentinels are asked for the master, then the master is; and eight servers more leave the machine less prompt.
A_SECOND = 1.0


@drill("cluster-node-killed", "6")
async def node_killed(size):
    """One of three masters is gone for good; its replica is promoted after a second or so."""
    with Cluster() as cluster, Stage(REDIS_URL=cluster.url, **ASKING) as stage:
        return await through(stage, size, gone("one of three masters killed", cluster.nodes[0], cluster.nodes[3]))


@drill("sentinel-failover", "6")
async def failover(size):
    """The master is gone for good; three sentinels agree on its replica."""
    with watched() as sentinels, Stage(REDIS_URL=sentinels.url, **ASKING) as stage:
        return await through(stage, size, gone("the master killed, three sentinels", sentinels.master, sentinels.replica))


def gone(about, server, replica):
    """What is lost stays lost: its replica takes its place."""
    return Fault(about, lambda _stage: server.kill(), lambda _stage: None, bound=A_SECOND, successor=replica)


@contextmanager
def watched():
    with tempfile.TemporaryDirectory(prefix="d") as folder, Sentinels(Path(folder)) as sentinels:
        yield sentinels


@drill("boot-without-cluster", "6")
async def boot_without_cluster(size):
    """The service starts while no node of its cluster answers: right answers all the same, and hits once there are nodes."""
    with Cluster() as cluster:

        def thaw(_stage=None):
            for node in cluster.nodes:
                node.thaw()

        for node in cluster.nodes:
            node.freeze()
        try:
            outcome = await boot_without(size, "Redis cluster frozen at boot", Stage(REDIS_URL=cluster.url), thaw)
        finally:
            thaw()
        outcome.claim("the cluster remembers", remembered := cluster.keys(), f"{remembered} keys")
        return outcome


@drill("redis-poisoned", "2, 6")
async def poisoned(size):
    """Somebody writes to Redis all the time: pickles, deep JSON, NaN, halves, people's entries under others' keys, then lists."""
    over = threading.Event()

    def write(villain):
        while not over.is_set():
            for deed in (villain.swap, villain.poison):
                with suppress(redis.RedisError):
                    deed()
                over.wait(0.05)
        villain.types()

    with Stage(**ASKING) as stage:
        villain = threading.Thread(target=write, args=(Villain(stage.valkey),))

        def end(_stage):
            over.set()
            villain.join()

        fault = Fault("values of every wrong kind", lambda _stage: villain.start(), end, fails=False)
        try:
            return await through(stage, size, fault)
        finally:
            over.set()
