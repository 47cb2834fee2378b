"""Who changed what they have linked: one line and one count for each step of a link, and for each unlink."""

from collections.abc import Callable
from typing import Literal

import structlog

from bff.observability.recorder import Recorder

log = structlog.get_logger()

Action = Literal["link_started", "link_returned", "link_outcome", "unlink"]


class Audit:
    """Writes the lines at `info`. Whatever the log keeps out of every line is kept out of these, too (`logging`)."""

    def __init__(self, recorder: Recorder, named: Callable[[str], str | None]) -> None:
        """``named`` makes of a user id what the log may call that person, None if it may not name anybody."""
        self._recorder = recorder
        self._named = named

    def record(
        self, action: Action, result: str, user_id: str, *, source_id: str | None = None, provider: str | None = None
    ) -> None:
        """One line and one count. Never raises, never waits.

        ``result`` is ``ok`` or the code of the problem; of a link's outcome its status, or ``another_person``. ``source_id`` and
        ``provider``, the source's id and provider type, are GenAuth's words: what a caller sent is not for the log.
        """
        self._recorder.changed(action, result)
        log.info("audit", action=action, result=result, person=self._named(user_id), source_id=source_id, provider=provider)
