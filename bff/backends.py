"""The Redis behind `store`, built by flask-caching's own backends from one URL: a single server, sentinels or a cluster.

Nothing here connects, except to a cluster, whose client must learn its slots first: that is why `store` builds it on first use.
"""

from typing import Any
from urllib.parse import SplitResult, parse_qsl, urlsplit

from cachelib.serializers import BaseSerializer
from flask import Flask
from flask_caching import Cache
from flask_caching.backends.rediscache import RedisCache
from redis.backoff import NoBackoff
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


def redis_backend(app: Flask, url: str, *, timeout: float) -> RedisCache:
    """flask-caching's backend for ``url``. ``timeout`` is in seconds, for connecting and for each answer."""
    parts = urlsplit(url)
    cache = Cache(with_jinja2_ext=False)
    cache.init_app(app, {"CACHE_SERIALIZER": Untouched, "CACHE_KEY_PREFIX": "", **_config(url, parts, timeout)})
    backend: RedisCache = app.extensions["cache"][cache]
    # A sentinel's replica lags: a token refused a moment ago would read as accepted.
    backend._read_client = backend._write_client  # noqa: SLF001 - cachelib has no public way to say so
    return backend


def _config(url: str, parts: SplitResult, timeout: float) -> dict[str, Any]:
    options = _options(timeout)
    match parts.scheme.partition("+"):
        case scheme, _, "sentinel":
            return {
                "CACHE_TYPE": "RedisSentinelCache",
                "CACHE_REDIS_SENTINELS": _addresses(parts, default_port=26379),
                "CACHE_REDIS_SENTINEL_MASTER": parts.path.strip("/") or "mymaster",
                "CACHE_REDIS_PASSWORD": parts.password,
                "CACHE_OPTIONS": options | _sentinel_options(options, scheme, parts),
            }
        case scheme, _, "cluster":
            return {
                "CACHE_TYPE": "RedisClusterCache",
                "CACHE_REDIS_CLUSTER": ",".join(f"{h}:{p}" for h, p in _addresses(parts, default_port=6379)),
                "CACHE_REDIS_PASSWORD": parts.password or "",
                "CACHE_OPTIONS": options | _login(scheme, parts) | {"require_full_coverage": False},
            }
        case _:
            return {"CACHE_TYPE": "RedisCache", "CACHE_REDIS_URL": url, "CACHE_OPTIONS": options}


def _options(timeout: float) -> dict[str, Any]:
    return {
        # redis-py 8's default RESP3 switches the dirty-connection check off: a pooled connection once gave B the value of A.
        "protocol": 2,
        "socket_timeout": timeout,
        "socket_connect_timeout": timeout,
        "retry": Retry(NoBackoff(), 0),
        "max_connections": _CONNECTIONS,
    }


def _sentinel_options(options: dict[str, Any], scheme: str, parts: SplitResult) -> dict[str, Any]:
    own = {f"sentinel_{name}": value for name, value in options.items() if name != "max_connections"}
    return own | _login(scheme, parts)


def _login(scheme: str, parts: SplitResult) -> dict[str, Any]:
    extra = {name: value for name, value in parse_qsl(parts.query) if name != "db"}
    if parts.username:
        extra["username"] = parts.username
    return extra | ({"ssl": True} if scheme == "rediss" else {})


def _addresses(parts: SplitResult, *, default_port: int) -> list[tuple[str, int]]:
    hosts = parts.netloc.rpartition("@")[2].split(",")
    pairs = (host.rpartition(":") if ":" in host else (host, ":", default_port) for host in hosts)
    return [(host, int(port)) for host, _, port in pairs]
