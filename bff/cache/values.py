"""Values for Redis: how they are written, and what is believed of what is read.

A value is bound to its key (`codec`) and checked when it is read: what is not ours, not readable or not such as we would have
written is a miss.

An older value of the same key, put back by somebody who can write to Redis, is genuine. It carries its own times, so it is fresh,
accepted or fit to be served as stale for no longer than it would have been.
"""

import math
from collections.abc import Callable, Mapping
from dataclasses import astuple, fields
from operator import attrgetter
from typing import Any, TypeVar

import orjson

from bff.cache.codec import Codec, decoded
from bff.cache.entries import (
    ACCEPTED,
    FAILURES,
    REFUSALS,
    SKEW_SECONDS,
    Entry,
    Failure,
    InvalidationMarker,
    Lifetimes,
    SecurityEntry,
    TokenStatus,
)
from bff.models import LANGUAGES, RenderedAccounts, SecurityInfo
from bff.observability import Recorder

# A refusal or a change takes something away: it is believed from a replica whose clock is further ahead, too.
_AHEAD_SECONDS = 60.0
_RETRY_AFTER_AT_MOST = 3600.0  # GenAuth is not believed to ask for more either

# As `astuple`, which copies what is in it: ten thousand people may be forgotten at once.
_MARKER = attrgetter(*(each.name for each in fields(InvalidationMarker)))

Stored = Entry | SecurityEntry | TokenStatus | InvalidationMarker | Failure
Value = TypeVar("Value", Entry, SecurityEntry, TokenStatus, InvalidationMarker, Failure)


class Values:
    """Writes values for Redis, and reads what it holds."""

    def __init__(self, codec: Codec, recorder: Recorder, lifetimes: Lifetimes) -> None:
        self._codec = codec
        self._recorder = recorder
        self.lifetimes = lifetimes

    def opaque_id(self, *parts: str) -> str:
        """As in `Codec`."""
        return self._codec.opaque_id(*parts)

    def encode(self, values: Mapping[str, Stored]) -> dict[str, bytes]:
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

    def _plausible(self, value: Stored, now: float) -> bool:
        """Whether its times are such as we would have written: not of the future, nor fresh for longer than the setting says."""
        if isinstance(value, InvalidationMarker):
            times = (value.at, value.refusals_at, value.acceptances_at, value.held_until, value.noted_at)
            return max(times) <= now + _AHEAD_SECONDS
        gives = isinstance(value, (Entry, SecurityEntry)) or (isinstance(value, TokenStatus) and value.accepted)
        if value.at > now + (SKEW_SECONDS if gives else _AHEAD_SECONDS):
            return False
        return not isinstance(value, (Entry, SecurityEntry)) or value.fresh_until <= value.at + self.lifetimes.fresh_at_most


def _written(value: Stored) -> bytes:
    match value:
        case Entry():
            # A line for each array: JSON as orjson writes it has no line breaks.
            return b"\n".join((orjson.dumps((value.at, value.fresh_until, value.accounts.sources)), *value.accounts.arrays))
        case SecurityEntry():
            return orjson.dumps((value.at, value.fresh_until, *astuple(value.info)))
        case TokenStatus() if not value.accepted:
            return orjson.dumps((value.at, value.verdict))
        case Failure():
            return orjson.dumps((value.at, value.code, value.retry_after))
        case InvalidationMarker():
            return orjson.dumps(_MARKER(value))
        case _:
            return orjson.dumps((value.at,))


# The readers raise ValueError or TypeError for what `_written` would not have written.


def _entry(text: bytes) -> Entry:
    header, *lines = text.split(b"\n")
    at, fresh_until, sources = orjson.loads(header)
    if type(sources) is not list or not {str, type(None)}.issuperset(map(type, sources)):
        raise TypeError
    for line in lines:
        array = orjson.loads(line)
        if type(array) is not list or not all(array) or not {dict}.issuperset(map(type, array)):
            raise ValueError
        if any(source not in (None, account.get("id")) for source, account in zip(sources, array, strict=True)):
            raise ValueError
    # Strict: neither more nor fewer lines.
    plain, with_identities = lines[: len(LANGUAGES)], lines[len(LANGUAGES) :]
    accounts = RenderedAccounts(
        tuple(sources), dict(zip(LANGUAGES, plain, strict=True)), dict(zip(LANGUAGES, with_identities, strict=True))
    )
    return Entry(_time(at), _time(fresh_until), accounts)


def _security_entry(text: bytes) -> SecurityEntry:
    at, fresh_until, *facts = orjson.loads(text)
    if not all(fact is None or type(fact) is bool for fact in facts):
        raise TypeError
    return SecurityEntry(_time(at), _time(fresh_until), SecurityInfo(*facts))


def _token_status(text: bytes) -> TokenStatus:
    at, *verdicts = orjson.loads(text)
    (verdict,) = verdicts or (ACCEPTED,)
    if verdict != ACCEPTED and verdict not in REFUSALS:
        raise ValueError
    return TokenStatus(_time(at), verdict)


def _invalidation_marker(text: bytes) -> InvalidationMarker:
    at, refusals_at, acceptances_at, held_until, confirmed, unconfirmed, noted_at = orjson.loads(text)
    if type(confirmed) is not bool or type(unconfirmed) is not list:
        raise TypeError
    for each in unconfirmed:
        source_id, provider_type, _ = each
        if type(each) is not list or type(source_id) is not str or type(provider_type) not in (str, type(None)):
            raise TypeError
    return InvalidationMarker(
        at=_time(at),
        refusals_at=_time(refusals_at),
        acceptances_at=_time(acceptances_at),
        held_until=_time(held_until),
        confirmed=confirmed,
        unconfirmed=tuple([(source_id, type_, _time(asked_at)) for source_id, type_, asked_at in unconfirmed]),
        noted_at=_time(noted_at),
    )


def _failure(text: bytes) -> Failure:
    at, code, retry_after = orjson.loads(text)
    if code not in FAILURES:
        raise ValueError
    seconds = None if retry_after is None else min(max(0.0, _time(retry_after)), _RETRY_AFTER_AT_MOST)
    return Failure(_time(at), code, seconds)


_READERS: Mapping[type, Callable[[bytes], Any]] = {
    Entry: _entry,
    SecurityEntry: _security_entry,
    TokenStatus: _token_status,
    InvalidationMarker: _invalidation_marker,
    Failure: _failure,
}


def _time(value: object) -> float:
    if not isinstance(value, int | float) or isinstance(value, bool) or not math.isfinite(value):
        raise TypeError
    return float(value)
