"""What one process leaves in Redis for another.

A `Snapshot` is one thing that this application fetched, for a process that starts while nobody answers who could be asked for it.
`BriefValues` are what one request of a person leaves for a later one, which may come to another replica. `RecognisedTokens` are
those that some worker accepted lately.
"""

from collections.abc import Callable
from contextlib import suppress

from bff.cache.codec import Codec, decoded
from bff.cache.redis_errors import CacheUnavailable
from bff.cache.redis_store import RedisStore
from bff.observability import Recorder
from schemas.oidc import is_identifier

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


class BriefValues:
    """Values by names that nobody can guess, in Redis below ``prefix``, each for ``seconds``.

    Fails closed: while Redis is away every call raises `CacheUnavailable`.
    """

    def __init__(
        self, store: RedisStore, codec: Codec, prefix: str, seconds: float, recorder: Recorder, *, opaque_id: Callable[[str], str]
    ) -> None:
        """``opaque_id`` is what a name is called in Redis: whoever reads a key learns no name."""
        self.seconds = seconds
        self._store = store
        self._codec = codec
        self._prefix = prefix
        self._recorder = recorder
        self._opaque_id = opaque_id

    def put(self, name: str, value: bytes, seconds: float | None = None) -> None:
        """Store ``value``. ``seconds``: what is left of its time, where it was stored before. One round trip."""
        key = self._key(name)
        if not self._store.set_many({key: self._codec.encode(key, value)}, self.seconds if seconds is None else seconds):
            raise CacheUnavailable

    def get(self, name: str) -> bytes | None:
        """The value, if there is one and it is ours. One round trip."""
        key = self._key(name)
        (stored,) = self._store.get_many(key)
        return decoded(self._codec, key, stored, self._recorder)

    def is_first(self, name: str, event: str) -> bool:
        """Whether it happens for the first time to what has that name, as long as this is called for each. One round trip."""
        counted = self._store.increment(f"{self._key(name)}:{event}", self.seconds)
        if counted is None:
            raise CacheUnavailable
        return counted[0] == 1

    def _key(self, name: str) -> str:
        return f"{self._prefix}:{self._opaque_id(name)}"


class RecognisedTokens:
    """Users' ids by their tokens' digests, in Redis below ``prefix``; a `bff.auth.sessions.Recognised`.

    They decide who is asked about before tokens that nobody knows, and never whose session one is: whoever writes Redis could
    make a token of their own wait a shorter time, and no more. Fails open: while Redis is away each worker knows what it accepted
    itself.
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
