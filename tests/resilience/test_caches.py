"""Bounded caches for many threads: `bff.resilience.caches`."""

import threading
from dataclasses import dataclass

import pytest

from bff.resilience import LARGEST_ENTRY, Cache, cache, memoised
from bff.resilience.caches import DECLARED, MEMOISED, size_of

SECONDS = 60.0


class Clock:
    now = 1_000.0

    def __call__(self):
        return self.now


def room_for(entries, value=1):
    """A budget in which so many of these values fit, under keys of one letter."""
    one = Cache(2**20, SECONDS)
    one.put("a", value)
    return one.weight * entries


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def values(clock):
    """A cache with room for two small values, which it keeps for a minute."""
    return Cache(room_for(2), SECONDS, clock=clock)


def test_the_least_recently_used_value_leaves_first(values):
    values.put("a", 1)
    values.put("b", 2)
    values.get("a")
    values.put("c", 3)

    assert [values.get(key) for key in "abc"] == [1, None, 3]


def test_a_value_put_twice_takes_one_place(values):
    for value in (1, 2, 3):
        values.put("a", value)
    values.put("b", 4)

    assert [values.get(key) for key in "ab"] == [3, 4]


def test_what_is_evicted_is_reported():
    values = Cache(room_for(1), SECONDS)

    assert list(values.put("a", 1)) == []
    assert list(values.put("a", 2)) == []
    assert list(values.put("b", 3)) == [("a", 2)]
    values.drop("b")
    assert list(values.put("c", 4)) == []


def test_a_value_is_kept_for_its_time_and_no_longer(values, clock):
    values.put("a", 1)

    clock.now += SECONDS - 0.01
    assert values.get("a") == 1
    clock.now += 0.01
    assert values.get("a") is None


def test_what_has_ended_leaves_with_the_next_value_and_is_reported(clock):
    values = Cache(2**20, SECONDS, clock=clock)
    for key in range(100):
        values.put(key, key)
    before = values.weight
    clock.now += SECONDS

    assert len(values.put("new", 1)) == 100
    assert values.weight < before / 50


def test_a_value_that_has_ended_and_is_put_again_is_not_reported(values, clock):
    values.put("a", 1)
    clock.now += SECONDS

    assert list(values.put("a", 2)) == []
    assert values.get("a") == 2


def test_a_dropped_value_is_gone_and_dropping_nothing_is_no_error(values):
    values.put("a", 1)
    values.drop("a")
    values.drop("a")

    assert values.get("a") is None


def test_clear_removes_everything_and_evicts_nothing(values):
    for key in "ab":
        values.put(key, key)
    values.clear()

    assert (len(values), values.weight, list(values.put("c", 1))) == (0, 0, [])


def test_as_many_values_are_kept_as_fit_by_their_bytes():
    values = Cache(room_for(1, b"x" * 8_000) + 3_000, SECONDS)
    for key in "abc":
        values.put(key, b"x" * 4_000)

    assert [len(values.get(key) or b"") for key in "abc"] == [0, 4_000, 4_000]
    assert [key for key, _ in values.put("d", b"x" * 8_000)] == ["b", "c"]


@pytest.mark.parametrize("weigh", [size_of, lambda _value: LARGEST_ENTRY])
def test_a_value_that_is_too_large_is_not_kept_nor_what_it_was_to_replace(weigh):
    values = Cache(2**20, SECONDS, weigh=lambda value: weigh(value) if len(value) > 5 else 5)
    values.put("a", b"old")
    values.put("b", b"other")
    large = b"x" * LARGEST_ENTRY

    assert list(values.put("a", large)) == [("a", large)]
    assert [values.get(key) for key in "ab"] == [None, b"other"]


def test_a_large_key_is_as_good_as_a_large_value():
    values = Cache(2**20, SECONDS)
    key = "x" * LARGEST_ENTRY
    values.put(key, 1)

    assert values.get(key) is None


@dataclass(frozen=True, slots=True)
class Named:
    name: str
    parts: tuple


def test_the_size_of_a_value_counts_the_texts_in_it():
    small, large = Named("x", ("x", 1.5)), Named("x" * 1_000, ("x" * 1_000, Named("x" * 1_000, ())))

    assert size_of(large) > 3_000
    assert size_of("x") < size_of(small) < 400


def test_each_cache_is_one_of_its_own():
    cache("accepted_tokens", seconds=SECONDS).put("a", 1)

    assert cache("accepted_tokens", seconds=SECONDS).get("a") is None


def test_a_cache_that_nobody_declared_is_none():
    with pytest.raises(KeyError):
        cache("anything", seconds=SECONDS)
    with pytest.raises(KeyError):
        memoised("anything")(len)


@pytest.mark.parametrize("name", DECLARED)
def test_every_declared_cache_is_bounded_and_explained(name):
    declared = DECLARED[name]

    assert declared.purpose
    assert declared.lifetime
    assert LARGEST_ENTRY < declared.budget <= 16 * 2**20


@pytest.mark.parametrize("name", MEMOISED)
def test_every_memoised_function_is_bounded_and_explained(name):
    declared = MEMOISED[name]

    assert declared.purpose
    assert 0 < declared.entries * (declared.longest or 1) <= 2**16


def test_a_memoised_function_computes_each_value_once_and_keeps_no_error():
    calls = []

    @memoised("addresses")
    def half(number):
        calls.append(number)
        if number % 2:
            raise LookupError
        return number // 2

    assert [half(4), half(4), half(6)] == [2, 2, 3]
    for _ in range(2):
        with pytest.raises(LookupError):
            half(3)
    assert calls == [4, 6, 3, 3]


def test_a_memoised_function_forgets_beyond_its_size():
    calls = []
    known = memoised("queries")(lambda number: calls.append(number) or number)
    for number in [*range(MEMOISED["queries"].entries + 1), 0]:
        known(number)

    assert calls.count(0) == 2


def test_a_memoised_function_keeps_no_long_text():
    calls = []
    known = memoised("queries")(lambda text: calls.append(len(text)) or text)
    longest = MEMOISED["queries"].longest
    for length in (longest, longest, longest + 1, longest + 1):
        known("x" * length)

    assert calls == [longest, longest + 1, longest + 1]


def test_a_method_is_memoised_for_its_own_object():
    class Names:
        def __init__(self, prefix):
            self._prefix = prefix
            self.of = memoised("user_names")(self._derived)

        def _derived(self, user):
            return self._prefix + user

    assert [Names("a").of("x"), Names("b").of("x")] == ["ax", "bx"]


def test_many_threads_use_one_cache():
    values = Cache(room_for(20), SECONDS)
    failures = []

    def use(thread):
        try:
            for number in range(2_000):
                values.put(number % 40, b"x" * (number % 7))
                values.get((number * thread) % 40)
                values.drop((number + thread) % 40)
        except Exception as error:
            failures.append(error)
            raise

    threads = [threading.Thread(target=use, args=(thread,)) for thread in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert failures == []
