"""While a person's accounts change, nothing asked for meanwhile is kept; afterwards exactly what confirmed the change is."""

import threading
import time

import pytest
import redis

from bff.cache import PREFIX, CacheUnavailable, EncryptedCodec, Entry, InvalidationBus, PlainCodec
from bff.cache.entries import InvalidationMarker, TokenStatus
from bff.errors import TokenRefused
from bff.models import SecurityInfo
from tests.cache.conftest import accounts, ids, session
from tests.valkey import ValkeyServer

MEI = session()


@pytest.fixture
def others(cache_on, store_at, valkey):
    """A cache as another process has it, over the same Redis."""
    return cache_on(store_at(valkey.url))


def test_one_person_is_changed_by_one_request_at_a_time(cache, others):
    lock = cache.changes.lock("mei", 12)
    assert lock.acquire()

    assert not others.changes.lock("mei", 12).acquire()
    assert others.changes.lock("yusuf", 12).acquire()
    assert lock.extend()
    lock.release()
    assert others.changes.lock("mei", 12).acquire()


def test_who_waits_for_a_shorter_time_does_not_end_a_longer_change(cache, others):
    assert cache.changes.lock("mei", 47).acquire()

    assert not others.changes.lock("mei", 3).acquire()


def test_a_lock_that_none_of_ours_could_have_written_keeps_nobody_from_changing(cache, stored):
    lock = cache.changes.lock("mei", 12)
    assert lock.acquire()
    (key,) = stored.keys("*:lock:change")
    stored.set(key, "mallory", ex=86_400)

    assert cache.changes.lock("mei", 12).acquire()


def test_nothing_is_changed_without_redis(cache_on, store_at):
    with ValkeyServer() as own:
        cache = cache_on(store_at(own.url))
        own.kill()

        for change in (
            lambda: cache.changes.lock("mei", 12).acquire(),
            lambda: cache.changes.unconfirmed("mei"),
            lambda: cache.changes.hold("mei", "src-1", 12),
        ):
            with pytest.raises(CacheUnavailable):
                change()
        assert not cache.changes.lock("mei", 12).extend(), "what was never held is not ours"


def test_what_is_asked_for_during_a_change_is_not_kept(cache, others, clock):
    cache.put(MEI, accounts("one", "two"), clock())
    cache.changes.hold("mei", "two", 10)

    for process in (cache, others):
        assert process.get(MEI).entry is None
        clock.advance(4)
        answer = process.put(MEI, accounts("one", "two"), clock())
        assert answer.fresh_until <= clock(), "no worker keeps the answer either"
        assert process.get(MEI).entry is None
        assert process.get(MEI).accepted_at is not None, "that the token was accepted holds all the same"


def test_a_change_that_nobody_ends_ends_by_itself(cache, clock):
    cache.changes.hold("mei", "two", 10)
    clock.advance(11.1)

    assert cache.changes.unconfirmed("mei") == ()
    cache.put(MEI, accounts("one"), clock())
    assert ids(cache.get(MEI).entry) == ["one"]


def test_what_confirmed_a_change_is_kept_for_everybody_and_nothing_else_that_was_asked_for_meanwhile(cache, others, clock):
    cache.changes.hold("mei", "two", 10)
    clock.advance(0.5)
    read_back = cache.put(MEI, accounts("one"), clock())

    cache.changes.settle("mei", "two", read_back)

    for process in (cache, others):
        kept = process.get(MEI).entry
        assert ids(kept) == ["one"]
        assert kept.fresh_until > clock() + 50
    others.put(MEI, accounts("one", "two"), clock() - 0.2)  # by a process that was paused
    others.put(MEI, accounts("one", "two"), clock() + 0.4)  # or has another clock
    for process in (cache, others):
        assert ids(process.get(MEI).entry) == ["one"]
    clock.advance(1.1)
    others.put(MEI, accounts("one", "three"), clock())
    assert ids(cache.get(MEI).entry) == ["one", "three"]


def test_what_is_read_back_is_void_for_the_next_change(cache, clock):
    cache.changes.hold("mei", "two", 10)
    cache.changes.settle("mei", "two", cache.put(MEI, accounts("one"), clock()))
    assert cache.get(MEI).entry

    cache.changes.forget("mei", cause="webhook", wait=False)

    assert cache.get(MEI).entry is None


class Contended:
    """A store that others write to whenever somebody is about to."""

    def __init__(self, store, write):
        self._store, self._write = store, write

    def __getattr__(self, name):
        return getattr(self._store, name)

    def run_scripts(self, operation, scripts):
        if self._write:
            self._write.pop()()
        return self._store.run_scripts(operation, scripts)


