import os
import re
import subprocess
import sys
import textwrap
from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from prometheus_client.parser import text_string_to_metric_families

from bff import __version__
from bff.accounts.service import Source
from bff.observability import metric_labels
from bff.observability.metrics import CONTENT_TYPE, Metrics

ROOT = Path(__file__).parents[2]


@pytest.fixture
def metrics(monkeypatch):
    monkeypatch.delenv("PROMETHEUS_MULTIPROC_DIR", raising=False)
    return Metrics()


def samples(text):
    return {
        (sample.name.removeprefix("linked_accounts_"), *(value for _, value in sorted(sample.labels.items()))): sample.value
        for family in text_string_to_metric_families(text if isinstance(text, str) else text.decode())
        for sample in family.samples
    }


def test_an_answer_is_counted_and_timed(metrics):
    for seconds in (0.004, 0.2):
        metrics.answered("/me/linked-accounts", 200, "cache", seconds)

    found = samples(metrics.render())
    assert found["answers_total", "/me/linked-accounts", "cache", "200"] == 2
    assert found["answer_seconds_bucket", "0.005", "/me/linked-accounts", "cache"] == 1
    assert found["answer_seconds_sum", "/me/linked-accounts", "cache"] == pytest.approx(0.204)


def test_each_event_has_its_counter(metrics):
    metrics.refused("token_invalid", "unknown kid")
    metrics.upstream_called("identities", "timeout", 3.0)
    metrics.upstream_retried("identities")
    metrics.records_left_out(1)
    metrics.cache_failed("get", "timeout")
    metrics.cache_rejected("foreign")
    metrics.leak_stopped("[].avatar_url")
    metrics.leak_stopped("linkedAccounts[].identities[].connectionIds[]")
    metrics.rate_limited("user")
    metrics.changed("unlink", "ok")
    metrics.log_lines_dropped(1)

    found = samples(metrics.render())
    for key in [
        ("refusals_total", "token_invalid", "unknown_kid"),
        ("upstream_calls_total", "identities", "timeout"),
        ("upstream_seconds_count", "identities"),
        ("upstream_retries_total", "identities"),
        ("records_left_out_total",),
        ("cache_failures_total", "get", "timeout"),
        ("cache_rejections_total", "foreign"),
        ("leaks_stopped_total", "avatar_url"),
        ("leaks_stopped_total", "connectionIds"),
        ("rate_limited_total", "user"),
        ("changes_total", "unlink", "ok"),
        ("log_lines_dropped_total",),
    ]:
        assert found[key] == 1, key


def test_the_version_is_a_label(metrics):
    assert samples(metrics.render())["build_info", __version__] == 1


def test_a_breaker_is_in_one_state_at_a_time(metrics):
    for state in ("open", "half_open", "closed", "open"):
        metrics.breaker_changed("redis", state)

    found = samples(metrics.render())
    assert {state: found["breaker_workers", "redis", state] for state in ("closed", "open", "half_open")} == {
        "closed": 0, "open": 1, "half_open": 0,
    }  # fmt: skip


def test_what_is_in_use_of_a_bulkhead_is_a_gauge(metrics):
    metrics.bulkhead_used("genauth-identities", 7)

    assert samples(metrics.render())["bulkhead_in_use", "genauth-identities"] == 7


def test_those_who_wait_are_counted_while_they_wait(metrics):
    with suppress(TimeoutError), metrics.waiting(), metrics.waiting(), metrics.waiting():
        during = samples(metrics.render())["waiting",]
        raise TimeoutError

    assert (during, samples(metrics.render())["waiting",]) == (3, 0)


def test_two_applications_in_one_process_do_not_meet(metrics):
    metrics.refused("not_found", "")

    assert ("refusals_total", "not_found", "not_found") not in samples(Metrics().render())


def test_the_text_is_what_prometheus_reads(metrics):
    assert CONTENT_TYPE.startswith("text/plain; version=")
    assert b"_created" not in metrics.render()


