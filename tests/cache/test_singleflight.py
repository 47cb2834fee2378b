"""One goes, the others wait; not for ever, not all of them, and nobody fails twice."""

import gc
import threading
import time
import weakref
from contextlib import contextmanager, suppress

import pytest

from bff.errors import UpstreamUnavailable
from bff.resilience.bulkhead import BulkheadFull
from bff.resilience.deadline import Deadline
from bff.resilience.single_flight import SingleFlight, WaitingRoom
from tests.timing import in_time


def in_threads(count, act):
    results = [None] * count

    def run(n):
        try:
            results[n] = act(n)
        except BaseException as exc:  # noqa: BLE001 - what came out of the thread is what is looked at
            results[n] = exc

    threads = [threading.Thread(target=run, args=(n,)) for n in range(count)]
    for thread in threads:
        thread.start()
    return threads, results


class Slow:
    """A call that takes until it is let go."""

    def __init__(self, error=None):
        self.calls = 0
        self.begun = threading.Event()
        self.go = threading.Event()
        self._error = error

    def __call__(self):
        self.calls += 1
        self.begun.set()
        assert self.go.wait(10)
        if self._error:
            raise self._error
        return self.calls


def fly(flights, call, followers, seconds=5.0, key="mei"):
    """One who goes and so many who wait; returns when all of them do."""
    threads, results = in_threads(1, lambda _: flights.do(key, call, Deadline.after(seconds)))
    call.begun.wait(5)
    more, others = in_threads(followers, lambda _: flights.do(key, call, Deadline.after(seconds)))
    time.sleep(0.1)
    return threads + more, results, others


def test_two_hundred_threads_make_one_call():
    flights, call = SingleFlight(), Slow()
    threads, first, others = fly(flights, call, 199)
    call.go.set()
    for thread in threads:
        thread.join()

    assert call.calls == 1
    assert first == [(1, False)]
    assert others == [(1, True)] * 199


def test_different_people_do_not_wait_for_one_another():
    flights, call = SingleFlight(), Slow()
    threads, _, _ = fly(flights, call, 0)

    assert flights.do("omar", lambda: "his", Deadline.after(1)) == ("his", False)

    call.go.set()
    threads[0].join()


def test_a_failure_is_shared_with_a_traceback_of_ones_own():
    flights, call = SingleFlight(), Slow(UpstreamUnavailable("detail", note="503", retry_after=7))
    threads, first, others = fly(flights, call, 20)
    call.go.set()
    for thread in threads:
        thread.join()

    assert call.calls == 1
    errors = first + others
    assert {type(error) for error in errors} == {UpstreamUnavailable}
    assert {(error.detail, error.note, error.retry_after) for error in errors} == {("detail", "503", 7)}
    assert len({id(error) for error in errors}) == 21


def test_waiting_ends_at_ones_own_deadline():
    flights, call = SingleFlight(), Slow()
    threads, _, _ = fly(flights, call, 0)
    started = time.monotonic()

    with pytest.raises(TimeoutError):
        flights.do("mei", call, Deadline.after(0.1))

    in_time(time.monotonic() - started, 0.4)
    call.go.set()
    threads[0].join()


def test_the_next_one_after_a_flight_goes_anew():
    flights = SingleFlight()

    assert [flights.do("mei", lambda n=n: n, Deadline.after(1)) for n in range(3)] == [(n, False) for n in range(3)]
    with pytest.raises(ZeroDivisionError):
        flights.do("mei", lambda: 1 / 0, Deadline.after(1))
    assert flights.do("mei", lambda: "again", Deadline.after(1)) == ("again", False)


