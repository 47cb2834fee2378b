"""Invalidations between workers and replicas: what they keep of a person no longer holds (Redis publish and subscribe).

A message is a person's opaque id alone, for their cached responses, or with it a marker as it is stored (`changes`).

Redis delivers a message only to whoever is subscribed when it is sent. So responses may be cached only while `connected` is true,
and it is true only while an echo of our own comes back: a frozen server is silent, and so are a connection that a firewall forgot
and a server that others no longer publish to, as after a failover behind one address.
"""

import threading
import time
from collections.abc import Callable
from contextlib import suppress
from secrets import token_hex

from redis.client import PubSub

from bff.cache.redis_errors import CacheUnavailable
from bff.cache.redis_store import RedisStore

_PING_SECONDS = 0.5
_CONNECTED_SECONDS = 1.2  # after the last message or echo
_RETRY_SECONDS = 1.0
_NEVER = float("-inf")


class InvalidationBus:
    """Publishes invalidations and receives everybody's, its own included, in a thread."""

    def __init__(
        self,
        store: RedisStore,
        channel: str,
        on_invalidate: Callable[[str], None],
        on_gap: Callable[[], None],
        *,
        on_change: Callable[[str, bytes], None] = lambda _person, _marker: None,
        on_connect: Callable[[], None] = lambda: None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """``on_invalidate(person)`` is called for each invalidation.

        ``on_gap()`` is called once when some may be missed from now on, ``on_connect()`` when none is missed any more.

        ``on_change(person, marker)`` is called as well for a message with a marker, which anybody who writes Redis can send.

        ``channel`` is Redis's, the same in all workers and replicas of one application.
        """
        self._store = store
        self.channel = channel
        self._echo = f"{channel}:{token_hex(8)}"
        self._on_invalidate = on_invalidate
        self._on_gap = on_gap
        self._on_change = on_change
        self._on_connect = on_connect
        self._clock = clock
        self._starting = threading.Lock()
        self._thread: threading.Thread | None = None
        self._last_message = _NEVER
        self._stopped = threading.Event()

    @property
    def connected(self) -> bool:
        """Whether every invalidation of the last second or so has arrived here. The first call subscribes."""
        if self._thread is None:
            self.listen()
        return self._clock() - self._last_message < _CONNECTED_SECONDS

    def publish(self, person: str) -> None:
        """Invalidate the person's cached responses here at once, and everywhere else.

        With Redis away nobody is connected, so nobody caches. If it is away from this process alone, the others learn nothing:
        what they keep holds until its own end, at most ``LOCAL_CACHE_SECONDS``.
        """
        self._on_invalidate(person)
        with suppress(CacheUnavailable):
            self._store.publish(self.channel, person)

    def receive(self, sent: bytes) -> None:
        """Do what the message asks for, in this process."""
        name, _, marker = sent.partition(b" ")
        person = name.decode("ascii", "replace")
        if marker:
            self._on_change(person, marker)
        # Last: a response that is begun from here on is of after the change, and may be kept.
        self._on_invalidate(person)

    def stop(self, *, wait_seconds: float = 0.0) -> None:
        """End the subscription, and wait for its end up to ``wait_seconds``."""
        self._stopped.set()
        if self._thread is not None:
            self._thread.join(wait_seconds)

    def listen(self) -> None:
        """Subscribe, in a thread; again is nothing."""
        with self._starting:
            if self._thread is None:
                thread = threading.Thread(target=self._listen, name="invalidations", daemon=True)
                with suppress(RuntimeError):  # no thread is to be had: the next call tries again
                    thread.start()
                    self._thread = thread

    def _listen(self) -> None:
        gap = False
        while not self._stopped.is_set():
            try:
                with self._store.subscribed(self.channel, self._echo) as subscription:
                    last_message = self._clock()
                    while not self._stopped.is_set():
                        received = subscription.get_message(timeout=_PING_SECONDS)
                        if received is None:
                            if self._clock() - last_message >= _CONNECTED_SECONDS:
                                raise TimeoutError
                            self._call(subscription)
                            continue
                        if self._last_message == _NEVER:
                            self._on_connect()
                        gap = False
                        self._last_message = last_message = self._clock()
                        if received["type"] == "message" and received["data"]:
                            self.receive(received["data"])
            except CacheUnavailable:
                pass
            self._last_message = _NEVER
            if not gap:
                self._on_gap()
            gap = True
            self._stopped.wait(_RETRY_SECONDS)

    def _call(self, subscription: PubSub) -> None:
        """Have something said on the subscription: our echo, by the way that changes take, or where that is closed a pong."""
        try:
            self._store.publish(self._echo, "")
        except CacheUnavailable:
            subscription.ping()


def message(person: str, marker: bytes) -> bytes:
    """What tells of a person's change."""
    return b"%b %b" % (person.encode(), marker)
