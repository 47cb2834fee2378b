"""Errands that wait for company: `bff.resilience.gate.together`."""

import random
import threading
import time

import pytest

from bff.resilience.gate import Gate, together, waiting
from tests.crowd import Crowd


class Doer:
    """Doubles numbers, and remembers which ones came together."""

    def __init__(self, seconds=0.0):
        self.rounds = []
        self._seconds = seconds

    def __call__(self, numbers):
        time.sleep(self._seconds)
        self.rounds.append(list(numbers))
        return [number * 2 for number in numbers]


def test_outside_any_gate_an_errand_is_run_alone():
    do = Doer()

    assert together(21, do) == 42
    assert do.rounds == [[21]]


def test_who_is_alone_waits_for_nobody():
    do = Doer()
    crowd = Crowd(lambda environ: together(environ["name"], do))

    crowd.come([1])

    assert crowd.let_go() == {1: 2}
    assert do.rounds == [[1]]


def test_those_who_come_at_the_same_time_go_together_and_each_gets_its_own():
    do = Doer()
    crowd = Crowd(lambda environ: together(environ["name"], do))

    crowd.come(range(10))

    assert crowd.let_go() == {number: number * 2 for number in range(10)}
    assert [sorted(numbers) for numbers in do.rounds] == [list(range(10))]


def test_no_more_than_a_few_wait_for_one_another():
    do = Doer()
    crowd = Crowd(lambda environ: together(environ["name"], do))

    crowd.come(range(40))

    assert crowd.let_go() == {number: number * 2 for number in range(40)}
    assert max(map(len, do.rounds)) == 17, "sixteen others came first"


def test_who_waited_for_company_that_has_no_errand_goes_alone():
    do = Doer()
    crowd = Crowd(lambda environ: together(environ["name"], do) if environ.get("asks") else None)

    crowd.come([1], asks=True)
    crowd.come(["a", "b"])

    assert crowd.let_go()[1] == 2
    assert do.rounds == [[1]]


def test_a_crowd_without_errands_does_not_hold_up_who_has_one():
    do = Doer()
    went = []

    def inside(environ):
        said = together(environ["name"], do) if environ.get("asks") else None
        went.append(environ["name"])
        return said

    crowd = Crowd(inside)
    crowd.come([1], asks=True)
    crowd.come([f"stranger {number}" for number in range(60)])
    crowd.let_go()

    assert went.index(1) <= 17


def test_errands_of_another_kind_are_not_mixed():
    double, other = Doer(), Doer()
    kinds = {0: double, 1: other}
    crowd = Crowd(lambda environ: together(environ["name"], kinds[environ["name"] % 2]))

    crowd.come(range(10))

    assert crowd.let_go() == {number: number * 2 for number in range(10)}
    assert {number % 2 for numbers in double.rounds for number in numbers} == {0}
    assert {number % 2 for numbers in other.rounds for number in numbers} == {1}


def test_when_who_goes_for_all_fails_the_others_hear_of_it_and_the_gate_still_opens():
    def fails(_numbers):
        raise KeyboardInterrupt

    def inside(environ):
        try:
            return together(environ["name"], fails)
        except (KeyboardInterrupt, ConnectionError) as error:
            return type(error)

    crowd = Crowd(inside)
    crowd.come(range(5))
    said = list(crowd.let_go().values())

    assert sorted(each.__name__ for each in said) == ["ConnectionError"] * 4 + ["KeyboardInterrupt"]
    crowd.come([5])
    crowd.are_gone()


def test_those_who_came_back_from_genauth_wait_for_fewer():
    do = Doer(0.01)

    def inside(environ):
        with waiting():
            time.sleep(0.3)
        return together(environ["name"], do)

    crowd = Crowd(inside, permits=4)
    crowd.come(range(20))

    assert crowd.let_go() == {number: number * 2 for number in range(20)}
    assert 1 < max(map(len, do.rounds)) <= 9, "eight others came first"


@pytest.mark.parametrize("permits", [1, 2, 4])
def test_whatever_they_do_everybody_gets_their_own_and_every_permit_comes_back(permits):
    do = Doer()
    inside = most = 0
    lock = threading.Lock()

    def count(change):
        nonlocal inside, most
        with lock:
            inside += change
            most = max(most, inside)

    def application(environ, _start_response):
        dice = random.Random(environ["name"])
        said = []
        for _ in range(dice.randrange(4)):
            if dice.random() < 0.2:
                with waiting():
                    time.sleep(dice.random() / 200)
            else:
                said.append(together(environ["name"], do))
        count(1)
        time.sleep(dice.random() / 1000)
        count(-1)
        environ["said"] = set(said)
        return [b""]

    gate = Gate(application, permits)
    environs = [{"name": number} for number in range(400)]

    def caller(mine):
        for environ in mine:
            gate(environ, None)

    threads = [threading.Thread(target=caller, args=(environs[start::40],)) for start in range(40)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)

    assert not any(thread.is_alive() for thread in threads), "somebody waits for ever"
    assert all(environ["said"] <= {environ["name"] * 2} for environ in environs)
    assert sum(map(len, do.rounds)) > len(do.rounds), "nobody had company"
    assert most <= permits + 1, "and one that has waited"
    assert (gate._known._free, gate._returning._free) == (permits, 1)
