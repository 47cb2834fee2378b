"""The quick ones, small: the same drills that `make drills` runs at full size."""

import shutil

import pytest

from tests.drills import (  # noqa: F401 - they register themselves
    change_drills,
    connection_drills,
    deploy_drills,
    event_drills,
    event_fault_drills,
    genauth_drills,
    redis_drills,
    scaled_drills,
)
from tests.drills.__main__ import run
from tests.drills.drill import QUICK
from tests.drills.report import told

pytestmark = [
    pytest.mark.server,
    # Sockets that a drill tears down under its own clients are closed by the collector, which says so.
    pytest.mark.filterwarnings("ignore::ResourceWarning"),
]


@pytest.mark.parametrize("name", ["stampede", "holder-killed", "genauth-5xx", "redis-frozen", "slow-clients", "event-everywhere"])
def test_the_drill_holds(name):
    outcome = run(name, QUICK)

    assert not outcome.broken, told(outcome)


@pytest.mark.skipif(
    shutil.which("haproxy", path="/usr/sbin:/usr/bin:/usr/local/sbin:/usr/local/bin") is None,
    reason="haproxy: make system-packages",
)
def test_a_rolling_restart_behind_a_load_balancer_loses_nothing():
    outcome = run("rolling-restart", QUICK)

    assert not outcome.broken, told(outcome)
