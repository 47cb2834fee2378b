"""What changed about a person: nothing from before holds, in Redis, in every worker and replica, and others learn of it.

This is the one way to forget somebody. The marker, what it voids, its publication and the events go to Redis in one script: all
of it is done, or whoever asked hears that it was not, for others would go on serving what is old. Each process keeps the last
marker that it received of a person, so a Redis that was emptied or lost its last writes brings nothing back.

A change that GenAuth is asked for is noted before it is sent (`hold`): should Redis go away then, nothing that was asked for
meanwhile comes back with it.
"""

import threading
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from functools import partial
from math import ceil
from typing import Protocol

from bff.cache.entries import Entry, InvalidationMarker
from bff.cache.event_stream import ADD_EVENTS, ADD_ONLY, EventStream, run_scripts
from bff.cache.invalidation import NOTICED_SECONDS, InvalidationBus, message
from bff.cache.lock import StoreLock
from bff.cache.redis_client import Script
from bff.cache.redis_errors import CacheUnavailable
from bff.cache.redis_store import PREFIX, RedisStore
from bff.cache.values import Values
from bff.models import UNLINKED, AccountEvent
from bff.observability import Recorder
from bff.resilience import Cache, cache, released

LOCK_AT_MOST = 60.0  # seconds; more than the longest CHANGE_DEADLINE_SECONDS
HOLD_AT_MOST = 55.0  # a marker that is a minute ahead, or more, is not believed (`values`)
_REMOVAL_SECONDS = 7 * 86_400.0  # so long somebody may stay away, and what came of a removal is an event all the same
_AT_ONCE = 500  # people in one round trip
_ATTEMPTS = 32  # of a marker that others write at the same time

# The marker is replaced only as it was read, so that no change undoes another; returned is what there is instead. What is deleted
# comes first: after that even a full Redis lets the script write. The marker comes after the events: what others could not learn
# of is not over.
_FORGET = """
local kept = redis.pcall('get', KEYS[1])
if type(kept) ~= 'string' then kept = '' end
if kept ~= ARGV[1] then return kept end
redis.call('del', KEYS[2], KEYS[3])
local keys, args = 3, 7
%s
redis.call('set', KEYS[1], ARGV[2], 'px', ARGV[3])
if ARGV[4] ~= '' then redis.call('set', KEYS[2], ARGV[4], 'px', ARGV[5]) end
redis.call('publish', ARGV[6], ARGV[7])
return added
"""
_FORGET_ONLY, _FORGET_AND_ADD = _FORGET % "local added = {}", _FORGET % ADD_EVENTS


class OnChange(Protocol):
    """What learns of each change in this process."""

    def __call__(self, person: str, /, *, refusals: bool, acceptances: bool) -> None:
        """``person`` is an opaque id; ``refusals``, ``acceptances``: GenAuth's earlier ones count no longer, since just now."""


_Change = Callable[[InvalidationMarker], InvalidationMarker]
# Those of a person, by an opaque id, whose marker said this.
_Events = Callable[[str, InvalidationMarker], Sequence[AccountEvent]]


def _no_events(_person: str, _marker: InvalidationMarker) -> Sequence[AccountEvent]:
    return ()


