"""The benchmark's arithmetic, without a load."""

import json

import pytest

from bench import verdicts
from bench.documents import plots, scaling
from bench.documents.simulate import Activity, Lives, Shares, simulate
from bench.load.worst_data import shapes
from bench.load.wrk import Load, NothingMeasured, WrongAnswer, command, read
from bench.rows import Verdict, row


def told(**changed):
    figures = {
        "requests": 300,
        "microseconds": 2_000_000,
        "failed": 0,
        "broken": 0,
        "mean": 1.5,
        "milliseconds": {"50": 1.0, "99": 4.0},
    }
    return "Running 2s test\n" + json.dumps({**figures, **changed}) + "\n"


def test_what_wrk_printed_becomes_a_rate_and_percentiles():
    figures = read(told())

    assert (figures.per_second, figures.p50, figures.p99) == (150, 1.0, 4.0)


@pytest.mark.parametrize("wrong", [{"failed": 1}, {"broken": 1}])
def test_one_wrong_answer_ends_the_measurement(wrong):
    with pytest.raises(WrongAnswer):
        read(told(**wrong))


def test_no_answer_at_all_is_no_measurement():
    with pytest.raises(NothingMeasured):
        read(told(requests=0))


def test_a_bar_is_judged_by_the_median_of_the_rounds():
    assert row("warm", "x bare", 0.45, [0.1, 0.5, 0.6], "x").verdict is Verdict.REACHED
    assert row("warm", "x bare", 0.45, [0.1, 0.4, 0.6], "x").verdict is Verdict.SHORT


def test_less_is_better_where_it_is_said_to_be():
    assert row("stampede", "upstream calls", 1, [1, 1, 1], "", less_is_better=True).verdict is Verdict.REACHED
    assert row("stampede", "upstream calls", 1, [1, 2, 2], "", less_is_better=True).verdict is Verdict.SHORT


def test_what_could_not_be_measured_is_not_reached():
    assert row("miss", "anything", 1, [], "ms", less_is_better=True).verdict is Verdict.WRONG


def test_a_ratio_is_taken_within_each_round():
    rates = {"ours": [100, 10], "node": [50, 5], "floor": [200, 20], "ours, warm": [90, 9], "recipe": [30, 3], "bare": [180, 18]}
    programs = {name: [{"per_second": rate, "cost": 1.0} for rate in each] for name, each in rates.items()}

    repeat, *_ = verdicts.rows({"steady": {"programs": programs}})

    assert (repeat.value, repeat.low, repeat.high) == (2, 2, 2)


@pytest.mark.parametrize("ttl", [10, 60, 600])
def test_a_poisson_stream_misses_as_theory_says(ttl):
    # A renewal process: each miss is followed by the hits of the next ttl seconds, so 1 of 1 + rate * ttl is a miss.
    often = Activity(visits_per_day=2_000, questions_per_visit=1, pause_seconds=1)

    shares = simulate(often, Lives(ttl=ttl, accepted=ttl, local=0), workers=1, users=100, days=1)

    assert shares.genauth == pytest.approx(1 / (1 + 2_000 / 86_400 * ttl), rel=0.05)


def test_the_shorter_of_freshness_and_acceptance_decides_how_often_genauth_is_asked():
    app = scaling.ACTIVITIES["profile in an app"]

    long, short = (simulate(app, Lives(ttl=ttl, accepted=60), workers=2) for ttl in (3600, 60))
    assert long.genauth == short.genauth


def test_more_workers_answer_less_from_memory_each():
    busy = Activity(visits_per_day=10, questions_per_visit=20, pause_seconds=0.5)

    assert simulate(busy, Lives(), workers=64).memory < simulate(busy, Lives(), workers=1).memory


def test_a_hundred_times_the_users_need_a_hundred_times_everything():
    costs, shares = scaling.Costs(50, 200, 1_000, 2, 7, 700), Shares(0.2, 0.5, 0.3, 0.05)
    app = scaling.ACTIVITIES["profile in an app"]

    few, many = (scaling.need(users, app, shares, costs) for users in (1e6, 1e8))

    assert many.genauth_per_second == pytest.approx(100 * few.genauth_per_second)
    assert many.workers == pytest.approx(100 * few.workers)
    assert many.redis_gb == pytest.approx(100 * few.redis_gb)


def test_what_is_stored_in_a_worker_spares_redis_but_never_genauth():
    busy = scaling.ACTIVITIES["header of every page"]

    without, with_it = simulate(busy, Lives(local=0), workers=2), simulate(busy, Lives(local=30), workers=2)

    assert without.memory == 0
    assert with_it.redis < without.redis
    assert with_it.genauth == without.genauth


def test_the_worst_data_is_what_genauth_could_send():
    envelope = {"statusCode": 200, "message": "Operation successful", "requestId": "bench"}
    sizes = [len(json.dumps({**envelope, "data": records}, separators=(",", ":"))) for records in shapes().values()]

    assert 1_000_000 < max(sizes) <= 1024 * 1024
    assert min(sizes) > 450_000


def test_the_worst_data_is_the_same_each_time():
    assert shapes() == shapes()


def test_a_crowd_is_asked_for_by_zipfs_law(tmp_path):
    load = Load(tmp_path / "tokens", callers=128, seconds=60, zipf=1.1, pause=0.03)

    assert command(load, "http://127.0.0.1:1/", None)[-6:] == [str(load.tokens), "random", "0", "1", "1.1", "30"]


def test_a_plot_is_an_svg_and_takes_any_name():
    picture = plots.bars("a < b", "/s", {"ours & theirs": (2, 1, 3)})

    assert picture.startswith("<svg ")
    assert "ours &amp; theirs" in picture
    assert plots.curves("t", "x", "y", {"one": [(1, 1), (10, 2)]}).endswith("</svg>\n")
