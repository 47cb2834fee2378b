"""What is remembered of a person, and for how long."""

import statistics
import threading

import pytest
import redis

from bff.cache.entries import Lookup
from bff.cache.fallback import FallbackCache
from bff.cache.redis_store import CacheUnavailable
from bff.errors import TokenRefused, UpstreamTimeout, UpstreamUnavailable, UserBlocked
from tests.cache.conftest import LIFETIMES, accounts, session
from tests.valkey import ValkeyServer

MEI = session()
PHONE = session("mei", "another-token-of-mei")


def commands(stored):
    stats = stored.info("commandstats")
    return {name.removeprefix("cmdstat_"): each["calls"] for name, each in stats.items()}


def test_what_was_asked_for_together_does_not_run_out_together(cache, clock):
    lives = [cache.remember(MEI, [], clock()).fresh_until - clock() for _ in range(300)]

    assert 54 <= min(lives) < 55.5
    assert 64.5 < max(lives) <= 66
    assert statistics.mean(lives) == pytest.approx(60, abs=1)


def test_it_is_kept_for_as_long_as_it_may_stand_in(cache, clock, stored):
    cache.remember(MEI, accounts("a"), clock())

    assert all(3650 < stored.ttl(key) <= 3660 for key in stored.keys("*"))


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
    cache.remember(MEI, accounts("a"), clock())
    cache.recall(MEI)
    stored.config_resetstat()

    cache.recall(MEI)

    calls = commands(stored)
    assert calls.pop("mget") == 1
    assert set(calls) <= {"info", "config|resetstat"}


def test_a_miss_is_three_round_trips(counting, clock):
    cache, stored = counting
    cache.recall(MEI)
    before = stored.info("stats")["total_reads_processed"]

    cache.recall(MEI)
    with cache.asking(MEI) as asking:
        cache.remember(MEI, accounts("a"), clock(), asking)

    # The server reads from a socket once per round trip, and once for the question that tells us.
    assert stored.info("stats")["total_reads_processed"] - before == 3 + 1
    assert not stored.keys("*:lease:*")


def test_a_refusal_deletes_the_acceptance_and_is_remembered_for_a_while(cache, clock, stored):
    cache.remember(MEI, accounts("a"), clock())
    clock.advance(1)

    cache.refuse(MEI, TokenRefused())

    seen = cache.recall(MEI)
    assert seen.accepted_at is None
    with pytest.raises(TokenRefused):
        seen.heed()
    (key,) = stored.keys("*:token:*")
    assert 0 < stored.pttl(key) <= 8000


def test_a_refusal_of_one_session_says_nothing_of_another(cache, clock):
    for each in (MEI, PHONE):
        cache.remember(each, accounts("a"), clock())

    cache.refuse(MEI, TokenRefused())

    assert cache.recall(PHONE).accepted_at == clock()
    assert cache.recall(PHONE).entry


def test_a_blocked_users_accounts_go_for_all_their_sessions(cache, clock):
    for each in (MEI, PHONE):
        cache.remember(each, accounts("a"), clock())

    cache.refuse(MEI, UserBlocked())

    with pytest.raises(UserBlocked):
        cache.recall(MEI).heed()
    assert cache.recall(PHONE).entry is None


def test_what_was_asked_before_a_change_does_not_come_back_after_it(cache_on, store, clock):
    here, there = cache_on(store), cache_on(store)
    asked_at = clock()
    clock.advance(0.5)
    there.forget("mei")
    clock.advance(0.5)

    here.remember(MEI, accounts("unlinked by now"), asked_at)

    assert here.recall(MEI).entry is there.recall(MEI).entry is None
    here.remember(MEI, accounts("new"), clock())
    assert here.recall(MEI).entry.accounts == there.recall(MEI).entry.accounts


def test_forgetting_says_when_it_could_not(cache_on, store_at, clock):
    with ValkeyServer() as valkey:
        cache = cache_on(store_at(valkey.url))
        cache.remember(MEI, accounts("a"), clock())
        valkey.kill()

        with pytest.raises(CacheUnavailable):
            cache.forget("mei")


# One asks, the others wait -----------------------------------------------------------------------------


def test_one_of_two_processes_may_ask_and_the_other_is_told_whom_to_wait_for(cache_on, store_at, valkey):
    here, there = cache_on(store_at(valkey.url)), cache_on(store_at(valkey.url))

    with here.asking(MEI) as one, there.asking(MEI) as other:
        assert one.go
        assert not other.go
        assert other.awaiting
    with there.asking(MEI) as other:
        assert other.go


def test_who_waited_learns_how_it_failed_and_a_newcomer_asks_anew(cache_on, store_at, valkey):
    here, there, newcomer = (cache_on(store_at(valkey.url)) for _ in range(3))

    def fails():
        with here.asking(MEI):
            with there.asking(MEI) as waiting:
                awaited.append(waiting.awaiting)
            raise UpstreamUnavailable(note="500", retry_after=7)

    awaited = []
    with pytest.raises(UpstreamUnavailable):
        fails()

    with there.asking(MEI, awaited[0]) as told:
        assert not told.go
        assert type(told.trouble) is UpstreamUnavailable
        assert told.trouble.retry_after == 7
    with newcomer.asking(MEI) as asking:
        assert asking.go
        assert asking.trouble is None