@hypothesis_settings(deadline=None, max_examples=30)
@given(
    st.lists(
        st.text(max_size=30).map("x {}".format) | st.from_regex(r"/me/linked-accounts/[0-9a-f]{24}", fullmatch=True), min_size=5
    )
)
def test_a_word_from_outside_makes_no_series(words):
    metrics = Metrics()
    for word in words:
        metrics.answered(word, 200, word, 0.1)
        metrics.refused(word, word)
        metrics.upstream_called(word, word, 0.1)
        metrics.upstream_retried(word)
        metrics.cache_failed(word, word)
        metrics.cache_rejected(word)
        metrics.breaker_changed(word, word)
        metrics.bulkhead_used(word, 1)
        metrics.leak_stopped(word)
        metrics.rate_limited(word)
        metrics.changed(word, word)

    found = samples(metrics.render())
    assert found["refusals_total", "other", "other"] == len(words)
    labels = {value for name, *values in found for value in values if not name.endswith("_bucket")}
    assert labels <= {"other", "200", "/", "closed", "open", "half_open", __version__}


def test_made_up_routes_end_at_a_number(metrics):
    letters = "abcdefghij"
    for one in letters:
        for two in letters:
            metrics.answered(f"/{one}{two}", 404, "none", 0.1)

    assert len([key for key in samples(metrics.render()) if key[0] == "answers_total"]) == 65


@pytest.mark.parametrize(
    "rule", ["/me/linked-accounts", "/me/linked-accounts/<id>", "/openapi.json", "/me/x/<path:rest>", "unmatched"]
)
def test_a_rule_of_ours_is_a_route(metrics, rule):
    metrics.answered(rule, 200, "none", 0.1)

    assert samples(metrics.render())["answers_total", rule, "none", "200"] == 1


def test_what_other_modules_say_is_in_the_vocabulary():
    from bff.genauth.calls import OUTCOMES

    assert [word for _, word in OUTCOMES if metric_labels.OUTCOME(word) == "other"] == []
    assert [source for source in Source if metric_labels.SOURCE(source) == "other"] == []


@pytest.mark.parametrize(
    ("bound", "pattern"),
    [
        (metric_labels.CACHE_OPERATION, r'_(?:do|report)\("(\w+)"'),
        (metric_labels.REJECTION, r'cache_rejected\("(\w+)"'),
        (metric_labels.OPERATION, r'Call\("(\w+)"'),
        (metric_labels.SOURCE, r'source(?:: str)? = (?:PATH, )?"(\w+)"'),
        (metric_labels.SCOPE, r'_limit\("(\w+)"'),
    ],
    ids=["cache operation", "rejection", "operation", "source", "scope"],
)
def test_what_is_written_in_the_code_is_in_the_vocabulary(bound, pattern):
    texts = [path.read_text() for path in (ROOT / "bff").rglob("*.py") if "sandbox" not in path.parts]
    words = {word for text in texts for word in re.findall(pattern, text)}

    assert words
    assert {word for word in words if bound(word) == "other"} == set()


WORKER = """
    import os, sys
    from bff.observability.metrics import Metrics
    metrics = Metrics()
    metrics.answered("/livez", 200, "none", 0.01)
    metrics.breaker_changed("redis", "open")
    with metrics.waiting():
        print(os.getpid(), flush=True)
        for _ in sys.stdin:
            print(metrics.render().decode(), "over", sep="", flush=True)
"""

# What a worker does that ends at once, as granian's do: a child of multiprocessing.
ENDING = """
    import multiprocessing
    from bff.observability.metrics import Metrics
    def work():
        Metrics().answered("/livez", 200, "none", 0.01)
    worker = multiprocessing.get_context("fork").Process(target=work)
    worker.start()
    worker.join()
    print(Metrics().render().decode())
"""


def start_worker(folder):
    return subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(WORKER)],
        cwd=ROOT,
        env={**os.environ, "PROMETHEUS_MULTIPROC_DIR": str(folder)},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )


def samples_of(worker):
    worker.stdin.write("?\n")
    worker.stdin.flush()
    return samples("".join(iter(worker.stdout.readline, "over\n")))


