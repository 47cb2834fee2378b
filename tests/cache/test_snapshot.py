"""A snapshot is ours or nothing, and one that is not ours is recorded."""

import pytest

from bff.cache.codec import EncryptedCodec, PlainCodec
from bff.cache.redis_store import CacheUnavailable
from bff.cache.snapshot import BriefValues, Snapshot

CODEC = EncryptedCodec([("1", b"k" * 32)])


@pytest.fixture
def snapshot(store, witness):
    return Snapshot(store, CODEC, "la:6:some:thing", witness)


def test_what_was_put_there_last_is_there_for_a_week(snapshot, stored):
    snapshot.put(b"first")
    snapshot.put(b"last")

    assert snapshot.get() == b"last"
    assert 0 <= 7 * 86_400 - stored.ttl("la:6:some:thing") <= 2


def test_no_snapshot_is_not_recorded(snapshot, witness):
    assert snapshot.get() is None
    assert witness.rejected == []


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        (b"", "foreign"),
        (b"anything", "foreign"),
        (PlainCodec().encode("la:6:some:thing", b"value"), "foreign"),
        (CODEC.encode("la:6:another:thing", b"value"), "foreign"),
        (EncryptedCodec([("1", b"x" * 32)]).encode("la:6:some:thing", b"value"), "foreign"),
        (b"x" * (2 * 1024 * 1024 + 1), "oversized"),
    ],
    ids=["empty", "anything", "in the clear", "moved here", "another secret", "too large"],
)
def test_what_is_not_ours_is_nothing_and_is_recorded(snapshot, stored, witness, value, reason):
    stored.set("la:6:some:thing", value)

    assert snapshot.get() is None
    assert witness.rejected == [reason]


@pytest.fixture
def brief(store, witness):
    return BriefValues(store, CODEC, "la:6:brief", 600, witness, opaque_id=lambda name: CODEC.opaque_id("brief", name))


def test_a_brief_value_is_there_for_its_time_under_a_name_that_redis_does_not_show(brief, stored):
    brief.put("secret-name", b"value")

    assert brief.get("secret-name") == b"value"
    assert brief.get("another-name") is None
    (key,) = stored.keys("*")
    assert (b"secret-name" in key, b"value" in stored.get(key), stored.ttl(key) in range(598, 601)) == (False, False, True)

    brief.put("secret-name", b"newer", 7.5)
    assert (brief.get("secret-name"), stored.ttl(key) in range(6, 9)) == (b"newer", True)


def test_a_brief_value_that_was_moved_is_nothing(brief, stored, witness):
    brief.put("one", b"value")
    (key,) = stored.keys("*")
    brief.put("other", b"value of the other")
    (moved,) = set(stored.keys("*")) - {key}

    stored.rename(moved, key)

    assert brief.get("one") is None
    assert witness.rejected == ["foreign"]


def test_what_happens_to_a_brief_value_is_counted_each_by_itself(brief, stored):
    assert [brief.is_first("one", "seen") for _ in range(3)] == [True, False, False]
    assert brief.is_first("one", "done")
    assert brief.is_first("other", "seen")
    assert all(stored.ttl(key) in range(598, 601) for key in stored.keys("*"))


def test_without_redis_nothing_brief_is_claimed(store_at, valkey, witness, tmp_path):
    brief = BriefValues(store_at(f"unix://{tmp_path}/nothing.sock"), CODEC, "la:6:brief", 600, witness, opaque_id=str)

    for call in (lambda: brief.put("one", b"value"), lambda: brief.get("one"), lambda: brief.is_first("one", "seen")):
        with pytest.raises(CacheUnavailable):
            call()
