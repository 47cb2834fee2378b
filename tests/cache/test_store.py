"""Redis that may be away: what each call does, how long it takes, and that no answer is ever given to another caller."""

import contextlib
import os
import threading
import time

import pytest
import redis

from bff.cache.redis_store import CacheUnavailable
from tests.timing import in_time
from tests.valkey import ValkeyServer, free_port

ONE_TIMEOUT = 0.6  # 0.25 s, measured on a machine that has other things to do


@pytest.fixture
def own():
    with ValkeyServer() as server:
        yield server


def eventually(what, seconds=5.0):
    patience = time.monotonic() + seconds
    while time.monotonic() < patience:
        if what():
            return True
        time.sleep(0.02)
    return False


def test_what_is_written_is_read(store):
    assert store.set_many({"{a}1": b"one", "{a}2": b"two"}, 10)

    assert store.get_many("{a}1", "{a}2", "{a}3") == [b"one", b"two", None]


@pytest.mark.parametrize(("seconds", "whole"), [(10.5, 11), (10, 10), (0.2, 1)])
def test_what_is_set_ends(store, stored, seconds, whole):
    assert store.set_many({"a": b"one"}, seconds)

    assert (whole - 1) * 1000 < stored.pttl("a") <= whole * 1000


def test_what_is_deleted_is_gone(store):
    store.set_many({"{a}1": b"one", "{a}2": b"two", "{a}3": b"three"}, 10)

    store.delete_many("{a}1", "{a}2", "{a}4")

    assert store.get_many("{a}1", "{a}2", "{a}3") == [None, None, b"three"]


def test_a_key_that_is_set_again_while_it_is_deleted_is_no_failure(store_at, proxy, stored, witness):
    store = store_at(proxy.url, timeout=10)
    store.set_many({"a": b"one"}, 60)
    failures = []

    def delete():
        try:
            store.delete_many("a")
        except CacheUnavailable as error:
            failures.append(error)

    proxy.hold()
    thread = threading.Thread(target=delete)
    thread.start()
    assert eventually(lambda: not stored.exists("a"))
    stored.set("a", "two")
    proxy.release()
    thread.join()

    assert failures == witness.failed == []


@pytest.mark.parametrize("value", [b"", b"\x80\x04\x95poison", b"!x", b"0", b"None", bytes(range(256))])
def test_bytes_stay_as_they_are(store, stored, value):
    store.set_many({"a": value}, 10)

    assert stored.get("a") == value
    assert store.get_many("a") == [value]


def test_another_type_under_a_key_is_a_miss_for_that_key(store, stored):
    stored.rpush("{a}list", "x")
    store.set_many({"{a}1": b"one"}, 10)

    assert store.get_many("{a}list", "{a}1") == [None, b"one"]
    store.delete_many("{a}list")
    assert not stored.exists("{a}list")
    stored.rpush("{a}list", "x")
    assert store.set_many({"{a}list": b"two"}, 10)
    assert store.get_many("{a}list") == [b"two"]


def test_a_lock_is_given_to_one_and_only_its_holder_releases_it(store, stored):
    mine, other = store.lock("lock", 10), store.lock("lock", 20)

    assert mine.acquire()
    assert not other.acquire()
    assert not other.release()
    assert not other.extend()
    stored.pexpire("lock", 1000)
    assert mine.extend()
    assert 9_000 < stored.pttl("lock") <= 10_000
    assert mine.release()
    assert not mine.release()
    assert other.acquire()


def test_a_lock_that_ended_is_not_taken_from_the_next_holder(store, stored):
    slow, next_ = store.lock("lock", 0.02), store.lock("lock", 10)
    assert slow.acquire()
    time.sleep(0.05)
    assert next_.acquire()
    token = stored.get("lock")

    assert not slow.extend()
    assert not slow.release()
    assert stored.get("lock") == token


@pytest.mark.parametrize("forged", ["without an end", "for a year", "a list"])
def test_a_lock_that_none_of_us_can_hold_keeps_nobody_waiting(store, stored, forged):
    if forged == "a list":
        stored.rpush("lock", "mallory")
    else:
        stored.set("lock", "mallory", ex=None if forged == "without an end" else 365 * 86_400)
    lock = store.lock("lock", 10)

    assert lock.acquire()
    assert stored.pttl("lock") <= 10_000
    assert not store.lock("lock", 10).acquire()
    assert lock.release()
    assert not stored.exists("lock")


def test_counting_starts_anew_after_its_window(store):
    assert [store.increment("c", 0.2)[0] for _ in range(3)] == [1, 2, 3]
    assert store.increment("c", 0.2, by=5)[0] == 8
    time.sleep(0.25)
    assert store.increment("c", 0.2)[0] == 1


def test_a_count_that_lost_its_end_gets_one(store, stored):
    stored.set("c", 5)

    assert store.increment("c", 10) == (6, pytest.approx(10, abs=1))
    assert 0 < stored.pttl("c") <= 10_000


