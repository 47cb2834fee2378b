"""What Redis holds: bound to its key, believed only as far as we would have written it, and with CACHE_SECRET unreadable."""

import itertools
import os
import pickle
import random
import time
import tracemalloc
import zlib
from dataclasses import replace

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from bff.cache.codec import EncryptedCodec, PlainCodec
from bff.cache.entries import Entry, Lookup
from bff.errors import UpstreamUnavailable
from bff.models import SecurityInfo
from tests.cache.conftest import accounts, ids, session
from tests.timing import in_time
from tests.valkey import legible

OLD, NEW = ("2025", b"o" * 32), ("2026", b"n" * 32)
MEI, OMAR = session("mei", "token-of-mei"), session("omar", "token-of-omar")
CODECS = {"plain": PlainCodec(), "secret": EncryptedCodec([NEW])}


@pytest.fixture(params=CODECS)
def codec(request):
    return CODECS[request.param]


@pytest.fixture
def cache(cache_on, store, codec):
    return cache_on(store, codec)


def key_of(stored, what, *, but=()):
    (key,) = [key for key in stored.keys("*") if what.encode() in key and key not in but]
    return key


def test_what_is_stored_is_read(cache, clock):
    cache.put(MEI, accounts("a", "b"), clock())

    seen = cache.get(MEI)

    assert ids(seen.entry) == ["a", "b"]
    assert seen.entry.accounts == accounts("a", "b")
    assert seen.accepted_at == clock()


def test_two_users_values_swapped_in_redis_are_misses(cache, clock, stored, witness):
    cache.put(MEI, accounts("meis"), clock())
    meis = {what: key_of(stored, what) for what in (":accounts", ":token:")}
    cache.put(OMAR, accounts("omars"), clock())
    omars = {what: key_of(stored, what, but=meis.values()) for what in (":accounts", ":token:")}
    for one, other in zip(meis.values(), omars.values(), strict=True):
        stored.mset({one: stored.get(other), other: stored.get(one)})

    assert cache.get(MEI) == cache.get(OMAR) == Lookup()
    assert witness.rejected == ["foreign"] * 4


def test_a_users_own_token_and_accounts_swapped_are_misses(cache, clock, stored):
    cache.put(MEI, accounts("meis"), clock())
    one, other = key_of(stored, ":accounts"), key_of(stored, ":token:")
    stored.mset({one: stored.get(other), other: stored.get(one)})

    assert cache.get(MEI) == Lookup()


def test_the_same_user_of_another_application_is_somebody_else(cache_on, store, codec, clock):
    cache_on(store, codec, app_id="one").put(MEI, accounts("meis"), clock())

    assert cache_on(store, codec, app_id="other").get(MEI) == Lookup()


def test_no_two_people_share_a_name(codec):
    assert codec.opaque_id("ab", "c") != codec.opaque_id("a", "bc") != codec.opaque_id("abc")


def test_keys_and_values_hold_no_token_and_no_user_id(cache, codec, clock, stored):
    cache.put(MEI, accounts("a"), clock())
    cache.put_failure(MEI, UpstreamUnavailable(note="500"))
    with cache.attempt(MEI):
        held = [part for key in stored.keys("*") for part in (key, legible(key, stored.get(key)))]

    assert isinstance(codec, EncryptedCodec) or any("小明".encode() in part for part in held)
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
    cache.put(MEI, accounts("a"), clock())
    for key in stored.keys("*"):
        stored.set(key, poison)

    assert cache.get(MEI) == Lookup()
    assert witness.rejected == ["foreign", "foreign"]


HEADER, NONE = b"[1800000000.0,1800000060.0,[]]", b"\n[]" * 4
ONE = b'[1800000000.0,1800000060.0,["a"]]'


def lines(line, header=ONE):
    return header + (b"\n" + line) * 4


