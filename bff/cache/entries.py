"""What is stored, value by value, and for how long it holds. `values` writes and reads them."""

import math
import random
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TypeVar

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


# A source's id, its provider's type, and when its removal was asked for, in epoch seconds.
Removal = tuple[str, str | None, float]


@dataclass(frozen=True, slots=True, kw_only=True)
class InvalidationMarker:
    """What changed about a person, as it is stored and published. Times in epoch seconds, 0 for never.

    ``at``: accounts asked for before it are void. ``refusals_at``: GenAuth's refusals from before it are not repeated.
    ``acceptances_at``: its acceptances from before it are void.

    ``held_until``: the accounts are being changed, so nothing that is asked for meanwhile is kept; ``unconfirmed`` are the
    removals that were asked for, until the sources are known to be gone.
    ``confirmed``: what was asked for at this very ``at`` confirmed a change, and holds.

    ``noted_at``: when it was written; later than that of the marker before, whatever the clocks say.
    """

    at: float = 0.0
    refusals_at: float = 0.0
    acceptances_at: float = 0.0
    held_until: float = 0.0
    confirmed: bool = False
    unconfirmed: tuple[Removal, ...] = ()
    noted_at: float = 0.0

    def voids(self, entry: Entry | SecurityEntry) -> bool:
        """Whether the entry may be from before a change: another replica's clock may have dated it."""
        if self.confirmed and entry.at == self.at and entry.at > self.held_until:
            return False
        return entry.at <= max(self.at, self.held_until) + SKEW_SECONDS

    def rejects(self, acceptance: TokenStatus) -> bool:
        """Whether GenAuth's acceptance of a token may be from before the person was signed out."""
        return acceptance.at <= self.acceptances_at + SKEW_SECONDS

    def reconsiders(self, refusal: TokenStatus) -> bool:
        """Whether GenAuth's refusal of a token may be from before something that changed its mind."""
        return refusal.at <= self.refusals_at + SKEW_SECONDS

    def pending(self, now: float) -> tuple[str, ...]:
        """The ids of the sources whose removal may still come about."""
        return tuple([source_id for source_id, _, _ in self._pending(now)])

    def removed(self, entry: Entry, *, locked: bool) -> tuple[Removal, ...]:
        """The removals that have come about by what the entry shows; ``locked``: it was asked for after each of them."""
        gone = [each for each in self.unconfirmed if each[0] not in entry.accounts.sources]
        return tuple([each for each in gone if locked or entry.at > each[2] + SKEW_SECONDS])

    def changed(self, now: float, *, refusals: bool = False, acceptances: bool = False) -> "InvalidationMarker":
        """Something changed just now; a removal that is asked for is not over by that, nor is anything else undone."""
        return replace(
            self,
            at=max(now, self.at),
            # Later than before, whatever the clocks say: by that a process knows what is new to it.
            refusals_at=max(now, self.refusals_at + 0.001) if refusals else self.refusals_at,
            acceptances_at=max(now, self.acceptances_at + 0.001) if acceptances else self.acceptances_at,
            confirmed=False,
            noted_at=self._next(now),
        )

    def holding(self, source_id: str, provider_type: str | None, now: float, seconds: float) -> "InvalidationMarker":
        """The removal of a source is about to be asked for, and may come about within ``seconds``."""
        others = tuple([each for each in self._pending(now) if each[0] != source_id])
        until = max(now + seconds, self.held_until) if others else now + seconds
        return replace(self, held_until=until, unconfirmed=(*others, (source_id, provider_type, now)), noted_at=self._next(now))

    def settled(self, source_id: str | None, now: float, entry: Entry | None, *, locked: bool) -> "InvalidationMarker":
        """The removal of a source, or None for what was changed elsewhere, is confirmed by the ``entry``; None: was not made.

        Others may still be unconfirmed. The entry holds if nothing else changed since it was asked for.
        """
        gone = self.removed(entry, locked=locked) if entry else ()
        if others := tuple([each for each in self._pending(now) if each[0] != source_id and each not in gone]):
            return replace(self, unconfirmed=others, noted_at=self._next(now))
        if entry is None:
            return replace(self.changed(now), held_until=0.0, unconfirmed=())
        holds = entry.at > self.at + (0.0 if self.confirmed else SKEW_SECONDS)
        at = max(self.at, entry.at)
        return replace(self, at=at, held_until=0.0, confirmed=holds, unconfirmed=(), noted_at=self._next(now))

    def newer(self, other: "InvalidationMarker | None") -> "InvalidationMarker":
        """What this one and another one of the person say together: Redis may have lost the later."""
        if other is None:
            return self
        last, first = (self, other) if self.noted_at >= other.noted_at else (other, self)
        return replace(
            last,
            at=max(last.at, first.at),
            refusals_at=max(last.refusals_at, first.refusals_at),
            acceptances_at=max(last.acceptances_at, first.acceptances_at),
            confirmed=last.confirmed and last.at >= first.at,
        )

    def _pending(self, now: float) -> tuple[Removal, ...]:
        return self.unconfirmed if self.held_until > now else ()

    def _next(self, now: float) -> float:
        return max(now, self.noted_at + 0.001)


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
