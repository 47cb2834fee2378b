"""Who was forgotten lately: `bff.resilience.forgotten`."""

import pytest

from bff.resilience import Cache, Forgotten


def room_for(people):
    one = Cache(2**20, 60.0)
    one.put("person-000", 1)
    return one.weight * people


@pytest.fixture
def forgotten():
    """With room for three people."""
    return Forgotten(Cache(room_for(3), float("inf")))


def test_what_was_begun_before_a_person_was_forgotten_holds_no_longer_and_what_was_begun_after_holds(forgotten):
    before = forgotten.number
    forgotten.put("person-mei")
    after = forgotten.number

    assert forgotten.since(before, "person-mei")
    assert not forgotten.since(after, "person-mei")


def test_who_was_forgotten_stays_so_while_others_are_forgotten(forgotten):
    before = forgotten.number
    forgotten.put("person-mei")
    forgotten.put("person-ali")
    forgotten.put(None)

    assert forgotten.since(before, "person-mei")
    assert not forgotten.since(before, "person-zoe")


def test_of_whom_nobody_knows_who_it_is_may_be_anybody(forgotten):
    before = forgotten.number
    assert not forgotten.since(before, None)

    forgotten.put("person-mei")
    assert forgotten.since(before, None)


def test_everybody_is_forgotten_at_once(forgotten):
    before = forgotten.number
    forgotten.put_everybody()

    assert forgotten.since(before, "person-mei")
    assert not forgotten.since(forgotten.number, "person-mei")


@pytest.mark.parametrize("people", range(4, 12))
def test_of_more_people_than_fit_none_is_left_out(forgotten, people):
    before = forgotten.number
    for number in range(people):
        forgotten.put(f"person-{number:03}")

    assert all(forgotten.since(before, f"person-{number:03}") for number in range(people))
    assert not any(forgotten.since(forgotten.number, f"person-{number:03}") for number in range(people))


def test_who_does_not_fit_at_all_is_not_left_out_either(forgotten):
    before = forgotten.number
    forgotten.put("p" * 100_000)

    assert forgotten.since(before, "p" * 100_000)


def test_a_person_has_been_forgotten_anew_when_the_number_is_another(forgotten):
    assert forgotten.last("person-mei") == forgotten.last("person-ali")

    forgotten.put("person-mei")
    forgotten.put("person-mei")
    last = forgotten.last("person-mei")
    assert last == forgotten.number != forgotten.last("person-ali")

    for number in range(9):
        forgotten.put(f"person-{number:03}")
    assert forgotten.last("person-mei") >= last