UNREADABLE = {
    "truncated": lines(b'[{"id":"a"}]')[:-2],
    "a line too few": HEADER + b"\n[]" * 3,
    "a line too many": HEADER + b"\n[]" * 5,
    "no line": HEADER,
    "deep": b"[" * 100_000,
    "deep and closed": lines(b"[" * 50_000 + b"]" * 50_000),
    "NaN": b"[NaN,1800000060.0,[]]" + NONE,
    "infinite": b"[1e999,1e999,[]]" + NONE,
    "a number beyond numbers": b"[" + b"9" * 5000 + b",1,[]]" + NONE,
    "an object for an array": b'{"at":1,"fresh_until":2,"sources":[]}' + NONE,
    "sources that are none": b'[1800000000.0,1800000060.0,""]' + NONE,
    "how many instead of which sources": lines(b'[{"id":"a"}]', b"[1800000000.0,1800000060.0,1]"),
    "a source that is none": lines(b'[{"id":1}]', b"[1800000000.0,1800000060.0,[1]]"),
    "a source that is not the account's": lines(b'[{"id":"b"}]'),
    "a source of an account without an id": lines(b'[{"name":"a"}]'),
    "fewer accounts than sources": ONE + NONE,
    "more accounts than sources": lines(b'[{"id":"a"},{"id":"b"}]'),
    "fewer accounts in the last line alone": ONE + b'\n[{"id":"a"}]' * 3 + b"\n[]",
    "accounts that are none": lines(b'{"accounts":1}'),
    "an account that is none": lines(b"[[]]"),
    "an account without fields": lines(b"[{}]"),
    "a text for a time": b'["now",1800000060.0,[]]' + NONE,
    "true for a time": b"[true,1800000060.0,[]]" + NONE,
    "null": b"null",
    "nothing": b"",
    "a lone surrogate": lines(b'[{"id":"\\ud800"}]'),
    "not UTF-8": lines(b'[{"id":"\xff"}]'),
    "two arrays in a line": lines(b'[{"id":"a"}][{"id":"a"}]'),
}


@pytest.mark.parametrize("source", ["a", None])
def test_what_is_readable_is_read(cache, codec, clock, stored, source):
    cache.put(MEI, accounts("a"), clock())
    key = key_of(stored, ":accounts")
    header = ONE if source else b"[1800000000.0,1800000060.0,[null]]"
    stored.set(key, codec.encode(key.decode(), lines(b'[{"id":"a"}]', header)))

    entry = cache.get(MEI).entry
    assert (ids(entry), entry.accounts.sources) == (["a"], (source,)), "or the ones below would show nothing"


@pytest.mark.parametrize("poison", UNREADABLE.values(), ids=UNREADABLE)
def test_what_cannot_be_read_is_a_miss_even_if_our_codec_wrote_it(cache, codec, clock, stored, witness, poison):
    cache.put(MEI, accounts("a"), clock())
    key = key_of(stored, ":accounts")
    stored.set(key, codec.encode(key.decode(), poison))

    assert cache.get(MEI).entry is None
    assert witness.rejected == ["unreadable"]


IMPLAUSIBLE = {
    "asked in the future": (":accounts", b"[1800009999.0,1800010000.0,[]]" + NONE),
    "asked in two seconds": (":accounts", b"[1800000002.0,1800000062.0,[]]" + NONE),
    "fresh for ever": (":accounts", b"[1800000000.0,9999999999.0,[]]" + NONE),
    "accepted in the future": (":token:", b'[1800009999.0,"accepted"]'),
    "accepted in two seconds": (":token:", b"[1800000002.0]"),
    "refused in the future": (":token:", b'[1800009999.0,"token_invalid"]'),
}


