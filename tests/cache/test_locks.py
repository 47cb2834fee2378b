"""Between processes: a holder that lives keeps its lock, one that is killed loses it soon."""

import threading
import time
from contextlib import ExitStack

import pytest

from bff.cache.lock import Locks
from tests.timing import in_time
from tests.valkey import ValkeyServer


def test_one_holds_a_lock_and_the_next_gets_it_when_the_block_ends(store):
    with Locks(store, 10).attempt("lock") as mine, Locks(store, 10).attempt("lock") as other:
        assert mine
        assert not other
    with Locks(store, 10).attempt("lock") as next_:
        assert next_


def test_an_attempt_that_was_not_acquired_releases_nothing(store, stored):
    locks = Locks(store, 10)
    with locks.attempt("lock"):
        with locks.attempt("lock"):
            pass
        assert stored.exists("lock")
    assert not stored.exists("lock")


def test_a_block_that_raises_releases_its_lock(store, stored):
    with pytest.raises(KeyError), Locks(store, 10).attempt("lock"):
        raise KeyError
    assert not stored.exists("lock")


def test_a_holder_that_lives_keeps_its_lock_however_long_it_takes(store):
    locks = Locks(store, 0.3)

    with locks.attempt("lock") as mine:
        assert mine
        until = time.monotonic() + 1.0
        while time.monotonic() < until:
            with locks.attempt("lock") as other:
                assert not other
            time.sleep(0.05)
    with locks.attempt("lock") as other:
        assert other


def test_all_that_are_held_are_renewed(store, stored):
    locks = Locks(store, 0.9)

    with ExitStack() as held:
        attempts = [held.enter_context(locks.attempt(f"lock-{n}")) for n in range(64)]
        assert all(attempt for attempt in attempts)
        time.sleep(1.5)
        for n in range(64):
            with Locks(store, 0.9).attempt(f"lock-{n}") as other:
                assert not other
    assert not stored.keys("lock-*")


def test_a_holder_that_is_gone_delays_the_others_by_the_locks_life(store):
    assert store.lock("lock", 0.3).acquire()  # and nobody renews it
    started = time.monotonic()

    acquired = False
    while not acquired:
        with Locks(store, 0.3).attempt("lock") as attempt:
            acquired = attempt
        time.sleep(0.01)

    assert in_time(time.monotonic() - started, 0.6) > 0.2


def test_a_lock_that_was_lost_meanwhile_is_left_to_its_next_holder(store, stored):
    with Locks(store, 0.2).attempt("lock") as mine:
        assert mine
        stored.delete("lock")
        theirs = store.lock("lock", 1.0)
        assert theirs.acquire()
        token = stored.get("lock")
        time.sleep(0.3)
        assert 0 < stored.pttl("lock") <= 700, "it is not renewed by who lost it"
    assert stored.get("lock") == token


def test_nobody_renews_when_nothing_is_held(store):
    before = set(threading.enumerate())
    locks = Locks(store, 0.06)
    with locks.attempt("lock"):
        (keeper,) = {each for each in threading.enumerate() if each.name == "locks"} - before

    keeper.join(2)

    assert not keeper.is_alive()
    with locks.attempt("lock") as attempt:
        assert attempt


def test_with_redis_away_everybody_goes(store_at):
    with ValkeyServer() as own:
        locks = Locks(store_at(own.url), 1.5)
        own.kill()

        with locks.attempt("lock") as one, locks.attempt("lock") as other:
            assert one
            assert other


def test_a_lock_outlives_no_redis_that_goes_away_under_it(store_at):
    with ValkeyServer() as own:
        locks = Locks(store_at(own.url), 0.2)
        with locks.attempt("lock") as attempt:
            assert attempt
            own.kill()
            time.sleep(0.3)


@pytest.mark.parametrize("written", ["for ever", "for a year", "a list"])
def test_a_lock_that_somebody_else_wrote_keeps_nobody_waiting(store, stored, written):
    if written == "a list":
        stored.rpush("lock", "mallory")
    else:
        stored.set("lock", "mallory", ex=365 * 86_400 if written == "for a year" else None)
    locks = Locks(store, 1.5)

    with locks.attempt("lock") as mine, locks.attempt("lock") as other:
        assert mine
        assert not other
    assert not stored.exists("lock")
