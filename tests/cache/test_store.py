"""Redis that may be away: what each call does, how long it takes, and that no reply is ever given to somebody else."""

import contextlib
import threading
import time

import pytest
import redis

from bff.cache.redis_store import CacheUnavailable
from tests.cache.proxy import Proxy
from tests.valkey import ValkeyServer, free_port

ONE_TIMEOUT = 0.6  # 0.25 s, measured on a machine that has other things to do


@pytest.fixture
def proxy(valkey):
    with Proxy(valkey.address) as proxy:
        yield proxy


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
    assert store.write({"{a}1": b"one", "{a}2": b"two"}, 10)

    assert store.read("{a}1", "{a}2", "{a}3") == [b"one", b"two", None]


def test_what_is_written_ends(store, stored):
    store.write({"a": b"one"}, 10.5)

    assert 10_000 < stored.pttl("a") <= 10_500


def test_what_is_forgotten_is_gone(store):
    store.write({"a": b"one"}, 10)

    store.forget("a")

    assert store.read("a") == [None]


def test_a_lease_is_given_to_one_and_only_its_holder_gives_it_back(store, stored):
    mine, other = store.lease("lease"), store.lease("lease")

    assert store.take(mine, 10, "", "a").holder == mine.receipt
    assert store.take(other, 10, "", "a").holder == mine.receipt
    store.release(other)
    assert store.extend([other], 99) == 0
    assert stored.get("lease").decode() == mine.receipt
    assert store.extend([other, mine], 20) == 1
    assert 19_000 < stored.pttl("lease") <= 20_000
    store.release(mine)
    assert store.take(other, 10, "", "a").holder == other.receipt


def test_a_lease_is_left_alone_where_enough_is_known(store, stored):
    lease = store.lease("lease")
    store.write({"a": b"one", "b": b"two"}, 10)

    assert store.take(lease, 10, "", "a", "b", "c", enough=2) == ("", "", [b"one", b"two", None])
    assert not stored.exists("lease")
    assert store.take(lease, 10, "", "a", "c", "b", enough=2).holder == lease.receipt, "it is the first ones that count"
    store.release(lease)
    assert store.take(lease, 10, "", "a", "b", "c", enough=3).holder == lease.receipt
    assert store.take(store.lease("lease"), 10, "", "a", "b", enough=2).holder == "", "nor is anybody awaited"
    assert store.take(store.lease("lease"), 10, "", "a", "b").holder == lease.receipt


def test_a_lease_that_ran_out_is_not_taken_from_the_next_holder(store, stored):
    slow, next_ = store.lease("lease"), store.lease("lease")
    store.take(slow, 0.02, "", "a")
    time.sleep(0.05)
    store.take(next_, 10, "", "a")

    store.release(slow)
    store.release(slow, "upstream_timeout")

    assert stored.get("lease").decode() == next_.receipt


def test_counting_starts_anew_after_its_window(store):
    assert [store.count("c", 0.2)[0] for _ in range(3)] == [1, 2, 3]
    assert store.count("c", 0.2, by=5)[0] == 8
    time.sleep(0.25)
    assert store.count("c", 0.2)[0] == 1


def test_a_count_that_lost_its_end_gets_one(store, stored):
    stored.set("c", 5)

    assert store.count("c", 10) == (6, pytest.approx(10, abs=1))


CALLS = {
    "read": lambda store: store.read("a"),
    "forget": lambda store: store.forget("a"),
    "take": lambda store: store.take(store.lease("l"), 1, "", "a"),
    "publish": lambda store: store.publish("c", "m"),
}
QUIET = {
    "write": (lambda store: store.write({"a": b"b"}, 1), False),
    "extend": (lambda store: store.extend([store.lease("l")], 1), 0),
    "release": (lambda store: store.release(store.lease("l")), None),
    "count": (lambda store: store.count("c", 1), None),
    "ping": (lambda store: store.ping(), False),
}


@pytest.mark.parametrize("call", CALLS)
def test_with_redis_away_it_says_so(store_at, own, call):
    store = store_at(own.url)
    own.kill()

    with pytest.raises(CacheUnavailable):
        CALLS[call](store)


@pytest.mark.parametrize("call", QUIET)
def test_with_redis_away_it_tells_that_nothing_was_done(store_at, own, call):
    store = store_at(own.url)
    own.kill()
    act, told = QUIET[call]

    assert act(store) is told


def test_a_subscription_hears_what_is_published_and_ends_with_redis(store_at, own):
    store = store_at(own.url)
    heard = []

    def listen():
        with store.subscribed("c") as subscription:
            heard.append(subscription.get_message(timeout=1)["type"])
            store.publish("c", "m")
            heard.append(subscription.get_message(timeout=1)["data"])
            own.kill()
            while True:
                subscription.get_message(timeout=1)

    with pytest.raises(CacheUnavailable):
        listen()
    assert heard == ["subscribe", b"m"]


