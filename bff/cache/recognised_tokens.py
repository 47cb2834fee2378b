"""Which opaque tokens were accepted lately, shared by all workers and replicas.

It decides who is asked about before tokens that nobody knows, and never whose session it is: whoever writes Redis could make a
token of their own wait a shorter time, and no more.
"""

from contextlib import suppress

from bff.cache.codec import Codec, decoded
from bff.cache.redis_store import CacheUnavailable, RedisStore
from bff.observability import Recorder
from schemas.oidc import is_identifier


class RecognisedTokens:
    """Users' ids by their tokens' digests, in Redis below ``prefix``; a `bff.auth.sessions.Recognised`.

    Fails open: while Redis is away each worker knows what it accepted itself.
    """

    def __init__(self, store: RedisStore, codec: Codec, prefix: str, recorder: Recorder) -> None:
        self._store = store
        self._codec = codec
        self._prefix = prefix
        self._recorder = recorder

    def put(self, digest: bytes, user_id: str, seconds: float) -> None:
        """The token was accepted, just now, and is to be recognised for so many seconds. One round trip."""
        key = self._key(digest)
        self._store.set_many({key: self._codec.encode(key, user_id.encode())}, seconds)

    def get(self, digest: bytes) -> str | None:
        """Whose token it was; None for one that was not accepted, and while Redis is away. One round trip."""
        key = self._key(digest)
        try:
            (stored,) = self._store.get_many(key)
        except CacheUnavailable:
            return None
        value = decoded(self._codec, key, stored, self._recorder)
        user_id = value.decode("utf-8", "replace") if value else None
        return user_id if is_identifier(user_id) else None

    def drop(self, digest: bytes) -> None:
        """The token was refused, just now."""
        with suppress(CacheUnavailable):  # a token that was refused once is refused again
            self._store.delete_many(self._key(digest))

    def _key(self, digest: bytes) -> str:
        return f"{self._prefix}:{self._codec.opaque_id('recognised', digest.hex())}"
