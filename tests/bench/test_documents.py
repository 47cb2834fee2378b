"""The documents are written from results, whatever these are, so that no figure is typed by hand."""

import re

import pytest

from bench import verdicts
from bench.documents import performance, scaling
from bench.documents.sections import SECTIONS
from bench.programs import ALL
from bench.scenarios import SCENARIOS
from bench.scenarios.hits import REPEATED

CURVE = {p: float(place + 1) for place, p in enumerate(("1", "50", "75", "90", "95", "99", "99.9", "100"))}
EVERY = [program.name for program in ALL]
BOTH = ["ours", "node"]


def run(rate, cost, **more):
    return {"per_second": rate, "cost": cost, "others": 0.01, "milliseconds": CURVE, **more}


@pytest.fixture
def results():
    rates = {"ours": 9_000, "ours, warm": 4_000, "recipe": 900, "bare": 8_000, "node": 8_500, "floor": 16_000}
    few = run(300, 700, direct=1.0)
    return {
        "day": "2026-01-01",
        "machine": "2 cores",
        "steady": {"callers": 32, "programs": {name: [run(rate, 1e6 / rate)] * 3 for name, rate in rates.items()}},
        "crowd": {
            "people": 20_000, "zipf": 1.1, "seconds": 60, "genauth_seconds": 0.05, "workers": 2,
            "programs": {name: [run(4_000, 90, asked=0.06, **{"from": {"memory": 0.7, "hit": 0.3}})] for name in BOTH},
        },
        "screens": {
            "screens": 10_000, "every": 30, "seconds": 58, "genauth_seconds": 0.05, "workers": 2,
            "programs": {
                "ours": [
                    run(
                        333, 2_100, cores=0.7, calls_per_second=166, hit={"50": 2.0, "99": 9.0}, asked={"50": 55.0, "99": 90.0},
                        **{"from": {"cache": 0.5, "genauth": 0.49, "collapsed": 0.01}},
                    )
                ]
            },
        },
        "miss": {
            "callers": 64, "few": 16, "genauth_seconds": 0.05,
            "programs": {name: [run(1_200, 700, few=few)] * 3 for name in BOTH},
        },
        "stampede": {
            "callers": 500, "genauth_seconds": 0.2,
            "programs": {name: [{"calls": 1, "slowest": 0.5, "median": 0.4}] for name in [*BOTH, "recipe"]},
        },
        "mixed": {
            "genauth_seconds": 0.2,
            "programs": {
                name: [{"alone": CURVE, "together": CURVE, "per_second": 9_000, "missed_per_second": 90}] for name in BOTH
            },
        },
        "hanging": {
            "callers": 300, "genauth_seconds": 2.5,
            "programs": {"ours": [{"alone": 1.0, "beside": 1.5, "hits": 800, "waited": 900, "served": 300}] * 7},
        },
        "worst_case": {
            "shapes": {"many strings": [{"cpu": 0.2, "status": 200, "bytes": 900}] * 3},
            "requests": {"a long cookie": [{"cpu": 0.1, "status": 401, "bytes": 200}] * 3},
        },
        "memory": {
            "users": 100_000, "programs": {name: {"start": 60, "after": 70} for name in BOTH},
            "redis_bytes_per_user": 690, "redis_bytes_per_user_encrypted": 600, "redis_commands": {"hit": 2, "miss": 7},
        },
        "cold_start": {"programs": {name: [{"answer": 0.6, "accounts": 0.7}] for name in EVERY}},
        "workers": {
            "free_cores": False,
            "rounds": [{f"{name}, {count}": run(9_000, 100 + count) for name in ("ours", "floor") for count in (1, 2)}],
        },
        "growth": {"sampled": 20_000, "programs": {"ours, warm": [{"users": n, **run(4_000, 200)} for n in (100, 10_000)]}},
    }  # fmt: skip


def test_the_results_cover_every_scenario(results):
    assert SCENARIOS.keys() <= results.keys()
    assert {program.name for program in REPEATED} == results["steady"]["programs"].keys()


