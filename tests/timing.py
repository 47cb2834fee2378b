"""How soon something happened. A busy machine makes anything late, so one good run of three is enough; a plugin of pytest."""

import pytest
from _pytest.runner import runtestprotocol

RUNS = 3
late = []


class TookTooLong(AssertionError):
    """Maybe this machine's doing: the test is run anew. What else fails has failed."""


def in_time(seconds, bound):
    """``seconds``, which are fewer than ``bound``. Best stated last."""
    if seconds >= bound:
        raise TookTooLong(f"it took {seconds:.2f} seconds, and {bound} are promised")
    return seconds


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item, call):
    report = yield
    report.late = bool(call.excinfo and call.excinfo.errisinstance(TookTooLong))
    return report


def pytest_runtest_protocol(item, nextitem):
    """Run the test, with its fixtures, until it is not late."""
    item.ihook.pytest_runtest_logstart(nodeid=item.nodeid, location=item.location)
    reports = runtestprotocol(item, nextitem=nextitem, log=False)
    for _ in range(RUNS - 1):
        if not any(report.late for report in reports):
            break
        late.append(item.nodeid)
        (anew,) = (each for each in item.parent.collect() if each.nodeid == item.nodeid)
        reports = runtestprotocol(anew, nextitem=nextitem, log=False)
    for report in reports:
        item.ihook.pytest_runtest_logreport(report=report)
    item.ihook.pytest_runtest_logfinish(nodeid=item.nodeid, location=item.location)
    return True


def pytest_terminal_summary(terminalreporter):
    for nodeid in late:
        terminalreporter.write_line(f"LATE {nodeid}: run again")
