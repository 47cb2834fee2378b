"""What is stored, in Redis and in this process. The only place that knows Redis."""

from bff.cache.accounts_cache import AccountsCache
from bff.cache.cached_responses import CachedResponse, CachedResponses, Freshness
from bff.cache.codec import Codec, EncryptedCodec, PlainCodec
from bff.cache.entries import Entry, Lifetimes, Lookup, SecurityEntry
from bff.cache.invalidation import InvalidationBus
from bff.cache.lock import Locks
from bff.cache.recognised_tokens import RecognisedTokens
from bff.cache.redis_client import redis_backend
from bff.cache.redis_store import PREFIX, CacheUnavailable, RedisStore, StoreLock
from bff.cache.snapshot import SNAPSHOT_SECONDS, BriefValues, Snapshot

__all__ = [
    "PREFIX",
    "SNAPSHOT_SECONDS",
    "AccountsCache",
    "BriefValues",
    "CacheUnavailable",
    "CachedResponse",
    "CachedResponses",
    "Codec",
    "EncryptedCodec",
    "Entry",
    "Freshness",
    "InvalidationBus",
    "Lifetimes",
    "Locks",
    "Lookup",
    "PlainCodec",
    "RecognisedTokens",
    "RedisStore",
    "SecurityEntry",
    "Snapshot",
    "StoreLock",
    "redis_backend",
]