@pytest.mark.parametrize(("what", "value"), IMPLAUSIBLE.values(), ids=IMPLAUSIBLE)
def test_times_that_we_would_not_have_written_are_a_miss(cache, codec, clock, stored, witness, what, value):
    cache.put(MEI, accounts("a"), clock())
    key = key_of(stored, what)
    stored.set(key, codec.encode(key.decode(), value))

    seen = cache.get(MEI)

    assert (seen.entry if what == ":accounts" else seen.status) is None
    assert witness.rejected == ["forged"]


SECURE = SecurityInfo(password_set=True, email_bound=False, phone_bound=None)


def test_how_somebody_signs_in_is_read_as_it_was_stored(cache, clock):
    put = cache.put_security(MEI, SECURE, clock())

    assert cache.security(MEI) == put
    assert put.info == SECURE
    assert put.at == clock() < put.fresh_until <= clock() + 66
    assert cache.security(OMAR) is None


def test_how_somebody_signs_in_is_bound_to_the_person(cache, clock, stored, witness):
    cache.put_security(MEI, SECURE, clock())
    meis = key_of(stored, ":security")
    cache.put_security(OMAR, replace(SECURE, password_set=False), clock())
    stored.set(key_of(stored, ":security", but=[meis]), stored.get(meis))

    assert cache.security(OMAR) is None
    assert witness.rejected == ["foreign"]


def test_a_change_voids_how_somebody_signs_in_even_what_was_asked_before_it_and_stored_later(cache, clock, stored):
    cache.put_security(MEI, SECURE, clock())
    asked_at = clock()
    clock.advance(2)
    cache.changes.forget(MEI.user_id, cause="webhook", wait=False)
    assert not [key for key in stored.keys("*") if b":security" in key]

    cache.put_security(MEI, SECURE, asked_at)
    assert cache.security(MEI) is None

    clock.advance(2)
    assert cache.put_security(MEI, SECURE, clock()) == cache.security(MEI)


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        (b"[1800000000.0,1800000060.0,true,null,false]", None),
        (b"[1800000000.0,1800000060.0,1,null,false]", "unreadable"),
        (b'[1800000000.0,1800000060.0,"true",null,false]', "unreadable"),
        (b"[1800000000.0,1800000060.0,true,null]", "unreadable"),
        (b"[1800000000.0,1800000060.0,true,null,false,true]", "unreadable"),
        (b"[1800000000.0,null,true,null,false]", "unreadable"),
        (b'{"at":1800000000.0}', "unreadable"),
        (b"[1800000002.0,1800000060.0,true,null,false]", "forged"),
        (b"[1800000000.0,1900000000.0,true,null,false]", "forged"),
    ],
)
def test_of_how_somebody_signs_in_only_what_we_would_have_written_is_believed(
    cache, codec, clock, stored, witness, value, reason
):
    cache.put_security(MEI, SECURE, clock())
    key = key_of(stored, ":security")
    stored.set(key, codec.encode(key.decode(), value))

    assert (cache.security(MEI) is None) == (reason is not None)
    assert witness.rejected == ([reason] if reason else [])


def test_with_redis_away_nobody_knows_how_somebody_signs_in(cache_on, store_at, clock, codec, tmp_path):
    cache = cache_on(store_at(f"unix://{tmp_path}/nothing.sock"), codec)

    assert cache.put_security(MEI, SECURE, clock()).info == SECURE
    assert cache.security(MEI) is None


def test_a_verdict_in_a_word_that_we_do_not_speak_is_a_miss(cache, codec, clock, stored):
    cache.put(MEI, accounts("a"), clock())
    key = key_of(stored, ":token:")
    stored.set(key, codec.encode(key.decode(), b'[1800000000.0,"administrator"]'))

    assert cache.get(MEI).status is None


