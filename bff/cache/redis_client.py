"""The Redis client, built from REDIS_URL (one server, sentinels or a cluster), and flask-caching's cache over it.

Nothing here connects, except a cluster's client, which has to learn the cluster's slots: `redis_store` makes it on first use.
"""

import socket
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from typing import Any
from urllib.parse import SplitResult, parse_qsl, unquote, urlsplit

from cachelib.serializers import BaseSerializer
from flask import Flask
from flask_caching import Cache
from redis import Redis
from redis.backoff import NoBackoff
from redis.cluster import ClusterNode, RedisCluster
from redis.connection import Connection, ConnectionPool, DefaultParser, SSLConnection, UnixDomainSocketConnection
from redis.exceptions import RedisError
from redis.exceptions import TimeoutError as RedisTimeoutError
from redis.retry import Retry
from redis.sentinel import Sentinel, SentinelConnectionPool, SentinelManagedConnection, SentinelManagedSSLConnection

from bff.resilience import Deadline, Resolver, in_background, open_connection
from bff.setting_addresses import split_address

# Enough for every thread of a worker, so that a request never fails because the pool is empty.
_MAX_CONNECTIONS = 1024
Script = tuple[str, Sequence[str], Sequence[str | bytes | int]]  # Lua, keys of one slot, arguments
resolver = Resolver()


class BytesSerializer(BaseSerializer):
    """Bytes in, bytes out. flask-caching pickles by default, and whoever writes to Redis would run code here."""

    def dumps(self, value: bytes, protocol: int = 0) -> bytes:  # noqa: ARG002 - the signature is cachelib's
        """The bytes to store."""
        return value

    def loads(self, bvalue: bytes) -> bytes:
        """The bytes that were stored; None stays None."""
        return bvalue


class DeadlineParser(DefaultParser):  # type: ignore[misc, valid-type]  # redis-py chooses the class when it is imported
    """Reads a whole answer within about one socket timeout: redis-py's own is for each read, which lets an answer drip."""

    _allowed: float | None = None
    _ends = float("inf")

    def on_connect(self, connection: Connection, **kwargs: object) -> None:
        """Learn the connection's timeout."""
        super().on_connect(connection, **kwargs)
        self._allowed = connection.socket_timeout

    def read_response(self, *args: object, **kwargs: object) -> object:
        """Read the next answer; raises redis-py's TimeoutError."""
        if self._allowed:
            asked = kwargs.get("timeout")  # a subscription waits longer than a command does
            self._ends = time.monotonic() + max(self._allowed, asked if isinstance(asked, int | float) else 0.0)
        return super().read_response(*args, **kwargs)

    def read_from_socket(self, *args: object, **kwargs: object) -> object:
        """Read some more of the answer."""
        if time.monotonic() > self._ends:
            raise RedisTimeoutError("the whole answer took too long")
        return super().read_from_socket(*args, **kwargs)


class DeadlineConnection(Connection):
    """A connection that is made within one timeout, the look-up of the name included, and reads each answer within one."""

    def __init__(self, **kwargs: object) -> None:
        super().__init__(**kwargs | {"parser_class": DeadlineParser})  # type: ignore[no-untyped-call]

    def _connect(self) -> socket.socket:
        """The hook that redis-py's connections override. Its own waits for the name server as long as that likes."""
        connection = open_connection(self.host, self.port, Deadline.after(self.socket_connect_timeout or 0.0), resolver)
        connection.settimeout(self.socket_timeout)  # for TLS, and for each answer
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        for option, value in self.socket_keepalive_options.items():
            connection.setsockopt(socket.IPPROTO_TCP, option, value)
        return connection


class SecureConnection(SSLConnection, DeadlineConnection):
    """The same over TLS."""


class MasterConnection(SentinelManagedConnection, DeadlineConnection):
    """One to the server that sentinels call master."""


class SecureMasterConnection(SentinelManagedSSLConnection, DeadlineConnection):
    """The same over TLS."""


class SocketConnection(UnixDomainSocketConnection):
    """One to a socket of this machine."""

    def __init__(self, **kwargs: object) -> None:
        super().__init__(**kwargs | {"parser_class": DeadlineParser})  # type: ignore[no-untyped-call]


