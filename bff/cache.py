"""What is remembered of a person: their accounts, and which of their tokens GenAuth accepted or refused.

    linked-accounts:1:{person}:accounts       one for each user
    linked-accounts:1:{person}:token:<digest> one for each session token: GenAuth's own last word on it, and when
    linked-accounts:1:{person}:lease:<digest> held by whoever is asking GenAuth right now

``{person}`` is a digest in a Redis Cluster hash tag, so that a user's keys share a slot and one round trip. A value is bound to
its key (`sealing`) and checked on read: what is not ours, not readable or not this person's is a miss.
"""

import random
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import lru_cache
from typing import Literal, Protocol, TypeVar

import msgspec
from msgspec import Raw, Struct

from bff.accounts import LinkedAccount
from bff.errors import BffError, TokenRefused, UserBlocked
from bff.leases import Leases
from bff.sealing import Seal
from bff.sessions import Session
from bff.store import Store

_JITTER = 0.1  # so that what was asked for together does not run out together

_SKEW_SECONDS = 60  # between the clocks of replicas


class Entry(Struct, frozen=True, array_like=True):
    """A user's accounts as GenAuth reported them at ``at``, fresh until ``fresh_until``; both in epoch seconds."""

    at: float
    fresh_until: float
    raw: Raw

    @property
    def accounts(self) -> tuple[LinkedAccount, ...]:
        """The accounts themselves."""
        return _accounts(bytes(self.raw))

    def age(self, now: float) -> float:
        """Seconds since GenAuth was asked, never negative."""
        return max(0.0, now - self.at)


Word = Literal["accepted", "token_invalid", "user_blocked"]


class Verdict(Struct, frozen=True, array_like=True):
    """GenAuth's last word on a token, and when it was asked, in epoch seconds."""

    at: float
    word: Word = "accepted"


class Recollection(Struct, frozen=True):
    """What the cache knows of a user and a token; nothing, when Redis is away."""

    entry: Entry | None = None
    verdict: Verdict | None = None

    @property
    def accepted_at(self) -> float | None:
        """When GenAuth last accepted the token, if that was its last word."""
        return self.verdict.at if self.verdict and self.verdict.word == "accepted" else None

    def heed(self) -> None:
        """Raise the refusal, if that was GenAuth's last word: it is kept only for as long as it is to be repeated."""
        if self.verdict and self.verdict.word != "accepted":
            raise (UserBlocked if self.verdict.word == "user_blocked" else TokenRefused)(note="refused a moment ago")


Value = TypeVar("Value", Entry, Verdict)


class Observer(Protocol):
    """Who hears of values that were not ours to believe."""

    def cache_rejected(self, reason: str) -> None:
        """A stored value was treated as a miss."""


_REFUSALS: dict[type[BffError], Word] = {TokenRefused: "token_invalid", UserBlocked: "user_blocked"}


class AccountsCache:
    """The cache below the route, by verified user id and never by path or token alone."""

    def __init__(  # noqa: PLR0913 - every edge is handed in
        self,
        store: Store,
        seal: Seal,
        leases: Leases,
        observer: Observer,
        *,
        app_id: str,
        ttl: float,
        stale: float,
        refusal: float,
        clock: Callable[[], float] = time.time,
    ) -> None:
        """Lifetimes in seconds: fresh for ``ttl``, kept ``stale`` longer, a refusal remembered for ``refusal``."""
        self._store = store
        self._seal = seal
        self._leases = leases
        self._observer = observer
        self._app_id = app_id
        self._ttl, self._stale, self._refusal = ttl, stale, refusal
        self._clock = clock

    def recall(self, session: Session) -> Recollection:
        """Everything known of the session's user and token. One round trip."""
        keys = self._keys(session)
        return self._recollection(keys, self._store.read(*keys))

    def remember(self, session: Session, accounts: Sequence[LinkedAccount], asked_at: float) -> Entry:
        """Keep what GenAuth answered when it was asked at ``asked_at``, which accepted the token too."""
        fresh_for = self._ttl * random.uniform(1 - _JITTER, 1 + _JITTER)  # noqa: S311 - spreads load, guards nothing
        entry = Entry(asked_at, asked_at + fresh_for, Raw(msgspec.json.encode(accounts)))
        accounts_key, token_key = self._keys(session)
        values = {accounts_key: msgspec.json.encode(entry), token_key: msgspec.json.encode(Verdict(asked_at))}
        self._store.write({key: self._seal.seal(key, value) for key, value in values.items()}, self._ttl + self._stale)
        return entry

    def refuse(self, session: Session, error: BffError) -> None:
        """Replace the token's acceptance by its refusal; a blocked user's accounts go too."""
        accounts_key, token_key = self._keys(session)
        verdict = Verdict(self._clock(), _REFUSALS[type(error)])
        self._store.write({token_key: self._seal.seal(token_key, msgspec.json.encode(verdict))}, self._refusal)
        if isinstance(error, UserBlocked):
            self._store.forget(accounts_key)

    def forget(self, user_id: str) -> None:
        """Drop a user's accounts, or raise `bff.store.StoreAway`."""
        self._store.forget(f"{self._person(user_id)}:accounts")

    @contextmanager
    def asking(self, session: Session) -> Iterator[tuple[bool, Recollection]]:
        """Whether the holder of the block is the one to ask GenAuth about the session, and another look. One round trip."""
        keys = self._keys(session)
        with self._leases.take(f"{self._person(session.user_id)}:lease:{session.digest[:32]}", *keys) as (go, values):
            yield go, self._recollection(keys, values)

    def _person(self, user_id: str) -> str:
        return f"linked-accounts:1:{{{self._seal.name(self._app_id, user_id)}}}"

    def _keys(self, session: Session) -> tuple[str, str]:
        person = self._person(session.user_id)
        return f"{person}:accounts", f"{person}:token:{session.digest[:32]}"

    def _recollection(self, keys: tuple[str, str], values: Sequence[bytes | None]) -> Recollection:
        entry, verdict = self._open(keys[0], values[0], Entry), self._open(keys[1], values[1], Verdict)
        # Times that we would not have written: from the future, or fresh for longer than the setting says.
        horizon = self._clock() + _SKEW_SECONDS
        if entry and (entry.at > horizon or entry.fresh_until > entry.at + self._ttl * (1 + _JITTER)):
            entry = None
        if verdict and verdict.at > horizon:
            verdict = None
        return Recollection(entry, verdict)

    def _open(self, key: str, stored: bytes | None, kind: type[Value]) -> Value | None:
        if stored is None:
            return None
        value = self._seal.open(key, stored)
        if value is None:
            self._observer.cache_rejected("foreign")
            return None
        try:
            decoded = msgspec.json.decode(value, type=kind)
            if isinstance(decoded, Entry):
                decoded.accounts  # noqa: B018 - readable or a miss
        except (msgspec.MsgspecError, RecursionError, UnicodeDecodeError):
            self._observer.cache_rejected("unreadable")
            return None
        return decoded


@lru_cache(maxsize=1024)
def _accounts(raw: bytes) -> tuple[LinkedAccount, ...]:
    return msgspec.json.decode(raw, type=tuple[LinkedAccount, ...])
