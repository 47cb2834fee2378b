"""The Redis behind `store`, built by flask-caching's own backends from one URL: a single server, sentinels or a cluster.

Nothing here connects, except to a cluster, whose client must learn its slots first: that is why `store` builds it on first use.
"""

import select
import socket
import struct
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Any
from urllib.parse import SplitResult, parse_qsl, unquote, urlsplit

from cachelib.serializers import BaseSerializer
from flask import Flask
from flask_caching import Cache
from flask_caching.backends.rediscache import RedisCache
from redis._parsers.hiredis import NOT_ENOUGH_DATA, _HiredisParser
from redis.backoff import NoBackoff
from redis.cluster import ClusterNode, RedisCluster
from redis.connection import Connection
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import TimeoutError as RedisTimeoutError
from redis.retry import Retry

# Enough for every thread of a worker, so that a full pool is never what fails.
_CONNECTIONS = 1024


class Untouched(BaseSerializer):
    """Bytes in, bytes out. flask-caching pickles by default, and whoever writes to Redis would run code here."""

    def dumps(self, value: bytes, protocol: int = 0) -> bytes:  # noqa: ARG002 - the signature is cachelib's
        """What is stored."""
        return value

    def loads(self, bvalue: bytes) -> bytes:
        """What was stored."""
        return bvalue


class PromptParser(_HiredisParser):
    """Reads an answer in one socket timeout or little more, and those to one question together. redis-py allows that per read."""

    _by = float("inf")
    _arrivals: Any = None

    def on_connect(self, connection: Any, **kwargs: Any) -> None:  # noqa: ANN401 - redis-py's connections share no type
        """The connection is there."""
        super().on_connect(connection, **kwargs)  # type: ignore[no-untyped-call]
        if type(self._sock) is socket.socket:  # over TLS there is more to both
            self._arrivals = select.poll()
            self._arrivals.register(self._sock, select.POLLIN)
            if self._socket_timeout:
                _time_out_in_the_kernel(self._sock, self._socket_timeout)

    def on_disconnect(self) -> None:
        """It is gone."""
        self._arrivals = None
        super().on_disconnect()  # type: ignore[no-untyped-call]

    def can_read(self, timeout: float = 0) -> bool:
        """Whether there is something to read, if only the end of it."""
        if timeout or self._arrivals is None:
            return super().can_read(timeout)
        # As redis-py does, but for the object that it makes to ask the system each time.
        return self._reader.has_data() or bool(self._arrivals.poll(0))

    def answers(self, count: int) -> list[Any]:
        """The next ones. A refusal is one, too, unless the connection is of no more use: that is raised."""
        self._start(0.0)
        answers: list[Any] = []
        while len(answers) < count:
            answer = self._reader.gets()
            if answer is NOT_ENOUGH_DATA:
                self.read_from_socket()
            elif isinstance(answer, RedisConnectionError):
                raise answer
            else:
                answers.append(answer)
        return answers

    def read_response(self, *args: Any, **kwargs: Any) -> Any:  # noqa: ANN401 - an answer may be anything
        """The next answer, as redis-py's own callers want it."""
        asked_for = kwargs.get("timeout")
        self._start(asked_for if isinstance(asked_for, (int, float)) else 0.0)
        return super().read_response(*args, **kwargs)

    def read_from_socket(self, *args: Any, **kwargs: Any) -> Any:  # noqa: ANN401 - the signature is redis-py's
        """Some more of it."""
        if time.monotonic() > self._by:
            raise RedisTimeoutError
        try:
            return super().read_from_socket(*args, **kwargs)  # type: ignore[no-untyped-call]
        except RedisConnectionError as exc:
            if isinstance(exc.__context__, BlockingIOError):  # the kernel's way to say that time is up
                raise RedisTimeoutError from None
            raise

    def _start(self, seconds: float) -> None:
        allowed = max(self._socket_timeout or 0.0, seconds)
        self._by = time.monotonic() + allowed if allowed else float("inf")


def _time_out_in_the_kernel(sock: socket.socket, seconds: float) -> None:
    """Let the kernel end each send and each read: one system call each. Python would ask it to wait first, with another one."""
    timeval = struct.pack("@ll", int(seconds), int(seconds % 1 * 1e6))
    sock.settimeout(None)
    for option in (socket.SO_RCVTIMEO, socket.SO_SNDTIMEO):
        sock.setsockopt(socket.SOL_SOCKET, option, timeval)


class PromptConnection(Connection):
    """A connection that reads promptly, where a parser cannot be asked for."""

    def __init__(self, **kwargs: object) -> None:
        super().__init__(**kwargs | {"parser_class": PromptParser})  # type: ignore[no-untyped-call]