def test_a_frozen_redis_costs_one_timeout_and_then_nothing(store_at, own):
    store = store_at(own.url, open_seconds=30, open_at_most=30)
    store.read("a")
    own.freeze()
    try:
        spent = []
        for _ in range(20):
            started = time.monotonic()
            with pytest.raises(CacheUnavailable):
                store.read("a")
            spent.append(time.monotonic() - started)
    finally:
        own.thaw()

    assert 0.2 < spent[0] < ONE_TIMEOUT
    assert max(spent[1:]) < 0.05


def test_nobody_pays_for_finding_out_whether_redis_is_back(store_at, own, witness):
    store = store_at(own.url, open_seconds=0.05, open_at_most=0.05)
    store.read("a")
    own.freeze()
    try:
        with pytest.raises(CacheUnavailable):
            store.read("a")
        slowest = 0.0
        for _ in range(40):
            time.sleep(0.02)
            started = time.monotonic()
            with pytest.raises(CacheUnavailable):
                store.read("a")
            slowest = max(slowest, time.monotonic() - started)
        assert slowest < 0.1
        assert ("ping", "TimeoutError") in witness.failed
    finally:
        own.thaw()

    assert eventually(store.ping)


def test_a_redis_that_comes_back_empty_is_used_again(store_at):
    with ValkeyServer(port=free_port()) as own:
        store = store_at(own.url)
        store.write({"a": b"one"}, 10)
        own.kill()
        with pytest.raises(CacheUnavailable):
            store.read("a")
        own.restart()

        assert eventually(store.ping)
        assert store.read("a") == [None]


def test_a_redis_that_is_away_at_start_is_used_when_it_comes(store_at):
    port = free_port()
    store = store_at(f"redis://127.0.0.1:{port}/0")
    with pytest.raises(CacheUnavailable):
        store.read("a")
    with ValkeyServer(port=port):
        assert eventually(store.ping)
        assert store.write({"a": b"one"}, 10)


def test_a_late_answer_is_never_given_to_the_next_caller(store_at, proxy, stored):
    store = store_at(proxy.url, failures_in_a_row=1000)
    store.write({f"key-{n}": b"value-%d" % n for n in range(200)}, 60)
    wrong, answered = [], []

    def ask(first):
        for n in range(first, 200, 8):
            try:
                (value,) = store.read(f"key-{n}")
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
    store.write({"a": b"mine", "b": b"yours"}, 60)
    for call in (
        lambda: store.write({"x": b"1"}, 60),
        lambda: store.take(store.lease("l"), 1, "", "a"),
        lambda: store.count("c", 1),
        lambda: store.forget("x"),
    ):
        proxy.hold()
        with contextlib.suppress(CacheUnavailable):
            assert not call()
        proxy.release()
        assert [store.read("b") for _ in range(5)] == [[b"yours"]] * 5


def test_connections_that_end_in_the_middle_do_no_harm(store_at, proxy):
    store = store_at(proxy.url, failures_in_a_row=1000)
    store.write({"a": b"one"}, 60)
    proxy.hold()
    cut = threading.Timer(0.05, proxy.reset)
    cut.start()
    with pytest.raises(CacheUnavailable):
        store.read("a")
    cut.join()
    proxy.release()

    assert eventually(store.ping)
    assert store.read("a") == [b"one"]


def test_a_dripping_answer_takes_no_longer_than_two_timeouts(store_at, proxy):
    store = store_at(proxy.url)
    store.write({"a": b"x" * 200}, 60)
    proxy.drip = 0.02
    started = time.monotonic()

    with pytest.raises(CacheUnavailable):
        store.read("a")

    assert time.monotonic() - started < ONE_TIMEOUT


def test_many_threads_share_few_connections(store_at, proxy):
    store = store_at(proxy.url)
    store.read("a")
    for _ in range(100):
        store.read("a")

    assert proxy.connections == 1


@pytest.mark.parametrize("policy", ["full", "replica"])
def test_a_redis_that_takes_nothing_is_still_read(store_at, own, policy, witness):
    store = store_at(own.url)
    store.write({"a": b"one"}, 60)
    with redis.Redis.from_url(own.url) as connection:
        if policy == "full":
            connection.config_set("maxmemory-policy", "noeviction")
            connection.config_set("maxmemory", 1)
        else:
            connection.config_set("replica-serve-stale-data", "yes")
            connection.replicaof("127.0.0.1", free_port())

    for _ in range(5):
        assert not store.write({"a": b"two"}, 60)
        assert store.read("a") == [b"one"]
    assert {reason for _, reason in witness.failed} == {"OutOfMemoryError" if policy == "full" else "ReadOnlyError"}


def test_a_password_that_changes_at_run_time_is_redis_away_and_a_right_one_is_redis_back(store_at, own):
    store = store_at(own.url)
    store.read("a")
    with redis.Redis.from_url(own.url) as connection:
        connection.config_set("requirepass", "changed")
        connection.client_kill_filter(_type="normal", skipme=True)
        with pytest.raises(CacheUnavailable):
            store.read("a")
        connection.config_set("requirepass", "")

    assert eventually(store.ping)
    assert store.read("a") == [None]
