"""The reader of docs/events.md, as it stands there."""

import re
import time
from pathlib import Path

from tests.fault.conftest import PATH

PAGE = (Path(__file__).parents[2] / "docs" / "events.md").read_text()
STREAM, LINKED, UNLINKED = "la:events", "linked_account.linked", "linked_account.unlinked"
CODE = re.search(r"```python\n(.*?)```", PAGE, re.DOTALL)[1]
_NAMES = {}
exec(compile(CODE, "docs/events.md", "exec"), _NAMES)  # noqa: S102 - the document's lines are what is tested


class Enough(Exception):
    """As many events as were wanted are done."""


class _Until:
    """A client of Redis that ends whoever uses it with the last of so many acknowledgements."""

    def __init__(self, server, many):
        self._server, self._left, self._ends = server, many, time.monotonic() + 10

    def __getattr__(self, name):
        assert time.monotonic() < self._ends, "there are no more events"
        return getattr(self._server, name)

    def xack(self, *what):
        self._server.xack(*what)
        self._left -= 1
        if not self._left:
            raise Enough


def read(server, many, *, group="mail", me="one", work=lambda _event: None, **how):
    """What happened to which source, of the next ``many`` events that a process of the group gets."""
    events = []

    def take(event):
        work(event)
        events.append((event["event"], event["sourceId"]))

    try:
        _NAMES["read_events"](_Until(server, many), STREAM, group, me, take, **how)
    except Enough:
        return events


def unlink(app, headers, account):
    """Unlink one of somebody's accounts, by its id."""
    response = app.test_client().delete(f"{PATH}/{account}", headers=headers)
    assert response.status_code == 200, response.json
