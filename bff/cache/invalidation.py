"""Telling every worker and replica that what was remembered of a person no longer holds (Redis publish and subscribe).

Nobody may rely on being told while `alive` is false: a message that is sent while the subscription is down is lost. It counts as
alive only while Redis answers the pings in between, because a frozen server looks like a silent one.
"""

import threading
import time
from collections.abc import Callable

import structlog

from bff.cache.redis_store import PREFIX, CacheUnavailable, RedisStore

log = structlog.get_logger()

CHANNEL = f"{PREFIX}changed"
_PING_SECONDS = 0.5
_BELIEVED_SECONDS = 1.2
_RETRY_SECONDS = 1.0


class InvalidationBus:
    """``heard(person)`` is called in a thread of its own for each announcement, this process's own included.

    ``lost()`` is called when announcements may have been missed.
    """

    def __init__(
        self,
        store: RedisStore,
        heard: Callable[[str], None],
        lost: Callable[[], None],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._store = store
        self._heard = heard
        self._lost = lost
        self._clock = clock
        self._lock = threading.Lock()
        self._thread: threading.Thread | None = None
        self._last_sign = float("-inf")
        self._stopped = threading.Event()

    @property
    def alive(self) -> bool:
        """Whether every announcement of the last second or so has been heard. Listening begins with the first question."""
        if self._thread is None:
            self._begin()
        return self._clock() - self._last_sign < _BELIEVED_SECONDS

    def announce(self, person: str) -> None:
        """Tell everybody, ourselves at once; while Redis is away there is nobody to tell who would hold anything."""
        self._heard(person)
        try:
            self._store.publish(CHANNEL, person)
        except CacheUnavailable:
            return

    def stop(self) -> None:
        """Listen no more; soon, not at once."""
        self._stopped.set()

    def _begin(self) -> None:
        with self._lock:
            if self._thread is None:
                self._thread = threading.Thread(target=self._listen, name="announcements", daemon=True)
                self._thread.start()

    def _listen(self) -> None:
        while not self._stopped.is_set():
            try:
                with self._store.subscribed(CHANNEL) as subscription:
                    while not self._stopped.is_set():
                        message = subscription.get_message(timeout=_PING_SECONDS)
                        if message is None:
                            subscription.ping()
                            continue
                        self._last_sign = self._clock()
                        if message["type"] == "message":
                            self._heard(message["data"].decode("ascii", "replace"))
            except CacheUnavailable:
                self._last_sign = float("-inf")
                self._lost()
                self._stopped.wait(_RETRY_SECONDS)
