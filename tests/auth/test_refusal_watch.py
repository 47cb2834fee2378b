"""When a setting signs everybody out, a line says so; somebody's bad token is no such thing."""

import json

import pytest

from bff.auth.refusal_watch import RefusalWatch
from bff.observability import logging as logs


@pytest.fixture
def lines(log_lines):
    logs.configure()

    def read():
        return [line for line in map(json.loads, log_lines.take().splitlines()) if line["event"] == "tokens_mostly_refused"]

    return read


@pytest.fixture
def watch(clock):
    return RefusalWatch(clock)


def refuse(watch, *tokens):
    for token in tokens:
        watch.refused(token, "audience", "ours", "theirs")


def test_it_says_what_was_expected_and_what_came(watch, lines):
    refuse(watch, "1", "2")

    (line,) = lines()
    assert (line["level"], line["reason"], line["expected"], line["found"]) == ("warning", "audience", "ours", "theirs")
    assert (line["refused"], line["accepted"]) == (2, 0)


def test_one_refusal_says_little(watch, lines):
    refuse(watch, "1")

    assert lines() == []


def test_it_says_so_once_a_minute(watch, lines, clock):
    for _ in range(120):
        refuse(watch, "1", "2", "3")
        clock.advance(1)

    assert len(lines()) == 2


def test_one_client_that_never_stops_is_not_most_tokens(watch, lines, clock):
    for second in range(180):
        if second % 60 in {50, 51}:  # verified once a minute
            watch.accepted()
        refuse(watch, *["1"] * 10) if second >= 55 else None
        clock.advance(1)

    assert lines() == []


def test_a_quiet_time_is_forgotten(watch, lines, clock):
    refuse(watch, "1")
    clock.advance(121)
    refuse(watch, "2")

    assert lines() == []