class Changes:
    """Forgets people, and adds events to the stream. Fails closed: `CacheUnavailable` where Redis is away."""

    def __init__(
        self,
        store: RedisStore,
        values: Values,
        bus: InvalidationBus,
        recorder: Recorder,
        *,
        person: Callable[[str], str],
        on_change: OnChange = lambda _person, *, refusals, acceptances: None,  # noqa: ARG005
        stream: EventStream | None = None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        """``person`` gives the opaque id of a user. ``on_change`` is called for each change, whoever made it.

        ``stream`` is what events go into, None for nowhere.
        """
        self.adds_events = stream is not None
        self._store = store
        self._values = values
        self._bus = bus
        self._recorder = recorder
        self._lifetimes = values.lifetimes
        self._person = person
        self._on_change = on_change
        self._stream = stream
        self._clock = clock
        self._received: Cache[str, InvalidationMarker] = cache("changes", seconds=max(values.lifetimes.longest, HOLD_AT_MOST))
        self._receiving = threading.Lock()

    def forget(
        self,
        *user_ids: str,
        cause: str,
        refusals: bool = False,
        acceptances: bool = False,
        events: Sequence[AccountEvent] = (),
        wait: bool = True,
    ) -> None:
        """Drop what is known of people's accounts and ways to sign in, those that GenAuth is being asked for right now included.

        ``refusals``: GenAuth is asked again with tokens that it refused. ``acceptances``: those that it accepted count no longer.
        ``wait`` until every worker knows. ``cause`` is a word of docs/observability.md.
        """
        now = self._clock()
        change = partial(InvalidationMarker.changed, now=now, refusals=refusals, acceptances=acceptances)
        people = [self._person(user_id) for user_id in user_ids]

        def theirs(person: str, _: InvalidationMarker) -> Sequence[AccountEvent]:
            return [event for event in events if self._person(event.user_id) == person]

        try:
            for first in range(0, len(people), _AT_ONCE):
                chosen = people[first : first + _AT_ONCE]
                self._write(chosen, change, events=theirs if events else _no_events)
        except CacheUnavailable:
            for person in people:  # here at least
                self._apply(person, change(self.marker(_key(person), None) or InvalidationMarker()))
            raise
        self._forgot(people, cause, wait=wait)

    def outdate(self, user_id: str) -> None:
        """Answers given for the user a moment ago no longer hold, in any process: there is something newer, or a refusal."""
        self._bus.publish(self._person(user_id))

    def lock(self, user_id: str, seconds: float) -> StoreLock:
        """The lock under which a user's accounts are changed, not yet acquired. It is not extended by itself."""
        return self._store.lock(f"{prefix_of(self._person(user_id))}:lock:change", seconds, at_most=LOCK_AT_MOST)

    def unconfirmed(self, user_id: str, entry: Entry | None = None) -> Collection[str]:
        """The ids of sources whose removal was sent lately and not confirmed.

        A removal that came about by now, as the ``entry`` shows, is settled. Under the `lock`.
        """
        key = _key(self._person(user_id))
        (stored,) = self._store.get_many(key)
        marker = self.marker(key, stored)
        if entry and marker and marker.removed(entry, locked=True):
            self.settle(user_id, None, entry)
        return marker.pending(self._clock()) if marker else ()

    def hold(self, user_id: str, source_id: str, seconds: float, *, provider_type: str | None = None) -> None:
        """The removal of a source is about to be sent: for ``seconds``, or until it is settled, nothing asked for is kept.

        Under the `lock`.
        """
        now, seconds = self._clock(), min(seconds, HOLD_AT_MOST)
        self._write([self._person(user_id)], lambda marker: marker.holding(source_id, provider_type, now, seconds))

    def settle(
        self,
        user_id: str,
        source_id: str | None,
        entry: Entry | None = None,
        *,
        locked: bool = True,
        events: Sequence[AccountEvent] = (),
        cause: str = "unlink",
        wait: bool = False,
    ) -> None:
        """The removal of a source is confirmed by the ``entry``, or was not made (None).

        ``source_id`` None: the entry shows what came about otherwise. ``locked``: it was asked for under the `lock`, after every
        removal that it shows. From now on it is served, while everything else that was asked for meanwhile stays void; not while
        another removal is unconfirmed. Each removal that it shows is an event, beside these ``events``. The rest as in `forget`.
        """
        now = self._clock()

        def removed(_: str, marker: InvalidationMarker) -> Sequence[AccountEvent]:
            gone = marker.removed(entry, locked=locked) if entry else ()
            return [*(AccountEvent(UNLINKED, user_id, *each) for each in gone), *events]

        def change(marker: InvalidationMarker) -> InvalidationMarker:
            return marker.settled(source_id, now, entry, locked=locked)

        self._write([self._person(user_id)], change, entry, removed if entry else _no_events)
        # Whoever was cut off meanwhile had received the hold, and has kept nothing since.
        self._forgot([self._person(user_id)], cause, wait=wait, at_least=0.0 if source_id else NOTICED_SECONDS)

    def marker(self, key: str, stored: bytes | None) -> InvalidationMarker | None:
        """What is known of a person's changes, where this is stored under the key of their marker, or nothing can be read."""
        now = self._clock()
        marker, received = self._values.decode(key, stored, InvalidationMarker, now), self._received.get(key)
        if stored and not marker:
            # Of a process with a newer CACHE_SECRET, say, or with a clock far ahead: nothing holds that it may void.
            return (received or InvalidationMarker()).changed(now, refusals=True, acceptances=True)
        return marker.newer(received) if marker else received

    def receive(self, person: str, stored: bytes) -> None:
        """A person's marker was published, as it is stored; anything else that somebody sent is ignored."""
        key = _key(person)
        with self._receiving:
            sent, before = self._values.decode(key, stored, InvalidationMarker, self._clock()), self._received.get(key)
            if sent is None:
                return
            before = before or InvalidationMarker()
            marker = sent.newer(before)
            self._received.put(key, marker)
        refusals, acceptances = marker.refusals_at > before.refusals_at, marker.acceptances_at > before.acceptances_at
        self._on_change(person, refusals=refusals, acceptances=acceptances)

    def _write(self, people: Collection[str], change: _Change, entry: Entry | None = None, events: _Events = _no_events) -> None:
        """Replace people's markers, which is published, and delete what these void; the ``entry`` is stored if it holds."""
        stream = self._stream
        if stream is None:
            events = _no_events
        elif stream.clustered and events is not _no_events:
            # Who reads the event may look at once; and nothing is over that others could not learn of.
            markers = self._replace(people, lambda marker: marker.changed(self._clock()))
            if added := [event for person, marker in markers.items() for event in events(person, marker)]:
                script = (ADD_ONLY, *stream.arguments(added, self._clock()))
                run_scripts(self._store, "add", [script], [added], self._recorder)
            events = _no_events
        self._replace(people, change, entry, events)

    def _replace(
        self, people: Collection[str], change: _Change, entry: Entry | None = None, events: _Events = _no_events
    ) -> Mapping[str, InvalidationMarker]:
        """The same in one script for each, which adds their events as well. The markers by their people."""
        written: dict[str, InvalidationMarker] = {}
        # Most people have no marker, so that is what is tried first.
        found: Mapping[str, bytes] = dict.fromkeys(people, b"")
        for _ in range(_ATTEMPTS):
            before = [self.marker(_key(person), stored or None) or InvalidationMarker() for person, stored in found.items()]
            after = dict(zip(found, map(change, before), strict=True))
            own = list(map(events, found, before))
            scripts = [
                self._script(person, found[person], after[person], entry, each) for person, each in zip(found, own, strict=True)
            ]
            answers = dict(zip(found, run_scripts(self._store, "forget", scripts, own, self._recorder), strict=True))
            # What somebody else wrote meanwhile, and is not yet counted with.
            found = {person: answer for person, answer in answers.items() if isinstance(answer, bytes)}
            for person in after.keys() - found.keys():
                written[person] = after[person]
                self._apply(person, after[person])
            if not found:
                return written
        raise CacheUnavailable

    def _script(
        self, person: str, found: bytes, marker: InvalidationMarker, entry: Entry | None, events: Sequence[AccountEvent]
    ) -> Script:
        """What replaces one marker, if it is still as ``found``, which it returns else."""
        key, accounts = _key(person), f"{prefix_of(person)}:accounts"
        kept = b""
        if entry and not marker.voids(entry):
            kept = self._values.encode({accounts: entry.fresh(self._lifetimes.fresh_for())})[accounts]
        stored = self._values.encode({key: marker})[key]
        seconds = max(self._lifetimes.longest, marker.held_until - self._clock())
        if self.adds_events and marker.unconfirmed:
            seconds = max(seconds, _REMOVAL_SECONDS)
        arguments: list[str | bytes | int] = [found, stored, _milliseconds(seconds), kept]
        arguments += [_milliseconds(self._lifetimes.ttl + self._lifetimes.stale), self._bus.channel, message(person, stored)]
        keys = [key, accounts, f"{prefix_of(person)}:security"]
        if not (events and self._stream):
            return _FORGET_ONLY, keys, arguments
        event_keys, event_arguments = self._stream.arguments(events, self._clock())
        return _FORGET_AND_ADD, [*keys, *event_keys], [*arguments, *event_arguments]

    def _forgot(self, people: Sequence[str], cause: str, *, wait: bool, at_least: float = NOTICED_SECONDS) -> None:
        self._recorder.forgotten(cause, len(people))
        if wait and people:
            # The others' were published before (among a cluster's nodes one may arrive a little later).
            marker = self.marker(key := _key(people[-1]), None) or InvalidationMarker()
            with released():
                self._bus.publish_to_all(people[-1], self._values.encode({key: marker})[key], at_least=at_least)

    def _apply(self, person: str, marker: InvalidationMarker) -> None:
        """In this process at once; the message comes as well."""
        key = _key(person)
        self._bus.receive(message(person, self._values.encode({key: marker})[key]))


def prefix_of(person: str) -> str:
    """What all keys of a person begin with, by the opaque id: a hash tag, so that a cluster has them in one slot."""
    return f"{PREFIX}{{{person}}}"


def _key(person: str) -> str:
    return f"{prefix_of(person)}:invalidated"


def _milliseconds(seconds: float) -> int:
    return ceil(seconds * 1000)
