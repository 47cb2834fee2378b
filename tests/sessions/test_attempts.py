"""How often GenAuth is asked for its keys, told in seconds."""

from hypothesis import given, settings
from hypothesis import strategies as st

from bff.auth.refresh_budget import RefreshBudget


def starts(attempts, times, **how):
    return [time for time in times if attempts.start(time, have_keys=True, **how)]


def test_three_at_once_and_then_one_in_thirty_seconds():
    assert starts(RefreshBudget(), range(100)) == [0, 1, 2, 30, 60, 90]


def test_after_a_quiet_time_three_at_once_again():
    attempts = RefreshBudget()
    starts(attempts, range(10))

    assert starts(attempts, range(200, 220)) == [200, 201, 202]


def test_what_can_wait_is_asked_thirty_seconds_after_the_last():
    attempts = RefreshBudget()
    attempts.start(0, have_keys=True)

    assert starts(attempts, range(100), unhurried=True) == [30, 60, 90]


def test_without_keys_the_next_try_is_soon_and_then_less_soon():
    attempts, tries = RefreshBudget(), []
    for tenth in range(400):
        if attempts.start(tenth / 10, have_keys=False):
            tries.append(tenth / 10)
            attempts.failed(tenth / 10)

    assert tries == [0, 1, 3, 7, 15, 23, 31, 39]


def test_the_first_keys_leave_the_whole_burst():
    attempts = RefreshBudget()
    attempts.start(0, have_keys=False)
    attempts.failed(0)
    attempts.start(1, have_keys=False)

    assert starts(attempts, [1, 1, 1, 1, 1]) == [1, 1, 1]


def test_the_rest_is_what_is_left_to_wait():
    attempts = RefreshBudget()
    assert attempts.rest(0, have_keys=True) == 0
    starts(attempts, [0, 0, 0])
    assert attempts.rest(12, have_keys=True) == 18

    attempts.failed(12)
    assert attempts.rest(12.25, have_keys=False) == 0.75


@settings(deadline=None)
@given(st.lists(st.floats(0, 30), max_size=200))
def test_whatever_happens_no_more_than_three_and_one_per_thirty_seconds(pauses):
    attempts, now, granted = RefreshBudget(), 0.0, 0
    for pause in pauses:
        now += pause
        granted += attempts.start(now, have_keys=True)

    assert granted <= 3 + now / 30
