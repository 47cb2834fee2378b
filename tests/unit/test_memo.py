"""A dict that cannot grow beyond its size: `bff.resilience.caches`."""

from collections import OrderedDict

from bff.resilience.caches import Memo


def test_a_memo_forgets_the_value_not_read_for_longest():
    memo = Memo(2)
    memo.put("a", 1)
    memo.put("b", 2)
    memo.get("a")
    memo.put("c", 3)

    assert [memo.get(key) for key in "abc"] == [1, None, 3]


def test_a_value_put_twice_takes_one_place():
    memo = Memo(2)
    for value in (1, 2, 3):
        memo.put("a", value)
    memo.put("b", 4)

    assert [memo.get(key) for key in "ab"] == [3, 4]


def test_what_leaves_is_handed_out():
    memo = Memo(1)

    assert memo.put("a", 1) is None
    assert memo.put("a", 2) is None
    assert memo.put("b", 3) == ("a", 2)
    assert [memo.get(key) for key in "ab"] == [None, 3]


def test_reading_what_leaves_at_this_moment_is_no_error():
    class Fleeting(OrderedDict):
        def get(self, key):
            return self.pop(key, None)

    memo = Memo(2)
    memo._values = Fleeting(a=1)

    assert [memo.get("a"), memo.get("a")] == [1, None]