def test_workers_are_added_up_and_the_dead_keep_only_what_they_did(tmp_path):
    workers = [start_worker(tmp_path) for _ in range(3)]
    pids = [worker.stdout.readline().strip() for worker in workers]
    answers = ("answers_total", "/livez", "none", "200")
    assert samples_of(workers[1])[answers] == 3
    workers[0].kill()
    workers[0].communicate()

    found = samples_of(workers[1])
    for worker in workers[1:]:
        worker.communicate("")

    assert found[answers] == 3
    assert found["build_info", __version__] == 1
    assert found["answer_seconds_count", "/livez", "none"] == 3
    assert (found["breaker_workers", "redis", "open"], found["waiting",]) == (2, 2)
    assert not (tmp_path / f"gauge_livesum_{pids[0]}.db").exists()


def test_a_worker_that_ends_has_counted_everything(tmp_path):
    environ = {**os.environ, "PROMETHEUS_MULTIPROC_DIR": str(tmp_path)}

    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(ENDING)], cwd=ROOT, env=environ, capture_output=True, text=True, check=True
    )

    assert samples(done.stdout)["answers_total", "/livez", "none", "200"] == 1


FULL = """
    import os
    import resource
    import signal
    import sys
    from bff import errors

    if sys.argv[1:]:  # no file may be longer, as on a disk without room
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv[1]), resource.RLIM_INFINITY))
    from bff.observability import Metrics, metric_labels as labels
    from bff.observability.logging import WRITER, configure

    configure()
    metrics = Metrics()
    for route in range(80):
        for status in range(400, 430):
            for source in labels.SOURCES:
                name = "/me/linked-accounts/" + chr(97 + route % 26) + chr(97 + route // 26) + "<account_id_of_somebody>"
                metrics.answered(name.replace("<", "/<"), status, source, 0.1)
    for operation in "identities ext_idps discovery key_set introspection security_info link_url unlink".split():
        for outcome in labels.OUTCOMES:
            metrics.upstream_called(operation, outcome, 0.1)
    for action in ("link_started", "link_returned", "link_outcome", "unlink"):
        for code in vars(errors).values():
            metrics.changed(action, getattr(code, "code", "ok"))
    WRITER.flush()
    print(metrics.render().decode())
"""


def filled(folder, *bytes_at_most):
    """The output of a worker that has counted as many series as there can be."""
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(FULL), *map(str, bytes_at_most)],
        cwd=ROOT,
        env={**os.environ, "PROMETHEUS_MULTIPROC_DIR": str(folder)},
        capture_output=True,
        text=True,
        check=True,
    )
    return done.stdout


def test_the_files_never_grow_whatever_is_counted(tmp_path):
    told = filled(tmp_path)

    assert len(samples(told)) > 1500
    assert {file.name.rpartition("_")[0]: file.stat().st_size // 1024 for file in tmp_path.iterdir()} == {
        "counter": 256, "histogram": 384, "gauge_livesum": 64,
    }  # fmt: skip
    # No holes: what is mapped is there, and a disk that fills up takes none of it away.
    assert all(file.stat().st_blocks * 512 >= file.stat().st_size for file in tmp_path.iterdir())


def test_a_worker_without_room_for_its_files_goes_on_and_says_so(tmp_path):
    told = filled(tmp_path, 300_000)

    assert told.count('"event":"metrics_lost"') == 1
    assert list(tmp_path.iterdir()) == []


def test_a_worker_without_the_folder_goes_on_and_says_so(tmp_path):
    told = filled(tmp_path / "gone")

    assert told.count('"event":"metrics_lost"') == 1


def test_the_bounds_of_the_histogram_are_included(metrics):
    for seconds in (0.0005, 0.001, 0.0011, 0.3, 5.0, 60.0):
        metrics.answered("/livez", 200, "none", seconds)

    found = metrics.render().decode()

    assert samples(found)["answer_seconds_count", "/livez", "none"] == 6
    assert samples(found)["answer_seconds_sum", "/livez", "none"] == pytest.approx(65.3026)
    bounds = ("0.001", "0.0025", "0.25", "0.5", "5.0", "+Inf")
    assert [samples(found)["answer_seconds_bucket", bound, "/livez", "none"] for bound in bounds] == [2, 3, 3, 4, 5, 6]
