"""What Redis holds: bound to its key, believed only as far as we would have written it, and with CACHE_SECRET unreadable."""

import itertools
import os
import pickle
import random
import time
import tracemalloc
import zlib

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from bff.cache.codec import EncryptedCodec, PlainCodec
from bff.cache.entries import Entry, Lookup
from tests.cache.conftest import accounts, session
from tests.valkey import legible

OLD, NEW = ("2025", b"o" * 32), ("2026", b"n" * 32)
MEI, OMAR = session("mei", "token-of-mei"), session("omar", "token-of-omar")
SEALS = {"plain": PlainCodec(), "secret": EncryptedCodec([NEW])}


@pytest.fixture(params=SEALS)
def seal(request):
    return SEALS[request.param]


@pytest.fixture
def cache(cache_on, store, seal):
    return cache_on(store, seal)


def key_of(stored, what, *, but=()):
    (key,) = [key for key in stored.keys("*") if what.encode() in key and key not in but]
    return key


def test_what_is_remembered_is_recalled(cache, clock):
    cache.remember(MEI, accounts("a", "b"), clock())

    seen = cache.recall(MEI)

    assert [account.id for account in seen.entry.accounts] == ["a", "b"]
    assert seen.accepted_at == clock()


def test_two_users_values_swapped_in_redis_are_misses(cache, clock, stored, witness):
    cache.remember(MEI, accounts("meis"), clock())
    meis = {what: key_of(stored, what) for what in (":accounts", ":token:")}
    cache.remember(OMAR, accounts("omars"), clock())
    omars = {what: key_of(stored, what, but=meis.values()) for what in (":accounts", ":token:")}
    for one, other in zip(meis.values(), omars.values(), strict=True):
        stored.mset({one: stored.get(other), other: stored.get(one)})

    assert cache.recall(MEI) == cache.recall(OMAR) == Lookup()
    assert witness.rejected == ["foreign"] * 4


def test_a_users_own_token_and_accounts_swapped_are_misses(cache, clock, stored):
    cache.remember(MEI, accounts("meis"), clock())
    one, other = key_of(stored, ":accounts"), key_of(stored, ":token:")
    stored.mset({one: stored.get(other), other: stored.get(one)})

    assert cache.recall(MEI) == Lookup()


def test_the_same_user_of_another_application_is_somebody_else(cache_on, store, seal, clock):
    cache_on(store, seal, app_id="one").remember(MEI, accounts("meis"), clock())

    assert cache_on(store, seal, app_id="other").recall(MEI) == Lookup()


def test_no_two_people_share_a_name(seal):
    assert seal.name("ab", "c") != seal.name("a", "bc") != seal.name("abc")


def test_keys_and_values_hold_no_token_and_no_user_id(cache, clock, stored):
    cache.remember(MEI, accounts("a"), clock())
    with cache.asking(MEI):
        held = [part for key in stored.keys("*") for part in (key, legible(key, stored.get(key)))]

    assert isinstance(cache._seal, EncryptedCodec) or any("小明".encode() in part for part in held)
    for secret in (MEI.token, MEI.digest, MEI.digest[:16], MEI.user_id):
        assert not any(secret.encode() in part for part in held)


POISON = {
    "pickle": pickle.dumps({"at": 1}),
    "flask-caching's pickle": b"!" + pickle.dumps([1, 2]),
    "a pickle that runs code": b"cos\nsystem\n(S'touch /tmp/poisoned'\ntR.",
    "empty": b"",
    "nothing but a blank": b" ",
    "not UTF-8": b"\xff\xfe\x00",
    "another's JSON": b'{"user":"mei"}',
}


@pytest.mark.parametrize("poison", POISON.values(), ids=POISON)
def test_what_is_not_ours_is_a_miss(cache, clock, stored, witness, poison):
    cache.remember(MEI, accounts("a"), clock())
    for key in stored.keys("*"):
        stored.set(key, poison)

    assert cache.recall(MEI) == Lookup()
    assert witness.rejected == ["foreign", "foreign"]


UNREADABLE = {
    "truncated": b'[1800000000.0,1800000060.0,[["a","wechat"',
    "deep": b"[" * 100_000,
    "deep and closed": b"[1800000000.0,1800000060.0," + b"[" * 50_000 + b"]" * 50_000 + b"]",
    "NaN": b"[NaN,1800000060.0,[]]",
    "infinite": b"[1e999,1e999,[]]",
    "a number beyond numbers": b"[" + b"9" * 5000 + b",1,[]]",
    "an object for an array": b'{"at":1,"fresh_until":2,"raw":[]}',
    "accounts that are none": b'[1800000000.0,1800000060.0,{"accounts":1}]',
    "an account without fields": b"[1800000000.0,1800000060.0,[[]]]",
    "a text for a time": b'["now",1800000060.0,[]]',
    "null": b"null",
    "a lone surrogate": b'[1800000000.0,1800000060.0,[["\\ud800","p",null,null,null,[],[]]]]',
}


