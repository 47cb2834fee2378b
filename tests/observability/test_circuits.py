"""Operators read when a dependency is left alone, and when it is asked again."""

import json

import pytest

from bff.observability import Recorder, circuit_log
from bff.observability import logging as logs
from bff.resilience import CircuitBreaker
from bff.resilience.circuit_breaker import CircuitOpen, Rules

RULES = Rules(failures_in_a_row=1, open_seconds=2.0, open_at_most=2.0)


class States(Recorder):
    def __init__(self):
        self.seen = []

    def breaker_changed(self, _name, state):
        self.seen.append(state)


@pytest.fixture
def lines(log_lines):
    logs.configure()

    def read():
        found = [json.loads(line) for line in log_lines.take().splitlines()]
        return [(line["level"], line["event"], line["name"], line.get("seconds")) for line in found]

    return read


def test_a_circuit_that_opens_and_closes_is_two_lines(lines):
    now, states = [0.0], States()
    breaker = CircuitBreaker(
        "genauth-identities",
        RULES,
        clock=lambda: now[0],
        chance=lambda: 0.0,
        on_change=circuit_log(states, lambda: now[0]),
    )
    breaker.enter().failed()
    assert lines() == [("warning", "circuit_opened", "genauth-identities", None)]

    for _ in range(3):
        with pytest.raises(CircuitOpen):
            breaker.enter()
        now[0] += 2.0
        breaker.enter().failed()
    assert lines() == []

    now[0] += 2.0
    breaker.enter().succeeded()
    assert lines() == [("info", "circuit_closed", "genauth-identities", 8.0)]
    assert states.seen == ["open", *["half_open", "open"] * 3, "half_open", "closed"]

    breaker.enter().failed()
    assert lines() == [("warning", "circuit_opened", "genauth-identities", None)]
