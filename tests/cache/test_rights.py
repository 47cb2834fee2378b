"""A user of Redis with few rights: those that the documents name are enough, and what is missing is told once."""

import re
from pathlib import Path

import pytest
import redis
from structlog.testing import capture_logs

from bff.cache import EventStream
from bff.cache.invalidation import InvalidationBus
from bff.cache.redis_store import CacheUnavailable
from bff.models import UNLINKED, AccountEvent
from tests.cache.test_invalidation import Received, eventually
from tests.valkey import ValkeyServer, free_port

DOCUMENT = Path(__file__).parents[2] / "docs" / "configuration.md"
LINE = re.search(r"^ACL SETUSER .*", DOCUMENT.read_text(), re.MULTILINE)[0].replace("PASSWORD", "s3cret").split()
MORE = re.search(r"With `EVENTS_STREAM` add `(\+xadd)` and the stream's key, as `(~la:events)`", DOCUMENT.read_text()).groups()
STREAM = EventStream("la:events", clustered=False, request_id=str, account=str)


@pytest.fixture(scope="module")
def server():
    with ValkeyServer(port=free_port()) as server:
        yield server


@pytest.fixture
def admin(server):
    with redis.Redis.from_url(server.url, decode_responses=True) as connection:
        connection.execute_command(*LINE)
        connection.acl_log_reset()
        connection.flushall()
        yield connection
        connection.acl_deluser("linked-accounts")


@pytest.fixture
def store(store_at, server):
    return store_at(f"{server.url.replace('//', '//linked-accounts:s3cret@')}?client_name=bff", timeout=10)


def everything(store):
    """Whatever is asked of Redis: the names of what it did."""
    lock = store.lock("la:6:lock", 1)
    return {
        "set": store.set_many({"la:6:a": b"one", "la:6:b": b"two"}, 60),
        "get": store.get_many("la:6:a", "la:6:b") == [b"one", b"two"],
        "single": store.get_many("la:6:a") == [b"one"],
        "increment": store.increment("la:6:count", 60) is not None,
        "lock": lock.acquire() and lock.extend() and lock.release(),
        "stuck": store.lock("la:6:stuck", 1).acquire(),
        "subscribers": store.subscribers("la:6:nobody") == 0,
        "delete": store.delete_many("la:6:a", "la:6:b") is None,
        "trouble": store.trouble() is None,
    }


def test_the_rights_in_the_documents_are_enough(store, admin, witness):
    admin.set("la:6:stuck", "for ever")
    received = Received()
    bus = InvalidationBus(store, "la:6:changed", received.people.append, received.gap)
    assert eventually(lambda: bus.connected)
    bus.publish("mei")

    assert {name for name, done in everything(store).items() if not done} == set()
    assert eventually(lambda: received.people == ["mei", "mei"])
    bus.stop(wait_seconds=5)
    assert witness.failed == []
    assert admin.acl_log() == []


@pytest.mark.parametrize(
    ("missing", "operation"),
    [("-eval", "increment"), ("-publish", "publish"), ("resetchannels", "publish"), ("-get", "ping"), ("-@all", "ping")],
)
def test_a_right_that_is_missing_is_told_once_until_it_is_there(store, admin, missing, operation):
    admin.execute_command("ACL", "SETUSER", "linked-accounts", missing)
    with capture_logs() as lines:
        for _ in range(3):
            assert store.trouble() == "rights"
    assert [(line["event"], line["operation"], line["reason"]) for line in lines] == [("cache_failed", operation, "rights")]

    admin.execute_command(*LINE)
    assert store.trouble() is None


def test_the_rights_for_events_in_the_documents_are_enough(store, admin, cache_on, witness):
    admin.execute_command(*LINE, *MORE)

    assert store.trouble(STREAM.trials) is None
    assert not admin.exists("la:events"), "to find out adds nothing"
    unlinked = AccountEvent(UNLINKED, "mei", "src", "wechat")
    cache_on(store, stream=STREAM).changes.forget("mei", cause="webhook", events=[unlinked], wait=False)
    assert store.trouble(STREAM.trials) is None

    assert admin.xlen("la:events") == 1
    assert witness.failed == []
    assert admin.acl_log() == []


@pytest.mark.parametrize("granted", [(), MORE[:1], MORE[1:]])
def test_without_the_right_to_add_events_nothing_is_done_and_readyz_knows(store, admin, cache_on, witness, granted):
    admin.execute_command(*LINE, *granted)
    cache, unlinked = cache_on(store, stream=STREAM), AccountEvent(UNLINKED, "mei", "src", "wechat")

    assert store.trouble(STREAM.trials) == "rights"
    with pytest.raises(CacheUnavailable):
        cache.changes.forget("mei", cause="webhook", events=[unlinked], wait=False)
    assert witness.events == [f"not {UNLINKED}"]

    admin.execute_command(*LINE, *MORE)
    assert store.trouble(STREAM.trials) is None
    cache.changes.forget("mei", cause="webhook", events=[unlinked], wait=False)
    assert witness.events[1:] == [UNLINKED]


def test_without_the_right_to_subscribe_nothing_is_kept_in_memory_and_the_log_says_so_once(store, admin, witness):
    admin.execute_command("ACL", "SETUSER", "linked-accounts", "-subscribe")
    received = Received()
    with capture_logs() as lines:
        bus = InvalidationBus(store, "la:6:changed", received.people.append, received.gap)
        assert not bus.connected
        assert eventually(lambda: witness.failed.count(("subscribe", "rights")) > 1)
        assert not bus.connected
        bus.stop(wait_seconds=5)

    assert [(line["operation"], line["reason"]) for line in lines] == [("subscribe", "rights")]
    assert store.trouble() == "rights"


def test_without_a_right_the_rest_goes_on(store, admin):
    admin.execute_command("ACL", "SETUSER", "linked-accounts", "-eval", "-evalsha", "-publish")

    assert {name for name, done in everything(store).items() if not done} == {"increment", "lock", "trouble"}
    with pytest.raises(CacheUnavailable):
        store.publish("la:6:changed", "mei")


@pytest.mark.parametrize(
    ("change", "reason"),
    [(("//linked-accounts:s3cret@", "//linked-accounts:wrong@"), "authentication"), (("/0", "/99"), "refusal")],
)
def test_why_redis_is_away_is_told(store_at, server, admin, change, reason):
    url = server.url.replace("//", "//linked-accounts:s3cret@").replace(*change)

    assert store_at(url).trouble() == reason


def test_refused_and_silent_are_told_apart(store_at, tmp_path):
    assert store_at(f"redis://127.0.0.1:{free_port()}").trouble() == "refused"
    assert store_at(f"unix://{tmp_path}/none").trouble() == "refused"
    with ValkeyServer(port=free_port()) as server:
        server.freeze()
        assert store_at(server.url).trouble() == "timeout"
        server.thaw()


def test_a_redis_that_stores_nothing_more_is_named_until_it_does(store, admin):
    admin.config_set("maxmemory-policy", "noeviction")
    admin.config_set("maxmemory", 1)
    try:
        assert store.trouble() == "full"
    finally:
        admin.config_set("maxmemory", 0)
    assert store.trouble() is None


def test_a_replica_that_takes_no_writes_is_named_until_it_does(store, admin):
    admin.replicaof("127.0.0.1", free_port())
    admin.config_set("replica-serve-stale-data", "yes")
    try:
        assert store.trouble() == "read_only"
    finally:
        admin.replicaof("NO", "ONE")
    assert store.trouble() is None
