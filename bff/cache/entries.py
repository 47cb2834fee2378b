"""What is stored, value by value, and for how long it holds. `values` writes and reads them."""

import math
import random
from collections.abc import Mapping
from dataclasses import dataclass
from typing import NamedTuple, TypeVar

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
from bff.models import RenderedAccounts, SecurityInfo
from bff.resilience import size_of

_JITTER = 0.1  # so that entries of one moment do not expire at one moment
SKEW_SECONDS = 1.0  # between the clocks of replicas, which NTP keeps together
ACCEPTED = "accepted"
REFUSALS: Mapping[str, type[TokenRefused | UserBlocked]] = {kind.code: kind for kind in (TokenRefused, UserBlocked)}
FAILURES: Mapping[str, type[UpstreamFailure | UpstreamRejected]] = {
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
        return cls(at, at, accounts).fresh(fresh_for)

    @property
    def size(self) -> int:
        """Bytes of its JSON, and of the ids beside it."""
        return sum(map(len, self.accounts.arrays)) + size_of(self.accounts.sources)

    def age(self, now: float) -> float:
        """Seconds since GenAuth was asked, never negative."""
        return max(0.0, now - self.at)

    def void(self) -> "Entry":
        """The same for this one answer, as it is not to be served again."""
        return Entry(self.at, self.at, self.accounts)

    def fresh(self, fresh_for: float) -> "Entry":
        """The same, fresh for so many seconds since GenAuth was asked."""
        return Entry(self.at, _milliseconds(self.at + fresh_for), self.accounts)


@dataclass(frozen=True, slots=True)
class SecurityEntry:
    """How a user can sign in, as GenAuth said at ``at``, fresh until ``fresh_until``; both in epoch seconds."""

    at: float
    fresh_until: float
    info: SecurityInfo

    @classmethod
    def reported(cls, info: SecurityInfo, asked_at: float, fresh_for: float) -> "SecurityEntry":
        """What GenAuth said when it was asked at ``asked_at``, in epoch seconds; ``fresh_for`` in seconds."""
        at = _milliseconds(asked_at)
        return cls(at, _milliseconds(at + fresh_for), info)


Dated = TypeVar("Dated", Entry, SecurityEntry)


@dataclass(frozen=True, slots=True)
class TokenStatus:
    """When GenAuth was last asked with a token, in epoch seconds, and whether it was accepted; else the refusal's code."""

    at: float
    verdict: str = ACCEPTED

    @property
    def accepted(self) -> bool:
        """Whether GenAuth accepted the token."""
        return self.verdict == ACCEPTED

    def repeats(self, now: float, seconds: float) -> bool:
        """Whether this is a refusal of the last ``seconds``."""
        return not self.accepted and now - seconds < self.at <= now + SKEW_SECONDS


def latest(*statuses: TokenStatus | None) -> TokenStatus | None:
    """The latest of what is known of a token, the first of equals. Where clocks leave the order open, a refusal is the later one.

    Refusals and acceptances are stored under keys of their own, so that neither replaces the other, whichever is stored last.
    """
    known = [status for status in statuses if status]
    return max(known, key=lambda each: (each.at + (0 if each.accepted else SKEW_SECONDS), not each.accepted), default=None)


@dataclass(frozen=True, slots=True)
class InvalidationMarker:
    """A person's accounts changed at ``at``, in epoch seconds: entries asked for before it are void.

    ``unconfirmed``: ids of the sources whose removal is being asked for; until it is confirmed, ``at`` is ahead.
    ``confirmed``: what was asked for at this very moment is what confirmed the change, and holds.
    """

    at: float
    unconfirmed: tuple[str, ...] = ()
    confirmed: bool = False

    def voids(self, entry: Entry | SecurityEntry) -> bool:
        """Whether the entry may be from before the change: another replica's clock may have dated it."""
        return entry.at <= self.at + SKEW_SECONDS and not (self.confirmed and entry.at == self.at)

    def pending(self, now: float) -> tuple[str, ...]:
        """The ids of the sources whose removal may still come about."""
        return self.unconfirmed if self.at > now else ()

    def changed(self, now: float) -> "InvalidationMarker":
        """Something else changed just now; a removal that is asked for is not over by that."""
        return InvalidationMarker(max(now, self.at), self.pending(now))

    def holding(self, source_id: str, now: float, seconds: float) -> "InvalidationMarker":
        """The removal of a source is about to be asked for, and may come about within ``seconds``."""
        others = tuple([each for each in self.pending(now) if each != source_id])
        until = now + seconds
        return InvalidationMarker(max(until, self.at) if others else until, (*others, source_id))

    def settled(self, source_id: str, now: float, entry: Entry | None) -> "InvalidationMarker":
        """The removal of a source is confirmed by the ``entry``, or was not made (None). Others may still be unconfirmed."""
        shown = entry.accounts.sources if entry else self.unconfirmed
        if others := tuple([each for each in self.pending(now) if each != source_id and each in shown]):
            return InvalidationMarker(self.at, others)
        return InvalidationMarker(entry.at if entry else now, confirmed=entry is not None)


@dataclass(frozen=True, slots=True)
class Failure:
    """GenAuth failed to answer at ``at``, in epoch seconds: for those who waited for that answer, and who ask too soon again."""

    at: float
    code: str
    retry_after: float | None = None

    @classmethod
    def of(cls, error: UpstreamFailure | UpstreamRejected, at: float) -> "Failure":
        """The failure that the error stands for."""
        code = next(code for code, kind in FAILURES.items() if isinstance(error, kind))
        return cls(at, code, error.retry_after)

    def error(self) -> UpstreamFailure | UpstreamRejected:
        """The failure as an error, for another request than the one that met it."""
        return FAILURES[self.code](note="failed a moment ago", retry_after=self.retry_after)

    def is_repeated(self, now: float) -> bool:
        """Whether it is young enough to be repeated. A clock that was set ends it, either way."""
        return abs(now - self.at) < FAILURE_SECONDS


@dataclass(frozen=True, slots=True)
class Lookup:
    """What is known of a user and a token. A ``failure`` is one to be repeated.

    ``refused``: GenAuth refused the token so lately that it is not asked again. ``held``: the user's accounts are being changed,
    so that nothing is kept.
    """

    entry: Entry | None = None
    status: TokenStatus | None = None
    failure: Failure | None = None
    refused: bool = False
    held: bool = False

    @property
    def accepted_at(self) -> float | None:
        """When GenAuth last accepted the token, if it has not refused it since."""
        return self.status.at if self.status and self.status.accepted else None

    def newer(self, other: "Lookup") -> "Lookup":
        """The newer entry and status of the two."""
        entry = max((each.entry for each in (self, other) if each.entry), key=lambda entry: entry.at, default=None)
        return Lookup(entry, latest(self.status, other.status), self.failure)

    def raise_if_refused(self) -> None:
        """Raise the refusal, while it is to be repeated."""
        if self.status and self.refused:
            raise REFUSALS[self.status.verdict](note="refused a moment ago")

    def raise_if_failed(self) -> None:
        """Raise the failure, if GenAuth failed to answer for the token a moment ago."""
        if self.failure:
            raise self.failure.error()


class Keys(NamedTuple):
    """Where everything about a session's user and token is in Redis."""

    accounts: str
    token: str
    recent: str
    refused: str
    invalidated: str
    failure: str

    @classmethod
    def of(cls, person: str, token: str) -> "Keys":
        """By what the person's keys begin with, and the token's opaque id."""
        return cls(
            accounts=f"{person}:accounts",
            token=f"{person}:token:{token}",
            recent=f"{person}:recent:{token}",
            refused=f"{person}:refused:{token}",
            invalidated=f"{person}:invalidated",
            failure=f"{person}:failure:{token}",
        )


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


def _milliseconds(moment: float) -> float:
    # As it is stored. Never rounded up: that could be past a change which came after the question, or beyond the setting.
    return math.floor(moment * 1000) / 1000
