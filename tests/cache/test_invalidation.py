"""Invalidations reach every worker and replica, and a bus knows when they may not have."""

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
