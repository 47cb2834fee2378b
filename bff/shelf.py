"""One thing of the application's, sealed in Redis, for a process that starts while whoever made it is away."""

from bff.sealing import Seal
from bff.store import Store, StoreAway

_KEPT_SECONDS = 7 * 86_400.0
_LARGEST = 2 * 1024 * 1024


class Shelf:
    """What was put there last, under ``key``. Fails open: a shelf that is away is an empty one."""

    def __init__(self, store: Store, seal: Seal, key: str) -> None:
        self._store = store
        self._seal = seal
        self._key = key

    def put(self, value: bytes) -> None:
        """Keep ``value`` for a week."""
        self._store.write({self._key: self._seal.seal(self._key, value)}, _KEPT_SECONDS)

    def get(self) -> bytes | None:
        """What is kept, if it is there and ours."""
        try:
            (stored,) = self._store.read(self._key)
        except StoreAway:
            return None
        return self._seal.open(self._key, stored) if stored and len(stored) <= _LARGEST else None
