"""Promise 4: GenAuth is asked once, over all threads, processes and replicas."""

import json
import subprocess
import sys
import time
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.fault.conftest import ASKED, services, timed, together, travel
from tests.timing import in_time

ROOT = Path(__file__).parents[2]


def test_two_hundred_threads_of_one_process_cost_one_question(app, genauth, sign_in):
    headers = sign_in("mei")
    genauth.trouble(path=ASKED, latency=0.3)

    answers = together(200, lambda _: timed(app.test_client(), headers))

    assert {answer.status for answer in answers} == {200}
    assert genauth.calls(ASKED) == 1
    sources = [answer.source for answer in answers]
    assert sources.count("linked-accounts; fwd=miss") == 1
    assert all(
        source in {"linked-accounts; fwd=miss", "linked-accounts; fwd=miss; collapsed"} or "hit" in source for source in sources
    )


def test_two_processes_cost_one_question(app_with, genauth, sign_in):
    headers = sign_in("mei")
    workers = [app_with(), app_with()]
    genauth.trouble(path=ASKED, latency=0.5)

    answers = together(60, lambda n: timed(workers[n % 2].test_client(), headers))

    assert {answer.status for answer in answers} == {200}
    assert genauth.calls(ASKED) == 1
    in_time(max(answer.seconds for answer in answers), 0.5 + 0.5)


def test_a_question_that_takes_longer_than_a_lock_is_still_asked_once(app_with, genauth, sign_in):
    headers = sign_in("mei")
    workers = [app_with(), app_with()]
    genauth.trouble(path=ASKED, latency=2.2)

    answers = together(8, lambda n: timed(workers[n % 2].test_client(), headers))

    assert {answer.status for answer in answers} == {200}
    assert genauth.calls(ASKED) == 1


def test_sessions_of_one_user_are_each_accepted_by_genauth_itself(app, genauth, sign_in):
    sessions = [sign_in("mei") for _ in range(3)]

    together(30, lambda n: timed(app.test_client(), sessions[n % 3]))

    assert genauth.calls(ASKED) == 3


def test_one_persons_sessions_that_want_a_fresh_answer_cost_one_question(app_with, genauth, sign_in):
    sessions = [sign_in("mei") for _ in range(6)]
    workers = [app_with(TOKEN_ACCEPTED_SECONDS="600") for _ in range(3)]
    for headers in sessions:
        assert timed(workers[0].test_client(), headers).status == 200
    assert genauth.calls(ASKED) == 6
    for worker in workers:
        travel(worker, 5)
    genauth.trouble(path=ASKED, latency=0.3)

    answers = together(18, lambda n: timed(workers[n % 3].test_client(), sessions[n % 6], refresh=True))

    assert {answer.status for answer in answers} == {200}
    assert all("fwd=request" in answer.source or "; hit; ttl=" in answer.source for answer in answers)
    assert genauth.calls(ASKED) == 7


def test_a_failure_is_shared_over_processes(app_with, genauth, sign_in):
    headers = sign_in("mei")
    workers = [app_with(), app_with(), app_with()]
    genauth.trouble(path=ASKED, latency=0.4, status=500)

    answers = together(30, lambda n: timed(workers[n % 3].test_client(), headers))

    assert {answer.status for answer in answers} == {503}
    assert genauth.calls(ASKED) <= 2, "one question and its second try"
    asked = genauth.calls(ASKED)
    genauth.healthy()
    assert {timed(each.test_client(), headers).status for each in workers} == {503}, "it is repeated for two seconds"
    assert genauth.calls(ASKED) == asked
    travel(workers[1], 2.5)
    assert timed(workers[1].test_client(), headers).status == 200


def test_a_refusal_is_shared_over_processes(app_with, genauth, sign_in):
    headers = sign_in("mei")
    genauth.revoke(headers["Authorization"].removeprefix("Bearer "))
    workers = [app_with(), app_with()]
    genauth.trouble(path=ASKED, latency=0.3)

    answers = together(20, lambda n: timed(workers[n % 2].test_client(), headers))

    assert {answer.status for answer in answers} == {401}
    assert genauth.calls(ASKED) == 1


def test_waiting_ends_at_the_callers_own_deadline(app_with, genauth, sign_in):
    headers = sign_in("mei")
    budgets = {"UPSTREAM_DEADLINE_SECONDS": "2", "REQUEST_DEADLINE_SECONDS": "2.5"}
    slow = app_with(**budgets)
    hasty = app_with(UPSTREAM_DEADLINE_SECONDS="0.5", UPSTREAM_CONNECT_SECONDS="0.5", REQUEST_DEADLINE_SECONDS="0.6")
    genauth.trouble(path=ASKED, latency=1.5)

    def ask(n):
        time.sleep(0.3 * n)
        return timed((slow, hasty)[n].test_client(), headers)

    first, second = together(2, ask)

    assert (first.status, second.status) == (200, 504)
    assert in_time(second.seconds, 0.9) > 0.5
    assert genauth.calls(ASKED) == 1


