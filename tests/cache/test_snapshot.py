"""A snapshot is ours or nothing, and one that is not ours is recorded."""

import pytest

from bff.cache.codec import EncryptedCodec, PlainCodec
from bff.cache.snapshot import Snapshot

CODEC = EncryptedCodec([("1", b"k" * 32)])


@pytest.fixture
def snapshot(store, witness):
    return Snapshot(store, CODEC, "la:4:some:thing", witness)


def test_what_was_put_there_last_is_there_for_a_week(snapshot, stored):
    snapshot.put(b"first")
    snapshot.put(b"last")

    assert snapshot.get() == b"last"
    assert 0 <= 7 * 86_400 - stored.ttl("la:4:some:thing") <= 2


def test_no_snapshot_is_not_recorded(snapshot, witness):
    assert snapshot.get() is None
    assert witness.rejected == []


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        (b"", "foreign"),
        (b"anything", "foreign"),
        (PlainCodec().encode("la:4:some:thing", b"value"), "foreign"),
        (CODEC.encode("la:4:another:thing", b"value"), "foreign"),
        (EncryptedCodec([("1", b"x" * 32)]).encode("la:4:some:thing", b"value"), "foreign"),
        (b"x" * (2 * 1024 * 1024 + 1), "oversized"),
    ],
    ids=["empty", "anything", "in the clear", "moved here", "another secret", "too large"],
)
def test_what_is_not_ours_is_nothing_and_is_recorded(snapshot, stored, witness, value, reason):
    stored.set("la:4:some:thing", value)

    assert snapshot.get() is None
    assert witness.rejected == [reason]
