import json
import os
import re
from pathlib import Path

import pytest

from bff import __version__
from bff.factory import THREADS
from tests.server.service import eventually
from tests.timing import in_time
from tests.valkey import free_port

pytestmark = pytest.mark.server


def cpu_seconds(pid):
    user, system = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[11:13]
    return (int(user) + int(system)) / os.sysconf("SC_CLK_TCK")


def test_the_procfile_starts_a_service_that_answers(service, mei):
    answer = service.get(token=mei)

    assert answer.status_code == 200
    assert [account["provider"]["type"] for account in answer.json()["linkedAccounts"]] == ["lark", "wechat"]


def test_every_mistake_in_the_settings_is_named_before_anything_starts(start):
    service = start(
        ready=False, GENAUTH_HOST="", CACHE_TTL_SECONDS="soon", GENAUTH_APP_SECRET="hush-5521\n", REDIS_URL="mysql://u:p4ss@h"
    )

    assert service.process.wait(10) == 2
    assert service.printed().startswith("The service cannot start:\n  - ")
    assert all(name in service.printed() for name in ("GENAUTH_HOST", "CACHE_TTL_SECONDS", "REDIS_URL"))
    assert not any(secret in service.printed() for secret in ("Traceback", "hush-5521", "p4ss"))
    assert service.left_behind() == ([], [])


def test_what_is_hardly_meant_is_named_at_the_start(start):
    service = start(CORS_ORIGIN="https://app.example", METRICS_TOKEN="a", RATE_LIMIT="100/minute")

    def named():
        lines = [json.loads(line) for line in service.printed().splitlines()]
        return {line["setting"] for line in lines if line["event"] == "setting_warning"}

    eventually(named, within=5)
    assert named() == {"CORS_ORIGIN", "METRICS_TOKEN"}


def test_a_healthy_start_is_one_line_and_a_warning_for_each_thing_that_is_missed_later(start):
    service = start(
        REDIS_URL="unix:///nowhere/redis.sock?password=p4ss-canary",
        CACHE_STALE_SECONDS="0",
        LOCAL_CACHE_SECONDS="",
        RATE_LIMIT="",
        ready=False,
    )
    eventually(lambda: service.readiness() is not None, within=20)
    eventually(lambda: service.printed().count('"level":"warning"') >= 2, within=5)

    lines = [json.loads(line) for line in service.printed().splitlines()]
    (started,) = [line for line in lines if line["event"] == "started"]
    assert {name: started[name] for name in ("version", "address", "workers", "threads", "genauth", "verification", "redis")} == {
        "version": __version__,
        "address": f"0.0.0.0:{service.port}",
        "workers": 2,
        "threads": THREADS,
        "genauth": service.environ["GENAUTH_HOST"],
        "verification": "jwks",
        "redis": "unix:///nowhere/redis.sock",
    }
    off = "CACHE_SECRET, CORS_ORIGINS, METRICS_TOKEN, SESSION_COOKIE_NAME, TRUSTED_PROXIES, WEBHOOK_SECRET, CACHE_STALE_SECONDS"
    assert started["off"] == off
    warnings = [(line["event"], line["setting"]) for line in lines if "setting" in line]
    assert sorted(warnings) == [("cache_is_plain_json", "CACHE_SECRET"), ("setting_warning", "METRICS_TOKEN")]
    assert "p4ss-canary" not in service.printed()


def test_as_many_workers_as_asked_for_listen_on_the_port_asked_for(start):
    port = free_port()

    service = start(PORT=str(port), WEB_CONCURRENCY="3")

    assert service.port == port
    assert len(service.workers()) == 3


def test_every_worker_has_the_keys_before_anybody_asks(start, genauth):
    start(ready=False, WEB_CONCURRENCY="3")

    eventually(lambda: genauth.calls("/oidc/.well-known/jwks.json") == 3, within=20)


def test_a_start_without_genauth_waits_for_nothing_and_mends_itself(start, genauth, mei):
    genauth.trouble(status=503)
    service = start(ready=False, WEB_CONCURRENCY="1")
    eventually(lambda: service.readiness() == 503, within=20)
    assert service.get("/livez").status_code == 200

    genauth.healthy()

    eventually(service.is_ready, within=15)
    assert service.get(token=mei).status_code == 200


def test_every_line_the_service_writes_is_json_and_none_tells_of_the_server(service, mei):
    service.get(token=mei)
    service.get("/nowhere")
    os.kill(service.workers()[0], 9)
    eventually(lambda: "Unexpected exit" in service.printed(), within=5)

    lines = [json.loads(line) for line in service.printed().splitlines()]

    assert {"timestamp", "level", "event"} <= set.intersection(*(set(line) for line in lines))


def test_no_version_of_anything_is_told(service):
    assert service.get("/livez").headers["Server"] == "granian"


def test_a_variable_of_the_processs_is_no_header_of_a_request(start, mei):
    service = start(HTTP_AUTHORIZATION=f"Bearer {mei}", HTTP_X_REQUEST_ID="an-id-from-nowhere")

    answer = service.get()

    assert answer.json()["code"] == "token_missing"
    assert answer.headers["X-Request-Id"] != "an-id-from-nowhere"


def test_the_embedded_valkey_holds_what_is_cached(start, genauth, mei):
    service = start(REDIS_URL="embedded")

    fetched = [service.get(token=mei).headers["Cache-Status"] for _ in range(8)]

    assert "miss" in fetched[0]
    assert all("hit" in status for status in fetched[1:])
    assert genauth.calls("/api/v3/get-identities") == 1


def test_the_start_is_a_second_of_work_and_mostly_done_once(start):
    service = start(REDIS_URL="embedded")

    # Work, not time: how long it takes depends on what else the machine does. A first answer waits for both of these.
    in_time(cpu_seconds(service.pid), 1.5)
    in_time(max(map(cpu_seconds, service.workers())), 1.0)


def test_every_process_has_what_is_read_before_python_runs(start):
    service = start(MALLOC_ARENA_MAX="7")

    for pid in (service.pid, *service.workers()):
        variables = dict(pair.partition("=")[::2] for pair in Path(f"/proc/{pid}/environ").read_text().split("\0"))
        assert variables["RES_OPTIONS"] == "timeout:1 attempts:1"
        assert "narenas:1" in variables["_RJEM_MALLOC_CONF"]
        assert variables["MALLOC_ARENA_MAX"] == "7"  # the operator's own


def test_the_metrics_of_all_workers_are_added_up(start, mei):
    service = start(METRICS_TOKEN="scrape", WEB_CONCURRENCY="3")

    for _ in range(30):  # each on a connection of its own, which any worker may take
        assert service.get(token=mei).status_code == 200

    def counted():
        lines = service.get("/metrics", token="scrape").text.splitlines()
        return sum(
            float(line.split()[-1]) for line in lines if re.match(r"linked_accounts_answers_total\{.*/me/linked-acc", line)
        )

    eventually(lambda: counted() == 30, within=5)
    assert [counted() for _ in range(6)] == [30] * 6