def test_a_refusal_ends_the_turn_without_a_word_of_trouble(cache_on, store_at, valkey):
    here, there = cache_on(store_at(valkey.url)), cache_on(store_at(valkey.url))

    def refused():
        with here.asking(MEI):
            with there.asking(MEI) as waiting:
                awaited.append(waiting.awaiting)
            here.refuse(MEI, TokenRefused())
            raise TokenRefused

    awaited = []
    with pytest.raises(TokenRefused):
        refused()

    with there.asking(MEI, awaited[0]) as asking:
        assert asking.trouble is None
        with pytest.raises(TokenRefused):
            asking.seen.heed()


def test_a_forged_word_of_failure_is_no_trouble(cache, stored):
    for word in (b"!00 nonsense", b"!00 ", b"!", b"!00 upstream_timeout soon", b"\xff\xff", b""):
        with cache.asking(MEI):
            (lease,) = stored.keys("*:lease:*")
        stored.set(lease, word)
        with cache.asking(MEI, "00") as asking:
            assert asking.trouble is None or type(asking.trouble) is UpstreamTimeout
        stored.delete(lease)


# The last resort -----------------------------------------------------------------------------------------


def test_with_redis_away_what_was_seen_last_is_known_for_ten_seconds(own, clock):
    valkey, cache = own
    cache.remember(MEI, accounts("a"), clock())
    cache.recall(MEI)
    valkey.kill()

    clock.advance(9)
    assert cache.recall(MEI).entry.fresh_until == clock() + 1
    assert cache.recall(PHONE) == Lookup()
    clock.advance(2)
    assert cache.recall(MEI).entry.fresh_until < clock(), "may stand in, is not fresh"


def test_with_redis_away_an_acceptance_ends_as_it_does_with_redis(own, clock):
    valkey, cache = own
    cache.remember(MEI, accounts("a"), clock())
    valkey.kill()

    clock.advance(LIFETIMES.accepted + 1)

    assert cache.recall(MEI) == Lookup(), "who knows what another process saw since"


def test_with_redis_away_what_was_refused_or_forgotten_here_is_gone(own, clock):
    valkey, cache = own
    for each in (MEI, PHONE):
        cache.remember(each, accounts("a"), clock())
    valkey.kill()

    cache.refuse(MEI, TokenRefused())
    assert cache.recall(MEI) == Lookup()
    assert cache.recall(PHONE).entry

    clock.advance(1)
    with pytest.raises(CacheUnavailable):
        cache.forget("mei")
    assert cache.recall(PHONE).entry is None


def test_what_another_process_refused_or_forgot_while_redis_was_there_is_not_in_the_copies(store_at, cache_on, clock):
    with ValkeyServer() as valkey:
        here, there = cache_on(store_at(valkey.url)), cache_on(store_at(valkey.url))
        for each in (MEI, PHONE):
            here.remember(each, accounts("a"), clock())
        clock.advance(1)
        there.refuse(MEI, TokenRefused())
        assert here.recall(MEI).accepted_at is None
        there.forget("mei")
        assert here.recall(PHONE).entry is None
        valkey.kill()

        assert here.recall(MEI) == here.recall(PHONE) == Lookup()


def test_with_redis_well_the_copies_are_not_looked_at(cache, clock, stored):
    cache.remember(MEI, accounts("a"), clock())
    stored.flushall()

    assert cache.recall(MEI) == Lookup()


def test_what_a_full_redis_does_not_take_is_known_here_for_ten_seconds(cache, clock, stored):
    stored.config_set("maxmemory-policy", "noeviction")
    stored.config_set("maxmemory", 1)

    cache.remember(MEI, accounts("a"), clock())

    assert cache.recall(MEI).entry.accounts[0].id == "a"
    clock.advance(11)
    assert cache.recall(MEI) == Lookup()


def test_a_full_redis_still_lets_go_of_an_acceptance(cache_on, store, clock, stored):
    cache_on(store).remember(MEI, accounts("a"), clock())
    stored.config_set("maxmemory-policy", "noeviction")
    stored.config_set("maxmemory", 1)

    cache_on(store).refuse(MEI, TokenRefused())

    assert cache_on(store).recall(MEI).accepted_at is None


def test_the_copies_are_bounded():
    copies = FallbackCache(3)
    for n in range(10):
        copies.keep(str(n), n, stored=True)

    assert [n for n in range(10) if copies.any(str(n))] == [7, 8, 9]


def test_a_list_of_accounts_that_is_large_is_served_and_not_copied(own, clock):
    valkey, cache = own
    cache.remember(MEI, accounts(*(f"account-{n}" for n in range(2000))), clock())
    assert len(cache.recall(MEI).entry.accounts) == 2000
    valkey.kill()

    assert cache.recall(MEI) == Lookup()


def test_threads_that_ask_at_once_share_what_is_remembered(cache, clock):
    cache.remember(MEI, accounts("a"), clock())
    seen = []
    threads = [threading.Thread(target=lambda: seen.append(cache.recall(MEI).entry.accounts[0].id)) for _ in range(50)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert seen == ["a"] * 50
