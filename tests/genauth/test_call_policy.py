"""A call policy under admission control (docs/adr/0013): who waits for a place in the bulkhead holds no permit meanwhile."""

import threading
import time
from unittest.mock import Mock

import pytest

from bff.genauth.call_policy import CallBulkheadFull, CallPolicy
from bff.resilience import Deadline, FairSemaphore, NotAdmittedAgain, admitted
from tests.admission import admitting


@pytest.fixture
def policy():
    return CallPolicy("identities", 1, Mock())


def turns(enter):
    """In which order ``enter`` and somebody who waits for the one permit get to compute."""
    order = []

    def application(environ):
        if environ["who"] == "first":
            other.start()
            time.sleep(0.05)  # it stands in the queue by now
            enter()
        order.append(environ["who"])

    admit = admitting(application, 1)
    other = threading.Thread(target=admit, args=({"who": "other"},))
    admit({"who": "first"})
    other.join()
    return order


def test_a_free_place_is_taken_without_giving_way(policy):
    def enter():
        with policy.attempt(1.0):
            time.sleep(0.05)

    assert turns(enter) == ["first", "other"]
    assert policy.bulkhead.in_use == 0


def test_who_waits_for_a_place_gives_way(policy):
    def enter():
        with pytest.raises(CallBulkheadFull), policy.attempt(1.0):
            pass

    with policy.attempt(1.0):
        assert turns(enter) == ["other", "first"]


def test_who_is_not_admitted_again_takes_no_place_with_it_and_says_nothing_about_genauth(policy):
    semaphore, outside = FairSemaphore(1), threading.Event()

    def first():
        with policy.attempt(1.0):
            outside.wait(1)

    def busy():
        with admitted(semaphore, Deadline.after(2)):
            outside.set()  # the place becomes free, the permit does not
            time.sleep(0.3)

    holder, other = threading.Thread(target=first), threading.Thread(target=busy)
    holder.start()
    while not policy.bulkhead.in_use:
        time.sleep(0.001)
    with admitted(semaphore, Deadline.after(0.1)):
        other.start()
        with pytest.raises(NotAdmittedAgain), policy.attempt(1.0):
            pass
    other.join()
    holder.join()

    assert policy.bulkhead.in_use == 0
    assert policy.breaker.state == "closed"
