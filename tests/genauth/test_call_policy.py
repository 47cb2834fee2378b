"""A call policy under admission control (docs/adr/0008): who waits for a place in the bulkhead holds no permit meanwhile."""

import threading
import time
from unittest.mock import Mock

import pytest

from bff.genauth.call_policy import CallBulkheadFull, CallPolicy
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
