"""While a person's accounts change, nothing asked for meanwhile is kept; afterwards exactly what confirmed the change is."""

import time

import pytest

from bff.cache import CacheUnavailable, Entry, InvalidationBus, PlainCodec
from bff.cache.entries import InvalidationMarker
from tests.cache.conftest import accounts, ids, session
from tests.valkey import ValkeyServer

MEI = session()


@pytest.fixture
def others(cache_on, store_at, valkey):
    """A cache as another process has it, over the same Redis."""
    return cache_on(store_at(valkey.url))


def test_one_person_is_changed_by_one_request_at_a_time(cache, others):
    lock = cache.change_lock("mei", 12)
    assert lock.acquire()

    assert not others.change_lock("mei", 12).acquire()
    assert others.change_lock("yusuf", 12).acquire()
    assert lock.extend()
    lock.release()
    assert others.change_lock("mei", 12).acquire()


def test_who_waits_for_a_shorter_time_does_not_end_a_longer_change(cache, others):
    assert cache.change_lock("mei", 47).acquire()

    assert not others.change_lock("mei", 3).acquire()


def test_a_lock_that_none_of_ours_could_have_written_keeps_nobody_from_changing(cache, stored):
    lock = cache.change_lock("mei", 12)
    assert lock.acquire()
    (key,) = stored.keys("*:lock:change")
    stored.set(key, "mallory", ex=86_400)

    assert cache.change_lock("mei", 12).acquire()


def test_nothing_is_changed_without_redis(cache_on, store_at):
    with ValkeyServer() as own:
        cache = cache_on(store_at(own.url))
        own.kill()

        for change in (
            lambda: cache.change_lock("mei", 12).acquire(),
            lambda: cache.unconfirmed("mei"),
            lambda: cache.hold("mei", "src-1", 12),
        ):
            with pytest.raises(CacheUnavailable):
                change()
        assert not cache.change_lock("mei", 12).extend(), "what was never held is not ours"


def test_what_is_asked_for_during_a_change_is_not_kept(cache, others, clock):
    cache.put(MEI, accounts("one", "two"), clock())
    cache.hold("mei", "two", 10)

    for process in (cache, others):
        assert process.get(MEI).entry is None
        clock.advance(4)
        answer = process.put(MEI, accounts("one", "two"), clock())
        assert answer.fresh_until <= clock(), "no worker keeps the answer either"
        assert process.get(MEI).entry is None
        assert process.get(MEI).accepted_at is not None, "that the token was accepted holds all the same"


def test_a_change_that_nobody_ends_ends_by_itself(cache, clock):
    cache.hold("mei", "two", 10)
    clock.advance(11.1)

    assert cache.unconfirmed("mei") == ()
    cache.put(MEI, accounts("one"), clock())
    assert ids(cache.get(MEI).entry) == ["one"]


def test_what_confirmed_a_change_is_kept_for_everybody_and_nothing_else_that_was_asked_for_meanwhile(cache, others, clock):
    cache.hold("mei", "two", 10)
    clock.advance(0.5)
    read_back = cache.put(MEI, accounts("one"), clock())

    kept = cache.settle("mei", "two", read_back)

    assert kept.fresh_until > clock() + 50
    for process in (cache, others):
        assert ids(process.get(MEI).entry) == ["one"]
    others.put(MEI, accounts("one", "two"), clock() - 0.2)  # by a process that was paused
    others.put(MEI, accounts("one", "two"), clock() + 0.4)  # or has another clock
    for process in (cache, others):
        assert ids(process.get(MEI).entry) == ["one"]
    clock.advance(1.1)
    others.put(MEI, accounts("one", "three"), clock())
    assert ids(cache.get(MEI).entry) == ["one", "three"]


def test_what_is_read_back_is_void_for_the_next_change(cache, clock):
    cache.hold("mei", "two", 10)
    cache.settle("mei", "two", cache.put(MEI, accounts("one"), clock()))
    assert cache.get(MEI).entry

    cache.invalidate("mei")

    assert cache.get(MEI).entry is None


def test_a_change_that_was_not_made_ends_at_once(cache, others, clock):
    cache.hold("mei", "two", 10)
    assert others.unconfirmed("mei") == ("two",)

    assert cache.settle("mei", "two") is None

    assert others.unconfirmed("mei") == ()
    clock.advance(1.1)
    cache.put(MEI, accounts("one", "two"), clock())
    assert ids(others.get(MEI).entry) == ["one", "two"]


