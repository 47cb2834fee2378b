"""Between processes: a holder that lives keeps its lease, one that is killed loses it soon."""

import threading
import time
from contextlib import ExitStack

from bff.cache.lock import Locks
from tests.valkey import ValkeyServer


def test_a_holder_that_lives_keeps_its_lease_however_long_it_takes(store):
    leases = Locks(store, 0.3)

    with leases.take("lease", "a") as mine:
        assert mine.go
        until = time.monotonic() + 1.0
        while time.monotonic() < until:
            with leases.take("lease", "a") as other:
                assert not other.go
            time.sleep(0.05)
    with leases.take("lease", "a") as other:
        assert other.go


def test_all_that_are_held_are_renewed_in_one_round_trip(store, monkeypatch):
    # While GenAuth hangs there are dozens, and whoever is answered from memory would wait for each.
    round_trips, ask = [], store._ask
    monkeypatch.setattr(store, "_ask", lambda what, *commands: round_trips.append(len(commands)) or ask(what, *commands))
    leases = Locks(store, 0.9)

    with ExitStack() as held:
        turns = [held.enter_context(leases.take(f"lease-{n}", "a")) for n in range(64)]
        del round_trips[:]
        time.sleep(1.5)
        assert set(round_trips) == {64}
        assert len(round_trips) <= 10
        assert all(turn.go for turn in turns)
        for n in range(64):
            with Locks(store, 0.9).take(f"lease-{n}", "a") as other:
                assert not other.go


def test_a_holder_that_is_gone_delays_the_others_by_the_leases_life(store):
    lease = store.lease("lease")
    store.take(lease, 0.3, "", "a")  # and nobody renews it
    started = time.monotonic()

    while True:
        with Locks(store, 0.3).take("lease", "a") as turn:
            if turn.go:
                break
        time.sleep(0.01)

    assert 0.2 < time.monotonic() - started < 0.6


def test_nobody_renews_when_nothing_is_held(store):
    leases = Locks(store, 0.06)
    with leases.take("lease", "a"):
        assert "leases" in {thread.name for thread in threading.enumerate()}
    until = time.monotonic() + 2
    while leases._keeper and time.monotonic() < until:
        time.sleep(0.01)

    assert leases._keeper is None
    with leases.take("lease", "a") as turn:
        assert turn.go


def test_with_redis_away_everybody_goes(store_at):
    with ValkeyServer() as own:
        leases = Locks(store_at(own.url), 1.5)
        own.kill()

        with leases.take("lease", "a") as one, leases.take("lease", "a") as other:
            assert one.go
            assert other.go
            assert one.values is other.values is None


def test_a_lease_outlives_no_redis_that_goes_away_under_it(store_at):
    with ValkeyServer() as own:
        leases = Locks(store_at(own.url), 0.2)
        with leases.take("lease", "a") as turn:
            assert turn.go
            own.kill()
            time.sleep(0.3)


def test_a_holder_that_lives_keeps_its_lock_however_long_it_takes(store):
    locks = Locks(store, 0.3)

    with locks.attempt("lock") as mine:
        assert mine.acquired
        until = time.monotonic() + 1.0
        while time.monotonic() < until:
            with locks.attempt("lock") as other:
                assert not other.acquired
            time.sleep(0.05)
    with locks.attempt("lock") as other:
        assert other.acquired
