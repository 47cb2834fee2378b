"""Redis as a cluster and behind sentinels: hits before and after a failover, no 5xx in between, never a long wait."""

import threading
import time
from contextlib import ExitStack

import pytest
import redis
from click.testing import CliRunner
from flask import Flask

from bff.cache import CacheUnavailable, Locks, RedisStore, redis_backend
from bff.cli import main
from bff.models import AccountEvent
from bff.observability import Recorder
from bff.resilience import CircuitBreaker, Rules
from bff.sandbox import sources
from tests.fault.conftest import ASKED, PATH, eventually, redis_is_back, services, timed, together, travel
from tests.fault.nodes import Cluster, Sentinels
from tests.fault.reading import LINKED, STREAM, UNLINKED, read, unlink
from tests.timing import in_time

GITHUB, GOOGLE = sources.GITHUB.id, sources.GOOGLE.id
PEOPLE = ("mei", "omar", "nia", "lin", "ada", "bo")
UNLINK = "/api/v3/unlink-extidp"
BOUND = 1.0  # seconds for one timeout of 0.25, or two with sentinels, on a machine that has other things to do


@pytest.fixture(scope="module")
def _cluster():
    with Cluster() as cluster:
        yield cluster


@pytest.fixture
def cluster(_cluster):
    _cluster.flush()
    return _cluster


@pytest.fixture
def own_cluster():
    """One to be broken."""
    with Cluster() as cluster:
        yield cluster


@pytest.fixture
def sentinels(tmp_path):
    with Sentinels(tmp_path) as sentinels:
        yield sentinels


@pytest.fixture
def everybody(sign_in):
    """Sessions enough to fall into every part of a cluster."""
    return [sign_in(person) for person in PEOPLE]


def connected(app):
    """The application, once it has learned its way through a cluster."""
    assert eventually(lambda: services(app).readiness.statuses()["redis"].up, 8)
    return app


def hits(client, everybody):
    return all("; hit; ttl=" in timed(client, headers).source for headers in everybody)


def ask_for(seconds, client, everybody):
    """Everybody again and again: the statuses, the longest wait, and how many took longer than a moment."""
    answers = []
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        answers += [timed(client, headers) for headers in everybody]
        time.sleep(0.02)
    return {answer.status for answer in answers}, max(answer.seconds for answer in answers)


def test_a_cluster_remembers_every_user_wherever_they_fall(app_on, cluster, genauth, everybody):
    client = connected(app_on(cluster.url)).test_client()
    for headers in everybody:
        assert timed(client, headers).source == "linked-accounts; fwd=miss"

    assert hits(client, everybody)
    assert cluster.keys() == 3 * len(everybody), "accounts, acceptance and that it is recent, and no lock is left"
    assert genauth.calls(ASKED) == len(everybody)
    assert sum(cluster.ask(n, "DBSIZE") > 0 for n in range(3)) > 1, "or this test shows nothing"


def test_locks_work_in_a_cluster(app_on, cluster, genauth, sign_in):
    headers = sign_in("mei")
    workers = [connected(app_on(cluster.url)) for _ in range(2)]
    genauth.trouble(path=ASKED, latency=0.4)

    answers = together(40, lambda n: timed(workers[n % 2].test_client(), headers))

    assert {answer.status for answer in answers} == {200}
    assert genauth.calls(ASKED) == 1


def with_accounts(app, everybody):
    """How many people this worker shows any accounts."""
    return sum(bool(timed(app.test_client(), headers).response.json["linkedAccounts"]) for headers in everybody)


def test_the_command_line_reaches_everybody_and_every_worker_of_a_cluster(app_on, cluster, environ, genauth, everybody):
    apps = [connected(app_on(cluster.url, LOCAL_CACHE_SECONDS="30", CACHE_TTL_SECONDS="600")) for _ in range(2)]
    assert eventually(lambda: all(services(app).invalidations.connected for app in apps))
    before = [with_accounts(app, everybody) for app in apps * 2]
    for person in PEOPLE:
        genauth.answers(person, [])

    results = [
        CliRunner().invoke(main, ["forget", genauth.id_of(person)], env=environ | {"REDIS_URL": cluster.url}) for person in PEOPLE
    ]

    assert [with_accounts(app, everybody) for app in apps] == [0, 0]
    assert min(before) > 3
    assert {result.exit_code for result in results} == {0}
    assert all("Workers that were listening: 2." in result.stdout for result in results)
    for app in apps:
        services(app).invalidations.stop(wait_seconds=5)


@pytest.fixture
def locks_on():
    """``locks_on(url)``: the locks of a process of its own."""

    def make(url):
        store = RedisStore(lambda: redis_backend(Flask("test"), url, timeout=0.25), CircuitBreaker("redis", Rules()), Recorder())
        assert eventually(store.ping, 8)
        return Locks(store, 2.4)

    return make