@pytest.mark.parametrize("poison", UNREADABLE.values(), ids=UNREADABLE)
def test_what_cannot_be_read_is_a_miss_even_under_our_seal(cache, seal, clock, stored, witness, poison):
    cache.remember(MEI, accounts("a"), clock())
    key = key_of(stored, ":accounts")
    stored.set(key, seal.seal(key.decode(), poison))

    assert cache.recall(MEI).entry is None
    assert witness.rejected == ["unreadable"]


@pytest.mark.parametrize(
    ("what", "value"),
    {
        "asked in the future": (":accounts", b"[1800009999.0,1800010000.0,[]]"),
        "fresh for ever": (":accounts", b"[1800000000.0,9999999999.0,[]]"),
        "accepted in the future": (":token:", b'[1800009999.0,"accepted"]'),
    }.values(),
    ids=["asked in the future", "fresh for ever", "accepted in the future"],
)
def test_times_that_we_would_not_have_written_are_a_miss(cache, seal, clock, stored, witness, what, value):
    cache.remember(MEI, accounts("a"), clock())
    key = key_of(stored, what)
    stored.set(key, seal.seal(key.decode(), value))

    seen = cache.recall(MEI)

    assert (seen.entry if what == ":accounts" else seen.verdict) is None
    assert witness.rejected == ["forged"]


def test_a_verdict_in_a_word_that_we_do_not_speak_is_a_miss(cache, seal, clock, stored):
    cache.remember(MEI, accounts("a"), clock())
    key = key_of(stored, ":token:")
    stored.set(key, seal.seal(key.decode(), b'[1800000000.0,"administrator"]'))

    assert cache.recall(MEI).verdict is None


@pytest.mark.parametrize("kind", ["list", "hash", "set", "stream"])
def test_another_type_under_our_keys_is_a_miss_and_overwritten(cache, clock, stored, kind):
    cache.remember(MEI, accounts("a"), clock())
    poison = {
        "list": lambda key: stored.rpush(key, "x"),
        "hash": lambda key: stored.hset(key, "x", "y"),
        "set": lambda key: stored.sadd(key, "x"),
        "stream": lambda key: stored.xadd(key, {"x": "y"}),
    }[kind]
    for key in stored.keys("*"):
        stored.delete(key)
        poison(key)

    assert cache.recall(MEI) == Lookup()
    with cache.asking(MEI) as asking:
        assert asking.go
        assert asking.seen == Lookup()
        cache.remember(MEI, accounts("b"), clock(), asking)
    assert cache.recall(MEI).entry.accounts[0].id == "b"


def test_a_lease_of_another_type_lets_everybody_go(cache, stored, witness):
    with cache.asking(MEI):
        lease = key_of(stored, ":lease:")
    stored.rpush(lease, "x")

    with cache.asking(MEI) as asking:
        assert asking.go
    assert ("lease", "ResponseError") in witness.failed


def test_fifty_megabytes_are_a_miss_in_time(cache_on, store, seal, clock, stored, witness):
    cache_on(store, seal).remember(MEI, accounts("a"), clock())
    cache = cache_on(store, seal)
    stored.config_set("maxmemory", 256_000_000)
    key = key_of(stored, ":accounts")
    stored.set(key, os.urandom(1024) * 51_200)
    started = time.monotonic()

    assert cache.recall(MEI).entry is None
    assert time.monotonic() - started < 2
    assert witness.rejected == ["oversized"] or witness.failed == [("read", "TimeoutError")]


@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(value=st.binary(max_size=200), what=st.sampled_from([0, 1, 2]))
def test_no_bytes_at_all_raise(cache, seal, value, what):
    keys = cache._keys(MEI)
    values = [None, None, None]
    for stored in (value, seal.seal(keys[what], value), seal.seal(keys[what], b"[1800000000.0," + value)):
        values[what] = stored
        assert isinstance(cache._recollection(keys, values), Lookup)


# Without CACHE_SECRET ----------------------------------------------------------------------------------


def test_what_is_long_is_stored_short_and_what_is_short_can_be_read():
    seal, short, long = PlainCodec(), b"[1800000000.0]", b'[1800000000.0,["githubber",null,["openid"]]]' * 20

    assert seal.seal("key", short) == b"key " + short
    assert len(seal.seal("key", long)) < len(long) / 2
    assert [seal.open("key", seal.seal("key", value)) for value in (short, long)] == [short, long]
    assert seal.open("key", b"key " + long) == long  # as it was stored before
    assert seal.open("other", seal.seal("key", long)) is None


def test_what_was_deflated_over_a_larger_window_opens():
    value = random.Random(1).randbytes(20_000) * 2
    deflate = zlib.compressobj(wbits=-15)
    stored = deflate.compress(value) + deflate.flush()

    assert len(stored) < 30_000  # the second half refers to the first
    assert PlainCodec().open("key", b"key~" + stored) == value