def test_a_change_is_made_however_many_others_make_one_of_the_same_person(cache_on, store_at, valkey, others, clock):
    def write():
        clock.advance(0.001)
        others.changes.forget("mei", cause="webhook", wait=False)

    cache = cache_on(Contended(store_at(valkey.url), [write] * 20))

    cache.changes.forget("mei", cause="webhook", acceptances=True, wait=False)

    cache.put(MEI, accounts("one"), clock() - 0.01)
    assert others.get(MEI).accepted_at is None, "the others' changes undo nothing of it"


def test_a_list_of_before_a_removal_confirms_nothing_of_it(cache, others, clock):
    before = others.put(MEI, accounts("one"), clock())  # "two" is linked a moment later
    clock.advance(0.5)
    cache.changes.hold("mei", "two", 10)

    others.changes.settle("mei", None, before, locked=False)
    others.put(MEI, accounts("one"), clock() + 0.7)  # or one of about then

    assert cache.changes.unconfirmed("mei") == ("two",)
    clock.advance(2)
    others.put(MEI, accounts("one"), clock())
    assert cache.changes.unconfirmed("mei") == ()


def test_a_change_that_was_not_made_ends_at_once(cache, others, clock):
    cache.changes.hold("mei", "two", 10)
    assert others.changes.unconfirmed("mei") == ("two",)

    cache.changes.settle("mei", "two")

    assert others.changes.unconfirmed("mei") == ()
    clock.advance(1.1)
    cache.put(MEI, accounts("one", "two"), clock())
    assert ids(others.get(MEI).entry) == ["one", "two"]


def test_a_removal_that_is_not_confirmed_is_known_to_the_next_change(cache, others, clock):
    cache.changes.hold("mei", "two", 30)
    clock.advance(5)
    others.changes.hold("mei", "three", 10)
    assert cache.changes.unconfirmed("mei") == ("two", "three")

    clock.advance(5)
    others.changes.settle("mei", "three", others.put(MEI, accounts("one", "two"), clock()))

    assert cache.changes.unconfirmed("mei") == ("two",), "and may still come about"
    assert others.get(MEI).entry is None
    clock.advance(10)
    cache.put(MEI, accounts("one", "two"), clock())
    assert cache.get(MEI).entry is None


def test_a_list_without_them_confirms_all_removals(cache, clock):
    cache.changes.hold("mei", "two", 30)
    cache.changes.hold("mei", "three", 30)

    cache.changes.settle("mei", "three", cache.put(MEI, accounts("one"), clock()))

    assert ids(cache.get(MEI).entry) == ["one"]
    assert cache.changes.unconfirmed("mei") == ()


def test_something_else_that_changes_does_not_end_a_change(cache, others, clock):
    cache.changes.hold("mei", "two", 10)
    clock.advance(2)

    others.changes.forget("mei", cause="webhook", wait=False)

    assert cache.changes.unconfirmed("mei") == ("two",)
    clock.advance(5)
    others.put(MEI, accounts("one", "two"), clock())
    assert cache.get(MEI).entry is None


def test_a_change_is_held_for_no_longer_than_a_marker_is_believed(cache, others, witness, clock):
    cache.changes.hold("mei", "two", 500)

    assert others.changes.unconfirmed("mei") == ("two",)
    clock.advance(56)
    assert others.changes.unconfirmed("mei") == ()
    assert not witness.rejected


def test_with_redis_gone_after_the_removal_was_sent_nothing_old_comes_back(cache_on, store_at, clock):
    with ValkeyServer() as own:
        changing, other = cache_on(store_at(own.url)), cache_on(store_at(own.url))
        for process in (changing, other):
            process.put(MEI, accounts("one", "two"), clock())
            assert process.get(MEI).entry
        clock.advance(1)
        changing.changes.hold("mei", "two", 20)
        receives(other, own)
        own.kill()

        for process in (changing, other):
            clock.advance(1)
            assert process.get(MEI).entry is None
            process.put(MEI, accounts("one", "two"), clock())
            assert process.get(MEI).entry is None
        with pytest.raises(CacheUnavailable):
            changing.changes.settle("mei", "two", changing.put(MEI, accounts("one"), clock()))
        clock.advance(20)
        other.put(MEI, accounts("one"), clock())
        assert ids(other.get(MEI).entry) == ["one"]


