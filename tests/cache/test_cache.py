"""What is remembered of a person, and for how long."""

import json
import statistics
import threading

import pytest
import redis

from bff.cache.codec import PlainCodec
from bff.cache.entries import Entry, Lookup
from bff.cache.memory import FallbackCache
from bff.cache.redis_store import CacheUnavailable
from bff.errors import TokenRefused, UpstreamUnavailable, UserBlocked
from bff.resilience.caches import DECLARED
from tests.cache.conftest import LIFETIMES, accounts, ids, session
from tests.valkey import ValkeyServer

MEI = session()
PHONE = session("mei", "another-token-of-mei")


def commands(stored):
    stats = stored.info("commandstats")
    return {name.removeprefix("cmdstat_"): each["calls"] for name, each in stats.items()}


def test_what_was_asked_for_together_does_not_run_out_together(cache, clock):
    lives = [cache.put(MEI, accounts(), clock()).fresh_until - clock() for _ in range(300)]

    assert 54 <= min(lives) < 55.5
    assert 64.5 < max(lives) <= 66
    assert statistics.mean(lives) == pytest.approx(60, abs=1)


def test_it_is_kept_for_as_long_as_it_may_stand_in(cache, clock, stored):
    cache.put(MEI, accounts("a"), clock())

    assert all(3650 < stored.ttl(key) <= 3660 for what in ("accounts", "token:*") for key in stored.keys(f"*:{what}"))
    (recent,) = stored.keys("*:recent:*")
    assert 50 < stored.ttl(recent) <= 60, "an acceptance saves a question for no longer, by whichever clock"


@pytest.fixture
def own(store_at, cache_on):
    with ValkeyServer() as valkey:
        yield valkey, cache_on(store_at(valkey.url))


@pytest.fixture
def counting(own):
    """A cache, and a look into a server of its own: what an application of another test still has to say would count too."""
    valkey, cache = own
    with redis.Redis.from_url(valkey.url) as stored:
        yield cache, stored


def test_a_hit_is_one_command(counting, clock):
    cache, stored = counting
    cache.put(MEI, accounts("a"), clock())
    cache.get(MEI)
    stored.config_resetstat()

    cache.get(MEI)

    calls = commands(stored)
    assert calls.pop("mget") == 1
    assert set(calls) <= {"info", "config|resetstat"}


def test_a_miss_is_seven_round_trips(counting, clock):
    cache, stored = counting
    with cache.attempt(MEI):  # the script of its release is known from here on
        cache.get(MEI)
    before = stored.info("stats")["total_reads_processed"]

    cache.get(MEI)
    with cache.attempt(MEI):
        cache.get(MEI)
        cache.put(MEI, accounts("a"), clock())

    # The server reads from a socket once per round trip, and once for the question that tells us.
    assert stored.info("stats")["total_reads_processed"] - before == 7 + 1
    assert not stored.keys("*:lock:*")


def test_a_refusal_deletes_the_acceptance_and_is_remembered_for_a_while(cache, clock, stored):
    cache.put(MEI, accounts("a"), clock())
    clock.advance(1)

    cache.put_refusal(MEI, TokenRefused())

    seen = cache.get(MEI)
    assert seen.accepted_at is None
    with pytest.raises(TokenRefused):
        seen.raise_if_refused()
    assert not stored.keys("*:token:*")
    (key,) = stored.keys("*:refused:*")
    assert 3660 < stored.ttl(key) <= 3666, "for as long as anything from before it could be served"

    clock.advance(9)
    cache.get(MEI).raise_if_refused()
    assert cache.get(MEI).accepted_at is None, "no longer repeated, and still the last that GenAuth said of the token"


def test_a_refusal_of_one_session_says_nothing_of_another(cache, clock):
    for each in (MEI, PHONE):
        cache.put(each, accounts("a"), clock())

    cache.put_refusal(MEI, TokenRefused())

    assert cache.get(PHONE).accepted_at == clock()
    assert cache.get(PHONE).entry


def test_a_blocked_users_accounts_go_for_all_their_sessions(cache, clock):
    for each in (MEI, PHONE):
        cache.put(each, accounts("a"), clock())

    cache.put_refusal(MEI, UserBlocked())

    with pytest.raises(UserBlocked):
        cache.get(MEI).raise_if_refused()
    assert cache.get(PHONE).entry is None


