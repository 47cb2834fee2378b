"""Finished answers, bounded: `bff.cache.cached_responses`. For how long it holds them: tests/web/test_express.py."""

import pytest

from bff.cache.cached_responses import CachedResponses, Freshness
from bff.models import Session

NOW = 1_000.0
PLACES = 1024


@pytest.fixture
def micro_cache():
    return CachedResponses(2.0, person=lambda user_id: f"person {user_id}", clock=lambda: NOW)


def keep(micro_cache, number, user_id="mei"):
    session = Session(user_id, NOW + 60, "token", "digest")
    keepsake = Freshness(session, NOW, NOW + 60, NOW + 60)
    micro_cache.keep(str(number).encode(), keepsake, "200 OK", (), str(number).encode(), micro_cache.changes)


def kept(micro_cache, numbers):
    return [number for number in numbers if micro_cache.find(str(number).encode())]


def test_of_too_many_the_one_not_asked_for_longest_leaves(micro_cache):
    for number in range(PLACES):
        keep(micro_cache, number, f"user-{number}")
    micro_cache.find(b"0")
    keep(micro_cache, PLACES, "somebody else")

    assert kept(micro_cache, range(PLACES + 1)) == [0, *range(2, PLACES + 1)]


def test_what_is_asked_for_stays_however_many_come_once(micro_cache):
    keep(micro_cache, "asked for")
    for number in range(10 * PLACES):
        keep(micro_cache, number, f"user-{number}")
        assert micro_cache.find(b"asked for")

    assert len(micro_cache._kept) == PLACES


def test_nothing_is_known_of_people_whose_answers_left(micro_cache):
    for number in range(3 * PLACES):
        keep(micro_cache, number, f"user-{number % 1500}")

    assert {person: len(keys) for person, keys in micro_cache._of.items()} == {
        f"person user-{number % 1500}": 1 for number in range(2 * PLACES, 3 * PLACES)
    }


def test_answers_that_left_do_not_come_back_when_somebody_is_forgotten(micro_cache):
    for number in range(PLACES):
        keep(micro_cache, number)
    keep(micro_cache, "other", "omar")
    micro_cache.forget("person mei")

    assert kept(micro_cache, [*range(PLACES), "other"]) == ["other"]
    assert list(micro_cache._of) == ["person omar"]
