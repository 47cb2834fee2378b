"""Invalidations between workers and replicas: what they keep of a person no longer holds (Redis publish and subscribe).

    <person>                            their cached responses, by their opaque id
    <person> <marker>                   what changed about them, as it is stored (`changes`)
    <person>,<sender>,<name> <marker>   the same, and the sender waits until everybody has confirmed it
    .<name>                             to the sender alone: confirmed
    <seconds>                           to the sender alone: an echo of what it sent at this time

Redis delivers a message only to whoever is subscribed when it is sent. So responses may be cached only while `connected` is true,
and it is true only while an echo of our own comes back: a frozen server is silent, and so are a connection that a firewall forgot
and a server that others no longer publish to, as after a failover behind one address.

A subscription keeps the order. So once an echo is back, everything that was published before it was sent has been received: a
process that was too busy to read is no more connected than one that was cut off.
"""

import threading
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from math import inf
from secrets import token_hex
from typing import Any

from redis.client import PubSub

from bff.cache.redis_errors import CacheUnavailable
from bff.cache.redis_store import RedisStore

_PING_SECONDS = 0.5
_CONNECTED_SECONDS = 1.2  # after the last echo was sent that came back
NOTICED_SECONDS = 0.05  # until a process knows that its connection ended
_UNANSWERED = 2  # echoes that do not come back: the subscription is dead
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
        self._id = token_hex(8)
        self._on_invalidate = on_invalidate
        self._on_gap = on_gap
        self._on_change = on_change
        self._on_connect = on_connect
        self._clock = clock
        self._starting = threading.Lock()
        self._thread: threading.Thread | None = None
        self._echo_sent_at = _NEVER
        self._confirmations: dict[str, threading.Semaphore] = {}
        self._stopped = threading.Event()

    @property
    def connected(self) -> bool:
        """Whether all invalidations but those of the last second or so have been received. The first call subscribes."""
        if self._thread is None:
            self.listen()
        return self._clock() - self._echo_sent_at < _CONNECTED_SECONDS

    def publish(self, person: str) -> None:
        """Invalidate the person's cached responses here at once, and everywhere else.

        With Redis away nobody is connected, so nobody caches. If it is away from this process alone, the others learn nothing:
        what they keep holds until its own end, at most ``LOCAL_CACHE_SECONDS``.
        """
        self._on_invalidate(person)
        with suppress(CacheUnavailable):
            self._store.publish(self.channel, person)

    def publish_to_all(self, person: str, marker: bytes, *, at_least: float = NOTICED_SECONDS) -> None:
        """Publish a marker, and wait until every process that listens has received it, or is `connected` no longer.

        So do those wait to whom nobody can confirm: who does not listen, or lost Redis meanwhile. ``at_least`` so many seconds
        pass: a process whose connection was cut just now is not awaited, and has to notice it.
        """
        name = token_hex(8)
        confirmed = self._confirmations[name] = threading.Semaphore(0)
        over = self._clock() + _CONNECTED_SECONDS
        awaited = inf
        try:
            with suppress(CacheUnavailable):
                awaited = self._store.publish(self.channel, message(f"{person},{self._id},{name}", marker))
            if awaited == 0 and self._thread and self.connected:
                awaited = inf  # we listen, so to another server, from before a failover: others may as well
            while awaited > 0 and confirmed.acquire(timeout=max(0.0, over - self._clock())):
                awaited -= 1
            time.sleep(max(0.0, over - _CONNECTED_SECONDS + at_least - self._clock()))
        finally:
            del self._confirmations[name]

    def receive(self, sent: bytes) -> None:
        """Do what the message asks for, in this process."""
        names, _, marker = sent.partition(b" ")
        person, *reply = names.decode("ascii", "replace").split(",")
        if marker:
            self._on_change(person, marker)
        # After it: a response that is begun from here on is of after the change, and may be kept.
        self._on_invalidate(person)
        if len(reply) == 2:
            sender, name = reply
            with suppress(CacheUnavailable):
                self._store.publish(self._channel_of(sender), f".{name}")

    def stop(self, *, wait_seconds: float = 0.0) -> None:
        """End the subscription, and wait for its end up to ``wait_seconds``."""
        self._stopped.set()
        if self._thread is not None:
            with suppress(CacheUnavailable):
                self._store.publish(self._channel_of(self._id), "")  # the thread wakes: who has stopped confirms nothing
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
                with self._store.subscribed(self.channel, self._channel_of(self._id)) as subscription:
                    called_at, unanswered = self._clock(), 0
                    while not self._stopped.is_set():
                        received = subscription.get_message(timeout=max(0.0, called_at + _PING_SECONDS - self._clock()))
                        if received is not None:
                            if self._echo_sent_at == _NEVER:
                                self._on_connect()
                                gap, self._echo_sent_at = False, called_at
                            self._receive(received)
                        if self._echo_sent_at == called_at:
                            unanswered = 0
                        if (now := self._clock()) - called_at >= _PING_SECONDS:
                            # Counted, not timed: this thread may be late itself.
                            if unanswered == _UNANSWERED:
                                raise TimeoutError
                            called_at, unanswered = now, unanswered + 1
                            self._call(subscription, now)
            except CacheUnavailable:
                pass
            self._echo_sent_at = _NEVER
            if not gap:
                self._on_gap()
            gap = True
            self._stopped.wait(_RETRY_SECONDS)

    def _call(self, subscription: PubSub, now: float) -> None:
        """Have something said on the subscription: our echo, by the way that changes take, or where that is closed a pong."""
        try:
            self._store.publish(self._channel_of(self._id), repr(now))
        except CacheUnavailable:
            subscription.ping(repr(now))

    def _receive(self, received: Mapping[str, Any]) -> None:
        said = received["data"]
        if received["type"] == "message" and received["channel"] == self.channel.encode():
            self.receive(said)
        elif received["type"] in {"message", "pong"}:
            if said.startswith(b"."):
                if confirmed := self._confirmations.get(said[1:].decode("ascii", "replace")):
                    confirmed.release()
            else:
                with suppress(ValueError):  # somebody else's
                    self._echo_sent_at = min(float(said), self._clock())

    def _channel_of(self, sender: str) -> str:
        return f"{self.channel}:{sender}"


def message(person: str, marker: bytes) -> bytes:
    """What tells of a person's change."""
    return b"%b %b" % (person.encode(), marker)