def test_locks_in_every_part_of_a_cluster_are_held_by_one_and_renewed(locks_on, cluster):
    here, there = locks_on(cluster.url), locks_on(cluster.url)
    names = [f"la:6:{{{person}}}:lock" for person in range(30)]

    with ExitStack() as held:
        mine = [held.enter_context(here.attempt(name)) for name in names]
        assert all(attempt for attempt in mine)
        assert sum(cluster.ask(n, "DBSIZE") > 0 for n in range(3)) > 1, "or this test shows nothing"
        time.sleep(3.2)
        for name in names:
            with there.attempt(name) as other:
                assert not other
    assert sum(cluster.ask(n, "DBSIZE") for n in range(3)) == 0


def test_a_refusal_and_a_change_reach_every_worker_over_a_cluster(app_on, cluster, genauth, sign_in):
    headers = sign_in("mei")
    one, other = connected(app_on(cluster.url)), connected(app_on(cluster.url))
    for app in (one, other):
        assert timed(app.test_client(), headers).status == 200
    services(one).changes.forget(genauth.id_of("mei"), cause="webhook")

    assert "fwd=" in timed(other.test_client(), headers).source


def test_after_a_change_nobody_answers_from_memory_over_a_cluster(app_on, cluster, genauth, sign_in):
    people = ("omar", "kim", "lin")
    one, other = (connected(app_on(cluster.url, LOCAL_CACHE_SECONDS="30")) for _ in range(2))
    assert eventually(lambda: all(services(app).invalidations.connected for app in (one, other)))
    began = time.monotonic()
    for person in people:
        headers = sign_in(person)
        for _ in range(2):
            assert timed(other.test_client(), headers).status == 200
        services(one).changes.forget(genauth.id_of(person), cause="webhook")

        assert "fwd=" in timed(other.test_client(), headers).source
    for app in (one, other):
        services(app).invalidations.stop(wait_seconds=5)
    in_time(time.monotonic() - began, 1.5)


def forgets_many(app, genauth):
    """Whether everybody, and as many again whom nobody knows, can be forgotten at once."""
    people = [*map(genauth.id_of, PEOPLE), *map(str, range(len(PEOPLE)))]
    try:
        services(app).changes.forget(*people, cause="webhook", wait=False)
    except CacheUnavailable:
        return False
    return True


def test_many_people_are_forgotten_at_once_wherever_they_fall_in_a_cluster(app_on, cluster, genauth, everybody):
    one, other = connected(app_on(cluster.url)), connected(app_on(cluster.url))
    for headers in everybody:
        timed(one.test_client(), headers)
    assert hits(other.test_client(), everybody)

    assert forgets_many(one, genauth)

    assert not any("hit" in timed(other.test_client(), headers).source for headers in everybody)


def test_a_cluster_whose_node_dies_and_is_replaced(app_on, own_cluster, genauth, everybody):
    app = app_on(own_cluster.url)
    client = app.test_client()
    ask_for(0.3, client, everybody)
    assert hits(client, everybody)
    assert forgets_many(app, genauth)

    own_cluster.nodes[0].kill()
    statuses, longest = ask_for(4, client, everybody)

    assert statuses == {200}
    assert longest < BOUND
    assert eventually(lambda: hits(client, everybody), 8)
    assert eventually(lambda: forgets_many(app, genauth), 8)


def test_a_cluster_that_freezes_altogether_and_thaws(app_on, own_cluster, genauth, everybody):
    cluster = own_cluster
    client = app_on(cluster.url).test_client()
    ask_for(0.2, client, everybody)
    for node in cluster.nodes:
        node.freeze()
    try:
        statuses, longest = ask_for(2.5, client, everybody)
    finally:
        for node in cluster.nodes:
            node.thaw()

    assert statuses == {200}
    assert longest < BOUND
    assert eventually(lambda: hits(client, everybody), 8)


def test_a_start_with_a_frozen_cluster_works_and_it_is_used_when_it_thaws(app_on, own_cluster, genauth, everybody, sign_in):
    cluster = own_cluster
    for node in cluster.nodes:
        node.freeze()
    try:
        app = app_on(cluster.url)
        statuses, longest = ask_for(2, app.test_client(), everybody)
    finally:
        for node in cluster.nodes:
            node.thaw()

    assert statuses == {200}
    assert longest < BOUND
    connected(app)
    timed(app.test_client(), sign_in("mei"))
    assert cluster.keys() > 0


def test_sentinels_lead_to_the_new_master(app_on, sentinels, genauth, everybody):
    client = app_on(sentinels.url).test_client()
    ask_for(0.3, client, everybody)
    assert hits(client, everybody)
    with redis.Redis.from_url(sentinels.replica.url) as connection:
        assert "cmdstat_mget" not in connection.info("commandstats"), "a replica lags: it would know of no refusal yet"

    sentinels.master.kill()
    statuses, longest = ask_for(4, client, everybody)

    assert statuses == {200}
    assert longest < BOUND
    assert eventually(lambda: hits(client, everybody), 8)
    with redis.Redis.from_url(sentinels.replica.url) as connection:
        assert eventually(lambda: connection.info("replication")["role"] == "master" and connection.dbsize() > 0)


