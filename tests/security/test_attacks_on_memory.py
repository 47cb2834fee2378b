"""Somebody who would have a worker keep more and more: large answers, many tokens, many spellings, many addresses."""

import gc
import hashlib
import time
import tracemalloc
from contextlib import contextmanager

import pytest

from bff.auth.sessions import Acceptance
from bff.cache import CachedResponses, Entry, Freshness, Lookup
from bff.cache.entries import InvalidationMarker
from bff.cache.memory import FallbackCache
from bff.models import LANGUAGES, RenderedAccounts, Session
from bff.resilience import Cache, RateLimit
from bff.resilience.caches import DECLARED, MEMOISED
from bff.web import services_of
from bff.web.authentication import counted_address
from bff.web.representation import language
from schemas.genauth import LONGEST_ID

MIB = 2**20
ROOM = 2 * MIB  # in place of what is declared, so that it is full soon
WIDE = "\N{PANDA FACE}"  # of the characters that take four bytes each


@contextmanager
def taken():
    """A function that says how many bytes of Python objects were made in the block and are still there."""
    gc.collect()
    tracemalloc.start()
    before, _ = tracemalloc.get_traced_memory()

    def so_far():
        gc.collect()
        return tracemalloc.get_traced_memory()[0] - before

    try:
        yield so_far
    finally:
        tracemalloc.stop()


def digest(number):
    return hashlib.sha256(str(number).encode()).digest()


def user_id(number):
    return f"{number}".rjust(LONGEST_ID, WIDE)


ENTRIES = {
    "accepted_tokens": lambda n: (digest(n), Acceptance(user_id(n), n + 0.5, n + 0.25, n)),
    "accepted_tokens, short": lambda n: (digest(n), Acceptance(f"{n}", n + 0.5, n + 0.25, n)),
    "refused_tokens": lambda n: (digest(n), n + 0.5),
    "refusals": lambda n: (digest(n).hex(), (n + 0.5, ValueError)),
    "changes": lambda n: (f"la:{{{digest(n).hex()[:16]}}}:invalidated", InvalidationMarker(at=n + 0.5, noted_at=n + 0.25)),
    "unknown_key_ids": lambda n: (f"{n}".rjust(256, WIDE), None),
    "texts": lambda n: (digest(n), f"{n}".rjust(3_000, WIDE)),
    "bytes": lambda n: (digest(n), b"%015000d" % n),
}


@pytest.mark.parametrize("kind", ENTRIES)
def test_a_full_cache_takes_no_more_bytes_than_its_budget(kind):
    with taken() as bytes_taken:
        values = Cache(ROOM, 60.0)
        for number in range(6_000):
            values.put(*ENTRIES[kind](number))

        assert ROOM / 3 < bytes_taken() <= ROOM


def test_copies_for_while_redis_is_away_take_no_more_bytes_than_their_budget():
    budget = DECLARED["fallback_entries"].budget
    with taken() as bytes_taken:
        copies = FallbackCache(60.0, lambda: 0.0)
        for number in range(8_000):
            texts = [{name: f"{name}{number}".ljust(500).encode() for name in LANGUAGES} for _ in range(2)]
            entry = Entry(number + 0.5, number + 60.5, RenderedAccounts((f"{number}".rjust(24),) * 2, *texts))
            copies.put(f"la:{{{digest(number).hex()[:16]}}}:token:{digest(number).hex()[:16]}", Lookup(entry), stored=True)

        assert 0.4 * budget < bytes_taken() <= budget


def test_all_caches_of_a_worker_together_are_bounded():
    """There are rate limits for users, addresses and networks."""
    caches = sum(declared.budget for declared in DECLARED.values()) + 2 * DECLARED["rate_limit_windows"].budget

    assert caches <= 64 * MIB
    assert sum(each.entries * (each.longest or 64) for each in MEMOISED.values()) < MIB


class NoCounter:
    def increment(self, _key, _window, _by=1):
        return None


def test_callers_without_number_fill_no_memory_with_their_counts():
    with taken() as bytes_taken:
        limit = RateLimit("user", "120/minute", NoCounter(), namespace="limit", opaque_id=str)
        for number in range(6_000):
            limit.hit(user_id(number))

        assert bytes_taken() <= DECLARED["rate_limit_windows"].budget


def test_what_is_read_again_and_again_is_not_kept_where_it_is_long():
    with taken() as bytes_taken:
        for number in range(300):
            language(f"zh,{number}".ljust(50_000, "x"))
            counted_address(f"{number}".ljust(50_000, "1"))

        assert bytes_taken() < MIB


@pytest.fixture
def service(service_with):
    """A service that answers from memory, as long as the test lasts."""
    service = service_with(LOCAL_CACHE_SECONDS="30")
    invalidations = services_of(service.app).invalidations
    patience = time.monotonic() + 5
    while not invalidations.connected:
        assert time.monotonic() < patience
        time.sleep(0.01)
    yield service
    invalidations.stop(wait_seconds=5)


def test_one_language_in_many_spellings_is_one_answer(service, sign_in, stored):
    headers = [*sign_in("mei").items()]

    def ask(spelling):
        return service.ask(headers=[*headers, ("Accept-Language", spelling)]).accounts[0]["provider"]["name"]

    names = {ask("zh"), ask("zh")}
    reads = stored.info("commandstats")["cmdstat_mget"]["calls"]
    names |= {ask(f"zh-CN,zh;q=0.9,en;q=0.8,x-{number};q=0.1") for number in range(50)}

    assert len(names) == 1
    assert stored.info("commandstats")["cmdstat_mget"]["calls"] == reads


def test_a_large_answer_asked_for_in_many_ways_is_not_kept(service, genauth, sign_in):
    row = {"provider": "oidc", "type": "generic", "userIdInIdp": "u" * 200, "userInfoInIdp": {"nickname": "Omar " * 40}}
    genauth.answers("omar", [row | {"identityId": f"i{number}", "extIdpId": f"e{number}"} for number in range(200)])
    headers = [*sign_in("omar").items()]
    size = len(service.ask(query="include=identities", headers=headers).body)

    with taken() as bytes_taken:
        for number in range(40):
            service.ask(query=f"include=identities&spelling={number}", headers=headers)

        assert bytes_taken() < 2 * MIB < 40 * size


def test_answers_that_have_ended_leave_with_the_next_one():
    with taken() as bytes_taken:
        responses = CachedResponses(0.05, person=str)
        for number in range(500):
            put(responses, number)
        full = bytes_taken()
        time.sleep(0.06)
        put(responses, "one more")

        assert bytes_taken() < full / 4


def put(responses, key):
    now = time.time()
    freshness = Freshness(Session(f"user-{key}", now + 60, "token", "digest"), now, now + 60, now + 60)
    responses.put(str(key).encode(), freshness, "200 OK", (), f"{key}".ljust(2_000).encode(), responses.invalidations)
