"""Finished responses, bounded in bytes: `bff.cache.memory`. What uses them: tests/web/test_response_cache.py."""

import gc
import tracemalloc

import pytest

from bff.cache import CachedResponses, Freshness
from bff.models import Session
from bff.resilience import LARGEST_ENTRY

NOW = 1_000.0
MOST = 16 * 2**20
HEADERS = tuple((f"header-{number}", f"value of header {number}") for number in range(5))


@pytest.fixture
def clock():
    class Clock:
        now = NOW

        def __call__(self):
            return self.now

    return Clock()


@pytest.fixture
def responses(clock):
    return CachedResponses(30.0, person=lambda user_id: f"person {user_id}", clock=clock)


def put(responses, key, user_id="mei", *, body=b"body", ends=NOW + 60, good=NOW + 60, begun=None):
    freshness = Freshness(Session(user_id, ends, "token", "digest"), NOW, NOW + 60, good)
    begun = responses.invalidations if begun is None else begun
    responses.put(str(key).encode(), freshness, "200 OK", (), body, begun)


def kept(responses, keys):
    return [key for key in keys if responses.get(str(key).encode())]


@pytest.mark.parametrize(
    ("ends", "good", "seconds"),
    [(NOW + 60, NOW + 60, 30), (NOW + 5, NOW + 60, 5), (NOW + 60, NOW + 7, 7)],
    ids=["the setting", "the token's end", "acceptance or freshness"],
)
def test_a_response_is_kept_until_the_first_of_its_ends(responses, clock, ends, good, seconds):
    put(responses, "key", ends=ends, good=good)

    clock.now = NOW + seconds - 0.01
    assert kept(responses, ["key"])
    clock.now = NOW + seconds
    assert not kept(responses, ["key"])


@pytest.mark.parametrize("ends", [{"ends": NOW}, {"good": NOW}, {"good": 0.0}])
def test_what_has_ended_already_is_not_kept(responses, ends):
    put(responses, "key", **ends)

    assert not kept(responses, ["key"])


@pytest.mark.slow
def test_all_together_they_take_sixteen_mebibytes_at_most():
    responses = CachedResponses(30.0, person=lambda user_id: f"person {user_id}", clock=lambda: NOW)
    gc.collect()
    tracemalloc.start()
    try:
        for number in range(12_000):
            freshness = Freshness(Session(f"user-{number}", NOW + 60, "token", "digest"), NOW, NOW + 60, NOW + 60)
            headers = tuple((f"{name}-{number}", f"{value} {number}") for name, value in HEADERS)
            responses.put(number.to_bytes(32), freshness, "200 OK", headers, b"%04000d" % number, 0)
        gc.collect()
        taken, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()

    assert 0.5 * MOST < taken <= MOST


def test_the_least_recently_used_response_leaves_first(responses):
    for number in range(1200):
        put(responses, number, f"user-{number}", body=b"x" * 14_000)
        put(responses, "used", "somebody") if number == 0 else responses.get(b"used")

    assert kept(responses, ["used"])
    left = kept(responses, range(1200))
    assert left == list(range(1200 - len(left), 1200))
    assert len(left) < 1200


def test_a_response_that_is_larger_than_the_rest_is_not_kept(responses):
    put(responses, "largest", body=b"x" * (LARGEST_ENTRY - 3072))
    put(responses, "larger", body=b"x" * LARGEST_ENTRY)

    assert kept(responses, ["largest", "larger"]) == ["largest"]


def test_an_invalidation_drops_all_of_a_person_and_nothing_else(responses):
    for number in range(10):
        put(responses, number)
    put(responses, "other", "omar")

    responses.invalidate("person mei")

    assert kept(responses, [*range(10), "other"]) == ["other"]


def test_an_invalidation_drops_what_took_the_place_of_what_was_evicted(responses):
    for number in range(1200):
        put(responses, number, body=b"x" * 14_000)
    put(responses, 0)

    responses.invalidate("person mei")

    assert not kept(responses, range(1200))


def test_everything_can_be_dropped(responses):
    put(responses, "mei")
    put(responses, "omar", "omar")

    responses.clear()

    assert not kept(responses, ["mei", "omar"])


@pytest.mark.parametrize("invalidate", [lambda all_: all_.invalidate("person somebody"), lambda all_: all_.clear()])
def test_an_answer_begun_before_an_invalidation_is_not_kept(responses, invalidate):
    begun = responses.invalidations
    invalidate(responses)
    put(responses, "early", begun=begun)
    put(responses, "late")

    assert kept(responses, ["early", "late"]) == ["late"]
