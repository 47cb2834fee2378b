"""What is remembered, value by value: how it is written down, and what is believed of what is read back.

A value is bound to its key (`sealing`) and checked on read: what is not ours, not readable or not such as we would have written
is none.

An older value of the same key, put back by somebody who can write to Redis, opens: it is genuine. It carries its own times, so it
is fresh, accepted or fit to stand in for no longer than it would have been.
"""

import math
import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Literal, TypeVar

import msgspec
from msgspec import Raw, Struct

from bff.cache.codec import Codec, opened
from bff.errors import TokenRefused, UserBlocked
from bff.models import LinkedAccount, restored
from bff.observability import Recorder

_JITTER = 0.1  # so that what was asked for together does not run out together
_SKEW_SECONDS = 60.0  # between the clocks of replicas
_MODEST = 16 * 1024  # larger lists of accounts are rare, and not kept in memory


class Entry(Struct, frozen=True, array_like=True):
    """A user's accounts as GenAuth reported them at ``at``, fresh until ``fresh_until``; both in epoch seconds."""

    at: float
    fresh_until: float
    raw: Raw

    @classmethod
    def reported(cls, accounts: Sequence[LinkedAccount], asked_at: float, fresh_for: float) -> "Entry":
        """What GenAuth said when it was asked at ``asked_at``, in epoch seconds; ``fresh_for`` in seconds."""
        at = _milliseconds(asked_at)
        return cls(at, _milliseconds(at + fresh_for), Raw(msgspec.json.encode(accounts)))

    @property
    def accounts(self) -> tuple[LinkedAccount, ...]:
        """The accounts themselves."""
        return restored(bytes(self.raw))

    @property
    def modest(self) -> bool:
        """Whether it is small enough to be kept in memory."""
        return len(bytes(self.raw)) <= _MODEST

    def check(self) -> None:
        """Raise what msgspec does if the accounts cannot be read."""
        (_checked if self.modest else restored)(bytes(self.raw))

    def age(self, now: float) -> float:
        """Seconds since GenAuth was asked, never negative."""
        return max(0.0, now - self.at)


Word = Literal["accepted", "token_invalid", "user_blocked"]


class TokenStatus(Struct, frozen=True, array_like=True):
    """GenAuth's last word on a token, and when it was asked, in epoch seconds."""

    at: float
    word: Word = "accepted"


class Change(Struct, frozen=True, array_like=True):
    """That a person's accounts changed, in epoch seconds."""

    at: float


class Lookup(Struct, frozen=True):
    """What is known of a user and a token."""

    entry: Entry | None = None
    verdict: TokenStatus | None = None

    @property
    def accepted_at(self) -> float | None:
        """When GenAuth last accepted the token, if that was its last word."""
        return self.verdict.at if self.verdict and self.verdict.word == "accepted" else None

    def heed(self) -> None:
        """Raise the refusal, if that was GenAuth's last word: it is kept only for as long as it is to be repeated."""
        if self.verdict and self.verdict.word != "accepted":
            raise (UserBlocked if self.verdict.word == "user_blocked" else TokenRefused)(note="refused a moment ago")


@dataclass(frozen=True, slots=True)
class Lifetimes:
    """In seconds: what is remembered is believed for so long, and no longer.

    Accounts are fresh for ``ttl`` and may stand in for ``stale`` after that; a token's acceptance counts for ``accepted``, its
    refusal for ``refused``.
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


Value = TypeVar("Value", Entry, TokenStatus, Change)


class Values:
    """Writes values for Redis, and reads what it holds."""

    def __init__(self, seal: Codec, recorder: Recorder, lifetimes: Lifetimes) -> None:
        self._seal = seal
        self._recorder = recorder
        self._lifetimes = lifetimes

    def written(self, values: Mapping[str, Entry | TokenStatus | Change]) -> dict[str, bytes]:
        """Values by their keys, as they are stored."""
        return {key: self._seal.seal(key, msgspec.json.encode(_shown(value))) for key, value in values.items()}

    def read(self, key: str, stored: bytes | None, kind: type[Value], now: float) -> Value | None:
        """What is stored under the key, if we could have written it by ``now``; else the recorder hears of it."""
        value = opened(self._seal, key, stored, self._recorder)
        if value is None:
            return None
        try:
            decoded = msgspec.json.decode(value, type=kind)
            if isinstance(decoded, Entry):
                decoded.check()
        except (msgspec.MsgspecError, RecursionError, UnicodeDecodeError):
            self._recorder.cache_rejected("unreadable")
            return None
        if not self._plausible(decoded, now):
            self._recorder.cache_rejected("forged")
            return None
        return decoded

    def _plausible(self, value: Entry | TokenStatus | Change, now: float) -> bool:
        """Whether its times are such as we would have written: not of the future, nor fresh for longer than the setting says."""
        if value.at > now + _SKEW_SECONDS:
            return False
        return not isinstance(value, Entry) or value.fresh_until <= value.at + self._lifetimes.fresh_at_most


def _shown(value: Entry | TokenStatus | Change) -> object:
    # Most words are the usual one, which goes without saying.
    return (value.at,) if isinstance(value, TokenStatus) and value.word == "accepted" else value


def _milliseconds(moment: float) -> float:
    # As it is stored. Never rounded up: that could be past a change which came after the question, or beyond the setting.
    return math.floor(moment * 1000) / 1000


# That it can be done, not what comes of it, which takes four times the memory of the text.
@lru_cache(maxsize=256)
def _checked(raw: bytes) -> None:
    restored(raw)
