"""One thing that this application fetched, in Redis, for a process that starts while nobody answers who could be asked for it."""

from bff.cache.codec import Codec, decoded
from bff.cache.redis_store import CacheUnavailable, RedisStore
from bff.observability import Recorder

SNAPSHOT_SECONDS = 7 * 86_400.0


class Snapshot:
    """The value stored last under ``key``. Fails open: while Redis is away nothing is stored, and there is no value."""

    def __init__(self, store: RedisStore, codec: Codec, key: str, recorder: Recorder) -> None:
        self._store = store
        self._codec = codec
        self._key = key
        self._recorder = recorder

    def put(self, value: bytes) -> None:
        """Store ``value`` for `SNAPSHOT_SECONDS`."""
        self._store.set_many({self._key: self._codec.encode(self._key, value)}, SNAPSHOT_SECONDS)

    def get(self) -> bytes | None:
        """The value, if there is one and it is ours."""
        try:
            (stored,) = self._store.get_many(self._key)
        except CacheUnavailable:
            return None
        return decoded(self._codec, self._key, stored, self._recorder)
