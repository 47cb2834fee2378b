"""Invalidations reach every worker and replica, and a bus knows when they may not have."""

import threading
import time
from contextlib import contextmanager

import pytest

from bff.cache import CacheUnavailable
from bff.cache.invalidation import InvalidationBus, message
from tests.timing import in_time
from tests.valkey import ValkeyServer, free_port


class Received:
    def __init__(self):
        self.people = []
        self.gaps = self.connects = 0

    def gap(self):
        self.gaps += 1

    def connect(self):
        self.connects += 1


def eventually(what, seconds=8.0):
    patience = time.monotonic() + seconds
    while time.monotonic() < patience:
        if what():
            return True
        time.sleep(0.02)
    return False


@pytest.fixture
def bus_on(store_at):
    """``bus_on(url)``: a bus of a process of its own, connected, and what it received."""
    made = []

    def make(url, **rules):
        received = Received()
        bus = InvalidationBus(
            store_at(url, **rules), "changed", received.people.append, received.gap, on_connect=received.connect
        )
        made.append(bus)
        assert eventually(lambda: bus.connected)
        return bus, received

    yield make
    for bus in made:
        bus.stop()
    for bus in made:
        bus.stop(wait_seconds=5)


@pytest.fixture
def own():
    with ValkeyServer(port=free_port()) as server:
        yield server


def test_an_invalidation_reaches_everybody_and_its_sender_at_once(bus_on, valkey):
    (one, by_one), (_, by_other) = bus_on(valkey.url), bus_on(valkey.url)

    one.publish("mei")

    assert by_one.people[0] == "mei"
    assert eventually(lambda: by_other.people == ["mei"])
    assert by_one.gaps == by_other.gaps == 0


def test_nothing_is_connected_before_it_subscribed(store_at, own):
    own.kill()
    received = Received()
    bus = InvalidationBus(store_at(own.url), "changed", received.people.append, received.gap)

    assert not bus.connected
    assert eventually(lambda: received.gaps)
    assert not bus.connected
    bus.publish("mei")
    assert received.people == ["mei"]
    bus.stop(wait_seconds=5)


def test_a_redis_that_ends_is_a_gap_until_it_is_back(bus_on, own):
    bus, received = bus_on(own.url)
    assert received.connects == 1

    own.kill()

    assert eventually(lambda: not bus.connected and received.gaps)
    own.restart()
    assert eventually(lambda: bus.connected)
    assert (received.gaps, received.connects) == (1, 2)
    bus.publish("mei")
    assert eventually(lambda: received.people == ["mei", "mei"])


def test_a_frozen_redis_is_not_believed_for_long(bus_on, own):
    bus, _ = bus_on(own.url)
    own.freeze()
    try:
        began = time.monotonic()
        assert eventually(lambda: not bus.connected)
        in_time(time.monotonic() - began, 2)
    finally:
        own.thaw()
    assert eventually(lambda: bus.connected)


def test_a_bus_that_is_stopped_is_no_longer_connected(bus_on, valkey):
    bus, received = bus_on(valkey.url)

    bus.stop(wait_seconds=5)

    assert eventually(lambda: not bus.connected, 2)
    assert received.people == []


def test_a_gap_is_told_once_however_long_it_lasts():
    class Away:
        attempts = 0

        @contextmanager
        def subscribed(self, *_channels):
            self.attempts += 1
            raise CacheUnavailable
            yield

        def publish(self, *_message):
            raise CacheUnavailable

    away, received = Away(), Received()
    bus = InvalidationBus(away, "changed", received.people.append, received.gap, on_connect=received.connect)
    bus.listen()

    assert eventually(lambda: away.attempts == 3)
    bus.stop(wait_seconds=5)
    assert (received.gaps, received.connects) == (1, 0)


def test_what_a_change_voids_is_void_before_responses_may_be_kept_again():
    happened = []
    bus = InvalidationBus(
        None, "changed", happened.append, lambda: None, on_change=lambda person, marker: happened.append((person, marker))
    )

    bus.receive(message("mei", b"marker"))

    assert happened == [("mei", b"marker"), "mei"]


# Until everybody has received it ---------------------------------------------------------------------------------------------


class Busy:
    """Another process, which has so much to do that a change waits there until it is `free`."""

    def __init__(self, store, *, busy_with):
        self.received, self.was_connected = [], []
        self.begun, self.free = threading.Event(), threading.Event()
        self._busy_with = busy_with
        self.bus = InvalidationBus(store, "changed", lambda _person: None, lambda: None, on_change=self.change)

    def change(self, person, _marker):
        self.was_connected.append(self.bus.connected)
        if person == self._busy_with:
            self.begun.set()
            self.free.wait(10)
        self.received.append(person)


@pytest.fixture
def busy(store_at, valkey):
    """``busy()``: a process that a change to yusuf keeps busy."""
    made = []

    def make(busy_with="yusuf"):
        process = Busy(store_at(valkey.url), busy_with=busy_with)
        made.append(process)
        assert eventually(lambda: process.bus.connected)
        return process

    yield make
    for process in made:
        process.free.set()
        process.bus.stop()
    for process in made:
        process.bus.stop(wait_seconds=5)