@pytest.mark.parametrize(
    "written",
    [
        b"[1,0]",
        b"[1,0,0,0,0,[],1]",
        b"[1,0,0,0,false,[2],1]",
        b'[1,0,0,0,false,"two",1]',
        b'[1,0,0,0,false,["ab"],1]',
        b'[1,0,0,0,false,[["two"]],1]',
        b'[1,0,0,0,false,[["two",null]],1]',
        b'[1,0,0,0,false,[["two",1,1]],1]',
        b'[1,0,0,0,false,[["two",null,"1"]],1]',
        b"[1,0,0,0,false,[[2,null,1]],1]",
        b'[1,0,0,"9",false,[],1]',
        b"{}",
        b"[]",
        b"1",
    ],
)
def test_a_marker_that_is_none_of_ours_is_none(cache, others, stored, witness, written):
    cache.changes.hold("mei", "two", 10)
    (key,) = stored.keys("*:invalidated")
    stored.set(key, b"%b %b" % (key, written))

    assert others.changes.unconfirmed("mei") == ()
    assert cache.changes.unconfirmed("mei") == ("two",), "this process has heard another one"
    assert witness.rejected == ["unreadable"] * 2


def test_a_marker_lets_pass_what_was_asked_for_at_its_moment_alone_and_only_when_confirmed(clock):
    entry, next_ = (Entry.reported(accounts("one"), moment, 60) for moment in (clock(), clock() + 0.001))

    assert not InvalidationMarker(at=entry.at, confirmed=True).voids(entry)
    assert InvalidationMarker(at=entry.at, confirmed=True).voids(next_)
    assert InvalidationMarker(at=entry.at).voids(entry)


def test_a_change_reaches_other_processes_and_nonsense_harms_nobody(store_at, valkey):
    invalidated, heard = [], []
    bus = InvalidationBus(
        store_at(valkey.url),
        "changed",
        invalidated.append,
        lambda: None,
        on_change=lambda person, marker: heard.append((person, marker)),
    )
    try:
        patience = time.monotonic() + 8
        while not bus.connected and time.monotonic() < patience:
            time.sleep(0.01)
        sender = store_at(valkey.url)
        for message in ("mei a marker", "yusuf", b"mallory \x00\xff", b"\xff\xfe", "end"):
            sender.publish("changed", message)
        while invalidated[-1:] != ["end"] and time.monotonic() < patience:
            time.sleep(0.01)

        assert invalidated == ["mei", "yusuf", "mallory", "\ufffd\ufffd", "end"]
        assert heard == [("mei", b"a marker"), ("mallory", b"\x00\xff")]
        bus.receive(b"mei again")
        assert heard[2:] == [("mei", b"again")], "here at once"
    finally:
        bus.stop(wait_seconds=5)


def receives(process, server):
    """The process hears of what was written last about mei, as by the bus."""
    person = PlainCodec().opaque_id("app", "mei")
    process.changes.receive(person, redis.Redis.from_url(server.url).get(f"{PREFIX}{{{person}}}:invalidated"))


# Whose tokens GenAuth accepts, and refuses ------------------------------------------------------------------------------------


def forget(cache, *people, **what):
    cache.changes.forget(*(people or ["mei"]), cause="webhook", wait=False, **what)


@pytest.mark.parametrize("behind", [0.0, 0.7])
def test_each_change_is_new_to_a_process_though_the_clock_of_the_next_is_behind(cache_on, store, valkey, clock, behind):
    told = []
    cache, others = cache_on(store), cache_on(store, on_change=lambda _person, **what: told.append(what))
    everything = {"refusals": True, "acceptances": True}

    for _ in range(2):
        forget(cache, **everything)
        receives(others, valkey)
        receives(others, valkey)  # as who writes it does
        clock.advance(-behind)
    forget(cache)
    receives(others, valkey)

    nothing = {"refusals": False, "acceptances": False}
    assert told == [everything, nothing, everything, nothing, nothing]


@pytest.mark.parametrize("later", [1, 59, 3000])
def test_who_is_signed_out_has_no_token_that_counts_as_accepted(cache, others, clock, later):
    cache.put(MEI, accounts("one"), clock())
    clock.advance(2)

    forget(cache, acceptances=True)

    clock.advance(later)
    for process in (cache, others):
        assert process.get(MEI).accepted_at is None
        assert process.get(MEI).entry is None


def test_an_acceptance_that_was_on_its_way_when_somebody_was_signed_out_is_void(cache, others, clock):
    asked_at = clock()
    clock.advance(0.5)
    forget(others, acceptances=True)

    cache.put(MEI, accounts("one"), asked_at)

    for process in (cache, others):
        assert process.get(MEI).accepted_at is None
    clock.advance(2)
    cache.put(MEI, accounts("one"), clock())
    assert others.get(MEI).accepted_at == clock(), "who signs in again is served from the cache again"


