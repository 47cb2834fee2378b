"""Whether most tokens are refused because they are for others: then a setting is wrong, more often than the tokens are.

The wrong audience, issuer or algorithm signs everybody out, and each refusal alone looks like somebody's bad token. So they are
counted by token, and a line says once a minute what was expected and what came. Neither is secret.
"""

import re
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field

import structlog

log = structlog.get_logger()

_SECONDS = 60.0
_FEWEST = 2  # refusals; one says little
_NAME = re.compile(r"[A-Za-z0-9._:/-]{1,128}", re.ASCII)  # of an application, an issuer or an algorithm
_MOST_NAMES = 4
_MOST_TOKENS = 1_000  # whose digests are kept


@dataclass(slots=True)
class _Minute:
    """The tokens that were refused for being for others, how often, and how many were accepted, each once a minute."""

    began: float = float("-inf")
    refused: set[str] = field(default_factory=set)
    refusals: int = 0
    accepted: int = 0


class RefusalWatch:
    """Counts verified and refused tokens of the last one to two minutes, and logs `tokens_mostly_refused`."""

    def __init__(self, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._monotonic = monotonic
        self._lock = threading.Lock()
        # A token in use is verified once a minute: the first seconds of a minute alone would not show the good ones.
        self._last, self._now = _Minute(), _Minute()
        self._logged_at = float("-inf")

    def accepted(self) -> None:
        """A token was verified."""
        with self._lock:
            self._turn().accepted += 1

    def refused(self, digest: str, reason: str, expected: str, found: object) -> None:
        """The token with this digest was refused because it is for others: what it should have said, and what it says."""
        with self._lock:
            minute = self._turn()
            minute.refusals += 1
            if len(minute.refused) < _MOST_TOKENS:
                minute.refused.add(digest)
            refused, accepted = len(self._last.refused | minute.refused), self._last.accepted + minute.accepted
            often = self._last.refusals + minute.refusals >= _FEWEST
            if not often or refused <= accepted or self._monotonic() - self._logged_at < _SECONDS:
                return
            self._logged_at = self._monotonic()
        log.warning(
            "tokens_mostly_refused",
            reason=reason,
            expected=expected,
            found=_loggable(found),
            refused=refused,
            accepted=accepted,
        )

    def _turn(self) -> _Minute:
        """The minute that it is."""
        now = self._monotonic()
        if now - self._now.began >= _SECONDS:
            self._last = self._now if now - self._now.began < 2 * _SECONDS else _Minute()
            self._now = _Minute(now)
        return self._now


def _loggable(found: object) -> str:
    """What a token says of whom it is for, where that has the form of a name; anybody can write anything there."""
    texts = [str(each) for each in (found if isinstance(found, list | tuple) else [found]) if each is not None][:_MOST_NAMES]
    return ", ".join(text if _NAME.fullmatch(text) else "[no name]" for text in texts) or "nothing"