def redis_backend(app: Flask, url: str, *, timeout: float) -> RedisCache:
    """flask-caching's backend for ``url``. ``timeout`` is in seconds, for connecting and for each answer."""
    cache = Cache(with_jinja2_ext=False)
    cache.init_app(app, {"CACHE_SERIALIZER": Untouched, "CACHE_KEY_PREFIX": "", **_config(url, timeout)})
    backend: RedisCache = app.extensions["cache"][cache]
    # A sentinel's replica lags: a token refused a moment ago would read as accepted.
    backend._read_client = client = backend._write_client  # noqa: SLF001 - cachelib has no public way to say so
    if isinstance(client, RedisCluster):
        client.nodes_manager.initialize = _beside(client.nodes_manager.initialize)  # type: ignore[method-assign]
    return backend


def _beside(learn: Callable[..., None]) -> Callable[..., None]:
    """``learn``, done by a thread, one at a time.

    redis-py learns a cluster's slots anew inside the call that failed, asks one silent node after the other, and lets every other
    call that failed wait for its turn to do the same: seconds for each.
    """
    learning = threading.Lock()

    def run(*args: object, **kwargs: object) -> None:
        try:
            with suppress(Exception):  # the next call that fails has it done again
                learn(*args, **kwargs)
        finally:
            learning.release()

    def beside(*args: object, **kwargs: object) -> None:
        if learning.acquire(blocking=False):
            threading.Thread(target=run, args=args, kwargs=kwargs, name="redis-cluster", daemon=True).start()

    return beside


def _config(url: str, timeout: float) -> dict[str, Any]:
    parts = urlsplit(url)
    scheme, _, kind = parts.scheme.partition("+")
    match kind:
        case "sentinel":
            return _sentinels(scheme, parts, _options(scheme, timeout))
        case "cluster":
            return _cluster(scheme, parts, _options(scheme, timeout))
    return {
        "CACHE_TYPE": "RedisCache",
        "CACHE_REDIS_URL": url,
        "CACHE_OPTIONS": _options(scheme, timeout) | {"parser_class": PromptParser},
    }


def _options(scheme: str, timeout: float) -> dict[str, Any]:
    options = {
        # redis-py 8's default RESP3 switches the dirty-connection check off: a pooled connection once gave B the value of A.
        "protocol": 2,
        "socket_timeout": timeout,
        "socket_connect_timeout": timeout,
        "retry": Retry(NoBackoff(), 0),
        "max_connections": _CONNECTIONS,
    }
    # A new connection tells the server the client's name and version, which costs two answers more. Over TLS 1.3 they are needed:
    # the session tickets that arrive before them would look like an answer to somebody else's question.
    return options if scheme == "rediss" else options | {"driver_info": None}


def _sentinels(scheme: str, parts: SplitResult, options: dict[str, Any]) -> dict[str, Any]:
    login = dict(parse_qsl(parts.query))
    if parts.username:
        login["username"] = unquote(parts.username)
    if parts.password:
        login["password"] = unquote(parts.password)
    service, _, db = parts.path.strip("/").partition("/")
    db = login.pop("db", db)
    password = login.pop("password", None)
    if scheme == "rediss":
        login["ssl"] = "true"
    # Sentinels have no users and databases of ours; TLS they have when the servers have it. They are asked one after the other
    # when a new connection is made, so each gets a share of the time: three that hang cost no more than one server does.
    tls = {name: value for name, value in login.items() if name.startswith("ssl")}
    hosts = _hosts(parts)
    patience = {name: options[name] / max(1, len(hosts)) for name in ("socket_timeout", "socket_connect_timeout")}
    own = {name: options[name] for name in ("protocol", "retry", "driver_info") if name in options} | patience | tls
    return {
        "CACHE_TYPE": "RedisSentinelCache",
        "CACHE_REDIS_SENTINELS": [(host, port or 26379) for host, port in hosts],
        "CACHE_REDIS_SENTINEL_MASTER": service,
        "CACHE_REDIS_PASSWORD": password,
        "CACHE_REDIS_DB": int(db or 0),
        "CACHE_OPTIONS": options | login | {"parser_class": PromptParser} | {f"sentinel_{name}": own[name] for name in own},
    }


def _cluster(scheme: str, parts: SplitResult, options: dict[str, Any]) -> dict[str, Any]:
    credentials, at, netloc = parts.netloc.rpartition("@")
    first = netloc.partition(",")[0]
    return {
        "CACHE_TYPE": "RedisClusterCache",
        # The first node as a URL, because redis-py reads login and TLS from one; the others beside it.
        "CACHE_REDIS_URL": f"{scheme}://{credentials}{at}{first}?{parts.query}",
        "CACHE_OPTIONS": options
        | {
            "startup_nodes": [ClusterNode(host, port or 6379) for host, port in _hosts(parts)],  # type: ignore[no-untyped-call]
            "connection_class": PromptConnection,
            # One part that is away must not keep the others from being used.
            "require_full_coverage": False,
        },
    }


def _hosts(parts: SplitResult) -> list[tuple[str, int | None]]:
    each = [urlsplit(f"//{host}") for host in parts.netloc.rpartition("@")[2].split(",")]
    return [(one.hostname or "", one.port) for one in each]
