"""What is stored, in Redis and in this process. The only place that knows Redis."""

from bff.cache.accounts_cache import AccountsCache
from bff.cache.changes import Changes
from bff.cache.codec import Codec, EncryptedCodec, PlainCodec
from bff.cache.entries import SKEW_SECONDS, Entry, InvalidationMarker, Lifetimes, Lookup, SecurityEntry
from bff.cache.event_stream import EventStream
from bff.cache.invalidation import InvalidationBus
from bff.cache.lock import Locks, StoreLock
from bff.cache.memory import CachedResponse, CachedResponses, Freshness
from bff.cache.redis_client import is_cluster, redis_backend
from bff.cache.redis_errors import CacheUnavailable
from bff.cache.redis_store import PREFIX, RedisStore
from bff.cache.snapshot import SNAPSHOT_SECONDS, BriefValues, RecognisedTokens, Snapshot
from bff.cache.values import Values

__all__ = [
    "PREFIX",
    "SKEW_SECONDS",
    "SNAPSHOT_SECONDS",
    "AccountsCache",
    "BriefValues",
    "CacheUnavailable",
    "CachedResponse",
    "CachedResponses",
    "Changes",
    "Codec",
    "EncryptedCodec",
    "Entry",
    "EventStream",
    "Freshness",
    "InvalidationBus",
    "InvalidationMarker",
    "Lifetimes",
    "Locks",
    "Lookup",
    "PlainCodec",
    "RecognisedTokens",
    "RedisStore",
    "SecurityEntry",
    "Snapshot",
    "StoreLock",
    "Values",
    "is_cluster",
    "redis_backend",
]
