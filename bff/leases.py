"""Who asks GenAuth, between processes and replicas: the half of single flight that `singleflight` cannot see.

A lease is short, so that a holder that is killed keeps the others waiting for no longer than that; a holder that lives, however
slow GenAuth is, has it renewed by one thread of its process.
"""

import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from bff.store import Store


class Leases:
    """Takes and renews leases of ``lifetime`` seconds."""

    def __init__(self, store: Store, lifetime: float) -> None:
        self._store = store
        self._lifetime = lifetime
        self._lock = threading.Lock()
        self._held: set[tuple[str, str]] = set()
        self._some = threading.Event()
        self._keeper: threading.Thread | None = None

    @contextmanager
    def take(self, lease: str, *keys: str) -> Iterator[tuple[bool, Sequence[bytes | None]]]:
        """Whether the holder of the block may go, and the values under ``keys``, read in the same round trip.

        With Redis away everybody may go: nobody can be asked to wait.
        """
        receipt, values = self._store.take(lease, self._lifetime, *keys)
        if not receipt:
            yield receipt is not None, values
            return
        self._keep((lease, receipt))
        try:
            yield True, values
        finally:
            with self._lock:
                self._held.discard((lease, receipt))
            self._store.release(lease, receipt)

    def _keep(self, held: tuple[str, str]) -> None:
        with self._lock:
            self._held.add(held)
            self._some.set()
            if self._keeper is None:
                self._keeper = threading.Thread(target=self._renew, name="leases", daemon=True)
                self._keeper.start()

    def _renew(self) -> None:
        while self._some.wait():
            time.sleep(self._lifetime / 3)
            with self._lock:
                held = tuple(self._held)
                if not held:
                    self._some.clear()
            for lease, receipt in held:
                self._store.extend(lease, receipt, self._lifetime)
