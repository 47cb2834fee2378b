"""Few processes and threads allowed: the service takes no more than there are, and answers 503 where others would end."""

import os
import sys
import threading
import time
from collections import Counter
from contextlib import suppress
from pathlib import Path

import pytest

from bff.factory import THREADS
from bff.server.dev import web_command
from bff.server.threads import TooFewThreads, for_each, room
from tests.server.service import Service, descendants, eventually

ASKED = "/api/v3/get-identities"


def tasks(pid):
    """How many threads the process and all below it have."""
    count = 0
    for each in (pid, *descendants(pid)):
        with suppress(OSError):
            count += len(list(Path(f"/proc/{each}/task").iterdir()))
    return count


def crowd(service, tokens, times=2):
    """The statuses of so many callers at once, and the most threads that the service had meanwhile."""
    statuses, most = Counter(), 0

    def ask(token):
        for _ in range(times):
            statuses[service.get(token=token).status_code] += 1

    callers = [threading.Thread(target=ask, args=(token,)) for token in tokens]
    for caller in callers:
        caller.start()
    while any(caller.is_alive() for caller in callers):
        most = max(most, tasks(service.pid))
        time.sleep(0.02)
    return statuses, most


@pytest.fixture
def tokens(genauth):
    return [genauth.token("mei") for _ in range(10)] + [genauth.token("omar") for _ in range(10)] + [
        genauth.token(f"user-{number}") for number in range(220)
    ]  # fmt: skip


@pytest.mark.server
@pytest.mark.slow
def test_a_crowd_while_genauth_hangs_makes_fewer_than_200_threads_in_all(start, genauth, tokens):
    service = start(REDIS_URL="embedded", METRICS_TOKEN="scrape-canary-5b1d-77")
    genauth.trouble(path=ASKED, latency=1.5)

    statuses, most = crowd(service, tokens)

    assert 2 * THREADS < most < 200
    assert set(statuses) <= {200, 503, 504}


def allowing(number):
    """A cgroup that may have so many processes and threads."""
    version_1 = Path("/sys/fs/cgroup/pids")
    group = (version_1 if version_1.is_dir() else Path("/sys/fs/cgroup")) / f"linked-accounts-test-{os.getpid()}-{number}"
    try:
        group.mkdir()
        (group / "pids.max").write_text(str(number))
    except OSError:
        with suppress(OSError):
            group.rmdir()
        pytest.skip("no cgroup of its own is to be had here")
    return group


@pytest.fixture
def limited(environ, tmp_path):
    """``limited(64)``: the service where so many processes and threads are allowed, and their cgroup."""
    started = []

    def starting(number, **changed):
        group = allowing(number)
        service = Limited(group, {**environ, "REDIS_URL": "embedded", **changed}, tmp_path / f"limited-{number}")
        started.append((service, group))
        return service, group

    yield starting
    for service, group in started:
        service.clear_away()
        eventually(lambda group=group: not (group / "cgroup.procs").read_text(), within=5)
        group.rmdir()


class Limited(Service):
    """The Procfile's web line, in a cgroup."""

    def __init__(self, group, environ, output):
        self.group = group
        super().__init__(environ, output)

    def command(self):
        return ["/bin/sh", "-c", f"echo $$ > {self.group}/cgroup.procs; exec {web_command()}"]


@pytest.mark.server
@pytest.mark.slow
def test_where_few_threads_are_allowed_a_crowd_gets_503_and_no_worker_ends(limited, genauth, tokens):
    service, group = limited(64)
    eventually(service.is_ready, within=20)
    workers = service.workers()
    genauth.trouble(path=ASKED, latency=1.0)

    statuses, most = crowd(service, tokens[:120], times=1)

    assert set(statuses) <= {200, 503, 504}
    assert (service.workers(), most <= 64) == (workers, True)
    assert "max 0" in (group / "pids.events").read_text(), "nothing was refused by the kernel"
    assert service.get(token=tokens[0], timeout=10).status_code in {200, 503}
    assert service.end()[0] == 0


@pytest.mark.server
def test_where_too_few_threads_are_allowed_a_sentence_says_so(limited):
    service, _ = limited(64, WEB_CONCURRENCY="8")

    assert service.process.wait(10) == 2
    assert "lower WEB_CONCURRENCY" in service.printed()
    assert len(service.printed().splitlines()) == 2


# How many are allowed -----------------------------------------------------------------------------


@pytest.fixture
def machine(tmp_path):
    """``machine("0::/a/b", {"a": (100, 30)})``: /proc and the cgroups, with the limit and the use of some of them."""

    def made(line, groups):
        proc, cgroups = tmp_path / "proc", tmp_path / "cgroups"
        (proc / "self").mkdir(parents=True)
        (proc / "self/cgroup").write_text(f"3:cpu,cpuacct:/elsewhere\n{line}\n")
        for path, (limit, used) in groups.items():
            (cgroups / path).mkdir(parents=True, exist_ok=True)
            (cgroups / path / "pids.max").write_text(f"{limit}\n")
            (cgroups / path / "pids.current").write_text(f"{used}\n")
        return room(proc, cgroups)

    return made


@pytest.mark.parametrize(
    ("line", "groups", "left"),
    [
        ("0::/a/b", {"a/b": (100, 30)}, 70),
        ("0::/a/b", {"a/b": ("max", 30), "a": (50, 40)}, 10),
        ("0::/", {".": (256, 6)}, 250),
        ("0::/../other", {".": (256, 6)}, 250),
        ("4:pids:/a/b", {"pids/a/b": (100, 30), "pids/a": (90, 30)}, 60),
        ("4:pids:/docker/0123", {"pids": (100, 30)}, 70),
        ("4:pids:/a", {"pids/a": (10, 30)}, 0),
        ("0::/a", {}, sys.maxsize),
        ("0::/a", {"a": ("max", 30)}, sys.maxsize),
    ],
)
@pytest.mark.skipif(os.getuid() != 0, reason="what this user may have is counted too")
def test_the_smallest_of_all_limits_counts(machine, line, groups, left):
    assert machine(line, groups) == left


def test_a_limit_of_the_user_where_there_is_no_proc_limits_nothing(tmp_path, monkeypatch):
    monkeypatch.setattr("os.getuid", lambda: 1000)
    monkeypatch.setattr("resource.setrlimit", lambda *_: None)
    monkeypatch.setattr("resource.getrlimit", lambda _: (2784, 4176))  # as macOS has it

    assert room(tmp_path / "none", tmp_path / "none") == sys.maxsize


def test_each_worker_gets_its_part_of_the_room():
    assert for_each(2, sys.maxsize) == for_each(2, 250) == THREADS
    assert 4 * 24 < 4 * for_each(4, 170) < 170 - 4 * 10
    assert for_each(1, 60) > for_each(2, 60)


def test_too_little_room_is_said():
    with pytest.raises(TooFewThreads, match=r"leaves room for 30 more, and WEB_CONCURRENCY=2 needs 46\. Raise the limit"):
        for_each(2, 30)
