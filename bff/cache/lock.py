"""Who asks GenAuth, among processes and replicas: the half of single flight that `single_flight` cannot see.

A lock ends soon by itself, so that a holder that is killed does not keep the others waiting for long. A holder that lives,
however slow GenAuth is, has it extended by one thread of its process. With Redis away every attempt is acquired: nobody can be
asked to wait.
"""

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from secrets import token_hex
from typing import TYPE_CHECKING

from redis.exceptions import LockError
from redis.lock import Lock

from bff.cache.redis_client import RedisBackend
from bff.cache.redis_errors import CacheUnavailable
from bff.resilience import in_background

if TYPE_CHECKING:
    from bff.cache.redis_store import RedisStore

_Do = Callable[[str, Callable[[RedisBackend], bool]], bool]
_NO_END = -1  # what PTTL says of a key without one


class StoreLock:
    """redis-py's lock, failing as the store does. Only the one who acquired it knows the owner token."""

    def __init__(self, do: _Do, name: str, seconds: float, at_most: float) -> None:
        self._do = do
        self._name = name
        self._seconds = seconds
        self._at_most = at_most
        self._lock: Lock | None = None

    def acquire(self) -> bool:
        """Whether the lock is ours now; waits for nobody. Raises `CacheUnavailable`."""
        return self._do("lock", self._acquire)

    def extend(self) -> bool:
        """Hold the lock for its whole time from now. Whether it was still ours."""
        return self._if_owned(lambda lock: lock.extend(self._seconds, replace_ttl=True))

    def release(self) -> bool:
        """Release the lock. Whether it was still ours; else it ends by itself."""
        return self._if_owned(Lock.release)

    def _acquire(self, redis: RedisBackend) -> bool:
        lock = redis.client.lock(self._name, timeout=self._seconds, blocking=False, thread_local=False)
        token = token_hex(16)  # unlike others'; redis-py's own asks the system for its network address each time
        acquired: bool = lock.acquire(token=token)
        if not acquired:
            left = redis.client.pttl(self._name)
            # One that never ends, or later than any of ours could, was written by somebody else: nobody waits for it.
            if left == _NO_END or left > self._at_most * 1000:
                redis.client.delete(self._name)
                acquired = lock.acquire(token=token)
        if acquired:
            self._lock = lock
        return acquired

    def _if_owned(self, act: Callable[[Lock], object]) -> bool:
        lock = self._lock
        if lock is None:
            return False

        def work(_: RedisBackend) -> bool:
            with suppress(LockError):  # it ended, and may be somebody else's by now
                act(lock)
                return True
            return False

        try:
            return self._do("lock", work)
        except CacheUnavailable:
            return False


class Locks:
    """Locks of ``lifetime`` seconds, extended while they are held."""

    def __init__(self, store: "RedisStore", lifetime: float) -> None:
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
