"""Evenly, not all at once: `bff.resilience.pace`."""

from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bff.resilience.pace import Pace


class Time:
    """A clock that stands still while callers arrive."""

    def __init__(self):
        self.now = 100.0
        self.slept = []

    def clock(self):
        return self.now

    def sleep(self, seconds):
        self.slept.append(seconds)


def crowd(pace, callers):
    """How long each of them waits, who come at one moment: the next one comes while the one before sleeps."""
    waits = []

    def come():
        if len(waits) == callers:
            return
        waits.append(0.0)
        ours = len(waits) - 1

        def sleep(seconds):
            waits[ours] = seconds
            come()

        pace._sleep = sleep
        pace.keep()
        if not waits[ours]:
            come()

    come()
    return waits


@pytest.fixture
def time():
    return Time()


@pytest.fixture
def pace(time):
    return Pace(0.005, 20, clock=time.clock, sleep=time.sleep)


def test_who_comes_alone_goes_on_at_once(pace, time):
    for _ in range(50):
        pace.keep()
        time.now += 0.005

    assert time.slept == []


def test_two_go_on_one_after_the_other(pace):
    assert crowd(pace, 2) == pytest.approx([0, 0.005])


def test_a_crowd_goes_on_in_turn_and_ever_closer(pace):
    waits = crowd(pace, 21)
    apart = [later - sooner for sooner, later in pairwise(waits)]

    assert waits[0] == 0
    assert apart == pytest.approx([0.005, *[0.005 * (1 - waiting / 20) for waiting in range(19)]])


def test_beyond_the_crowd_nobody_waits(pace):
    assert crowd(pace, 200)[21:] == [0] * 179


def test_an_idle_time_is_not_saved_up(pace, time):
    pace.keep()
    time.now += 60

    assert crowd(pace, 3)[:2] == pytest.approx([0, 0.005])


def test_who_has_waited_is_not_counted_any_more(pace, time):
    crowd(pace, 100)
    time.now += 1

    assert crowd(pace, 4) == pytest.approx([0, 0.005, 0.010, 0.01475])


@settings(deadline=None)
@given(st.lists(st.integers(0, 30), min_size=1, max_size=200))
def test_nobody_waits_much_longer_than_half_of_what_the_crowd_would_take(arrivals):
    """Whatever comes in whichever millisecond, with everybody asleep for as long as was asked."""
    now, waits, asleep = 0.0, [], []
    pace = Pace(0.005, 20, clock=lambda: now, sleep=waits.append)
    for callers in arrivals:
        now += 0.001
        for _ in range(callers):
            asleep = [until for until in asleep if until > now]
            pace._waiting = len(asleep)  # a sleep returns at once here
            before = len(waits)
            pace.keep()
            if len(waits) > before:
                asleep.append(now + waits[-1])

    assert len(asleep) <= 20
    assert all(seconds <= 0.005 * 23 / 2 for seconds in waits)