@pytest.mark.parametrize("ends_first", ["older", "newer"])
def test_a_call_from_before_a_change_is_left_to_who_waits_for_it_and_the_next_one_is_for_everybody(ends_first):
    waits = threading.Semaphore(0)

    @contextmanager
    def watched():
        waits.release()
        yield

    flights, calls = SingleFlight(WaitingRoom(10, watched=watched)), {"older": Slow(), "newer": Slow()}

    def fly(which, number, since):
        return flights.do("mei", calls[which], Deadline.after(10), number=number, since=since)

    older, by_older = in_threads(1, lambda _: fly("older", 1, 0))
    assert calls["older"].begun.wait(5)
    waiting, by_waiting = in_threads(1, lambda _: fly("newer", 2, 1))
    assert waits.acquire(timeout=5)
    newer, by_newer = in_threads(1, lambda _: fly("newer", 5, 5))
    assert calls["newer"].begun.wait(5)
    calls[ends_first].go.set()
    for thread in {"older": [*older, *waiting], "newer": newer}[ends_first]:
        thread.join(5)
    last, by_last = in_threads(1, lambda _: fly("newer", 7, 5 if ends_first == "older" else 6))
    assert ends_first == "newer" or waits.acquire(timeout=5)
    for call in calls.values():
        call.go.set()
    for thread in [*older, *waiting, *newer, *last]:
        thread.join(5)

    assert (by_older, by_waiting, by_newer) == ([(1, False)], [(1, True)], [(1, False)])
    assert by_last == [(1, True) if ends_first == "older" else (2, False)]


def test_a_thread_that_is_told_to_end_does_not_end_the_others():
    class Ends(Slow):
        def __call__(self):
            super().__call__()
            raise SystemExit

    flights, call = SingleFlight(), Ends()
    threads, _, others = fly(flights, call, 3)
    call.go.set()
    for thread in threads:
        thread.join()

    assert {type(each) for each in others} == {TimeoutError}


def test_only_so_many_wait_long_and_the_rest_are_told_at_once():
    flights, call = SingleFlight(WaitingRoom(5, free_seconds=0.2)), Slow()
    threads, _, others = fly(flights, call, 30)
    time.sleep(0.4)
    assert sum(isinstance(each, BulkheadFull) for each in others) == 25
    call.go.set()
    for thread in threads:
        thread.join()

    assert sum(each == (1, True) for each in others) == 5


def test_a_short_wait_is_free_for_everybody():
    flights, call = SingleFlight(WaitingRoom(1, free_seconds=2)), Slow()
    threads, _, others = fly(flights, call, 100)
    call.go.set()
    for thread in threads:
        thread.join()

    assert others == [(1, True)] * 100


def test_whoever_waits_is_seen_waiting():
    waiting = []

    @contextmanager
    def watched():
        waiting.append(1)
        yield
        waiting.pop()

    flights, call = SingleFlight(WaitingRoom(5, watched=watched)), Slow()
    threads, _, _ = fly(flights, call, 4)
    assert len(waiting) == 4
    call.go.set()
    for thread in threads:
        thread.join()

    assert not waiting


def test_a_failure_that_nobody_waited_for_does_not_wait_for_the_garbage_collector():
    class Failed(Exception):
        pass

    failures = [Failed()]
    gone = weakref.ref(failures[0])

    def call():
        raise failures.pop()

    gc.disable()
    try:
        with suppress(Failed):
            SingleFlight().do("a", call, Deadline.after(1))
        assert gone() is None
    finally:
        gc.enable()


def test_one_visitor_gets_a_few_of_the_places():
    flights, of_mei, of_omar = SingleFlight(WaitingRoom(5, each=2, free_seconds=0.1)), Slow(), Slow()
    threads, _, mei = fly(flights, of_mei, 10)
    more, _, omar = fly(flights, of_omar, 2, key="omar")
    time.sleep(0.3)

    assert [type(each) for each in mei].count(BulkheadFull) == 8
    assert omar == [None, None], "they wait"

    of_mei.go.set()
    of_omar.go.set()
    for thread in threads + more:
        thread.join()
    assert omar == [(1, True)] * 2


def test_the_flights_of_one_visitor_share_the_places():
    flights, calls = SingleFlight(WaitingRoom(5, each=2, free_seconds=0.1)), [Slow(), Slow()]
    threads, results = in_threads(8, lambda n: flights.do(f"token-{n % 2}", calls[n % 2], Deadline.after(5), visitor="mei"))
    time.sleep(0.4)

    assert [type(each) for each in results].count(BulkheadFull) == 4

    for call in calls:
        call.go.set()
    for thread in threads:
        thread.join()