def test_what_is_not_the_whole_of_it_and_nothing_else_does_not_open():
    stored = PlainCodec().seal("key", bytes(1000))

    for spoilt in (stored[:-1], stored + b"x", b"key~", b"key", b"key~" + bytes(50), b"key!" + stored[4:], b""):
        assert PlainCodec().open("key", spoilt) is None


def test_a_little_that_would_become_very_much_does_not_open():
    bomb = PlainCodec().seal("key", bytes(64 * 1024 * 1024))
    tracemalloc.start()

    assert PlainCodec().open("key", bomb) is None

    assert tracemalloc.get_traced_memory()[1] < 16 * 1024 * 1024
    tracemalloc.stop()


def test_very_long_lists_of_accounts_are_not_kept_in_memory(cache, clock):
    def seen(person):
        long = accounts(*(f"{person}-{number:032}" for number in range(2_000)))
        cache.remember(session(person), long, clock())
        return len(bytes(cache.recall(session(person)).entry.raw))

    seen("whoever warms up")
    tracemalloc.start()

    one = max([seen(f"person-{number}") for number in range(20)])

    assert tracemalloc.get_traced_memory()[0] < 3 * one
    tracemalloc.stop()


# CACHE_SECRET ---------------------------------------------------------------------------------------


def test_a_reader_of_redis_learns_nothing_with_a_secret(cache_on, store, clock, stored):
    cache = cache_on(store, EncryptedCodec([NEW]))
    cache.remember(MEI, accounts("62f209327xxxxcc10d966ee5"), clock())

    held = b"".join(stored.get(key) for key in stored.keys("*"))

    for secret in ("小明", "wechat", "62f209327", "accepted", str(int(clock()))):
        assert secret.encode() not in held


def test_names_cannot_be_guessed_without_the_secret():
    assert EncryptedCodec([NEW]).name("app", "mei") not in {
        PlainCodec().name("app", "mei"),
        EncryptedCodec([OLD]).name("app", "mei"),
    }


def test_a_value_sealed_under_the_plain_seal_does_not_open_with_a_secret():
    assert EncryptedCodec([NEW]).open("key", PlainCodec().seal("key", b"forged")) is None


def test_what_was_altered_anywhere_does_not_open():
    seal = EncryptedCodec([NEW])
    sealed = seal.seal("key", b"value")

    assert seal.open("key", sealed) == b"value"
    for at, bit in itertools.product(range(len(sealed)), range(8)):
        altered = bytearray(sealed)
        altered[at] ^= 1 << bit
        assert seal.open("key", bytes(altered)) is None
    for length in range(len(sealed)):
        assert seal.open("key", sealed[:length]) is None


def test_what_was_sealed_for_another_key_does_not_open(seal):
    assert seal.open("other", seal.seal("key", b"value")) is None
    assert seal.open("key", seal.seal("key-longer", b"value")) is None


def test_equal_values_do_not_look_equal():
    seal = EncryptedCodec([NEW])

    assert seal.seal("key", b"value") != seal.seal("key", b"value")


def test_a_new_secret_in_front_keeps_the_cache_warm_and_seals_from_then_on(cache_on, store, clock):
    before, during, after = (cache_on(store, EncryptedCodec(secrets)) for secrets in ([OLD], [NEW, OLD], [NEW]))
    before.remember(MEI, accounts("a"), clock())

    assert during.recall(MEI).entry.accounts[0].id == "a"
    assert during.recall(MEI).accepted_at

    during.remember(MEI, accounts("b"), clock())
    assert before.recall(MEI).entry is None, "sealed with the new secret, which the old ones do not know"
    assert after.recall(MEI).entry is None, "names belong to the oldest secret; taking it away starts anew"


def test_an_older_value_of_the_same_key_keeps_its_own_times(cache, clock, stored):
    cache.remember(MEI, accounts("old"), clock())
    replayed = {key: stored.get(key) for key in stored.keys("*")}
    clock.advance(3600)
    cache.remember(MEI, accounts("new"), clock())
    stored.mset(replayed)

    seen = cache.recall(MEI)

    assert isinstance(seen.entry, Entry)
    assert seen.entry.fresh_until < clock() - 3000
    assert seen.accepted_at == clock() - 3600


def test_random_values_moved_about_at_random_never_cross(cache, clock, stored):
    people = [session(f"user-{n}", f"token-{n}") for n in range(20)]
    for each in people:
        cache.remember(each, accounts(each.user_id), clock())
    chance = random.Random(7)
    keys = stored.keys("*")
    values = {key: stored.get(key) for key in keys}
    for _ in range(30):
        shuffled = chance.sample(keys, len(keys))
        stored.mset({to: values[source] for to, source in zip(keys, shuffled, strict=True)})
        for each in people:
            entry = cache.recall(each).entry
            assert entry is None or entry.accounts[0].id == each.user_id