_CONNECTIONS = {"redis": DeadlineConnection, "rediss": SecureConnection, "unix": SocketConnection}


@dataclass(frozen=True, slots=True)
class RedisBackend:
    """Redis as it is reached here: flask-caching for values, the client below it for everything else."""

    cache: Cache
    client: Any  # redis-py's clients for one server, sentinels and a cluster share no type

    def close_idle(self) -> None:
        """Close every connection that nobody uses right now, so that the next calls make new ones."""
        for pool in _pools(self.client):
            pool.disconnect(inuse_connections=False)

    def subscribers(self, channel: str) -> int:
        """How many are subscribed to the channel right now, at any server of a cluster."""
        # redis-py would ask one of them.
        everywhere = {"target_nodes": RedisCluster.ALL_NODES} if isinstance(self.client, RedisCluster) else {}
        return sum([count for _, count in self.client.pubsub_numsub(channel, **everywhere)])

    def run(self, scripts: Sequence[Script]) -> Sequence[Any]:
        """What the scripts return, one after the other. One round trip, or in a cluster one to each server."""
        if len(scripts) == 1 or not isinstance(self.client, RedisCluster):
            return _run(self.client, scripts)
        # redis-py's pipeline for a cluster knows no scripts, and sends all that fails once more, one after the other.
        there: dict[ClusterNode, list[int]] = {}
        for number, (_, keys, _) in enumerate(scripts):
            there.setdefault(self.client.get_node_from_key(keys[0]), []).append(number)  # type: ignore[no-untyped-call]
        done: dict[int, Any] = {}
        for node, numbers in there.items():
            own = [scripts[number] for number in numbers]
            try:
                answers = _run(self.client.get_redis_connection(node), own)
            except RedisError:
                # The first may go elsewhere by now, from which the client learns; if it fails, so does all of this.
                answers = [answer for each in own for answer in _run(self.client, [each])]
            done.update(zip(numbers, answers, strict=True))
        return [done[number] for number in range(len(scripts))]


def _run(client: Any, scripts: Sequence[Script]) -> Sequence[Any]:  # noqa: ANN401 - see `RedisBackend`
    if len(scripts) == 1:
        ((script, keys, arguments),) = scripts
        return [client.eval(script, len(keys), *keys, *arguments)]
    pipeline = client.pipeline(transaction=False)
    for script, keys, arguments in scripts:
        pipeline.eval(script, len(keys), *keys, *arguments)
    done: Sequence[Any] = pipeline.execute()
    return done


def _pools(client: Any) -> list[ConnectionPool]:  # noqa: ANN401 - see `RedisBackend`
    if isinstance(client, RedisCluster):
        nodes = [node.redis_connection for node in client.get_nodes()]  # type: ignore[no-untyped-call]
        return [node.connection_pool for node in nodes if node]
    pool = client.connection_pool
    sentinels = pool.sentinel_manager.sentinels if isinstance(pool, SentinelConnectionPool) else []
    return [pool, *(sentinel.connection_pool for sentinel in sentinels)]


def redis_backend(app: Flask, url: str, *, timeout: float) -> RedisBackend:
    """The backend for ``url``. ``timeout`` is in seconds, for connecting and for each answer."""
    client = redis_client(url, timeout=timeout)
    cache = Cache(with_jinja2_ext=False)
    config = {
        "CACHE_TYPE": "RedisCache",
        "CACHE_REDIS_HOST": client,  # flask-caching takes a client in place of a host's name
        "CACHE_SERIALIZER": BytesSerializer,
        "CACHE_KEY_PREFIX": "",
        # `delete_many` looks whether the keys are gone. One that was written again meanwhile is no error; Redis's errors rise.
        "CACHE_IGNORE_ERRORS": True,
    }
    cache.init_app(app, config)
    return RedisBackend(cache, client)


def is_cluster(url: str) -> bool:
    """Whether the URL names a cluster, which keeps keys of different slots on different servers."""
    return split_address(url).scheme.endswith("+cluster")


def redis_client(url: str, *, timeout: float) -> Any:  # noqa: ANN401 - see `RedisBackend`
    """redis-py's client for ``url``."""
    parts = split_address(url)
    scheme, _, kind = parts.scheme.partition("+")
    options = _options(scheme, timeout)
    match kind:
        case "sentinel":
            # The master is read, too: a replica lags, and a token refused a moment ago would read as accepted.
            return _sentinel_master(scheme, parts, options)
        case "cluster":
            return _cluster(scheme, parts, options)
    return Redis.from_url(url, **options, connection_class=_CONNECTIONS[scheme])


