"""A process that is paused stores what it learned too late: no order of writing brings back what was refused or changed."""

import itertools

import pytest

from bff.cache.redis_store import CacheUnavailable
from bff.errors import TokenRefused, UserBlocked
from tests.cache.conftest import LIFETIMES, accounts, ids, session
from tests.valkey import ValkeyServer

MEI = session()
PHONE = session("mei", "another-token-of-mei")
NOON = 1_800_000_000.0


def accepted(cache, clock, asked_at):
    cache.put(MEI, accounts(f"asked-at-{asked_at - NOON:.0f}"), asked_at)


def refused(cache, clock, at):
    stopped, clock.now = clock.now, at
    cache.put_refusal(MEI, TokenRefused())
    clock.now = stopped


VERDICTS = [(accepted, NOON), (refused, NOON + 5), (accepted, NOON + 3), (accepted, NOON + 4.5)]


@pytest.mark.parametrize("order", [*itertools.permutations(range(4))], ids=str)
def test_in_whichever_order_they_are_stored_the_refusal_is_the_last_word(cache, clock, order):
    clock.now = NOON + 6
    for number in order:
        store, at = VERDICTS[number]
        store(cache, clock, at)

    with pytest.raises(TokenRefused):
        cache.get(MEI).raise_if_refused()
    assert cache.get(MEI).accepted_at is None
    clock.advance(30)  # no longer repeated
    assert cache.get(MEI).accepted_at is None


def test_a_token_that_is_accepted_after_its_refusal_is_accepted(cache, clock):
    cache.put_refusal(MEI, TokenRefused())
    clock.advance(9)

    accepted(cache, clock, clock())

    assert cache.get(MEI).accepted_at == clock()
    cache.get(MEI).raise_if_refused()


@pytest.mark.parametrize("seconds", [0.0, 0.5, 1.0])
def test_where_clocks_leave_the_order_open_the_token_is_refused(cache, clock, seconds):
    cache.put_refusal(MEI, TokenRefused())
    clock.advance(seconds)

    accepted(cache, clock, clock())

    assert cache.get(MEI).accepted_at is None


@pytest.mark.parametrize("ahead", [-50, -2, 2, 50])
def test_a_refusal_by_a_replica_with_another_clock_voids_what_was_stored_before_it(cache, clock, ahead):
    accepted(cache, clock, clock())
    refused(cache, clock, clock() + 1 + ahead)
    clock.advance(1)

    assert cache.get(MEI).accepted_at is None


def test_a_refusal_by_a_replica_that_is_ahead_voids_what_is_stored_late(cache, clock):
    asked_at = clock()
    clock.advance(2)
    refused(cache, clock, clock() + 50)

    accepted(cache, clock, asked_at)

    assert cache.get(MEI).accepted_at is None
    cache.get(MEI).raise_if_refused()  # and is repeated by its own clock alone


@pytest.mark.parametrize("later", [0, 63, 900, 3600])
def test_a_blocked_persons_late_answer_is_void_for_as_long_as_it_could_be_served(cache, clock, later):
    asked_at = clock()
    clock.advance(1)
    cache.put_refusal(PHONE, UserBlocked())
    clock.advance(1)

    accepted(cache, clock, asked_at)

    clock.advance(later)
    assert cache.get(MEI).entry is None


def test_refusals_and_changes_are_kept_until_nothing_from_before_is_left(cache_on, store, stored):
    for lifetimes, seconds in ((LIFETIMES, 3666), (LIFETIMES.__class__(1, 0, 60, 8), 60), (LIFETIMES.__class__(1, 0, 1, 8), 8)):
        stored.flushall()
        cache_on(store, lifetimes=lifetimes).put_refusal(MEI, UserBlocked())

        keys = [*stored.keys("*:refused:*"), *stored.keys("*:invalidated")]
        assert [stored.ttl(key) in {seconds, seconds - 1} for key in keys] == [True, True]


def test_an_older_answer_replaces_no_newer_accounts(cache_on, store, clock):
    slow, quick = cache_on(store), cache_on(store)
    asked_at = clock()
    clock.advance(2)
    quick.put(PHONE, accounts("new"), clock())
    clock.advance(0.5)

    answer = slow.put(MEI, accounts("old"), asked_at)

    assert ids(answer) == ["old"], "what GenAuth said to this question"
    assert ids(slow.get(MEI).entry) == ids(quick.get(PHONE).entry) == ["new"]
    assert slow.get(MEI).accepted_at == asked_at


def test_accounts_of_a_replica_that_is_ahead_are_replaced(cache, clock):
    cache.put(MEI, accounts("from tomorrow"), clock() + 50)

    accepted(cache, clock, clock())

    assert ids(cache.get(MEI).entry) == ["asked-at-0"]


def test_a_late_answer_of_a_refused_token_is_not_copied_for_while_redis_is_away(store_at, cache_on, clock):
    with ValkeyServer() as valkey:
        paused, other = cache_on(store_at(valkey.url)), cache_on(store_at(valkey.url))
        asked_at = clock()
        clock.advance(2)
        other.put_refusal(MEI, TokenRefused())
        paused.put(MEI, accounts("a"), asked_at)
        valkey.kill()

        assert paused.get(MEI).accepted_at is None


def test_a_late_answer_is_not_copied_for_while_redis_is_away_once_the_accounts_changed(store_at, cache_on, clock):
    with ValkeyServer() as valkey:
        paused, other = cache_on(store_at(valkey.url)), cache_on(store_at(valkey.url))
        asked_at = clock()
        clock.advance(2)
        other.changes.forget("mei", cause="webhook", wait=False)
        paused.put(MEI, accounts("a"), asked_at)
        valkey.kill()

        assert paused.get(MEI).entry is None
        with pytest.raises(CacheUnavailable):
            paused.changes.forget("mei", cause="webhook", wait=False)


def test_an_acceptance_that_redis_no_longer_calls_recent_saves_no_question(cache, clock, stored):
    accepted(cache, clock, clock() + 0.9)  # by a replica whose clock is ahead
    (recent,) = stored.keys("*:recent:*")
    assert cache.get(MEI).accepted_at == clock() + 0.9
    stored.delete(recent)  # as Redis does, in time

    assert cache.get(MEI).accepted_at == clock() - LIFETIMES.accepted, "it admits to what is stale, and that is all"


def test_a_process_that_is_paused_in_the_middle_of_storing_brings_nothing_back_either(cache_on, store, clock, stored):
    here, there = cache_on(store), cache_on(store)
    accepted(here, clock, clock())
    late = {key: stored.get(key) for key in stored.keys("*")}
    clock.advance(2)
    there.put_refusal(MEI, TokenRefused())
    there.changes.forget("mei", cause="webhook", wait=False)

    stored.mset(late)

    for seconds in (0, 30, 3000):
        clock.advance(seconds)
        assert here.get(MEI).accepted_at is here.get(MEI).entry is None