def test_a_count_that_ends_long_after_its_window_ends_with_it(store, stored):
    stored.set("c", 5, ex=365 * 86_400)

    assert store.increment("c", 10) == (6, pytest.approx(10, abs=1))
    assert 0 < stored.pttl("c") <= 10_000


@pytest.mark.parametrize("value", ["x", "9223372036854775807"])
def test_a_count_that_cannot_be_counted_on_begins_again(store, stored, value):
    stored.set("c", value)

    assert store.increment("c", 10, 2) == (2, 10)
    assert 0 < stored.pttl("c") <= 10_000


CALLS = {
    "get": lambda store: store.get_many("a"),
    "delete": lambda store: store.delete_many("a"),
    "lock": lambda store: store.lock("l", 1).acquire(),
    "publish": lambda store: store.publish("c", "m"),
}
QUIET = {
    "set": (lambda store: store.set_many({"a": b"b"}, 1), False),
    "increment": (lambda store: store.increment("c", 1), None),
    "ping": (lambda store: store.ping(), False),
}


@pytest.mark.parametrize("call", CALLS)
def test_with_redis_away_it_says_so(store_at, own, call):
    store = store_at(own.url)
    own.kill()

    with pytest.raises(CacheUnavailable):
        CALLS[call](store)


@pytest.mark.parametrize("call", QUIET)
def test_with_redis_away_it_returns_that_nothing_was_done(store_at, own, call):
    store = store_at(own.url)
    own.kill()
    act, result = QUIET[call]

    assert act(store) is result


def test_with_redis_away_a_lock_is_neither_extended_nor_released(store_at, own):
    store = store_at(own.url)
    lock = store.lock("lock", 10)
    assert lock.acquire()
    own.kill()

    assert not lock.extend()
    assert not lock.release()


def test_a_subscription_receives_what_is_published_and_ends_with_redis(store_at, own):
    store = store_at(own.url)
    received = []

    def receive():
        with store.subscribed("c") as subscription:
            received.append(subscription.get_message(timeout=1)["type"])
            store.publish("c", "m")
            received.append(subscription.get_message(timeout=1)["data"])
            own.kill()
            while True:
                subscription.get_message(timeout=1)

    with pytest.raises(CacheUnavailable):
        receive()
    assert received == ["subscribe", b"m"]


def test_a_frozen_redis_costs_one_timeout_and_then_nothing(store_at, own):
    store = store_at(own.url, open_seconds=30, open_at_most=30)
    store.get_many("a")
    own.freeze()
    try:
        spent = []
        for _ in range(20):
            started = time.monotonic()
            with pytest.raises(CacheUnavailable):
                store.get_many("a")
            spent.append(time.monotonic() - started)
    finally:
        own.thaw()

    assert 0.2 < spent[0] < ONE_TIMEOUT
    assert max(spent[1:]) < 0.05


def test_nobody_pays_for_finding_out_whether_redis_is_back(store_at, own, witness):
    store = store_at(own.url, open_seconds=0.05, open_at_most=0.05)
    store.get_many("a")
    own.freeze()
    try:
        with pytest.raises(CacheUnavailable):
            store.get_many("a")
        slowest = 0.0
        for _ in range(40):
            time.sleep(0.02)
            started = time.monotonic()
            with pytest.raises(CacheUnavailable):
                store.get_many("a")
            slowest = max(slowest, time.monotonic() - started)
        assert slowest < 0.1
        assert ("ping", "timeout") in witness.failed
    finally:
        own.thaw()

    assert eventually(store.ping)


def test_a_redis_that_comes_back_empty_is_used_again(store_at):
    with ValkeyServer(port=free_port()) as own:
        store = store_at(own.url)
        store.set_many({"a": b"one"}, 10)
        own.kill()
        with pytest.raises(CacheUnavailable):
            store.get_many("a")
        own.restart()

        assert eventually(store.ping)
        assert store.get_many("a") == [None]


def test_a_redis_that_is_away_at_start_is_used_when_it_comes(store_at):
    port = free_port()
    store = store_at(f"redis://127.0.0.1:{port}/0")
    with pytest.raises(CacheUnavailable):
        store.get_many("a")
    with ValkeyServer(port=port):
        assert eventually(store.ping)
        assert store.set_many({"a": b"one"}, 10)


def test_a_late_answer_is_never_given_to_the_next_caller(store_at, proxy, stored):
    store = store_at(proxy.url, failures_in_a_row=1000)
    store.set_many({f"key-{n}": b"value-%d" % n for n in range(200)}, 60)
    wrong, answered = [], []

    def ask(first):
        for n in range(first, 200, 8):
            try:
                (value,) = store.get_many(f"key-{n}")
            except CacheUnavailable:
                continue
            answered.append(n)
            if value != b"value-%d" % n:
                wrong.append((n, value))

    for _ in range(3):
        threads = [threading.Thread(target=ask, args=(first,)) for first in range(8)]
        for thread in threads:
            thread.start()
        for held in (0.3, 0.28, 0.26, 0.24):
            proxy.hold()
            time.sleep(held)
            proxy.release()
            time.sleep(0.01)
        for thread in threads:
            thread.join()

    assert not wrong
    assert 0 < len(answered) < 600


