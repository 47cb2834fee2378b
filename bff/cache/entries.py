"""What is stored, value by value: how it is written, and what is believed of what is read.

A value is bound to its key (`codec`) and checked when it is read: what is not ours, not readable or not such as we would have
written is a miss.

An older value of the same key, put back by somebody who can write to Redis, is genuine. It carries its own times, so it is fresh,
accepted or fit to be served as stale for no longer than it would have been.
"""

import math
import random
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, TypeVar

import orjson

from bff.cache.codec import Codec, decoded
from bff.errors import (
    TokenRefused,
    UpstreamFailure,
    UpstreamForbidden,
    UpstreamMalformed,
    UpstreamRejected,
    UpstreamThrottled,
    UpstreamTimeout,
    UpstreamUnavailable,
    UserBlocked,
)
from bff.models import LANGUAGES, RenderedAccounts
from bff.observability import Recorder

_JITTER = 0.1  # so that entries of one moment do not expire at one moment
_SKEW_SECONDS = 1.0  # between the clocks of replicas, which NTP keeps together
# A refusal or a change takes something away: it is believed from a replica whose clock is further ahead, too.
_AHEAD_SECONDS = 60.0
_RETRY_AFTER_AT_MOST = 3600.0  # GenAuth is not believed to ask for more either
_ACCEPTED = "accepted"
_REFUSALS: Mapping[str, type[TokenRefused | UserBlocked]] = {kind.code: kind for kind in (TokenRefused, UserBlocked)}
_FAILURES: Mapping[str, type[UpstreamFailure | UpstreamRejected]] = {
    **{kind.code: kind for kind in (UpstreamMalformed, UpstreamUnavailable, UpstreamTimeout, UpstreamThrottled)},
    UpstreamForbidden.code: UpstreamForbidden,
    "upstream_rejected": UpstreamRejected,  # shares its code with one that a stale answer may stand in for
}
FAILURE_SECONDS = 2.0  # how long a failure is repeated


@dataclass(frozen=True, slots=True)
class Entry:
    """A user's accounts as GenAuth reported them at ``at``, fresh until ``fresh_until``; both in epoch seconds."""

    at: float
    fresh_until: float
    accounts: RenderedAccounts

    @classmethod
    def reported(cls, accounts: RenderedAccounts, asked_at: float, fresh_for: float) -> "Entry":
        """What GenAuth reported when it was asked at ``asked_at``, in epoch seconds; ``fresh_for`` in seconds."""
        at = _milliseconds(asked_at)
        return cls(at, _milliseconds(at + fresh_for), accounts)

    @property
    def size(self) -> int:
        """Bytes of its JSON."""
        return sum(map(len, _lines(self.accounts)))

    def age(self, now: float) -> float:
        """Seconds since GenAuth was asked, never negative."""
        return max(0.0, now - self.at)


@dataclass(frozen=True, slots=True)
class TokenStatus:
    """When GenAuth was last asked with a token, in epoch seconds, and whether it was accepted; else the refusal's code."""

    at: float
    verdict: str = _ACCEPTED

    @property
    def accepted(self) -> bool:
        """Whether GenAuth accepted the token."""
        return self.verdict == _ACCEPTED

    def repeats(self, now: float, seconds: float) -> bool:
        """Whether this is a refusal of the last ``seconds``."""
        return not self.accepted and now - seconds < self.at <= now + _SKEW_SECONDS


def latest(*statuses: TokenStatus | None) -> TokenStatus | None:
    """The latest of what is known of a token, the first of equals. Where clocks leave the order open, a refusal is the later one.

    Refusals and acceptances are stored under keys of their own, so that neither replaces the other, whichever is stored last.
    """
    known = [status for status in statuses if status]
    return max(known, key=lambda each: (each.at + (0 if each.accepted else _SKEW_SECONDS), not each.accepted), default=None)


@dataclass(frozen=True, slots=True)
class InvalidationMarker:
    """A person's accounts changed at ``at``, in epoch seconds: entries asked for before it are void."""

    at: float

    def voids(self, entry: Entry) -> bool:
        """Whether the entry may be from before the change: another replica's clock may have dated it."""
        return entry.at <= self.at + _SKEW_SECONDS


@dataclass(frozen=True, slots=True)
class Failure:
    """GenAuth failed to answer at ``at``, in epoch seconds: for those who waited for that answer, and who ask too soon again."""

    at: float
    code: str
    retry_after: float | None = None

    @classmethod
    def of(cls, error: UpstreamFailure | UpstreamRejected, at: float) -> "Failure":
        """The failure that the error stands for."""
        code = next(code for code, kind in _FAILURES.items() if isinstance(error, kind))
        return cls(at, code, error.retry_after)

    def error(self) -> UpstreamFailure | UpstreamRejected:
        """The failure as an error, for another request than the one that met it."""
        return _FAILURES[self.code](note="failed a moment ago", retry_after=self.retry_after)

    def is_repeated(self, now: float) -> bool:
        """Whether it is young enough to be repeated. A clock that was set ends it, either way."""
        return abs(now - self.at) < FAILURE_SECONDS


@dataclass(frozen=True, slots=True)
class Lookup:
    """What is known of a user and a token. A ``failure`` is one to be repeated.

    ``refused``: GenAuth refused the token so lately that it is not asked again.
    """

    entry: Entry | None = None
    status: TokenStatus | None = None
    failure: Failure | None = None
    refused: bool = False

    @property
    def accepted_at(self) -> float | None:
        """When GenAuth last accepted the token, if it has not refused it since."""
        return self.status.at if self.status and self.status.accepted else None

    def raise_if_refused(self) -> None:
        """Raise the refusal, while it is to be repeated."""
        if self.status and self.refused:
            raise _REFUSALS[self.status.verdict](note="refused a moment ago")

    def raise_if_failed(self) -> None:
        """Raise the failure, if GenAuth failed to answer for the token a moment ago."""
        if self.failure:
            raise self.failure.error()


