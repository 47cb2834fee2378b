"""Epoch seconds that never pass more slowly than monotonic ones: `bff.resilience.steady_clock`."""

import pytest

from bff.resilience import SteadyClock

EPOCH = 1_800_000_000.0


class Machine:
    """Both clocks of a machine. Time passes on both; somebody may set one of them."""

    def __init__(self):
        self.epoch, self.elapsed = EPOCH, 1000.0
        self.set_back = []
        self.steady = SteadyClock(lambda: self.epoch, lambda: self.elapsed, on_set_back=self.set_back.append)

    def passes(self, seconds):
        self.epoch += seconds
        self.elapsed += seconds

    def sets(self, seconds):
        self.epoch += seconds

    def is_suspended(self, seconds):
        self.epoch += seconds


@pytest.fixture
def machine():
    return Machine()


def test_it_is_the_machines_clock_as_long_as_nobody_sets_that(machine):
    for seconds in (0, 0.001, 59.0, 86_400.0):
        machine.passes(seconds)
        assert machine.steady() == pytest.approx(machine.epoch, abs=1e-5)
    assert machine.set_back == []


@pytest.mark.parametrize("back", [0.4, 8.0, 1800.0, 10**9])
def test_time_goes_on_while_the_clock_is_set_back(machine, back):
    machine.passes(5)
    machine.sets(-back)
    assert machine.steady() == pytest.approx(EPOCH + 5, abs=1e-5)

    machine.passes(60)

    assert machine.steady() == pytest.approx(EPOCH + 65, abs=1e-5)


def test_many_small_steps_back_prolong_nothing_either(machine):
    for _ in range(100):
        machine.passes(1)
        machine.sets(-0.9)
        machine.steady()

    assert machine.steady() == pytest.approx(EPOCH + 100, abs=1e-5)


def test_a_clock_that_is_set_forward_is_followed(machine):
    machine.sets(3600)
    assert machine.steady() == pytest.approx(EPOCH + 3600, abs=1e-5)
    machine.sets(-3600)

    assert machine.steady() == pytest.approx(EPOCH + 3600, abs=1e-5)
    machine.sets(7200)
    assert machine.steady() == pytest.approx(EPOCH + 7200, abs=1e-5)


def test_a_machine_that_slept_is_as_much_older(machine):
    machine.steady()
    machine.is_suspended(600)  # which the monotonic clock of Linux does not count

    assert machine.steady() == pytest.approx(EPOCH + 600, abs=1e-5)


def test_it_is_reported_once_and_not_for_what_nobody_would_notice(machine):
    machine.sets(-0.9)
    machine.steady()
    assert machine.set_back == []
    machine.sets(-8)

    for _ in range(3):
        machine.steady()

    assert machine.set_back == [pytest.approx(8.9)]


def test_a_thread_that_is_paused_between_the_two_readings_moves_nothing():
    """It would be ahead for ever, or be called set back, if the readings were taken the other way round."""
    machine = Machine()

    def paused():
        now = machine.epoch
        machine.passes(0.8)
        return now

    steady = SteadyClock(paused, lambda: machine.elapsed, on_set_back=machine.set_back.append)

    for _ in range(20):
        assert steady() == pytest.approx(machine.epoch - 0.8, abs=1e-5)
    assert machine.set_back == []