@pytest.mark.parametrize("kind", ["list", "hash", "set", "stream"])
def test_another_type_under_our_keys_is_a_miss_and_overwritten(cache, clock, stored, kind):
    cache.put(MEI, accounts("a"), clock())
    poison = {
        "list": lambda key: stored.rpush(key, "x"),
        "hash": lambda key: stored.hset(key, "x", "y"),
        "set": lambda key: stored.sadd(key, "x"),
        "stream": lambda key: stored.xadd(key, {"x": "y"}),
    }[kind]
    for key in stored.keys("*"):
        stored.delete(key)
        poison(key)

    assert cache.get(MEI) == Lookup()
    cache.put(MEI, accounts("b"), clock())
    assert ids(cache.get(MEI).entry) == ["b"]


def test_a_lock_of_another_type_keeps_nobody_waiting(cache, stored):
    with cache.attempt(MEI):
        lock = key_of(stored, ":lock:")
    stored.rpush(lock, "x")

    with cache.attempt(MEI) as attempt:
        assert attempt


def test_fifty_megabytes_are_a_miss_in_time(cache_on, store, codec, clock, stored, witness):
    cache_on(store, codec).put(MEI, accounts("a"), clock())
    cache = cache_on(store, codec)
    stored.config_set("maxmemory", 256_000_000)
    key = key_of(stored, ":accounts")
    stored.set(key, os.urandom(1024) * 51_200)
    started = time.monotonic()

    assert cache.get(MEI).entry is None
    in_time(time.monotonic() - started, 2)
    assert witness.rejected == ["oversized"] or witness.failed == [("get", "timeout")]


@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(value=st.binary(max_size=200), what=st.integers(0, 5))
def test_no_bytes_at_all_raise(cache_on, codec, value, what):
    class Holding:
        def __init__(self, encode):
            self._encode = encode

        def get_many(self, *keys):
            return [self._encode(key) if key == keys[what] else None for key in keys]

    for encode in (
        lambda _key: value,
        lambda key: codec.encode(key, value),
        lambda key: codec.encode(key, b"[1800000000.0," + value),
        lambda key: codec.encode(key, HEADER + value),
    ):
        assert isinstance(cache_on(Holding(encode), codec).get(MEI), Lookup)


# Without CACHE_SECRET ----------------------------------------------------------------------------------


def test_what_is_long_is_stored_short_and_what_is_short_can_be_read():
    codec, short, long = PlainCodec(), b"[1800000000.0]", b'[1800000000.0,["githubber",null,["openid"]]]' * 20

    assert codec.encode("key", short) == b"key " + short
    assert len(codec.encode("key", long)) < len(long) / 2
    assert [codec.decode("key", codec.encode("key", value)) for value in (short, long)] == [short, long]
    assert codec.decode("key", b"key " + long) == long  # as it was stored before
    assert codec.decode("other", codec.encode("key", long)) is None


def test_what_was_deflated_over_a_larger_window_opens():
    value = random.Random(1).randbytes(20_000) * 2
    deflate = zlib.compressobj(wbits=-15)
    stored = deflate.compress(value) + deflate.flush()

    assert len(stored) < 30_000  # the second half refers to the first
    assert PlainCodec().decode("key", b"key~" + stored) == value


def test_what_is_not_the_whole_of_it_and_nothing_else_does_not_open():
    stored = PlainCodec().encode("key", bytes(1000))

    for spoilt in (stored[:-1], stored + b"x", b"key~", b"key", b"key~" + bytes(50), b"key!" + stored[4:], b""):
        assert PlainCodec().decode("key", spoilt) is None


def test_a_little_that_would_become_very_much_does_not_open():
    bomb = PlainCodec().encode("key", bytes(64 * 1024 * 1024))
    tracemalloc.start()

    assert PlainCodec().decode("key", bomb) is None

    assert tracemalloc.get_traced_memory()[1] < 16 * 1024 * 1024
    tracemalloc.stop()


def test_very_long_lists_of_accounts_are_not_kept_in_memory(cache, clock):
    long = accounts(*(f"{number:032}" for number in range(2_000)))

    def seen(person):
        cache.put(session(person), long, clock())
        return cache.get(session(person)).entry.size

    seen("whoever warms up")
    tracemalloc.start()

    one = max([seen(f"person-{number}") for number in range(6)])

    assert tracemalloc.get_traced_memory()[0] < 3 * one
    tracemalloc.stop()


