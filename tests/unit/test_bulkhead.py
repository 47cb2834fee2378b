"""The bulkhead: no more than its places, and no queue."""

import threading
import time
from contextlib import ExitStack

import pytest

from bff.resilience.bulkhead import Bulkhead, BulkheadFull, Shares
from tests.timing import in_time


def make(places, *, wait_seconds=0.05, line=100, on_use=lambda _in_use: None):
    return Bulkhead(places, wait_seconds=wait_seconds, line=line, on_use=on_use)


def test_the_next_caller_is_turned_away_within_the_short_wait():
    bulkhead = make(2, wait_seconds=0.05)

    with bulkhead.place(), bulkhead.place():
        started = time.monotonic()
        with pytest.raises(BulkheadFull), bulkhead.place():
            pass

    assert in_time(time.monotonic() - started, 0.5) >= 0.04
    assert bulkhead.in_use == 0


def test_a_place_that_comes_free_within_the_wait_is_taken():
    bulkhead = make(1, wait_seconds=5)
    inside, leave = threading.Event(), threading.Event()

    def holds():
        with bulkhead.place():
            inside.set()
            leave.wait(5)

    holder = threading.Thread(target=holds)
    holder.start()
    inside.wait(5)
    threading.Timer(0.05, leave.set).start()

    with bulkhead.place():
        assert bulkhead.in_use == 1
    holder.join()


def test_an_error_inside_gives_the_place_back():
    bulkhead = make(1)

    for _ in range(3):
        with pytest.raises(ZeroDivisionError), bulkhead.place():
            raise ZeroDivisionError

    assert bulkhead.in_use == 0


def test_under_a_hundred_threads_there_are_never_more_inside_than_places():
    bulkhead = make(8, wait_seconds=0.001)
    lock = threading.Lock()
    inside = most = turned_away = 0

    def call():
        nonlocal inside, most, turned_away
        try:
            with bulkhead.place():
                with lock:
                    inside += 1
                    most = max(most, inside)
                time.sleep(0.05)
                with lock:
                    inside -= 1
        except BulkheadFull:
            with lock:
                turned_away += 1

    threads = [threading.Thread(target=call) for _ in range(100)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert most == 8
    assert turned_away > 0
    assert bulkhead.in_use == 0


def test_every_arrival_and_departure_is_told():
    told = []
    bulkhead = make(3, on_use=told.append)

    with bulkhead.place(), bulkhead.place():
        pass

    assert told == [1, 2, 1, 0]


def test_who_finds_the_line_full_is_turned_away_at_once():
    bulkhead = make(1, wait_seconds=5.0, line=1)
    entered, leave = threading.Event(), threading.Event()

    def stay():
        with bulkhead.place():
            entered.set()
            leave.wait(5)

    staying = threading.Thread(target=stay)
    staying.start()
    entered.wait(5)
    waiting = threading.Thread(target=stay)
    waiting.start()
    while not bulkhead.full:
        time.sleep(0.001)
    started = time.monotonic()

    with pytest.raises(BulkheadFull), bulkhead.place():
        pass

    in_time(time.monotonic() - started, 1)
    leave.set()
    staying.join()
    waiting.join()
    assert bulkhead.in_use == 0


def test_it_is_full_when_its_line_is():
    bulkhead = make(1, wait_seconds=5, line=1)
    assert not bulkhead.full

    with bulkhead.place():
        assert not bulkhead.full, "somebody may still stand in line"
        waiting = threading.Thread(target=lambda: bulkhead.place().__enter__())
        waiting.start()
        while not bulkhead.full:
            time.sleep(0.001)
        with pytest.raises(BulkheadFull), bulkhead.place():
            pass
    waiting.join()


def test_one_holder_gets_a_few_places_and_the_others_theirs():
    shares = Shares(2, places=5)

    with ExitStack() as held:
        for holder in ("mei", "mei", "omar", "omar"):
            held.enter_context(shares.place(holder))
        with pytest.raises(BulkheadFull), shares.place("mei"):
            pass
        held.enter_context(shares.place("nia"))
        with pytest.raises(BulkheadFull), shares.place("max"):
            pass

    with shares.place("mei"), shares.place("mei"):
        pass


def test_an_error_inside_gives_the_share_back():
    shares = Shares(1)

    for _ in range(3):
        with pytest.raises(ZeroDivisionError), shares.place("mei"):
            raise ZeroDivisionError
