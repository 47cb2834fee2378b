"""Few threads compute, many wait: `bff.resilience.admission`."""

import threading
import time

import pytest

from bff.errors import UpstreamTimeout, UpstreamUnavailable
from bff.resilience import Deadline, FairSemaphore, NotAdmittedAgain, admitted, is_crowded, released, set_apart
from tests.admission import admitting
from tests.timing import in_time


def at_once(function, *names):
    """Run the function in a thread for each name, which come one after the other."""
    threads = [threading.Thread(target=function, args=(name,)) for name in names]
    for thread in threads:
        thread.start()
        time.sleep(0.01)
    return threads


def join(threads):
    for thread in threads:
        thread.join(10)
    assert not any(thread.is_alive() for thread in threads), "a thread waits for ever"


class Counted:
    """A function that counts how many threads are in it, and waits with or without a permit."""

    def __init__(self, *, release):
        self.inside = self.most = 0
        self._release = release
        self._lock = threading.Lock()

    def __call__(self, _name):
        self._count(1)
        if self._release:
            with released():
                self._count(-1)
                time.sleep(0.1)
            self._count(1)
        else:
            time.sleep(0.02)
        self._count(-1)

    def _count(self, change):
        with self._lock:
            self.inside += change
            self.most = max(self.most, self.inside)


@pytest.mark.parametrize("release", [True, False])
def test_no_more_threads_compute_than_there_are_permits(release):
    counted = Counted(release=release)

    join(at_once(admitting(counted, 2), *range(12)))

    assert counted.most <= 2
    assert release or counted.most == 2


def test_a_thread_that_waits_keeps_nobody_from_computing():
    started = time.monotonic()

    join(at_once(admitting(Counted(release=True), 1), *range(20)))

    in_time(time.monotonic() - started, 1.5)  # one after the other would be two seconds


def test_threads_are_served_in_the_order_in_which_they_came():
    served, open_ = [], threading.Event()

    def compute(name):
        open_.wait(5)
        served.append(name)

    threads = at_once(admitting(compute, 1), *range(20))
    open_.set()
    join(threads)

    assert served == list(range(20))


def test_a_thread_that_has_just_been_served_does_not_overtake_one_that_waits():
    served, queued = [], threading.Event()

    def compute(name):
        queued.wait(5)
        served.append(name)

    run = admitting(compute, 1)
    greedy = threading.Thread(target=lambda: [run("greedy") for _ in range(50)])
    greedy.start()
    time.sleep(0.05)
    patient = at_once(run, "patient")
    time.sleep(0.05)
    queued.set()
    join([greedy, *patient])

    assert served[1] == "patient"


def test_a_thread_that_waited_elsewhere_queues_behind_those_that_came_meanwhile():
    order, answered = [], threading.Event()

    def compute(name):
        if name == "first":
            with released():
                answered.wait(5)
        else:
            time.sleep(0.05)
        order.append(name)

    threads = at_once(admitting(compute, 1), "first", "second", "third")
    answered.set()
    join(threads)

    assert order == ["second", "third", "first"]


@pytest.mark.parametrize("wait", [True, False])
def test_a_permit_comes_back_from_a_failure(wait):
    def fail(_name):
        if wait:
            with released():
                raise RuntimeError
        raise RuntimeError

    run = admitting(fail, 1)
    for _ in range(3):
        with pytest.raises(RuntimeError):
            run("anybody")


def test_without_a_permit_there_is_nothing_to_release():
    with released(), released():
        pass


def test_what_is_released_twice_is_one_permit():
    semaphore = FairSemaphore(1)
    with admitted(semaphore, Deadline.after(1)):
        with released(), released():
            assert semaphore.acquire(0)
            assert not semaphore.acquire(0)
            semaphore.release()
        assert not semaphore.acquire(0)

    assert semaphore.acquire(0)


