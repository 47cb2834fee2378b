"""Few run, many wait: `bff.resilience.gate`."""

import threading
import time

import pytest

from bff.resilience.gate import ARRIVED, Gate, waiting


class Crowd:
    """An application that counts how many threads are in it, and waits outside or inside the gate."""

    def __init__(self, *, politely):
        self.inside = self.most = 0
        self._politely = politely
        self._lock = threading.Lock()

    def __call__(self, _environ, _start_response):
        self._count(1)
        if self._politely:
            with waiting():
                self._count(-1)
                time.sleep(0.1)
            self._count(1)
        else:
            time.sleep(0.02)
        self._count(-1)
        return iter([b"a", b"b"])

    def _count(self, change):
        with self._lock:
            self.inside += change
            self.most = max(self.most, self.inside)


def ask(application, times):
    threads = [threading.Thread(target=application, args=({}, None)) for _ in range(times)]
    started = time.monotonic()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return time.monotonic() - started


@pytest.mark.parametrize("politely", [True, False])
def test_no_more_threads_compute_than_there_are_permits(politely):
    crowd = Crowd(politely=politely)

    ask(Gate(crowd, 2), 12)

    assert crowd.most <= 2


def test_who_waits_keeps_nobody_from_computing():
    crowd = Crowd(politely=True)

    assert ask(Gate(crowd, 1), 20) < 1.5  # one after the other would be two seconds


def test_the_answer_is_a_whole_list_and_its_source_is_closed():
    closed = []

    class Body:
        def __iter__(self):
            return iter([b"a", b"b"])

        def close(self):
            closed.append(True)

    assert Gate(lambda *_: Body(), 1)({}, None) == [b"ab"]
    assert closed == [True]


def test_a_permit_comes_back_from_a_failure():
    def fails(environ, start_response):
        with waiting():
            raise RuntimeError

    gate = Gate(fails, 1)
    for _ in range(3):
        with pytest.raises(RuntimeError):
            gate({}, None)


def test_outside_any_gate_waiting_is_nothing():
    with waiting():
        pass


def test_who_came_first_goes_first():
    went = []
    busy = threading.Event()

    def application(environ, _start_response):
        busy.wait(5)
        went.append(environ["name"])
        return []

    threads = queue_up(Gate(application, 1), [{"name": number} for number in range(20)])
    busy.set()
    for thread in threads:
        thread.join()

    assert went == list(range(20))


def queue_up(gate, environs):
    threads = []
    for environ in environs:
        threads.append(threading.Thread(target=gate, args=(environ, None)))
        threads[-1].start()
        time.sleep(0.01)
    return threads


@pytest.mark.parametrize("new", [True, False])
def test_neither_waits_behind_a_crowd_of_the_other_kind(new):
    went, open_ = [], threading.Event()

    def application(environ, _start_response):
        if environ["new"] is new:
            open_.wait(5)
        went.append(environ["new"])
        return []

    gate = Gate(application, 2, newcomers=2, is_new=lambda environ: environ["new"])
    threads = queue_up(gate, [{"new": new} for _ in range(6)] + [{"new": not new} for _ in range(3)])
    time.sleep(0.1)
    before = list(went)
    open_.set()
    for thread in threads:
        thread.join()

    assert before == [not new] * 3
    assert went[3:] == [new] * 6


def test_no_more_newcomers_compute_than_there_are_permits_for_them():
    crowd = Crowd(politely=False)

    ask(Gate(crowd, 9, newcomers=2, is_new=lambda _environ: True), 12)

    assert crowd.most == 2


def test_newcomers_keep_a_pace_only_while_others_come():
    paced = []
    gate = Gate(lambda *_: [], 2, is_new=lambda environ: environ["new"], pace=lambda: paced.append(True))

    def paced_after(*requests):
        paced.clear()
        for arrived, new in requests:
            gate({"new": new, ARRIVED: arrived}, None)
        return len(paced)

    assert not paced_after((1.000, True), (1.001, True)), "there is nobody whom they could disturb"
    assert not paced_after((2.000, False), (2.001, False)), "these are not new"
    assert paced_after((3.000, False), (3.001, True), (3.002, True)) == 2
    assert not paced_after((3.011, True)), "the last one who is known came too long ago"


def test_who_keeps_a_pace_holds_no_permit():
    went, go_on = [], threading.Event()

    def application(environ, _start_response):
        went.append(environ["new"])
        return []

    gate = Gate(application, 1, is_new=lambda environ: environ["new"], pace=go_on.wait)
    gate({"new": False, ARRIVED: 1.0}, None)
    newcomers = queue_up(gate, [{"new": True, ARRIVED: 1.0}, {"new": True, ARRIVED: 1.0}])
    gate({"new": False, ARRIVED: 1.0}, None)
    go_on.set()
    for newcomer in newcomers:
        newcomer.join()

    assert went == [False, False, True, True]


def test_who_has_just_been_served_does_not_push_in():
    went = []
    queued = threading.Event()

    def application(environ, _start_response):
        queued.wait(5)
        went.append(environ["name"])
        return []

    gate = Gate(application, 1)
    greedy = threading.Thread(target=lambda: [gate({"name": "greedy"}, None) for _ in range(50)])
    patient = threading.Thread(target=gate, args=({"name": "patient"}, None))
    greedy.start()
    time.sleep(0.05)
    patient.start()
    time.sleep(0.05)
    queued.set()
    greedy.join()
    patient.join()

    assert went[1] == "patient"
