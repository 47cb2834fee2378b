"""The breaker: opens when it should, lets exactly one probe through, and never stays shut for ever."""

import threading

import pytest

from bff.resilience.circuit_breaker import CircuitBreaker, CircuitOpen, Rules


class Clock:
    def __init__(self):
        self.now = 1000.0

    def __call__(self):
        return self.now

    def advance(self, seconds):
        self.now += seconds


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def turns():
    return []


@pytest.fixture
def breaker(clock, turns):
    return CircuitBreaker("genauth", clock=clock, chance=lambda: 0.0, on_change=lambda name, state: turns.append((name, state)))


def fail(breaker, times=1, whose=None, **said):
    for _ in range(times):
        breaker.enter(whose).failed(**said)


def fail_for(breaker, *callers, **said):
    for whose in callers:
        fail(breaker, whose=whose, **said)


def test_five_failures_in_a_row_open_it(breaker, turns):
    fail(breaker, 4)
    assert breaker.state == "closed"

    fail(breaker)

    assert breaker.state == "open"
    assert turns == [("genauth", "open")]
    with pytest.raises(CircuitOpen) as refused:
        breaker.enter()
    assert refused.value.retry_after == pytest.approx(2.0)


def test_a_success_between_failures_starts_the_row_anew(breaker):
    for _ in range(4):
        fail(breaker, 4)
        for _ in range(9):
            breaker.enter().succeeded()

    assert breaker.state == "closed"


def test_half_of_the_recent_calls_failing_opens_it(breaker):
    for _ in range(10):
        assert breaker.state == "closed", "fewer than twenty calls say too little"
        fail(breaker)
        breaker.enter().succeeded()

    fail(breaker)

    assert breaker.state == "open"


def test_failures_of_long_ago_do_not_count_towards_the_share(breaker, clock):
    for _ in range(30):
        breaker.enter().succeeded()
        fail(breaker)
        clock.advance(1.1)

    assert breaker.state == "closed", "never twenty calls within ten seconds"


def test_the_probe_closes_it(breaker, clock, turns):
    fail(breaker, 5)
    clock.advance(2.1)
    assert breaker.state == "half_open"

    breaker.enter().succeeded()

    assert breaker.state == "closed"
    assert [state for _, state in turns] == ["open", "half_open", "closed"]
    fail(breaker, 4)
    assert breaker.state == "closed", "the row starts anew"


def test_failing_probes_wait_longer_each_time_up_to_thirty_seconds(breaker, clock):
    fail(breaker, 5)
    waits = []
    for _ in range(7):
        with pytest.raises(CircuitOpen) as refused:
            breaker.enter()
        waits.append(refused.value.retry_after)
        clock.advance(waits[-1])
        fail(breaker)

    assert waits == pytest.approx([2, 4, 8, 16, 30, 30, 30])


def test_chance_shortens_the_wait_by_a_fifth_at_most(clock):
    breaker = CircuitBreaker("genauth", clock=clock, chance=lambda: 1.0)
    fail(breaker, 5)

    with pytest.raises(CircuitOpen) as refused:
        breaker.enter()

    assert refused.value.retry_after == pytest.approx(1.6)