def test_the_queue_ends_with_the_deadline():
    semaphore = FairSemaphore(1)
    assert semaphore.acquire(0)
    started = time.monotonic()

    with pytest.raises(UpstreamUnavailable) as refused, admitted(semaphore, Deadline.after(0.1)):
        pytest.fail("there is no permit")

    assert in_time(time.monotonic() - started, 1) >= 0.1
    assert refused.value.retry_after == 1


def test_the_queue_for_a_released_permit_ends_with_the_deadline_too():
    semaphore = FairSemaphore(1)
    started = time.monotonic()

    with pytest.raises(UpstreamTimeout), admitted(semaphore, Deadline.after(0.2)), released():
        assert semaphore.acquire(0), "somebody else took it"

    assert in_time(time.monotonic() - started, 1) >= 0.2
    semaphore.release()
    assert semaphore.acquire(0), "the thread that gave up gives nothing back a second time"
    assert not semaphore.acquire(0)


def test_a_thread_that_gave_up_takes_no_permit_along():
    semaphore = FairSemaphore(1)
    assert semaphore.acquire(0)
    assert not semaphore.acquire(0.01)

    semaphore.release()

    assert semaphore.acquire(0)


def test_no_permit_is_lost_or_made_while_many_give_up():
    semaphore = FairSemaphore(2)
    got = []

    def compute(_name):
        for _ in range(200):
            if semaphore.acquire(0.0005):
                got.append(1)
                time.sleep(0.0005)
                semaphore.release()

    join(at_once(compute, *range(12)))

    assert got
    assert semaphore.acquire(0)
    assert semaphore.acquire(0)
    assert not semaphore.acquire(0)


LARGE = 1024 * 1024


def test_large_work_is_done_without_a_permit_and_other_work_with_one():
    semaphore, deadline = FairSemaphore(1), Deadline.after(1)

    with admitted(semaphore, deadline):
        with set_apart(1_000, deadline):
            assert not semaphore.acquire(0)
        with set_apart(LARGE, deadline):
            assert semaphore.acquire(0), "others compute meanwhile"
            semaphore.release()
        assert not semaphore.acquire(0)


def test_large_work_is_done_one_at_a_time_and_waited_for_until_the_deadline():
    waited = []

    def wait(_name):
        with pytest.raises(NotAdmittedAgain), set_apart(LARGE, Deadline.after(0.05)):
            pass
        waited.append(1)

    with set_apart(LARGE, Deadline.after(1)):
        join(at_once(wait, *range(3)))
        with set_apart(1_000, Deadline.after(0)):
            pass

    assert len(waited) == 3
    with set_apart(LARGE, Deadline.after(0)):
        pass


def test_large_work_that_fails_leaves_room_for_the_next():
    for _ in range(2):
        with pytest.raises(ValueError, match="broken"), set_apart(LARGE, Deadline.after(0)):
            raise ValueError("broken")


@pytest.mark.parametrize(("outside", "left"), [(100, 32), (48, 32), (24, 16), (6, 4)])
def test_who_waits_for_another_caller_leaves_room_for_those_that_call(outside, left):
    semaphore, leave, seen = FairSemaphore(1, outside_at_most=outside), threading.Event(), []

    def wait(_name):
        with admitted(semaphore, Deadline.after(10)):
            seen.append((is_crowded(), is_crowded(for_a_call=True)))
            with released():
                leave.wait(10)

    threads = []
    for number in range(outside + 1):
        threads += at_once(wait, number)
    leave.set()
    join(threads)

    assert seen == [(False, False)] * (outside - left) + [(True, False)] * left + [(True, True)]
    with admitted(semaphore, Deadline.after(1)):
        assert not is_crowded(), "whoever came back counts no more"
    assert not is_crowded(), "no thread without a permit is held up"


def test_who_is_not_admitted_again_counts_no_more():
    semaphore = FairSemaphore(1, outside_at_most=1)
    with pytest.raises(UpstreamTimeout), admitted(semaphore, Deadline.after(0.05)), released():
        assert semaphore.acquire(0), "somebody else took it"

    semaphore.release()
    with admitted(semaphore, Deadline.after(1)):
        assert not is_crowded(for_a_call=True)