def test_a_late_answer_to_a_pipeline_or_a_script_is_never_given_to_the_next_caller(store_at, proxy):
    store = store_at(proxy.url, failures_in_a_row=1000)
    store.set_many({"a": b"mine", "b": b"yours"}, 60)
    for call in (
        lambda: store.set_many({"x": b"1"}, 60),
        lambda: store.lock("l", 1).acquire(),
        lambda: store.increment("c", 1),
        lambda: store.delete_many("x"),
    ):
        proxy.hold()
        with contextlib.suppress(CacheUnavailable):
            assert not call()
        proxy.release()
        assert [store.get_many("b") for _ in range(5)] == [[b"yours"]] * 5


def test_connections_that_end_in_the_middle_do_no_harm(store_at, proxy):
    store = store_at(proxy.url, failures_in_a_row=1000)
    store.set_many({"a": b"one"}, 60)
    proxy.hold()
    cut = threading.Timer(0.05, proxy.reset)
    cut.start()
    with pytest.raises(CacheUnavailable):
        store.get_many("a")
    cut.join()
    proxy.release()

    assert eventually(store.ping)
    assert store.get_many("a") == [b"one"]


def test_a_dripping_answer_takes_no_longer_than_two_timeouts(store_at, proxy):
    store = store_at(proxy.url)
    store.set_many({"a": b"x" * 200}, 60)
    proxy.drip = 0.02
    started = time.monotonic()

    with pytest.raises(CacheUnavailable):
        store.get_many("a")

    in_time(time.monotonic() - started, ONE_TIMEOUT)


def test_a_refusal_in_a_pipeline_leaves_no_answer_to_the_next_caller(store_at, own, stored):
    store = store_at(own.url)
    store.set_many({"a": b"one"}, 60)
    with redis.Redis.from_url(own.url) as connection:
        connection.config_set("maxmemory-policy", "noeviction")
        connection.config_set("maxmemory", 1)
        before = connection.info("stats")["total_connections_received"]

        for _ in range(3):
            assert not store.set_many({"b": b"two", "c": b"three"}, 60)
            assert store.get_many("a") == [b"one"]
        assert connection.info("stats")["total_connections_received"] == before, "a refusal costs no connection"


def test_a_connection_that_was_closed_meanwhile_is_replaced_and_nothing_fails(store, stored, witness):
    store.set_many({"a": b"one"}, 60)
    stored.client_kill_filter(_type="normal", skipme=True)

    assert store.get_many("a") == [b"one"]
    assert witness.failed == []


def test_a_forked_process_makes_connections_of_its_own(store_at, proxy):
    store = store_at(proxy.url)
    store.set_many({"mine": b"mine", "theirs": b"theirs"}, 60)
    if not (child := os.fork()):
        os._exit(0 if [store.get_many("theirs") for _ in range(20)] == [[b"theirs"]] * 20 else 1)

    assert [store.get_many("mine") for _ in range(20)] == [[b"mine"]] * 20
    assert os.waitpid(child, 0)[1] == 0
    assert proxy.connections == 2


def test_many_threads_get_their_own_answers(store):
    store.set_many({f"key-{n}": b"value-%d" % n for n in range(8)}, 60)
    wrong = []

    def ask(n):
        got = [store.get_many(f"key-{n}", "none", f"key-{n}") for _ in range(200)]
        wrong.extend(values for values in got if values != [b"value-%d" % n, None, b"value-%d" % n])

    threads = [threading.Thread(target=ask, args=(n,)) for n in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert not wrong


def test_many_threads_share_few_connections(store_at, proxy):
    store = store_at(proxy.url)
    store.get_many("a")
    for _ in range(100):
        store.get_many("a")

    assert proxy.connections == 1


@pytest.mark.parametrize("policy", ["full", "replica"])
def test_a_redis_that_takes_nothing_is_still_read(store_at, own, policy, witness):
    store = store_at(own.url)
    store.set_many({"a": b"one"}, 60)
    with redis.Redis.from_url(own.url) as connection:
        if policy == "full":
            connection.config_set("maxmemory-policy", "noeviction")
            connection.config_set("maxmemory", 1)
        else:
            connection.config_set("replica-serve-stale-data", "yes")
            connection.replicaof("127.0.0.1", free_port())

    for _ in range(5):
        assert not store.set_many({"a": b"two"}, 60)
        assert store.get_many("a") == [b"one"]
    assert {reason for _, reason in witness.failed} == {"full" if policy == "full" else "read_only"}


def test_a_password_that_changes_at_run_time_is_redis_away_and_a_right_one_is_redis_back(store_at, own):
    store = store_at(own.url)
    store.get_many("a")
    with redis.Redis.from_url(own.url) as connection:
        connection.config_set("requirepass", "changed")
        connection.client_kill_filter(_type="normal", skipme=True)
        with pytest.raises(CacheUnavailable):
            store.get_many("a")
        connection.config_set("requirepass", "")

    assert eventually(store.ping)
    assert store.get_many("a") == [None]
