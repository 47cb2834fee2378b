import threading
import time

import pytest

from bff.observability.readiness import Readiness, Reason
from tests.timing import in_time


class Clock:
    def __init__(self):
        self.now = 0.0

    def __call__(self):
        return self.now


def reasons(readiness):
    return {name: status.reason for name, status in readiness.statuses().items()}


def test_a_dependency_that_is_well_is_up_at_the_first_question():
    dependencies = Readiness({"redis": lambda: None, "genauth": lambda: Reason("refused")}, first_wait_seconds=5)

    assert reasons(dependencies) == {"redis": None, "genauth": Reason("refused")}


def test_it_is_asked_once_in_three_seconds_however_often_we_are():
    clock, asked = Clock(), []
    dependencies = Readiness({"redis": lambda: asked.append(clock.now)}, clock)

    for clock.now in (0.0, 1.0, 2.9, 3.0, 5.0):
        dependencies.statuses()

    assert asked == [0.0, 3.0]


def test_one_that_hangs_holds_nobody_up_and_keeps_its_last_status():
    clock, hanging = Clock(), threading.Event()

    def up_then_hanging():
        if clock.now:
            hanging.wait()

    dependencies = Readiness({"genauth": up_then_hanging}, clock)
    assert reasons(dependencies) == {"genauth": None}

    clock.now = 10.0
    begun = time.monotonic()
    statuses = reasons(dependencies)
    took = time.monotonic() - begun
    hanging.set()

    assert statuses == {"genauth": None}
    in_time(took, 0.9)


def test_one_whose_first_check_hangs_is_starting_and_the_others_are_told_of():
    hanging = threading.Event()
    dependencies = Readiness({"redis": lambda: None, "genauth": lambda: hanging.wait(10) and None}, first_wait_seconds=0.01)

    statuses = dependencies.statuses()
    hanging.set()

    assert {name: (status.up, status.blocking) for name, status in statuses.items()} == {
        "redis": (True, False),
        "genauth": (False, True),
    }


@pytest.mark.parametrize(("kind", "blocking"), [("starting", True), ("misconfigured", True), ("down", False)])
def test_only_what_never_worked_keeps_requests_away(kind, blocking):
    (status,) = Readiness({"genauth": lambda: Reason("keys_not_fetched", kind)}).statuses().values()

    assert (status.up, status.blocking) == (False, blocking)


def test_since_when_is_the_first_moment_of_a_reason_whatever_its_reason_becomes():
    clock, wall, found = Clock(), Clock(), []
    dependencies = Readiness({"genauth": lambda: found[-1]}, clock, clock=wall)
    seen = []
    for reason in (None, None, Reason("timeout"), Reason("unavailable"), None, Reason("timeout")):
        found.append(reason)
        clock.now, wall.now = clock.now + 5, wall.now + 5
        seen.append(dependencies.statuses()["genauth"].since)

    assert seen == [5, 5, 15, 15, 25, 30]


def test_without_a_thread_to_be_had_the_last_result_stays(monkeypatch):
    clock = Clock()
    dependencies = Readiness({"redis": lambda: None}, clock, first_wait_seconds=5)
    dependencies.statuses()

    def no_thread(_thread):
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(threading.Thread, "start", no_thread)
    clock.now = 10.0

    assert reasons(dependencies) == {"redis": None}


def test_of_many_probes_one_waits():
    asked, hanging = threading.Event(), threading.Event()

    def hang():
        asked.set()
        hanging.wait(10)

    dependencies = Readiness({"genauth": hang}, first_wait_seconds=10)
    first, *others = [threading.Thread(target=dependencies.statuses) for _ in range(20)]
    first.start()
    assert asked.wait(5)

    for thread in others:
        thread.start()
    for thread in others:
        thread.join(5)

    assert [thread.is_alive() for thread in (first, *others)] == [True] + [False] * 19
    hanging.set()
    first.join(5)
    assert reasons(dependencies) == {"genauth": None}