@pytest.mark.parametrize("round_", range(5))
def test_of_fifty_threads_exactly_one_is_the_probe(breaker, clock, round_):
    fail(breaker, 5)
    clock.advance(2.1)
    together = threading.Barrier(50)
    permits, refused = [], []

    def arrive():
        together.wait()
        try:
            permits.append(breaker.enter())
        except CircuitOpen as error:
            refused.append(error.retry_after)

    threads = [threading.Thread(target=arrive) for _ in range(50)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert len(permits) == 1
    assert permits[0].probe
    assert len(refused) == 49
    assert all(0 < wait <= 1.0 for wait in refused)


def test_an_abandoned_probe_leaves_its_place_to_the_next(breaker, clock):
    fail(breaker, 5)
    clock.advance(2.1)

    breaker.enter().abandoned()

    assert breaker.enter().probe


def test_a_probe_that_never_comes_back_does_not_block_for_ever(breaker, clock):
    fail(breaker, 5)
    clock.advance(2.1)
    lost = breaker.enter()
    clock.advance(9.9)
    with pytest.raises(CircuitOpen):
        breaker.enter()

    clock.advance(0.2)
    second = breaker.enter()
    lost.failed()

    assert breaker.state == "half_open", "what the lost probe has to say comes too late"
    second.succeeded()
    assert breaker.state == "closed"


def test_it_says_beforehand_for_how_long_it_refuses(breaker, clock):
    assert breaker.rest() == 0
    fail(breaker, 5)
    assert breaker.rest() == pytest.approx(2.0)
    clock.advance(2.0)
    assert breaker.rest() == 0, "the next caller may probe"

    probe = breaker.enter()
    assert breaker.rest() == pytest.approx(1.0)

    probe.succeeded()
    assert breaker.rest() == 0


def test_three_who_are_to_come_back_later_open_it_for_two_seconds_at_first(breaker, clock):
    fail(breaker, 2, retry_after=60)
    assert breaker.state == "closed"

    waits = []
    for _ in range(7):
        fail(breaker, retry_after=60)
        waits.append(breaker.rest())
        clock.advance(breaker.rest())

    assert waits == pytest.approx([2, 4, 8, 16, 30, 30, 30])


def test_it_opens_for_no_longer_than_was_asked_for(breaker):
    fail(breaker, 3, retry_after=1)

    assert breaker.rest() == pytest.approx(1)


def test_a_success_between_two_who_are_to_come_back_later_starts_the_row_anew(breaker):
    for _ in range(4):
        fail(breaker, 2, retry_after=60)
        breaker.enter().succeeded()

    assert breaker.state == "closed"


@pytest.mark.parametrize("nothing", [0, -1, 0.0, None])
def test_a_retry_after_of_nothing_is_an_ordinary_failure(breaker, nothing):
    fail(breaker, retry_after=nothing)

    assert breaker.state == "closed"


def test_calls_from_before_the_opening_neither_close_nor_prolong_it(breaker, clock):
    early, late = breaker.enter(), breaker.enter()
    fail(breaker, 5)

    early.succeeded()
    assert breaker.state == "open"

    clock.advance(1.9)
    late.failed()
    clock.advance(0.2)
    assert breaker.state == "half_open"


def test_an_abandoned_call_is_neither_good_nor_bad(breaker):
    fail(breaker, 4)
    breaker.enter().abandoned()
    assert breaker.state == "closed"

    fail(breaker)

    assert breaker.state == "open"


def test_the_listener_may_look_at_the_breaker_and_call_it(clock):
    seen = []
    breaker = CircuitBreaker(
        "redis", Rules(failures_in_a_row=1), clock=clock, on_change=lambda _n, _s: seen.append(breaker.state)
    )

    fail(breaker)

    assert seen == ["open"]


# Whose failures they are -------------------------------------------------------------------------------


@pytest.mark.parametrize("retry_after", [None, 60])
def test_one_caller_alone_never_opens_it(breaker, retry_after):
    fail(breaker, 200, whose="mei", retry_after=retry_after)

    assert breaker.state == "closed"


def test_one_caller_who_fails_beside_the_successes_of_others_never_opens_it(breaker):
    for _ in range(200):
        fail(breaker, whose="mei")
        breaker.enter("omar").succeeded()

    assert breaker.state == "closed"


def test_five_callers_in_a_row_open_it_however_often_each_failed(breaker):
    fail_for(breaker, *"aabbccddaabb")
    assert breaker.state == "closed"

    fail(breaker, whose="e")

    assert breaker.state == "open"


def test_three_callers_who_are_to_come_back_later_open_it_however_often_each_failed(breaker):
    fail_for(breaker, *"aabbab", retry_after=60)
    assert breaker.state == "closed"

    fail(breaker, whose="c", retry_after=60)

    assert breaker.rest("c") == breaker.rest("d") == pytest.approx(2)


def test_half_of_the_recent_calls_count_by_callers_too(breaker):
    for caller in "abcdefghi":
        fail(breaker, whose=caller)
        breaker.enter("good").succeeded()
    breaker.enter("good").succeeded()
    assert breaker.state == "closed"

    fail(breaker, whose="j")

    assert breaker.state == "open"


def test_a_probe_of_who_failed_before_says_nothing_new_and_anybody_else_may_probe(breaker, clock, turns):
    fail_for(breaker, *"abcde")
    clock.advance(2.0)
    fail(breaker, whose="a")

    assert breaker.state == "half_open"
    with pytest.raises(CircuitOpen) as refused:
        breaker.enter("b")
    assert refused.value.retry_after == pytest.approx(4.0), "for those for whom it failed the wait grows as ever"
    probe = breaker.enter("somebody else")
    assert probe.probe
    with pytest.raises(CircuitOpen):
        breaker.enter("a third")
    probe.succeeded()
    assert [state for _, state in turns] == ["open", "half_open", "closed"]
    fail(breaker, 10, whose="a")
    assert breaker.state == "closed"


def test_a_probe_of_somebody_else_that_fails_opens_it_again(breaker, clock):
    fail_for(breaker, *"abcde")
    clock.advance(2.0)
    fail(breaker, whose="f")
    assert breaker.rest() == pytest.approx(4.0)

    clock.advance(4.0)
    fail(breaker, whose="f")

    assert breaker.rest("g") == 0
    assert breaker.rest("f") == breaker.rest("a") == pytest.approx(8.0)


def test_a_pause_that_ends_with_two_probes_that_fail_grows_the_next_one_once(breaker, clock):
    fail_for(breaker, *"abcde")
    for newcomer, wait in (("f", 4.0), ("g", 8.0), ("h", 16.0)):
        clock.advance(breaker.rest())
        fail(breaker, whose="a")
        fail(breaker, whose=newcomer)
        assert breaker.rest() == pytest.approx(wait)

    clock.advance(16.0)
    fail(breaker, whose="a")
    breaker.enter("i").succeeded()
    fail_for(breaker, *"abcde")
    assert breaker.rest() == pytest.approx(2.0), "after a success the wait begins anew"


def test_where_nobody_else_comes_those_who_failed_probe(breaker, clock):
    fail_for(breaker, *"abcde")
    clock.advance(2.0)
    fail(breaker, whose="a")
    clock.advance(4.0)

    breaker.enter("a").succeeded()

    assert breaker.state == "closed"


def test_how_many_callers_it_tells_apart_is_bounded(breaker, clock):
    fail(breaker, 5)
    for number in range(1_100):
        clock.advance(30)
        fail(breaker, whose=str(number))
    clock.advance(30)

    for known, wait in (("0", pytest.approx(30)), ("1099", 0)):
        fail(breaker, whose="0")
        assert breaker.rest(known) == wait
        clock.advance(30)