# CACHE_SECRET ---------------------------------------------------------------------------------------


def test_a_reader_of_redis_learns_nothing_with_a_secret(cache_on, store, clock, stored):
    cache = cache_on(store, EncryptedCodec([NEW]))
    cache.put(MEI, accounts("62f209327xxxxcc10d966ee5"), clock())

    held = b"".join(stored.get(key) for key in stored.keys("*"))

    for secret in ("小明", "wechat", "62f209327", "accepted", str(int(clock()))):
        assert secret.encode() not in held


def test_names_cannot_be_guessed_without_the_secret():
    assert EncryptedCodec([NEW]).opaque_id("app", "mei") not in {
        PlainCodec().opaque_id("app", "mei"),
        EncryptedCodec([OLD]).opaque_id("app", "mei"),
    }


def test_a_value_sealed_under_the_plain_seal_does_not_open_with_a_secret():
    assert EncryptedCodec([NEW]).decode("key", PlainCodec().encode("key", b"forged")) is None


def test_what_was_altered_anywhere_does_not_open():
    codec = EncryptedCodec([NEW])
    sealed = codec.encode("key", b"value")

    assert codec.decode("key", sealed) == b"value"
    for at, bit in itertools.product(range(len(sealed)), range(8)):
        altered = bytearray(sealed)
        altered[at] ^= 1 << bit
        assert codec.decode("key", bytes(altered)) is None
    for length in range(len(sealed)):
        assert codec.decode("key", sealed[:length]) is None


def test_what_was_sealed_for_another_key_does_not_open(codec):
    assert codec.decode("other", codec.encode("key", b"value")) is None
    assert codec.decode("key", codec.encode("key-longer", b"value")) is None


def test_equal_values_do_not_look_equal():
    codec = EncryptedCodec([NEW])

    assert codec.encode("key", b"value") != codec.encode("key", b"value")


def test_a_new_secret_in_front_keeps_the_cache_warm_and_seals_from_then_on(cache_on, store, clock):
    before, during, after = (cache_on(store, EncryptedCodec(secrets)) for secrets in ([OLD], [NEW, OLD], [NEW]))
    before.put(MEI, accounts("a"), clock())

    assert ids(during.get(MEI).entry) == ["a"]
    assert during.get(MEI).accepted_at

    during.put(MEI, accounts("b"), clock())
    assert before.get(MEI).entry is None, "sealed with the new secret, which the old ones do not know"
    assert after.get(MEI).entry is None, "names belong to the oldest secret; taking it away starts anew"


def test_an_older_value_of_the_same_key_keeps_its_own_times(cache, clock, stored):
    cache.put(MEI, accounts("old"), clock())
    replayed = {key: stored.get(key) for key in stored.keys("*")}
    clock.advance(3600)
    cache.put(MEI, accounts("new"), clock())
    stored.mset(replayed)

    seen = cache.get(MEI)

    assert isinstance(seen.entry, Entry)
    assert seen.entry.fresh_until < clock() - 3000
    assert seen.accepted_at == clock() - 3600


def test_random_values_moved_about_at_random_never_cross(cache, clock, stored):
    people = [session(f"user-{n}", f"token-{n}") for n in range(20)]
    for each in people:
        cache.put(each, accounts(each.user_id), clock())
    chance = random.Random(7)
    keys = stored.keys("*")
    values = {key: stored.get(key) for key in keys}
    for _ in range(30):
        shuffled = chance.sample(keys, len(keys))
        stored.mset({to: values[source] for to, source in zip(keys, shuffled, strict=True)})
        for each in people:
            entry = cache.get(each).entry
            assert entry is None or ids(entry) == [each.user_id]
