"""Counting in batches, in one process and in several."""

import threading
from math import ceil

import pytest

from bff.errors import RateLimited
from bff.resilience.rate_limit import RateLimit

OPAQUE = {"mei": "1f", "omar": "e2"}


class Clock:
    def __init__(self):
        self.now = 1000.0

    def __call__(self):
        return self.now

    def advance(self, seconds):
        self.now += seconds


class Shared:
    """What Redis does, with the test's clock."""

    def __init__(self, clock):
        self.clock = clock
        self.windows = {}
        self.asked = 0
        self.away = False

    def increment(self, key, window, by=1):
        if self.away:
            return None
        self.asked += 1
        counted, ends = self.windows.get(key, (0, 0))
        if self.clock() >= ends:
            counted, ends = 0, self.clock() + window
        self.windows[key] = counted + by, ends
        return counted + by, ends - self.clock()


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def shared(clock):
    return Shared(clock)


@pytest.fixture
def refused():
    """The scopes of what was refused."""
    return []


@pytest.fixture
def limit(clock, shared, refused):
    """One process's view of a limit; each call makes another process."""
    options = {"namespace": "limit", "opaque_id": OPAQUE.__getitem__, "on_refuse": refused.append, "clock": clock}
    return lambda rate: RateLimit("user", rate, shared, **options)


def passed(limit, member="mei", tries=1000):
    for number in range(tries):
        try:
            limit.hit(member)
        except RateLimited:
            return number
    return tries


@pytest.mark.parametrize("rate", ["1/minute", "5/minute", "120/minute", "7/30 seconds"])
def test_as_many_pass_as_the_rate_says(limit, rate, refused):
    assert passed(limit(rate)) == int(rate.partition("/")[0])
    assert refused == ["user"]


def test_a_window_ends_as_a_whole(limit, clock):
    here = limit("5/minute")
    assert passed(here) == 5

    clock.advance(59.9)
    with pytest.raises(RateLimited):
        here.hit("mei")
    clock.advance(0.2)
    assert passed(here) == 5


def test_members_do_not_count_for_each_other(limit):
    here = limit("5/minute")

    assert (passed(here, "mei"), passed(here, "omar")) == (5, 5)


def test_few_requests_within_the_limit_ask_redis(limit, shared):
    here = limit("120/minute")
    for _ in range(60):
        here.hit("mei")

    assert shared.asked < 15


def test_a_member_over_the_limit_costs_redis_nothing(limit, shared):
    here = limit("5/minute")
    passed(here)
    asked = shared.asked

    for _ in range(100):
        with pytest.raises(RateLimited):
            here.hit("mei")

    assert shared.asked == asked


@pytest.mark.parametrize("processes", [2, 8])
def test_processes_count_together(limit, processes):
    here = [limit("120/minute") for _ in range(processes)]

    total = 0
    for number in range(400):
        try:
            here[number % processes].hit("mei")
            total += 1
        except RateLimited:
            pass

    assert 120 <= total <= 120 * 1.25


def test_a_small_limit_is_kept_to_the_letter_by_all_processes_together(limit):
    here = [limit("5/minute") for _ in range(4)]

    assert sum(passed(each, tries=3) for each in here[:1]) == 3
    assert sum(passed(each, tries=3) for each in here[1:]) == 2


def test_counting_goes_on_alone_while_redis_is_away(limit, shared, clock):
    here = limit("10/minute")
    for _ in range(4):
        here.hit("mei")

    shared.away = True
    assert passed(here) == 6
    clock.advance(61)
    assert passed(here) == 10
    shared.away = False
    clock.advance(61)
    assert passed(here) == 10


def test_threads_lose_no_count(limit):
    here = limit("1000/minute")
    results = []

    def ask():
        results.append(passed(here, tries=200))

    threads = [threading.Thread(target=ask) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert 1000 <= sum(results) <= 1010


def test_headers_say_where_a_caller_stands(limit, clock):
    here = limit("5 per 2 minutes")
    here.hit("mei")
    clock.advance(20.5)

    assert here.hit("mei") == {"RateLimit-Policy": '"user";q=5;w=120', "RateLimit": '"user";r=3;t=100'}


def test_a_refusal_says_until_when(limit, clock):
    here = limit("1/minute")
    here.hit("mei")
    clock.advance(17.5)

    with pytest.raises(RateLimited) as sent_away:
        here.hit("mei")

    assert ceil(sent_away.value.retry_after) == 43
    assert sent_away.value.headers == {"RateLimit-Policy": '"user";q=1;w=60', "RateLimit": '"user";r=0;t=43'}
    assert "43" in sent_away.value.detail
    assert "mei" not in str(sent_away.value)


def test_looking_counts_nothing(limit, shared):
    here = limit("2/minute")
    for _ in range(10):
        here.check("mei")
    assert shared.asked == 0

    here.hit("mei")
    here.check("mei")
    here.hit("mei")
    with pytest.raises(RateLimited):
        here.check("mei")


def test_names_and_not_members_reach_redis(limit, shared):
    limit("2/minute").hit("mei")
    limit("2/hour").hit("mei")

    assert list(shared.windows) == ["limit/1f/2/1/minute", "limit/1f/2/1/hour"], "another rate is another count"


def test_a_count_below_what_was_just_counted_lets_nobody_count_on_in_secret(limit, shared, clock):
    """A counter that holds a negative number would make the limit endless."""
    shared.windows["limit/1f/10/1/minute"] = -(10**18), clock() + 60
    here = limit("10/minute")
    here.hit("mei")
    asked = shared.asked

    for _ in range(10):
        here.hit("mei")

    assert shared.asked == asked + 10, "so near its limit, as far as it knows, that every request is reported"


def test_a_count_that_ends_long_after_its_window_sends_nobody_away_for_longer(limit, shared, clock):
    shared.windows["limit/1f/2/1/minute"] = 1000, clock() + 365 * 86_400
    here = limit("2/minute")

    with pytest.raises(RateLimited) as sent_away:
        here.hit("mei")

    assert sent_away.value.retry_after == 60
    assert sent_away.value.headers["RateLimit"] == '"user";r=0;t=60'
