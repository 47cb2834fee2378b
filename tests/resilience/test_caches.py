"""Bounded caches for many threads: `bff.resilience.caches`."""

import threading

import pytest

from bff.resilience import cache, memoised
from bff.resilience.caches import DECLARED


def test_the_least_recently_used_value_leaves_first():
    values = cache("accepted_tokens", size=2)
    values.put("a", 1)
    values.put("b", 2)
    values.get("a")
    values.put("c", 3)

    assert [values.get(key) for key in "abc"] == [1, None, 3]


def test_a_value_put_twice_takes_one_place():
    values = cache("accepted_tokens", size=2)
    for value in (1, 2, 3):
        values.put("a", value)
    values.put("b", 4)

    assert [values.get(key) for key in "ab"] == [3, 4]


def test_what_is_evicted_is_reported():
    values = cache("accepted_tokens", size=1)

    assert list(values.put("a", 1)) == []
    assert list(values.put("a", 2)) == []
    assert list(values.put("b", 3)) == [("a", 2)]
    values.drop("b")
    assert list(values.put("c", 4)) == []


def test_a_dropped_value_is_gone_and_dropping_nothing_is_no_error():
    values = cache("accepted_tokens")
    values.put("a", 1)
    values.drop("a")
    values.drop("a")

    assert values.get("a") is None


def test_clear_removes_everything_and_evicts_nothing():
    values = cache("accepted_tokens", size=2)
    for key in "ab":
        values.put(key, key)
    values.clear()

    assert (len(values), list(values.put("c", 1))) == (0, [])


def test_a_cache_in_bytes_holds_as_many_as_fit():
    values = cache("responses", weigh=len, size=10)
    for key in "abc":
        values.put(key, b"xxxx")

    assert [values.get(key) for key in "abc"] == [None, b"xxxx", b"xxxx"]
    assert [key for key, _ in values.put("d", b"x" * 8)] == ["b", "c"]


def test_a_value_larger_than_the_cache_is_not_stored_nor_what_it_was_to_replace():
    values = cache("responses", weigh=len, size=10)
    values.put("a", b"old")
    values.put("b", b"other")
    values.put("a", b"x" * 11)

    assert [values.get(key) for key in "ab"] == [None, b"other"]


def test_each_cache_is_one_of_its_own():
    cache("accepted_tokens").put("a", 1)

    assert cache("accepted_tokens").get("a") is None


def test_a_cache_in_bytes_needs_to_know_how_to_weigh():
    with pytest.raises(TypeError):
        cache("responses")
    with pytest.raises(TypeError):
        cache("accepted_tokens", weigh=len)


def test_a_cache_that_nobody_declared_is_none():
    with pytest.raises(KeyError):
        cache("anything")
    with pytest.raises(KeyError):
        memoised("anything")(len)


@pytest.mark.parametrize("name", DECLARED)
def test_every_declared_cache_is_bounded_and_explained(name):
    declared = DECLARED[name]

    assert declared.purpose
    assert declared.lifetime
    assert 0 < declared.size <= {"entries": 20_000, "bytes": 32 * 2**20}[declared.unit]


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
    known = memoised("includes")(lambda number: calls.append(number) or number)
    for number in [*range(DECLARED["includes"].size + 1), 0]:
        known(number)

    assert calls.count(0) == 2


def test_a_method_is_memoised_for_its_own_object():
    class Names:
        def __init__(self, prefix):
            self._prefix = prefix
            self.of = memoised("user_names")(self._derived)

        def _derived(self, user):
            return self._prefix + user

    assert [Names("a").of("x"), Names("b").of("x")] == ["ax", "bx"]


def test_many_threads_use_one_cache():
    values = cache("responses", weigh=len, size=64)
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
