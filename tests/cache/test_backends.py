"""What REDIS_URL may say, and what becomes of it."""

import ssl
import time

import pytest
import redis

from bff.cache.redis_client import cluster_nodes, redis_client
from bff.cache.redis_store import CacheUnavailable
from bff.setting_addresses import split_address
from tests.cache.proxy import Proxy
from tests.certificates import certificate_and_key
from tests.timing import in_time
from tests.valkey import ValkeyServer, free_port


@pytest.fixture(scope="module")
def guarded():
    """A Valkey with a password for everybody and a user of its own."""
    with ValkeyServer(port=free_port(), extra_args=("--requirepass", "p@ss/wörd#1")) as server:
        with redis.Redis(port=int(server.url.split(":")[2].split("/")[0]), password="p@ss/wörd#1") as connection:
            connection.acl_setuser("bff", enabled=True, passwords=["++s3:cret"], categories=["+@all"], keys=["*"], channels=["*"])
        yield server


def test_a_unix_socket(store_at, valkey):
    assert valkey.url.startswith("unix://")
    assert store_at(valkey.url).ping()


def test_a_password_with_every_awkward_character(store_at, guarded):
    address = guarded.url.removeprefix("redis://")
    quoted = "p%40ss%2Fw%C3%B6rd%231"

    assert store_at(f"redis://:{quoted}@{address}", timeout=10).ping()
    assert store_at(f"redis://{address}?password={quoted}").ping()
    assert not store_at(f"redis://:wrong@{address}").ping()
    assert not store_at(f"redis://{address}").ping()


def test_a_user_of_our_own_and_a_database(store_at, guarded):
    address = guarded.url.removeprefix("redis://").partition("/")[0]
    store = store_at(f"redis://bff:%2Bs3%3Acret@{address}/3", timeout=10)
    store.set_many({"a": b"one"}, 60)

    assert store.get_many("a") == [b"one"]
    assert store_at(f"redis://bff:%2Bs3%3Acret@{address}/4", timeout=10).get_many("a") == [None]
    assert store_at(f"redis://bff:%2Bs3%3Acret@{address}?db=3", timeout=10).get_many("a") == [b"one"]


def test_connections_speak_resp2_and_cost_no_introductions(store_at, valkey, stored):
    store = store_at(valkey.url)
    stored.config_resetstat()

    store.ping()

    calls = {name for name in stored.info("commandstats") if not name.startswith(("cmdstat_info", "cmdstat_config"))}
    assert calls == {"cmdstat_get"}
    assert any(client["resp"] == "2" for client in stored.client_list() if client["cmd"] == "get")


def test_a_full_pool_is_not_what_fails(valkey):
    assert redis_client(valkey.url, timeout=0.25).connection_pool.max_connections >= 256


def reached(url, timeout=0.25):
    """Where a client behind sentinels goes: the sentinels, their connections' options, the service, the master's options."""
    pool = redis_client(url, timeout=timeout).connection_pool
    sentinels = [each.connection_pool.connection_kwargs for each in pool.sentinel_manager.sentinels]
    return [(each["host"], each["port"]) for each in sentinels], sentinels[0], pool.service_name, pool.connection_kwargs


SENTINELS = [
    ("redis+sentinel://a:26380,b,[::1]:26381/main/2", [("a", 26380), ("b", 26379), ("::1", 26381)], 2, None),
    ("redis+sentinel://:p%40ss@a/main", [("a", 26379)], 0, "p@ss"),
    ("redis+sentinel://a/main?password=p%40ss&db=4", [("a", 26379)], 4, "p@ss"),
]


@pytest.mark.parametrize(("url", "sentinels", "db", "password"), SENTINELS, ids=[url for url, *_ in SENTINELS])
def test_sentinels_are_read_from_a_url(url, sentinels, db, password):
    there, own, service, master = reached(url)

    assert (there, service) == (sentinels, "main")
    assert (master["db"], master.get("password")) == (db, password)
    assert (own["db"], own.get("password")) == (0, None)