def test_what_was_asked_before_a_change_does_not_come_back_after_it(cache_on, store, clock):
    here, there = cache_on(store), cache_on(store)
    asked_at = clock()
    clock.advance(0.5)
    there.changes.forget("mei", cause="webhook", wait=False)

    here.put(MEI, accounts("unlinked by now"), asked_at)

    assert here.get(MEI).entry is there.get(MEI).entry is None
    here.put(MEI, accounts("new"), clock())
    clock.advance(1)
    here.put(MEI, accounts("new"), clock())
    assert here.get(MEI).entry is None, "a replica whose clock is a second ahead may have asked in the moment of the change"
    clock.advance(0.001)
    here.put(MEI, accounts("new"), clock())
    assert ids(here.get(MEI).entry) == ids(there.get(MEI).entry) == ["new"]


def test_forgetting_says_when_it_could_not(cache_on, store_at, clock):
    with ValkeyServer() as valkey:
        cache = cache_on(store_at(valkey.url))
        cache.put(MEI, accounts("a"), clock())
        valkey.kill()

        with pytest.raises(CacheUnavailable):
            cache.changes.forget("mei", cause="webhook", wait=False)


def test_a_full_redis_forgets(cache, clock, stored):
    cache.put(MEI, accounts("a"), clock())
    stored.config_set("maxmemory-policy", "noeviction")
    stored.config_set("maxmemory", 1)

    cache.changes.forget("mei", cause="webhook", wait=False)

    assert not stored.keys("*:accounts")
    assert stored.keys("*:invalidated"), "and what is on its way is void"


# One asks, the others wait -----------------------------------------------------------------------------


def test_one_of_two_processes_may_ask(cache_on, store_at, valkey):
    here, there = cache_on(store_at(valkey.url)), cache_on(store_at(valkey.url))

    with here.attempt(MEI) as one, there.attempt(MEI) as other, there.attempt(PHONE) as another:
        assert one
        assert not other
        assert another, "GenAuth has to accept every token by itself"
    with there.attempt(MEI) as other:
        assert other


def test_how_the_holder_failed_is_known_for_two_seconds(cache_on, store_at, valkey, clock, stored):
    here, there = cache_on(store_at(valkey.url)), cache_on(store_at(valkey.url))
    assert there.get(MEI).failure is None

    here.put_failure(MEI, UpstreamUnavailable(note="500", retry_after=7))

    error = there.get(MEI).failure.error()
    assert (type(error), error.retry_after) == (UpstreamUnavailable, 7)
    assert there.get(PHONE).failure is None
    (key,) = stored.keys("*:failure:*")
    assert 0 < stored.pttl(key) <= 2000
    clock.advance(2)
    assert there.get(MEI).failure is here.get(MEI).failure is None


@pytest.mark.parametrize(("said", "believed"), [(1e12, 3600), (-5, 0), (7, 7)])
def test_how_long_to_wait_is_believed_up_to_an_hour(cache, clock, stored, said, believed):
    cache.put_failure(MEI, UpstreamUnavailable())
    (key,) = stored.keys("*:failure:*")
    stored.set(key, PlainCodec().encode(key.decode(), json.dumps([clock(), "upstream_unavailable", said]).encode()))

    assert cache.get(MEI).failure.error().retry_after == believed


def test_two_failures_can_be_told_apart(cache, clock):
    cache.put_failure(MEI, UpstreamUnavailable())
    before = cache.get(MEI).failure
    assert cache.get(MEI).failure == before
    clock.advance(0.01)

    cache.put_failure(MEI, UpstreamUnavailable())

    assert cache.get(MEI).failure != before


@pytest.mark.parametrize(
    "forged", [b"", b"[]", b'[1800000000.0,"nonsense",null]', b'[1800000000.0,"upstream_timeout","soon"]', b"\xff"]
)
def test_a_forged_failure_is_none(cache_on, store_at, valkey, stored, witness, forged):
    here, there = cache_on(store_at(valkey.url)), cache_on(store_at(valkey.url))
    here.put_failure(MEI, UpstreamUnavailable())
    (key,) = stored.keys("*:failure:*")
    stored.set(key, PlainCodec().encode(key.decode(), forged))

    assert there.get(MEI).failure is None
    assert witness.rejected == ["unreadable"]


def test_a_lock_is_released_though_nothing_could_be_written_under_it(cache_on, store_at, clock, stored, valkey):
    here, there = cache_on(store_at(valkey.url)), cache_on(store_at(valkey.url))
    with here.attempt(MEI) as attempt:
        assert attempt
        stored.config_set("maxmemory-policy", "noeviction")
        stored.config_set("maxmemory", 1)
        here.put(MEI, accounts("a"), clock())
    stored.config_set("maxmemory", 64_000_000)

    with there.attempt(MEI) as attempt:
        assert attempt


# The last resort -----------------------------------------------------------------------------------------