def test_a_removal_that_is_not_confirmed_is_known_to_the_next_change(cache, others, clock):
    cache.hold("mei", "two", 30)
    clock.advance(5)
    others.hold("mei", "three", 10)
    assert cache.unconfirmed("mei") == ("two", "three")

    clock.advance(5)
    assert others.settle("mei", "three", others.put(MEI, accounts("one", "two"), clock())) is None

    assert cache.unconfirmed("mei") == ("two",), "and may still come about"
    assert others.get(MEI).entry is None
    clock.advance(10)
    cache.put(MEI, accounts("one", "two"), clock())
    assert cache.get(MEI).entry is None


def test_a_list_without_them_confirms_all_removals(cache, clock):
    cache.hold("mei", "two", 30)
    cache.hold("mei", "three", 30)

    assert ids(cache.settle("mei", "three", cache.put(MEI, accounts("one"), clock()))) == ["one"]

    assert cache.unconfirmed("mei") == ()


def test_something_else_that_changes_does_not_end_a_change(cache, others, clock):
    cache.hold("mei", "two", 10)
    clock.advance(2)

    others.invalidate("mei")

    assert cache.unconfirmed("mei") == ("two",)
    clock.advance(5)
    others.put(MEI, accounts("one", "two"), clock())
    assert cache.get(MEI).entry is None


def test_a_change_is_held_for_no_longer_than_a_marker_is_believed(cache, others, witness, clock):
    cache.hold("mei", "two", 500)

    assert others.unconfirmed("mei") == ("two",)
    clock.advance(56)
    assert others.unconfirmed("mei") == ()
    assert not witness.rejected


def test_with_redis_gone_after_the_removal_was_sent_nothing_old_comes_back(cache_on, store_at, clock):
    with ValkeyServer() as own:
        changing, other = cache_on(store_at(own.url)), cache_on(store_at(own.url))
        for process in (changing, other):
            process.put(MEI, accounts("one", "two"), clock())
            assert process.get(MEI).entry
        clock.advance(1)
        changing.hold("mei", "two", 20)
        for process in (changing, other):
            process.on_hold(PlainCodec().opaque_id("app", "mei"), 20)
        own.kill()

        for process in (changing, other):
            clock.advance(1)
            assert process.get(MEI).entry is None
            process.put(MEI, accounts("one", "two"), clock())
            assert process.get(MEI).entry is None
        assert changing.settle("mei", "two", changing.put(MEI, accounts("one"), clock())) is None
        clock.advance(20)
        other.put(MEI, accounts("one"), clock())
        assert ids(other.get(MEI).entry) == ["one"]


@pytest.mark.parametrize("written", [b"[1,0]", b"[1]", b"[1,true,1]", b'[1,false,["two"]]', b"{}", b"[]", b"1"])
def test_a_marker_that_is_none_of_ours_is_none(cache, stored, witness, written):
    cache.hold("mei", "two", 10)
    (key,) = stored.keys("*:invalidated")
    stored.set(key, b"%b %b" % (key, written))

    assert cache.unconfirmed("mei") == ()
    assert witness.rejected == ["unreadable"]


def test_a_marker_lets_pass_what_was_asked_for_at_its_moment_alone_and_only_when_confirmed(clock):
    entry, next_ = (Entry.reported(accounts("one"), moment, 60) for moment in (clock(), clock() + 0.001))

    assert not InvalidationMarker(entry.at, confirmed=True).voids(entry)
    assert InvalidationMarker(entry.at, confirmed=True).voids(next_)
    assert InvalidationMarker(entry.at).voids(entry)


def test_a_change_reaches_other_processes_with_its_length(store_at, valkey):
    invalidated, held = [], []
    bus = InvalidationBus(
        store_at(valkey.url),
        "changed",
        invalidated.append,
        lambda: None,
        on_hold=lambda person, seconds: held.append((person, seconds)),
    )
    try:
        patience = time.monotonic() + 8
        while not bus.connected and time.monotonic() < patience:
            time.sleep(0.01)
        sender = store_at(valkey.url)
        for message in ("mei 12.500", "yusuf", "mallory 1e308", "mallory nan", "mallory -1.000", "mallory 99999.000", "end"):
            sender.publish("changed", message)
        while invalidated[-1:] != ["end"] and time.monotonic() < patience:
            time.sleep(0.01)

        assert invalidated == ["mei", "yusuf", *["mallory"] * 4, "end"]
        assert held == [("mei", 12.5)]
        assert bus.publish("mei", 3)
        assert held[1] == ("mei", 3.0), "here at once"
    finally:
        bus.stop(wait_seconds=5)
