"""Who asks GenAuth, among processes and replicas: the half of single flight that `single_flight` cannot see.

A lock ends soon by itself, so that a holder that is killed does not keep the others waiting for long. A holder that lives,
however slow GenAuth is, has it extended by one thread of its process. With Redis away every attempt is acquired: nobody can be
asked to wait.
"""

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

from bff.cache.redis_store import CacheUnavailable, RedisStore, StoreLock
from bff.resilience import in_background


class Locks:
    """Locks of ``lifetime`` seconds, extended while they are held."""

    def __init__(self, store: RedisStore, lifetime: float) -> None:
        self._store = store
        self._lifetime = lifetime
        self._guard = threading.Lock()
        self._held: set[StoreLock] = set()
        self._extending = False

    @contextmanager
    def attempt(self, name: str) -> Iterator[bool]:
        """Whether the lock ``name`` was acquired, without waiting for it; if so, it is held until the block ends."""
        lock = self._store.lock(name, self._lifetime)
        try:
            acquired = lock.acquire()
        except CacheUnavailable:
            yield True
            return
        if not acquired:
            yield False
            return
        self._keep(lock)
        try:
            yield True
        finally:
            with self._guard:
                self._held.discard(lock)
            lock.release()

    def _keep(self, lock: StoreLock) -> None:
        with self._guard:
            self._held.add(lock)
            if not self._extending:
                # Without a thread the lock ends by itself.
                self._extending = in_background(self._extend, name="locks")

    def _extend(self) -> None:
        while True:
            time.sleep(self._lifetime / 3)
            with self._guard:
                held = tuple(self._held)
                if not held:
                    self._extending = False
                    return
            for lock in held:
                lock.extend()