def _options(scheme: str, timeout: float) -> dict[str, Any]:
    options = {
        # redis-py 8's default RESP3 switches the dirty-connection check off: a pooled connection once gave B the value of A.
        "protocol": 2,
        "socket_timeout": timeout,
        "socket_connect_timeout": timeout,
        "retry": Retry(NoBackoff(), 0),
        "max_connections": _MAX_CONNECTIONS,
    }
    # A new connection tells the server the client's name and version, and reads two more answers. Over TLS 1.3 they are needed:
    # the session tickets that arrive before them would look like an answer to another request.
    return options if scheme == "rediss" else options | {"driver_info": None}


def _sentinel_master(scheme: str, parts: SplitResult, options: dict[str, Any]) -> Redis:
    query = dict(parse_qsl(parts.query))
    if parts.username:
        query["username"] = unquote(parts.username)
    if parts.password:
        query["password"] = unquote(parts.password)
    service, _, db = parts.path.strip("/").partition("/")
    db = query.pop("db", db)
    # Sentinels have no users and databases of ours; TLS they have when the servers have it. They are asked one after the other
    # when a new connection is made, so each gets a share of the time: three that hang take no longer than one server does.
    hosts = _hosts(parts)
    tls = {name: value for name, value in query.items() if name.startswith("ssl")}
    share = {name: options[name] / max(1, len(hosts)) for name in ("socket_timeout", "socket_connect_timeout")}
    sentinels = Sentinel([])  # type: ignore[no-untyped-call]  # it would make connections of redis-py's own kind
    sentinels.sentinels = [
        Redis(connection_pool=ConnectionPool(_CONNECTIONS[scheme], host=host, port=port or 26379, db=0, **options | share | tls))
        for host, port in hosts
    ]
    kind = SecureMasterConnection if scheme == "rediss" else MasterConnection
    master: Redis = sentinels.master_for(service, connection_class=kind, **options | query | {"db": int(db or 0)})  # type: ignore[no-untyped-call]
    return master


def _cluster(scheme: str, parts: SplitResult, options: dict[str, Any]) -> RedisCluster:
    url, nodes = cluster_nodes("redis", parts)  # with rediss redis-py would take a class of its own
    client = RedisCluster.from_url(
        url,
        startup_nodes=nodes,
        connection_class=_CONNECTIONS[scheme],
        # One part that is away must not keep the others from being used.
        require_full_coverage=False,
        **options,
    )
    client.nodes_manager.initialize = _in_background(client.nodes_manager.initialize)  # type: ignore[method-assign]
    return client


def cluster_nodes(scheme: str, parts: SplitResult) -> tuple[str, list[ClusterNode]]:
    """The first node as a URL, from which redis-py reads login and TLS, and all of them as nodes."""
    credentials, at, netloc = parts.netloc.rpartition("@")
    first = netloc.partition(",")[0]
    nodes = [ClusterNode(host, port or 6379) for host, port in _hosts(parts)]  # type: ignore[no-untyped-call]
    return f"{scheme}://{credentials}{at}{first}?{parts.query}", nodes


def _in_background(initialize: Callable[..., None]) -> Callable[..., None]:
    """``initialize`` in a thread, one at a time.

    redis-py learns a cluster's slots again inside the call that failed: it asks one silent node after the other, and every other
    call that failed waits to do the same.
    """
    running = threading.Lock()

    def run(*args: object, **kwargs: object) -> None:
        try:
            with suppress(Exception):  # the next call that fails starts it again
                initialize(*args, **kwargs)
        finally:
            running.release()

    def start(*args: object, **kwargs: object) -> None:
        if running.acquire(blocking=False) and not in_background(partial(run, *args, **kwargs), name="redis-cluster"):
            running.release()

    return start


def _hosts(parts: SplitResult) -> list[tuple[str, int | None]]:
    each = [urlsplit(f"//{host}") for host in parts.netloc.rpartition("@")[2].split(",")]
    return [(one.hostname or "", one.port) for one in each]
