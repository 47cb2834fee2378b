"""One thing of the application's, sealed in Redis, for a process that starts while whoever made it is away."""

from bff.sealing import Observer, Seal, opened
from bff.store import Store, StoreAway

KEPT_SECONDS = 7 * 86_400.0


class Shelf:
    """What was put there last, under ``key``. Fails open: a shelf that is away is an empty one."""

    def __init__(self, store: Store, seal: Seal, key: str, observer: Observer) -> None:
        self._store = store
        self._seal = seal
        self._key = key
        self._observer = observer

    def put(self, value: bytes) -> None:
        """Keep ``value`` for a week."""
        self._store.write({self._key: self._seal.seal(self._key, value)}, KEPT_SECONDS)

    def get(self) -> bytes | None:
        """What is kept, if it is there and ours."""
        try:
            (stored,) = self._store.read(self._key)
        except StoreAway:
            return None
        return opened(self._seal, self._key, stored, self._observer)
