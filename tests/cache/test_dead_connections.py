"""Connections that are dead without knowing, and those to a server that was replaced behind its address."""

import socket
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest
import redis

from bff.cache import redis_client
from bff.cache.invalidation import InvalidationBus
from bff.cache.redis_store import CacheUnavailable
from tests.cache.proxy import Proxy
from tests.cache.test_invalidation import Received, eventually
from tests.timing import in_time
from tests.valkey import ValkeyServer, free_port


@pytest.fixture
def pair():
    """Two servers, as before and after a failover."""
    with ValkeyServer(port=free_port()) as one, ValkeyServer(port=free_port()) as other:
        yield one, other


def port_of(server):
    return int(server.url.rpartition(":")[2].partition("/")[0])


def many_connections(store, count=8):
    """Leave about so many idle ones."""
    together = threading.Barrier(count)

    def ask():
        together.wait(5)
        for _ in range(30):
            store.get_many("a")

    with ThreadPoolExecutor(count) as pool:
        for each in [pool.submit(ask) for _ in range(count)]:
            each.result()


def test_when_kept_connections_went_silent_the_first_probe_brings_redis_back(store_at, proxy):
    store = store_at(proxy.url)
    proxy.latency = 0.01
    many_connections(store)
    proxy.latency = 0.0
    assert proxy.connections > 4

    proxy.forget()
    with pytest.raises(CacheUnavailable):
        store.get_many("a")

    time.sleep(0.25)  # the breaker's rest
    with pytest.raises(CacheUnavailable):
        store.get_many("a")  # sends the probe
    time.sleep(0.1)
    assert store.get_many("a") == [None]
    many_connections(store)  # none of them is an old one


def test_a_bus_that_hears_nothing_any_more_subscribes_anew(store_at, proxy):
    received = Received()
    bus = InvalidationBus(store_at(proxy.url), "changed", received.people.append, received.gap)
    assert eventually(lambda: bus.connected)

    proxy.forget()

    assert eventually(lambda: received.gaps)
    assert eventually(lambda: bus.connected)
    bus.publish("mei")
    assert eventually(lambda: received.people == ["mei", "mei"])
    bus.stop(wait_seconds=5)


def demote(server):
    with redis.Redis.from_url(server.url) as connection:
        connection.replicaof("127.0.0.1", free_port())


def test_after_a_failover_behind_one_address_the_next_write_goes_to_the_new_primary(store_at, pair):
    one, other = pair
    with Proxy(port_of(one)) as proxy:
        store = store_at(proxy.url)
        many_connections(store)

        demote(one)
        proxy.lead_to(port_of(other))

        assert not store.set_many({"a": b"lost"}, 60)
        assert store.set_many({"a": b"kept"}, 60)
        assert store.lock("lock", 1).acquire()
        assert store.increment("count", 60) == (1, 60)
    with redis.Redis.from_url(other.url) as connection:
        assert connection.get("a") == b"kept"


def test_after_a_failover_behind_one_address_changes_are_heard_of(store_at, pair):
    one, other = pair
    with Proxy(port_of(one)) as proxy:
        store, received = store_at(proxy.url), Received()
        bus = InvalidationBus(store, "changed", received.people.append, received.gap)
        assert eventually(lambda: bus.connected)

        demote(one)
        proxy.lead_to(port_of(other))

        assert eventually(lambda: received.gaps)
        assert eventually(lambda: bus.connected)
        store_at(other.url).publish("changed", "mei")
        assert eventually(lambda: received.people == ["mei"])
        bus.stop(wait_seconds=5)


def test_a_server_that_takes_no_writes_at_all_costs_few_connections(store_at, pair):
    one, _ = pair
    with Proxy(port_of(one)) as proxy:
        store = store_at(proxy.url)
        demote(one)

        for _ in range(200):
            assert not store.set_many({"a": b"lost"}, 60)

        assert proxy.connections < 20


@pytest.mark.parametrize(
    "saying",
    [
        "READONLY You can't write",
        "LOADING Redis is loading",
        "MASTERDOWN Link with MASTER is down",
        "NOAUTH Authentication required.",
        "NOREPLICAS Not enough good replicas to write.",
        "ERR max number of clients reached",
    ],
)
def test_a_server_that_says_it_is_not_the_one_is_left_with_all_connections(store_at, proxy, saying):
    store = store_at(proxy.url, open_seconds=0.05)
    proxy.latency = 0.01
    many_connections(store)
    proxy.latency = 0.0
    proxy.forget(f"-{saying}\r\n".encode())

    with pytest.raises(CacheUnavailable):
        store.get_many("a")
    assert eventually(store.ping, 2)

    many_connections(store)


# Names ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("form", ["redis://{}:{}", "rediss://{}:{}", "redis+sentinel://{}:{}/main", "redis+cluster://{}:{}"])
def test_a_name_server_that_hangs_costs_one_timeout(store_at, monkeypatch, form, witness):
    hanging = threading.Event()
    monkeypatch.setattr(redis_client, "resolver", redis_client.Resolver(lambda *_, **__: hanging.wait(5) and []))
    store = store_at(form.format("redis.test", 6379))
    started = time.monotonic()

    with pytest.raises(CacheUnavailable):
        store.get_many("a")

    in_time(time.monotonic() - started, 0.25 + 0.4)
    assert eventually(lambda: store.trouble() in {"name", "no_master", "timeout"}, 2)
    hanging.set()


def test_while_the_name_server_hangs_a_known_address_serves(store_at, monkeypatch, valkey, proxy):
    hanging, lookups = threading.Event(), []

    def lookup(*_, **__):
        lookups.append(1)
        if len(lookups) > 1:
            hanging.wait(5)
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", ("127.0.0.1", proxy.port))]

    monkeypatch.setattr(redis_client, "resolver", redis_client.Resolver(lookup))
    store = store_at(f"redis://redis.test:{proxy.port}")
    assert store.ping()
    proxy.reset()
    time.sleep(0.05)

    assert store.get_many("a") == [None]
    assert len(lookups) == 2
    hanging.set()


def test_a_connection_that_took_long_waits_for_answers_as_long_as_any_other(store_at, monkeypatch, proxy):
    def lookup(*_, **__):
        time.sleep(0.15)
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", ("127.0.0.1", proxy.port))]

    monkeypatch.setattr(redis_client, "resolver", redis_client.Resolver(lookup))
    store = store_at(f"redis://redis.test:{proxy.port}")
    proxy.latency = 0.15

    assert [store.get_many("a") for _ in range(2)] == [[None]] * 2


def test_an_unknown_name_is_told_as_such(store_at, monkeypatch, witness):
    def lookup(*_, **__):
        raise socket.gaierror(-2, "Name or service not known")

    monkeypatch.setattr(redis_client, "resolver", redis_client.Resolver(lookup))

    assert store_at("redis://redis.test").trouble() == "name"
    assert witness.failed == [("ping", "name")]