@dataclass(frozen=True, slots=True)
class Lifetimes:
    """In seconds: what is stored is believed for so long, and no longer.

    Accounts are fresh for ``ttl`` and may be served as stale for ``stale`` after that; a token's acceptance counts for
    ``accepted``, its refusal for ``refused``.
    """

    ttl: float
    stale: float
    accepted: float
    refused: float

    def fresh_for(self) -> float:
        """How long the next entry is to be fresh: ``ttl``, and up to a tenth more or less."""
        return self.ttl * random.uniform(1 - _JITTER, 1 + _JITTER)  # noqa: S311 - spreads load, guards nothing

    @property
    def fresh_at_most(self) -> float:
        """For how long an entry of ours can be fresh."""
        return self.ttl * (1 + _JITTER)

    @property
    def longest(self) -> float:
        """For how long anything stored could be served: a refusal or a change is kept until nothing from before it is left."""
        return max(self.fresh_at_most + self.stale, self.accepted, self.refused)


Value = TypeVar("Value", Entry, TokenStatus, InvalidationMarker, Failure)


class Values:
    """Writes values for Redis, and reads what it holds."""

    def __init__(self, codec: Codec, recorder: Recorder, lifetimes: Lifetimes) -> None:
        self._codec = codec
        self._recorder = recorder
        self._lifetimes = lifetimes

    def encode(self, values: Mapping[str, Entry | TokenStatus | InvalidationMarker | Failure]) -> dict[str, bytes]:
        """Values by their keys, as they are stored."""
        return {key: self._codec.encode(key, _written(value)) for key, value in values.items()}

    def decode(self, key: str, stored: bytes | None, kind: type[Value], now: float) -> Value | None:
        """What is stored under the key, if we could have written it by ``now``; anything else is counted as rejected."""
        text = decoded(self._codec, key, stored, self._recorder)
        if text is None:
            return None
        try:
            value: Value = _READERS[kind](text)
        except (ValueError, TypeError):
            self._recorder.cache_rejected("unreadable")
            return None
        if not self._plausible(value, now):
            self._recorder.cache_rejected("forged")
            return None
        return value

    def _plausible(self, value: Entry | TokenStatus | InvalidationMarker | Failure, now: float) -> bool:
        """Whether its times are such as we would have written: not of the future, nor fresh for longer than the setting says."""
        gives = isinstance(value, Entry) or (isinstance(value, TokenStatus) and value.accepted)
        if value.at > now + (_SKEW_SECONDS if gives else _AHEAD_SECONDS):
            return False
        return not isinstance(value, Entry) or value.fresh_until <= value.at + self._lifetimes.fresh_at_most


def _written(value: Entry | TokenStatus | InvalidationMarker | Failure) -> bytes:
    match value:
        case Entry():
            # A line for each array: JSON as orjson writes it has no line breaks.
            return b"\n".join((orjson.dumps((value.at, value.fresh_until, value.accounts.total)), *_lines(value.accounts)))
        case TokenStatus() if not value.accepted:
            return orjson.dumps((value.at, value.verdict))
        case Failure():
            return orjson.dumps((value.at, value.code, value.retry_after))
        case _:
            return orjson.dumps((value.at,))


def _lines(accounts: RenderedAccounts) -> list[bytes]:
    return [texts[language] for texts in (accounts.plain, accounts.with_identities) for language in LANGUAGES]


# The readers raise ValueError or TypeError for what `_written` would not have written.


def _entry(text: bytes) -> Entry:
    header, *lines = text.split(b"\n")
    at, fresh_until, total = orjson.loads(header)
    if type(total) is not int:
        raise TypeError
    for line in lines:
        array = orjson.loads(line)
        if type(array) is not list or len(array) != total or not all(array) or not {dict}.issuperset(map(type, array)):
            raise ValueError
    # Strict: neither more nor fewer lines.
    plain, with_identities = lines[: len(LANGUAGES)], lines[len(LANGUAGES) :]
    accounts = RenderedAccounts(
        total, dict(zip(LANGUAGES, plain, strict=True)), dict(zip(LANGUAGES, with_identities, strict=True))
    )
    return Entry(_time(at), _time(fresh_until), accounts)


def _token_status(text: bytes) -> TokenStatus:
    at, *verdicts = orjson.loads(text)
    (verdict,) = verdicts or (_ACCEPTED,)
    if verdict != _ACCEPTED and verdict not in _REFUSALS:
        raise ValueError
    return TokenStatus(_time(at), verdict)


def _invalidation_marker(text: bytes) -> InvalidationMarker:
    (at,) = orjson.loads(text)
    return InvalidationMarker(_time(at))


def _failure(text: bytes) -> Failure:
    at, code, retry_after = orjson.loads(text)
    if code not in _FAILURES:
        raise ValueError
    seconds = None if retry_after is None else min(max(0.0, _time(retry_after)), _RETRY_AFTER_AT_MOST)
    return Failure(_time(at), code, seconds)


_READERS: Mapping[type, Callable[[bytes], Any]] = {
    Entry: _entry,
    TokenStatus: _token_status,
    InvalidationMarker: _invalidation_marker,
    Failure: _failure,
}


def _time(value: object) -> float:
    if not isinstance(value, int | float) or isinstance(value, bool) or not math.isfinite(value):
        raise TypeError
    return float(value)


def _milliseconds(moment: float) -> float:
    # As it is stored. Never rounded up: that could be past a change which came after the question, or beyond the setting.
    return math.floor(moment * 1000) / 1000