def test_every_scenario_has_a_section_that_names_every_program_of_it(results):
    assert SCENARIOS.keys() <= SECTIONS.keys()
    for name in SCENARIOS.keys() - {"hanging", "workers", "worst_case"}:
        section = "\n\n".join(SECTIONS[name](results[name]))
        assert [program for program in results[name]["programs"] if not re.search(rf"\| {program}[ ,]", section)] == [], name
    assert all(f"| {program} " in "\n\n".join(SECTIONS["workers"](results["workers"])) for program in ("ours", "floor"))
    assert "| many strings " in "\n\n".join(SECTIONS["worst_case"](results["worst_case"]))


def test_the_table_has_a_line_for_every_bar(results):
    lines = verdicts.rows(results)

    assert [(line.scenario, line.bar) for line in lines if line.bar is not None] == [
        ("repeat", 1.0), ("repeat", 10), ("warm", 2.5), ("crowd", 1.5), ("miss", 5.0), ("miss", 0.6),
        ("stampede", 1), ("stampede", 0.5), ("mixed", 2.0), ("GenAuth hangs", 2.0), ("worst case", 0.3),
        ("memory", 75), ("memory", 20), ("memory", 700), ("memory", 700), ("cold start", 1.0),
    ]  # fmt: skip


def test_what_bounds_the_figures_is_told_without_a_verdict(results):
    lines = [line for line in verdicts.rows(results) if line.bar is None]

    assert [line.what.split()[1] for line in lines] == ["floor", "node", "bare", "10,000", "ideal", "one"]
    assert {line.verdict.value for line in lines} == {""}


def test_the_document_shows_every_picture_that_was_drawn(results, tmp_path):
    performance.write(results, tmp_path)

    document = (tmp_path / "performance.md").read_text()
    shown = set(re.findall(r"\(performance/(\w+)\.svg\)", document))
    assert shown == {file.stem for file in (tmp_path / "performance").iterdir()} == {"throughput", "latency", "misses", "growth"}
    assert "16 of 16 bars reached." in document
    assert "{" not in document


@pytest.mark.parametrize("absent", sorted(SCENARIOS))
def test_what_was_not_measured_is_left_out(results, tmp_path, absent):
    del results[absent]

    performance.write(results, tmp_path)

    assert "# Performance" in (tmp_path / "performance.md").read_text()


def test_a_bar_that_was_missed_is_said_to_be(results, tmp_path):
    results["memory"]["redis_bytes_per_user"] = 1_056

    performance.write(results, tmp_path)

    document = (tmp_path / "performance.md").read_text()
    assert "15 of 16 bars reached, 1 short." in document
    assert re.search(r"Redis for a user .*\*\*short\*\*", document)


def test_scale_is_told_for_all_three_sizes_with_where_each_figure_is_from(results, tmp_path):
    scaling.write(results, tmp_path)

    document = (tmp_path / "scaling.md").read_text()
    assert all(f"| {users:,}" in document for users in scaling.USERS)
    assert document.count("measured") >= 4
    assert document.count("assumed") >= 6
    assert "{" not in document


def test_open_screens_are_told_with_what_was_measured_and_what_other_settings_make_of_it(results, tmp_path):
    scaling.write(results, tmp_path)

    told = (tmp_path / "scaling.md").read_text().partition("## 10,000 open screens")[2].partition("\n## ")[0]
    lines = [[cell.strip() for cell in line.strip("|").split("|")] for line in told.splitlines() if line.startswith("|")]
    measured, simulated, *others = lines[2:]
    assert measured == ["the default settings", "measured", "0% · 50% · 50%", "166", "0.70"]
    assert simulated[:4] == ["the default settings", "simulated", *measured[2:3], "167"]
    assert len(others) >= 3
    assert "2 ms at p50 and 9 at p99" in told


def test_without_a_measurement_open_screens_are_simulated(results, tmp_path):
    del results["screens"]

    scaling.write(results, tmp_path)

    assert "| the default settings " in (tmp_path / "scaling.md").read_text()