def test_a_master_that_freezes_is_left_behind_and_comes_back_as_a_replica(app_on, sentinels, genauth, everybody):
    app = app_on(sentinels.url, EVENTS_STREAM=STREAM)
    client = app.test_client()
    ask_for(0.3, client, everybody)

    sentinels.master.freeze()
    try:
        statuses, longest = ask_for(4, client, everybody)
    finally:
        sentinels.master.thaw()
    after, longest_after = ask_for(2, client, everybody)

    assert statuses == after == {200}
    assert max(longest, longest_after) < BOUND
    assert eventually(lambda: hits(client, everybody), 8)
    with redis.Redis.from_url(sentinels.replica.url) as connection:
        assert connection.info("replication")["role"] == "master"

    assert eventually(lambda: redis_is_back(app), 8)
    unlink(app, everybody[1], GITHUB)
    watching = [tuple(each.split(":")) for each in sentinels.url.split("/")[2].split(",")]
    with redis.Sentinel(watching).master_for(Sentinels.NAME, decode_responses=True) as server:
        assert read(server, 1) == [(UNLINKED, GITHUB)]


# Events, whose stream is on one server of a cluster, wherever the person falls -------------------------------------------------


@pytest.fixture
def in_cluster(cluster, app_on):
    """An application over the cluster, and a client of the same."""
    host, port = cluster.url.rpartition(",")[2].split(":")
    with redis.RedisCluster(host, int(port), decode_responses=True) as server:
        yield connected(app_on(cluster.url, EVENTS_STREAM=STREAM)), server


def test_a_cluster_has_events_too(in_cluster, genauth, sign_in):
    app, server = in_cluster
    accounts = [("omar", GITHUB), ("omar", GOOGLE), ("kim", GITHUB), ("zoe", GOOGLE), ("user-7", GITHUB)]
    linked = AccountEvent(LINKED, genauth.id_of("mei"), GITHUB, "github")

    for person, account in accounts:
        unlink(app, sign_in(person), account)
        services(app).changes.forget(genauth.id_of("mei"), cause="webhook", events=[linked])

    assert read(server, 6) == [(UNLINKED, GITHUB), (LINKED, GITHUB), *((UNLINKED, account) for _, account in accounts[1:])]
    assert server.xlen(STREAM) == 6


def test_in_a_cluster_too_nothing_is_answered_that_others_could_not_learn_of(in_cluster, sign_in):
    app, server = in_cluster
    server.set(STREAM, "theirs")
    response = app.test_client().delete(f"{PATH}/{GITHUB}", headers=sign_in("omar"))
    assert (response.status_code, response.json["code"]) == (504, "change_unconfirmed")

    server.delete(STREAM)
    travel(app, 2)
    assert timed(app.test_client(), sign_in("omar")).status == 200

    assert read(server, 1) == [(UNLINKED, GITHUB)]


def test_in_a_cluster_too_what_a_killed_process_added_is_not_added_again(in_cluster, genauth, sign_in):
    app, server = in_cluster
    omar = genauth.id_of("omar")
    genauth.trouble(path=UNLINK, ending="reset", carried_out=False)
    assert app.test_client().delete(f"{PATH}/{GITHUB}", headers=sign_in("omar")).status_code == 504
    genauth.healthy()
    genauth.unlink("omar", "my-github")
    # Of the two round trips that it takes, the first.
    services(app).changes.forget(omar, cause="unlink", events=[AccountEvent(UNLINKED, omar, GITHUB, "github", time.time())])

    travel(app, 2)
    assert timed(app.test_client(), sign_in("omar")).status == 200
    assert services(app).changes.unconfirmed(omar) == ()

    assert read(server, 1) == [(UNLINKED, GITHUB)]
    assert server.xlen(STREAM) == 1


def test_a_cluster_that_becomes_full_keeps_what_was_answered(in_cluster, genauth, sign_in):
    app, server = in_cluster
    genauth.trouble(path=UNLINK, latency=0.3)
    unlinking = threading.Thread(target=unlink, args=(app, sign_in("omar"), GITHUB))
    unlinking.start()
    assert eventually(lambda: genauth.calls(UNLINK))
    nodes = [server.get_redis_connection(node) for node in server.get_primaries()]
    try:
        for node in nodes:
            node.config_set("maxmemory-policy", "noeviction")
            node.config_set("maxmemory", 1)
        unlinking.join()
    finally:
        for node in nodes:
            node.config_set("maxmemory", 64_000_000)

    assert read(server, 1) == [(UNLINKED, GITHUB)]