def test_with_redis_away_each_process_asks_once(app_on, redis_server, genauth, sign_in):
    headers = sign_in("mei")
    workers = [app_on(redis_server.url), app_on(redis_server.url)]
    redis_server.kill()
    genauth.trouble(path=ASKED, latency=0.4)

    answers = together(60, lambda n: timed(workers[n % 2].test_client(), headers))

    assert {answer.status for answer in answers} == {200}
    assert genauth.calls(ASKED) == 2


def test_a_wish_for_a_fresh_answer_is_not_served_by_a_question_put_before_it(app, genauth, sign_in):
    client, headers = app.test_client(), sign_in("mei")
    timed(client, headers)
    travel(app, 90)
    genauth.trouble(path=ASKED, latency=2.3, times=1)

    def ask(n):
        if n == 0:
            return timed(client, headers)
        time.sleep(2.15)  # two seconds count as fresh
        return timed(app.test_client(), headers, refresh=True)

    first, wished = together(2, ask)

    assert first.status == wished.status == 200
    assert genauth.calls(ASKED) == 3
    assert int(wished.response.headers["Age"]) < 2


def test_waiting_callers_are_bounded_and_the_rest_are_told_soon(app_with, genauth, sign_in):
    headers = sign_in("mei")
    app = app_with()
    services(app).linked_accounts.waiting_room.free_seconds = 0.2
    genauth.trouble(path=ASKED, latency=1.5)

    answers = together(60, lambda _: timed(app.test_client(), headers))

    served = [answer for answer in answers if answer.status == 200]
    told = [answer for answer in answers if answer.status == 503]
    assert len(served) == 1 + 16
    assert len(told) == 60 - 17
    assert all(answer.response.headers["Retry-After"] == "1" for answer in told)
    assert genauth.calls(ASKED) == 1
    in_time(max(answer.seconds for answer in told), 1)


def test_the_sessions_of_one_person_leave_waiting_places_to_others(app_with, genauth, sign_in):
    sessions, omar = [sign_in("mei"), sign_in("mei")], sign_in("omar")
    app = app_with()
    services(app).linked_accounts.waiting_room.free_seconds = 0.2
    genauth.trouble(path=ASKED, latency=1.5)

    answers = together(70, lambda n: timed(app.test_client(), sessions[n % 2] if n < 60 else omar))

    assert [answer.status for answer in answers[60:]] == [200] * 10
    assert sorted(answer.status for answer in answers[:60]) == [200] * (2 + 16) + [503] * 42
    assert genauth.calls(ASKED) == 3


# Real processes ---------------------------------------------------------------------------------------


class Worker:
    def __init__(self, environ, headers, threads):
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.fault.worker"],
            cwd=ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
        )
        self._say(json.dumps({"environ": environ, "headers": headers, "threads": threads}))

    def ready(self):
        assert self._process.stderr.readline() == "ready\n"

    def _say(self, line):
        self._process.stdin.write(line + "\n")
        self._process.stdin.flush()

    def go(self):
        self._say("go")

    def kill(self):
        self._process.kill()

    def statuses(self):
        return json.loads(self._process.stderr.readline())

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self._process.kill()
        self._process.communicate()


@pytest.fixture
def processes(environ, sign_in):
    with ExitStack() as stack:

        def start(count, threads):
            headers = sign_in("mei")
            workers = [stack.enter_context(Worker(environ, headers, threads)) for _ in range(count)]
            for worker in workers:
                worker.ready()
            return workers

        yield start


def test_four_processes_of_fifty_threads_cost_one_question(processes, genauth):
    workers = processes(4, 50)
    genauth.trouble(path=ASKED, latency=0.5)
    for worker in workers:
        worker.go()

    assert [status for worker in workers for status in worker.statuses()] == [200] * 200
    assert genauth.calls(ASKED) == 1


def test_a_process_that_is_killed_while_asking_delays_the_others_by_a_locks_life(processes, genauth):
    first, second = processes(2, 5)
    genauth.trouble(path=ASKED, ending="hang", times=1)
    first.go()
    while not genauth.calls(ASKED):
        time.sleep(0.01)
    second.go()
    time.sleep(0.2)
    first.kill()
    killed_at = time.monotonic()

    assert second.statuses() == [200] * 5
    took = time.monotonic() - killed_at
    assert genauth.calls(ASKED) == 2
    in_time(took, 1.5 + 0.5)
