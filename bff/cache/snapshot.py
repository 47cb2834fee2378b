"""One thing of the application's, encoded in Redis, for a process that starts while whoever made it is away."""

from bff.cache.codec import Codec, decoded
from bff.cache.redis_store import CacheUnavailable, RedisStore
from bff.observability import Recorder

KEPT_SECONDS = 7 * 86_400.0


class Shelf:
    """What was put there last, under ``key``. Fails open: a shelf that is away is an empty one."""

    def __init__(self, store: RedisStore, codec: Codec, key: str, recorder: Recorder) -> None:
        self._store = store
        self._codec = codec
        self._key = key
        self._recorder = recorder

    def put(self, value: bytes) -> None:
        """Keep ``value`` for a week."""
        self._store.set_many({self._key: self._codec.encode(self._key, value)}, KEPT_SECONDS)

    def get(self) -> bytes | None:
        """What is kept, if it is there and ours."""
        try:
            (stored,) = self._store.get_many(self._key)
        except CacheUnavailable:
            return None
        return decoded(self._codec, self._key, stored, self._recorder)