def test_a_change_is_over_when_everybody_has_received_it(bus_on, busy, valkey):
    (one, _), other, third = bus_on(valkey.url), busy("nobody"), busy("nobody")

    for number in range(20):
        one.publish_to_all(f"mei-{number}", b"marker")

        assert other.received[-1] == third.received[-1] == f"mei-{number}"


def test_a_change_waits_for_a_process_that_is_busy(bus_on, busy, valkey):
    (one, _), other = bus_on(valkey.url), busy()
    threading.Timer(0.4, other.free.set).start()

    one.publish_to_all("yusuf", b"marker")

    assert other.received == ["yusuf"]


def test_a_change_waits_no_longer_than_a_process_that_did_not_receive_it_is_connected(bus_on, busy, valkey):
    (one, _), other = bus_on(valkey.url), busy()

    began = time.monotonic()
    one.publish_to_all("yusuf", b"marker")

    assert other.received == []
    assert not other.bus.connected, "it takes nothing from its memory"
    in_time(time.monotonic() - began, 2)


def test_what_is_received_late_makes_nobody_connected(busy, store_at, valkey):
    other, store = busy(), store_at(valkey.url)
    store.publish("changed", "yusuf marker")
    other.begun.wait(5)
    store.publish("changed", "mei marker")
    assert eventually(lambda: not other.bus.connected)

    other.free.set()

    assert eventually(lambda: other.received == ["yusuf", "mei"])
    assert other.was_connected == [True, False], "what else is unread may be about anybody"
    assert eventually(lambda: other.bus.connected)


def test_a_change_that_goes_to_a_server_where_nobody_listens_any_more_waits_until_nobody_is_connected(store_at, valkey, own):
    """As after a failover, while what others have in memory still counts."""
    here, elsewhere = store_at(valkey.url), store_at(own.url)

    class FailedOver:
        subscribed, publish = here.subscribed, elsewhere.publish

    buses = [InvalidationBus(FailedOver(), "changed", lambda _person: None, lambda: None) for _ in range(2)]
    try:
        for bus in buses:
            assert eventually(lambda bus=bus: bus.connected)

        buses[0].publish_to_all("mei", b"marker")

        assert not buses[1].connected
    finally:
        for bus in buses:
            bus.stop(wait_seconds=5)


def test_a_change_is_not_over_before_a_process_knows_that_its_connection_was_cut(bus_on, valkey):
    cut = threading.Event()

    class Cut:
        """The way to Redis of a process that is a moment late."""

        messages = iter([{"type": "subscribe", "data": 1}])

        @contextmanager
        def subscribed(self, *_channels):
            yield self

        def get_message(self, timeout):
            if message := next(self.messages, None):
                return message
            if cut.wait(timeout):
                time.sleep(0.01)
                raise CacheUnavailable
            return None

        def publish(self, *_message):
            return 0

    (one, _), other = bus_on(valkey.url), InvalidationBus(Cut(), "changed", lambda _person: None, lambda: None)
    assert eventually(lambda: other.connected)

    cut.set()
    one.publish_to_all("mei", b"marker")

    assert not other.connected
    other.stop(wait_seconds=5)


def test_a_change_is_over_at_once_where_nobody_listens(store_at, valkey):
    bus = InvalidationBus(store_at(valkey.url), "changed", lambda _person: None, lambda: None)

    began = time.monotonic()
    bus.publish_to_all("mei", b"marker")

    in_time(time.monotonic() - began, 1)


def test_a_redis_that_freezes_meanwhile_is_waited_for_until_nobody_is_connected(bus_on, own):
    (one, _), (other, _) = bus_on(own.url), bus_on(own.url)
    own.freeze()
    try:
        one.publish_to_all("mei", b"marker")

        assert not other.connected
    finally:
        own.thaw()


def test_nonsense_stops_nobody(bus_on, store_at, valkey, stored):
    (one, received), sender = bus_on(valkey.url), store_at(valkey.url)
    for nonsense in (b"mei,a", b"mei,a,b,c x", b"mei,, x", b"mei,\xff,\x00 x", b".", b".x", b"nan", b"1e999", b"inf", b"a"):
        for channel in stored.pubsub_channels("changed*"):
            sender.publish(channel.decode(), nonsense)

    one.publish_to_all("mei", b"marker")

    assert received.people[-1] == "mei"
    assert received.gaps == 0


def test_a_bus_that_is_stopped_ends_its_subscription_at_once():
    class Silent:
        """Says nothing by itself, for longer than this test lasts."""

        def __init__(self):
            self.subscribed_by_now, self.said, self.ended = threading.Event(), threading.Event(), False

        @contextmanager
        def subscribed(self, *_channels):
            yield self
            self.ended = True

        def get_message(self, timeout):  # noqa: ARG002 - as of redis-py
            self.subscribed_by_now.set()
            self.said.wait(20)

        def publish(self, *_message):
            self.said.set()

    silent = Silent()
    bus = InvalidationBus(silent, "changed", print, print)
    bus.listen()
    assert silent.subscribed_by_now.wait(5)

    bus.stop(wait_seconds=10)

    assert silent.ended
