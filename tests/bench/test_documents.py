"""The documents are written from results, whatever these are, so that no figure is typed by hand."""

import re

import pytest

from bench import performance, scaling, verdicts
from bench.programs import ALL
from bench.scenarios import ANSWERING, REPEATED, SCENARIOS
from bench.sections import SECTIONS

CURVE = {p: float(place + 1) for place, p in enumerate(("1", "50", "75", "90", "95", "99", "99.9", "100"))}
EVERY = [program.name for program in ALL]
ANSWERS = [program.name for program in ALL if program.answers_accounts]


def run(rate, cost):
    return {"per_second": rate, "cost": cost, "others": 0.01, "milliseconds": CURVE}


@pytest.fixture
def results():
    rates = {"ours": 9_000, "ours, warm": 4_000, "recipe": 900, "bare": 8_000, "node": 8_500, "floor": 16_000}
    return {
        "day": "2026-01-01",
        "machine": "2 cores",
        "steady": {"callers": 32, "programs": {name: [run(rate, 1e6 / rate)] * 3 for name, rate in rates.items()}},
        "miss": {
            "callers": 64, "genauth_seconds": 0.05, "direct": [{"p50": 1.0}] * 3,
            "programs": {name: [run(1_200, 700)] * 3 for name in ANSWERS},
        },
        "stampede": {
            "callers": 500, "genauth_seconds": 0.2,
            "programs": {name: [{"calls": 1, "slowest": 0.5, "median": 0.4}] for name in ANSWERS},
        },
        "mixed": {
            "genauth_seconds": 0.2,
            "programs": {
                name: [{"alone": CURVE, "together": CURVE, "per_second": 9_000, "missed_per_second": 90}] for name in ANSWERS
            },
        },
        "memory": {
            "users": 100_000, "programs": {name: {"start": 60, "after": 70} for name in ANSWERS},
            "redis_bytes_per_user": 690, "redis_bytes_per_user_sealed": 600,
        },
        "cold_start": {"programs": {name: [{"answer": 0.6, "accounts": 0.7}] for name in EVERY}},
        "workers": {
            "free_cores": False,
            "rounds": [{
                **{f"{name}, {count}": run(9_000, 100 + count) for name in EVERY for count in (1, 2)},
                "beside the load": run(9_900, 180),
            }],
        },
        "threads": {"programs": {"1 thread": [run(4_000, 240)]}},
        "growth": {"sampled": 20_000, "programs": {"ours, warm": [{"users": n, **run(4_000, 200)} for n in (100, 10_000)]}},
        "profile": {"cost": 200.0, "shares": {"Redis round trip": 0.5, "Flask dispatch": 0.5}},
    }  # fmt: skip


def test_the_results_cover_every_scenario(results):
    assert SCENARIOS.keys() <= results.keys()
    assert {program.name for program in REPEATED} == results["steady"]["programs"].keys()
    assert sorted(program.name for program in ANSWERING) == sorted(ANSWERS)


def test_every_scenario_has_a_section_that_names_every_program_of_it(results):
    assert SCENARIOS.keys() <= SECTIONS.keys()
    for name in SCENARIOS.keys() - {"threads", "workers"}:
        section = "\n\n".join(SECTIONS[name](results[name]))
        assert [program for program in results[name]["programs"] if not re.search(rf"\| {program}[ ,]", section)] == [], name
    assert all(f"| {program} " in "\n\n".join(SECTIONS["workers"](results["workers"])) for program in EVERY)


def test_the_table_has_a_line_for_every_bar_of_the_issue(results):
    scenarios = [line.scenario for line in verdicts.rows(results)]

    assert scenarios == [
        "repeat", "repeat", "warm", "warm", "miss", "miss", "stampede", "stampede", "mixed",
        "memory", "memory", "memory", "memory", "cold start", "2 workers",
    ]  # fmt: skip


def test_the_document_shows_every_picture_that_was_drawn(results, tmp_path):
    performance.write(results, tmp_path)

    document = (tmp_path / "performance.md").read_text()
    shown = set(re.findall(r"\(performance/(\w+)\.svg\)", document))
    assert shown == {file.stem for file in (tmp_path / "performance").iterdir()} == {"throughput", "latency", "misses", "growth"}
    assert "15 of 15 bars reached." in document
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
    assert "14 of 15 bars reached, 1 short." in document
    assert re.search(r"Redis for a user .*\*\*short\*\*", document)


def test_scale_is_told_for_all_three_sizes_with_where_each_figure_is_from(results, tmp_path):
    scaling.write(results, tmp_path)

    document = (tmp_path / "scaling.md").read_text()
    assert all(f"| {users:,}" in document for users in scaling.USERS)
    assert document.count("measured") >= 4
    assert document.count("assumed") >= 6
    assert "{" not in document