def test_sentinels_and_servers_speak_tls_together():
    url = "rediss+sentinel://bff@a,b/main?ssl_ca_certs=/ca.pem&client_name=bff"
    pool = redis_client(url, timeout=0.25).connection_pool
    sentinel = pool.sentinel_manager.sentinels[0].connection_pool

    assert issubclass(pool.connection_class, redis.SSLConnection)
    assert issubclass(sentinel.connection_class, redis.SSLConnection)
    assert pool.connection_kwargs["ssl_ca_certs"] == sentinel.connection_kwargs["ssl_ca_certs"] == "/ca.pem"
    assert pool.connection_kwargs["username"] == "bff"
    assert pool.connection_kwargs["client_name"] == "bff"
    assert sentinel.connection_kwargs.get("username") is None


def test_several_sentinels_that_hang_cost_one_timeout_together():
    _, sentinel, _, master = reached("redis+sentinel://a,b,c/main", 0.3)

    assert master["socket_timeout"] == 0.3
    assert sentinel["socket_timeout"] == sentinel["socket_connect_timeout"] == pytest.approx(0.1)


@pytest.mark.parametrize("url", ["redis://a", "redis+sentinel://a/main"])
def test_nothing_is_tried_twice(url):
    pool = redis_client(url, timeout=0.25).connection_pool

    assert pool.connection_kwargs["retry"].get_retries() == 0
    for sentinel in getattr(pool, "sentinel_manager", None).sentinels if "sentinel" in url else ():
        assert sentinel.connection_pool.connection_kwargs["retry"].get_retries() == 0


def test_a_cluster_is_read_from_a_url():
    url, nodes = cluster_nodes("redis", split_address("redis+cluster://bff:p%40ss@a:7001,[::1]:7002,c?client_name=x"))

    assert url == "redis://bff:p%40ss@a:7001?client_name=x"
    assert [(node.host, node.port) for node in nodes] == [("a", 7001), ("::1", 7002), ("c", 6379)]


# TLS ----------------------------------------------------------------------------------------------


@pytest.fixture
def behind_tls(valkey, tmp_path):
    """The embedded Valkey speaks no TLS; a wire in front of it does."""
    public, private = tmp_path / "redis.pem", tmp_path / "redis.key"
    for file, content in zip((public, private), certificate_and_key("redis"), strict=True):
        file.write_bytes(content)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(public, private)
    with Proxy(valkey.address, context) as proxy:
        yield proxy.url, public


def test_tls_to_a_server_whose_authority_we_know(store_at, behind_tls):
    url, ca = behind_tls
    for _ in range(20):  # for what a server says by itself after the handshake arrives sooner or later
        store = store_at(f"{url}?ssl_ca_certs={ca}", timeout=10)
        assert store.set_many({"a": b"one"}, 60)
        assert store.get_many("a") == [b"one"]


def test_tls_to_a_server_whose_authority_we_do_not_know_is_refused(store_at, behind_tls, tmp_path, witness):
    url, _ = behind_tls
    stranger = tmp_path / "stranger.pem"
    stranger.write_bytes(certificate_and_key("stranger")[0])
    for refused in (url, f"{url}?ssl_ca_certs={stranger}"):
        with pytest.raises(CacheUnavailable):
            store_at(refused).get_many("a")
    assert witness.failed == [("get", "certificate")] * 2


def test_tls_to_a_server_of_another_name_is_refused(store_at, behind_tls):
    url, ca = behind_tls

    assert not store_at(f"{url.replace('127.0.0.1', 'localhost')}?ssl_ca_certs={ca}").ping()


def test_tls_to_a_server_that_speaks_none_ends_in_time(store_at):
    with ValkeyServer(port=free_port()) as plain:
        started = time.monotonic()
        assert not store_at(plain.url.replace("redis://", "rediss://")).ping()
        in_time(time.monotonic() - started, 0.8)
