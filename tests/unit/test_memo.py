"""A dict that cannot grow beyond its size: `bff.memo`."""

import threading
from concurrent.futures import ThreadPoolExecutor

from bff.memo import Memo


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
    assert "a" not in memo
    assert "b" in memo


def test_looking_whether_a_value_is_there_does_not_keep_it():
    memo = Memo(2)
    memo.put("a", 1)
    memo.put("b", 2)
    assert "a" in memo
    memo.put("c", 3)

    assert [memo.get(key) for key in "abc"] == [None, 2, 3]


def test_reading_what_is_about_to_leave_is_no_error():
    memo, ended = Memo(4), threading.Event()

    def read():
        read = 0
        while not ended.is_set():
            for key in range(64):
                assert memo.get(key) in {None, key}
                read += 1
        return read

    with ThreadPoolExecutor(3) as threads:
        readers = [threads.submit(read) for _ in range(3)]
        for number in range(20_000):
            memo.put(number % 64, number % 64)
            memo.drop((number + 32) % 64)
        ended.set()

    assert all(reader.result() for reader in readers)
    assert len(memo) <= 4
