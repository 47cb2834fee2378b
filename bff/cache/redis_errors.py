"""What an error of redis-py means: a word for log, metrics and ``/readyz``, and whether the connection is to blame.

Decided by the types of errors and never by what a library's text says, which may hold a password or a value.
"""

import socket
import ssl
from collections.abc import Iterator

from redis.exceptions import (
    AuthenticationError,
    AuthorizationError,
    BusyLoadingError,
    ClusterDownError,
    ClusterError,
    InvalidResponse,
    MasterDownError,
    MaxConnectionsError,
    NoPermissionError,
    OutOfMemoryError,
    ReadOnlyError,
    RedisClusterException,
    RedisError,
    ResponseError,
)
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import TimeoutError as RedisTimeoutError
from redis.sentinel import MasterNotFoundError

from bff.resilience import Unresolved

RIGHTS = "rights"
_Kinds = tuple[type[BaseException], ...]
# What an error itself or one of its causes is; the first that fits counts.
_REASONS: tuple[tuple[_Kinds, str], ...] = (
    ((NoPermissionError,), RIGHTS),
    ((AuthenticationError, AuthorizationError), "authentication"),
    ((ssl.SSLCertVerificationError,), "certificate"),
    ((ssl.SSLError,), "tls"),
    ((Unresolved, socket.gaierror), "name"),
    ((ConnectionRefusedError, FileNotFoundError, PermissionError), "refused"),
    ((ReadOnlyError,), "read_only"),
    ((OutOfMemoryError,), "full"),
    ((BusyLoadingError,), "loading"),
    ((MasterDownError, MasterNotFoundError), "no_master"),
    ((MaxConnectionsError,), "too_many"),
    ((RedisTimeoutError, TimeoutError), "timeout"),
    ((ClusterDownError, ClusterError, RedisClusterException), "cluster"),
    ((InvalidResponse,), "no_redis"),
    ((ResponseError,), "refusal"),
    ((RedisConnectionError, OSError), "closed"),
)


class CacheUnavailable(Exception):
    """Redis did not do what had to be done."""


def reason_of(error: BaseException) -> str:
    """A word for why Redis did not do its work; ``other`` for what is no error of Redis or of the way to it."""
    causes = list(_causes(error))
    return next((word for kinds, word in _REASONS if any(isinstance(cause, kinds) for cause in causes)), "other")


def is_away(error: BaseException) -> bool:
    """Whether Redis gave no answer, rather than one that refuses (full, read-only, without the right, another type of value)."""
    refusal = isinstance(error, RedisError) and not isinstance(error, (RedisConnectionError, RedisTimeoutError, ClusterError))
    return not refusal


def is_demoted(error: BaseException) -> bool:
    """Whether the server takes no writes because another one does, or should: a new connection may lead to that one."""
    return reason_of(error) == "read_only" or str(error).startswith("NOREPLICAS ")


def _causes(error: BaseException) -> Iterator[BaseException]:
    """The error and what led to it, up to what was being handled when Redis was asked."""
    cause: BaseException | None = error
    while isinstance(cause, (RedisError, RedisClusterException, OSError)):
        yield cause
        cause = cause.__cause__ or cause.__context__
