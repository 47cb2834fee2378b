import threading
import time

from bff.observability.readiness import Readiness


class Clock:
    def __init__(self):
        self.now = 0.0

    def __call__(self):
        return self.now


def test_a_dependency_that_is_well_is_up_at_the_first_question():
    dependencies = Readiness({"redis": lambda: True, "genauth": lambda: False})

    assert dependencies.statuses() == {"redis": True, "genauth": False}


def test_it_is_asked_once_in_three_seconds_however_often_we_are():
    clock, asked = Clock(), []
    dependencies = Readiness({"redis": lambda: not asked.append(clock.now)}, clock)

    for clock.now in (0.0, 1.0, 2.9, 3.0, 5.0):
        dependencies.statuses()

    assert asked == [0.0, 3.0]


def test_one_that_hangs_holds_nobody_up_and_keeps_its_last_status():
    clock, hanging = Clock(), threading.Event()

    def up_then_hanging():
        return hanging.wait() if clock.now else True

    dependencies = Readiness({"genauth": up_then_hanging}, clock)
    assert dependencies.statuses() == {"genauth": True}

    clock.now = 10.0
    begun = time.monotonic()
    statuses = dependencies.statuses()
    took = time.monotonic() - begun
    hanging.set()

    assert (statuses, took < 0.9) == ({"genauth": True}, True)


def test_of_many_probes_one_waits():
    asked, hanging = threading.Event(), threading.Event()
    dependencies = Readiness({"genauth": lambda: asked.set() or hanging.wait(10)}, wait_seconds=10)
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
    assert dependencies.statuses() == {"genauth": True}