@pytest.mark.parametrize(
    "event",
    [
        {},
        {"refusals": True},
        pytest.param("hold", id="hold"),
        pytest.param("settle", id="settle"),
    ],
)
def test_a_smaller_event_does_not_undo_that_somebody_was_signed_out(cache, others, clock, event):
    cache.put(MEI, accounts("one", "two"), clock())
    clock.advance(2)
    forget(cache, acceptances=True)
    clock.advance(2)

    if isinstance(event, dict):
        forget(others, **event)
    else:
        others.changes.hold("mei", "two", 5)
    if event == "settle":
        others.changes.settle("mei", "two", others.put(session("mei", "another"), accounts("one"), clock()))

    clock.advance(5)
    for process in (cache, others):
        assert process.get(MEI).accepted_at is None


@pytest.mark.parametrize("event", [{}, {"refusals": True}, None], ids=["changed", "changed more", "nothing else"])
def test_who_is_signed_out_by_a_process_with_a_newer_secret_is_so_where_only_the_older_one_is_known(
    cache_on, store_at, valkey, clock, event
):
    older, newer = ("2026a", b"a" * 32), ("2026b", b"b" * 32)
    here = cache_on(store_at(valkey.url), EncryptedCodec([older]))
    there = cache_on(store_at(valkey.url), EncryptedCodec([newer, older]))
    here.put(MEI, accounts("one"), clock())
    clock.advance(2)

    forget(there, acceptances=True)
    here.put(session("mei", "another"), accounts("one"), clock() + 2)
    clock.advance(5)
    if event is not None:
        forget(here, **event)

    for process in (here, there):
        assert process.get(MEI).accepted_at is None
    clock.advance(2)
    forget(here)
    clock.advance(2)
    here.put(MEI, accounts("one"), clock())
    assert here.get(MEI).accepted_at == here.get(MEI).entry.at == clock(), "and is served from the cache again"


def test_a_change_by_a_process_whose_clock_is_far_ahead_is_one(cache, others, clock):
    cache.put(MEI, accounts("one"), clock())
    clock.advance(300)
    forget(others, acceptances=True)
    clock.advance(-298)

    assert cache.get(MEI).entry is None
    assert cache.get(MEI).accepted_at is None


def test_others_stay_signed_in(cache, clock):
    yusuf = session("yusuf", "token-of-yusuf")
    cache.put(yusuf, accounts("one"), clock())
    clock.advance(2)

    forget(cache, acceptances=True)

    assert cache.get(yusuf).accepted_at
    assert cache.get(yusuf).entry


def test_after_an_event_that_may_change_genauths_mind_a_refusal_is_not_repeated_but_still_counts(cache, others, clock):
    cache.put(MEI, accounts("one"), clock())
    clock.advance(1)
    cache.put_refusal(MEI, TokenRefused())
    clock.advance(1.5)
    assert others.get(MEI).refused

    forget(others, refusals=True)

    for process in (cache, others):
        process.get(MEI).raise_if_refused()
        assert process.get(MEI).accepted_at is None, "what the token was accepted for before it was refused stays void"


def test_with_redis_gone_nobody_who_was_signed_out_is_served_from_this_process(cache_on, store_at, clock):
    with ValkeyServer() as own:
        here, there = cache_on(store_at(own.url)), cache_on(store_at(own.url))
        for process in (here, there):
            process.put(MEI, accounts("one"), clock())
        clock.advance(2)
        forget(here, acceptances=True)
        receives(there, own)
        own.kill()

        for process in (here, there):
            assert process.get(MEI).accepted_at is None


@pytest.mark.parametrize("earlier", [False, True])
def test_a_redis_that_lost_it_lets_nobody_in_again(cache, clock, stored, earlier):
    if earlier:  # there is another marker in what comes back
        forget(cache)
        clock.advance(2)
    cache.put(MEI, accounts("one"), clock())
    before = {key: stored.get(key) for key in stored.keys("*")}
    clock.advance(2)
    forget(cache, acceptances=True)

    stored.flushall()
    for key, value in before.items():
        stored.set(key, value)

    assert cache.get(MEI).accepted_at is None
    assert cache.get(MEI).entry is None


def test_what_redis_lost_counts_beside_what_was_noted_there_since_by_who_did_not_know_of_it():
    lost = InvalidationMarker().changed(100.0, refusals=True, acceptances=True)
    since = InvalidationMarker().holding("two", "github", 101.0, 10)

    for together in (lost.newer(since), since.newer(lost)):
        assert (together.at, together.refusals_at, together.acceptances_at) == (100.0, 100.0, 100.0)
        assert (together.pending(102.0), together.held_until) == (("two",), 111.0)


