"""Who asks GenAuth, between processes and replicas: the half of single flight that `singleflight` cannot see.

A lease is short, so that a holder that is killed keeps the others waiting for no longer than that; a holder that lives, however
slow GenAuth is, has it renewed by one thread of its process. With Redis away everybody may go: nobody can be asked to wait.
"""

import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

from bff.cache.redis_store import CacheUnavailable, Lease, RedisStore, StoreLock
from bff.errors import UpstreamFailure, UpstreamMalformed, UpstreamThrottled, UpstreamTimeout, UpstreamUnavailable

# What a failure is called in the word that is left for those who waited.
_TROUBLES: dict[str, type[UpstreamFailure]] = {
    kind.code: kind for kind in (UpstreamMalformed, UpstreamUnavailable, UpstreamTimeout, UpstreamThrottled)
}


@dataclass(slots=True)
class Turn:
    """Whether it is our turn to ask. ``values`` is None while Redis is away; ``awaiting`` is whom to wait for otherwise."""

    go: bool
    values: Sequence[bytes | None] | None = None
    lease: Lease | None = None
    awaiting: str = ""
    trouble: UpstreamFailure | None = None

    def given_back(self) -> None:
        """The lease went back with what was written."""
        self.lease = None


@dataclass(frozen=True, slots=True)
class Attempt:
    """How an attempt at a lock ended."""

    acquired: bool


class Locks:
    """Takes and renews leases of ``lifetime`` seconds."""

    def __init__(self, store: RedisStore, lifetime: float) -> None:
        self._store = store
        self._lifetime = lifetime
        self._lock = threading.Lock()
        self._held: set[Lease | StoreLock] = set()
        self._keeper: threading.Thread | None = None

    @contextmanager
    def attempt(self, name: str) -> Iterator[Attempt]:
        """One attempt at the lock ``name``. If it is acquired it is held, however long that takes, until the block ends.

        With Redis away every attempt is acquired: there is nobody to wait for.
        """
        lock = self._store.lock(name, self._lifetime)
        try:
            acquired = lock.acquire()
        except CacheUnavailable:
            yield Attempt(acquired=True)
            return
        if not acquired:
            yield Attempt(acquired=False)
            return
        self._keep(lock)
        try:
            yield Attempt(acquired=True)
        finally:
            with self._lock:
                self._held.discard(lock)
            lock.release()

    @contextmanager
    def take(self, name: str, *keys: str, awaited: str = "", enough: int = 0) -> Iterator[Turn]:
        """A turn, and the values under ``keys``, read in the same round trip.

        ``awaited`` is what the last turn said; if that holder failed, the turn carries its trouble. A trouble that ends the
        block is told to whoever waits for us. If the first ``enough`` keys have values it is nobody's turn, and none is awaited.
        """
        lease = self._store.lease(name)
        try:
            taken = self._store.take(lease, self._lifetime, awaited, *keys, enough=enough)
        except CacheUnavailable:
            yield Turn(go=True)
            return
        if taken.holder != lease.receipt:
            yield Turn(go=False, values=taken.values, awaiting=taken.holder, trouble=_trouble(taken.failed))
            return
        turn = Turn(go=True, values=taken.values, lease=lease)
        self._keep(lease)
        failed = ""
        try:
            yield turn
        except UpstreamFailure as trouble:
            failed = f"{trouble.code} {trouble.retry_after or ''}"
            raise
        finally:
            with self._lock:
                self._held.discard(lease)
            if turn.lease:
                self._store.release(lease, failed)

    def _keep(self, lease: Lease | StoreLock) -> None:
        with self._lock:
            self._held.add(lease)
            if self._keeper is None:
                self._keeper = threading.Thread(target=self._renew, name="leases", daemon=True)
                self._keeper.start()

    def _renew(self) -> None:
        while True:
            time.sleep(self._lifetime / 3)
            with self._lock:
                held = tuple(self._held)
                if not held:
                    self._keeper = None
                    return
            # All of them at once: while GenAuth hangs there are as many as it may be asked at a time.
            if leases := [each for each in held if isinstance(each, Lease)]:
                self._store.extend(leases, self._lifetime)
            for each in held:
                if isinstance(each, StoreLock):
                    each.extend()


def _trouble(word: str) -> UpstreamFailure | None:
    code, _, retry_after = word.partition(" ")
    kind = _TROUBLES.get(code)
    try:
        seconds = float(retry_after) if retry_after.strip() else None
    except ValueError:
        seconds = None
    return kind(note="another process asked", retry_after=seconds) if kind else None