def test_with_redis_away_what_was_seen_last_is_known_for_ten_seconds(own, clock):
    valkey, cache = own
    cache.put(MEI, accounts("a"), clock())
    cache.get(MEI)
    valkey.kill()

    clock.advance(9)
    assert cache.get(MEI).entry.fresh_until == clock() + 1
    assert cache.get(PHONE) == Lookup()
    clock.advance(2)
    assert cache.get(MEI).entry.fresh_until < clock(), "may stand in, is not fresh"


def test_with_redis_away_an_acceptance_ends_as_it_does_with_redis(own, clock):
    valkey, cache = own
    cache.put(MEI, accounts("a"), clock())
    valkey.kill()

    clock.advance(LIFETIMES.accepted + 1)

    assert cache.get(MEI) == Lookup(), "who knows what another process saw since"


def test_with_redis_away_what_was_refused_or_forgotten_here_is_gone(own, clock):
    valkey, cache = own
    for each in (MEI, PHONE):
        cache.put(each, accounts("a"), clock())
    valkey.kill()

    cache.put_refusal(MEI, TokenRefused())
    assert cache.get(MEI) == Lookup()
    assert cache.get(PHONE).entry

    clock.advance(1)
    with pytest.raises(CacheUnavailable):
        cache.changes.forget("mei", cause="webhook", wait=False)
    assert cache.get(PHONE).entry is None


def test_what_another_process_refused_or_forgot_while_redis_was_there_is_not_in_the_copies(store_at, cache_on, clock):
    with ValkeyServer() as valkey:
        here, there = cache_on(store_at(valkey.url)), cache_on(store_at(valkey.url))
        for each in (MEI, PHONE):
            here.put(each, accounts("a"), clock())
        clock.advance(1)
        there.put_refusal(MEI, TokenRefused())
        assert here.get(MEI).accepted_at is None
        there.changes.forget("mei", cause="webhook", wait=False)
        assert here.get(PHONE).entry is None
        valkey.kill()

        assert here.get(MEI) == here.get(PHONE) == Lookup()


def test_with_redis_well_the_copies_are_not_looked_at(cache, clock, stored):
    cache.put(MEI, accounts("a"), clock())
    stored.flushall()

    assert cache.get(MEI) == Lookup()


def test_what_a_full_redis_does_not_take_is_known_here_for_ten_seconds(cache, clock, stored):
    stored.config_set("maxmemory-policy", "noeviction")
    stored.config_set("maxmemory", 1)

    cache.put(MEI, accounts("a"), clock())

    assert ids(cache.get(MEI).entry) == ["a"]
    clock.advance(11)
    assert cache.get(MEI) == Lookup()


def test_a_full_redis_still_lets_go_of_an_acceptance(cache_on, store, clock, stored):
    cache_on(store).put(MEI, accounts("a"), clock())
    stored.config_set("maxmemory-policy", "noeviction")
    stored.config_set("maxmemory", 1)

    cache_on(store).put_refusal(MEI, TokenRefused())

    assert cache_on(store).get(MEI).accepted_at is None


def test_a_refusal_in_redis_outvotes_a_copy_that_redis_would_not_store(cache_on, store, clock, stored):
    here, there = cache_on(store), cache_on(store)
    stored.config_set("maxmemory-policy", "noeviction")
    stored.config_set("maxmemory", 1)
    here.put(MEI, accounts("a"), clock())
    assert here.get(MEI).accepted_at == clock()
    stored.config_set("maxmemory", 64_000_000)
    clock.advance(-0.5)  # the other process' clock is behind
    there.put_refusal(MEI, TokenRefused())
    clock.advance(0.5)

    seen = here.get(MEI)

    assert seen.accepted_at is None
    with pytest.raises(TokenRefused):
        seen.raise_if_refused()


def test_the_copies_are_bounded_in_bytes(clock):
    copies = FallbackCache(60.0, clock)
    large = Lookup(Entry.reported(accounts("x" * 2_000), clock(), 60.0))
    assert large.entry.size > 4_000
    for n in range(5_000):
        copies.put(str(n), large, stored=True)

    left = [n for n in range(5_000) if copies.get(str(n))]
    assert left == list(range(5_000 - len(left), 5_000))
    assert len(left) * large.entry.size < DECLARED["fallback_entries"].budget


def test_a_list_of_accounts_that_is_large_is_served_and_not_copied(own, clock):
    valkey, cache = own
    cache.put(MEI, accounts(*(f"account-{n}" for n in range(2000))), clock())
    assert cache.get(MEI).entry.accounts.total == 2000
    valkey.kill()

    assert cache.get(MEI) == Lookup()


def test_threads_that_ask_at_once_share_what_is_remembered(cache, clock):
    cache.put(MEI, accounts("a"), clock())
    seen = []
    threads = [threading.Thread(target=lambda: seen.append(*ids(cache.get(MEI).entry))) for _ in range(50)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert seen == ["a"] * 50
