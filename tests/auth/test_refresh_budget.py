"""How often GenAuth is called for its key set."""

from hypothesis import given, settings
from hypothesis import strategies as st

from bff.auth.refresh_budget import RefreshBudget


def starts(budget, times, **how):
    return [time for time in times if budget.spend(time, have_keys=True, **how)]


def test_three_at_once_and_then_one_in_thirty_seconds():
    assert starts(RefreshBudget(), range(100)) == [0, 1, 2, 30, 60, 90]


def test_after_a_quiet_time_three_at_once_again():
    budget = RefreshBudget()
    starts(budget, range(10))

    assert starts(budget, range(200, 220)) == [200, 201, 202]


def test_in_the_background_a_fetch_comes_thirty_seconds_after_the_last():
    budget = RefreshBudget()
    budget.spend(0, have_keys=True)

    assert starts(budget, range(100), background=True) == [30, 60, 90]


def test_without_keys_the_next_try_is_soon_and_then_less_soon():
    budget, tries = RefreshBudget(), []
    for tenth in range(400):
        if budget.spend(tenth / 10, have_keys=False):
            tries.append(tenth / 10)
            budget.record_failure(tenth / 10)

    assert tries == [0, 1, 3, 7, 15, 23, 31, 39]


def test_the_first_keys_leave_the_whole_burst():
    budget = RefreshBudget()
    budget.spend(0, have_keys=False)
    budget.record_failure(0)
    budget.spend(1, have_keys=False)

    assert starts(budget, [1, 1, 1, 1, 1]) == [1, 1, 1]


def test_the_seconds_left_until_the_next_fetch():
    budget = RefreshBudget()
    assert budget.seconds_left(0, have_keys=True) == 0
    starts(budget, [0, 0, 0])
    assert budget.seconds_left(12, have_keys=True) == 18

    budget.record_failure(12)
    assert budget.seconds_left(12.25, have_keys=False) == 0.75


@settings(deadline=None)
@given(st.lists(st.floats(0, 30), max_size=200))
def test_whatever_happens_no_more_than_three_and_one_per_thirty_seconds(pauses):
    budget, now, granted = RefreshBudget(), 0.0, 0
    for pause in pauses:
        now += pause
        granted += budget.spend(now, have_keys=True)

    assert granted <= 3 + now / 30
