"""What lies on a shelf is ours or nothing, and what is not ours is told."""

import pytest

from bff.cache.codec import EncryptedCodec, PlainCodec
from bff.cache.snapshot import Shelf

CODEC = EncryptedCodec([("1", b"k" * 32)])


@pytest.fixture
def shelf(store, witness):
    return Shelf(store, CODEC, "la:3:some:thing", witness)


def test_what_was_put_there_last_is_there_for_a_week(shelf, stored):
    shelf.put(b"first")
    shelf.put(b"last")

    assert shelf.get() == b"last"
    assert 0 <= 7 * 86_400 - stored.ttl("la:3:some:thing") <= 2


def test_an_empty_shelf_is_no_news(shelf, witness):
    assert shelf.get() is None
    assert witness.rejected == []


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        (b"", "foreign"),
        (b"anything", "foreign"),
        (PlainCodec().encode("la:3:some:thing", b"value"), "foreign"),
        (CODEC.encode("la:3:another:thing", b"value"), "foreign"),
        (EncryptedCodec([("1", b"x" * 32)]).encode("la:3:some:thing", b"value"), "foreign"),
        (b"x" * (2 * 1024 * 1024 + 1), "oversized"),
    ],
    ids=["empty", "anything", "in the clear", "moved here", "another secret", "too large"],
)
def test_what_is_not_ours_is_nothing_and_is_told(shelf, stored, witness, value, reason):
    stored.set("la:3:some:thing", value)

    assert shelf.get() is None
    assert witness.rejected == [reason]