def test_what_a_replica_dated_whose_clock_is_a_second_ahead_is_from_before_a_change():
    changed = InvalidationMarker().changed(100.0, refusals=True, acceptances=True)

    for marker in (changed, changed.changed(99.3), changed.changed(99.3, refusals=True, acceptances=True)):
        assert marker.voids(Entry.reported(accounts("one"), 100.9, 60))
        assert marker.reconsiders(TokenStatus(100.9, TokenRefused.code))
        assert marker.rejects(TokenStatus(100.9))


def test_a_copy_of_who_was_signed_out_is_void_though_the_list_in_it_is_newer(cache_on, store_at, clock):
    with ValkeyServer() as own, ValkeyServer() as lost:
        cache, elsewhere = cache_on(store_at(own.url)), cache_on(store_at(lost.url))
        cache.put(MEI, accounts("one"), clock())
        clock.advance(2)
        forget(elsewhere, acceptances=True)
        clock.advance(2)
        cache.put(session("mei", "another"), accounts("one"), clock())
        assert cache.get(MEI).accepted_at, "which nobody who asks this Redis knows better"
        receives(cache, lost)
        own.kill()

        assert cache.get(MEI).accepted_at is None
        assert cache.get(session("mei", "another")).accepted_at


def test_nothing_of_the_accounts_of_who_is_forgotten_stays_in_redis(cache, others, clock, stored):
    """Somebody who was deleted may want to be."""
    cache.put(MEI, accounts("one"), clock())
    cache.put_security(MEI, SecurityInfo(password_set=True, email_bound=None, phone_bound=None), clock())
    assert [len(stored.keys(each)) for each in ("*:accounts", "*:security")] == [1, 1]

    forget(others)

    assert stored.keys("*:accounts") == stored.keys("*:security") == []


def test_a_person_who_cannot_be_forgotten_everywhere_is_forgotten_here(cache_on, store_at, clock):
    with ValkeyServer() as own:
        cache = cache_on(store_at(own.url))
        cache.put(MEI, accounts("one"), clock())
        clock.advance(2)
        own.kill()

        with pytest.raises(CacheUnavailable):
            forget(cache, acceptances=True)

        assert cache.get(MEI).entry is None
        assert cache.get(MEI).accepted_at is None


# Many at a time ---------------------------------------------------------------------------------------------------------------


def test_changes_at_the_same_time_undo_none_of_each_other(cache_on, store_at, valkey, clock):
    processes = [cache_on(store_at(valkey.url)) for _ in range(6)]
    processes[0].put(MEI, accounts("one", "two"), clock())
    clock.advance(2)
    works = [
        lambda process: forget(process, acceptances=True),
        forget,
        lambda process: process.changes.hold("mei", "two", 10),
        lambda process: forget(process, refusals=True),
        lambda process: forget(process, "mei", "yusuf"),
        forget,
    ]
    threads = [threading.Thread(target=work, args=(process,)) for work, process in zip(works, processes, strict=True)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    late = cache_on(store_at(valkey.url))
    assert late.changes.unconfirmed("mei") == ("two",)
    assert late.get(MEI).accepted_at is None


def test_ten_thousand_people_are_forgotten_in_few_round_trips(cache, clock, stored, witness):
    people = [f"user-{n}" for n in range(10_000)]
    for each in (people[0], people[777], people[-1]):
        cache.put(session(each, each), accounts("one"), clock())
    clock.advance(2)

    forget(cache, *people, acceptances=True)

    assert len(stored.keys("*:invalidated")) == 10_000
    assert witness.forgot == [("webhook", 10_000)]
    assert stored.info("commandstats")["cmdstat_eval"]["calls"] >= 10_000
    for each in (people[0], people[777], people[-1]):
        assert cache.get(session(each, each)).accepted_at is None


def test_a_read_back_list_does_not_hold_where_something_else_changed_since_it_was_asked_for(cache, others, clock):
    cache.changes.hold("mei", "two", 10)
    clock.advance(2)
    read_back = cache.put(MEI, accounts("one"), clock())
    clock.advance(0.5)
    forget(others)

    cache.changes.settle("mei", "two", read_back)

    assert cache.get(MEI).entry is None
    assert others.changes.unconfirmed("mei") == ()


def test_a_change_elsewhere_that_a_list_shows_leaves_that_list_to_everybody(cache, others, clock):
    others.put(MEI, accounts("one"), clock())
    clock.advance(5)
    shown = cache.put(MEI, accounts("one", "two"), clock())

    cache.changes.settle("mei", None, shown)

    for process in (cache, others):
        assert ids(process.get(MEI).entry) == ["one", "two"]
