"""What is remembered of a person: their accounts, and which of their tokens GenAuth accepted or refused.

    la:2:{person}:accounts       one for each user
    la:2:{person}:token:<name>   one for each session token: GenAuth's own last word on it, and when
    la:2:{person}:changed        for a minute after a change: accounts asked for before it are void
    la:2:{person}:lease:<name>   held by whoever is asking GenAuth right now

``{person}`` is a digest in a Redis Cluster hash tag, so that a user's keys share a slot and one round trip. What they hold, and
what of it is believed, is the business of `remembered`.
"""

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from functools import lru_cache
from typing import NamedTuple

from bff.cache.codec import Codec
from bff.cache.entries import Change, Entry, Lifetimes, Lookup, TokenStatus, Values, Word
from bff.cache.fallback import FRESH_SECONDS, FallbackCache
from bff.cache.lock import Locks, Turn
from bff.cache.redis_store import PREFIX, CacheUnavailable, RedisStore
from bff.errors import BffError, TokenRefused, UpstreamFailure, UserBlocked
from bff.models import LinkedAccount, Session
from bff.observability import Recorder
from bff.resilience import Memo

_CHANGED_SECONDS = 60.0  # longer than a question that was on its way when the change came
_CHANGES = 10_000
_AT_ONCE = 256  # people who are answered at the same time: a miss needs its keys three times


class Keys(NamedTuple):
    """Where everything about a session's user and token is."""

    accounts: str
    token: str
    changed: str


_ENOUGH = 2  # of these, for an answer: the first two


class Asking:
    """A turn at asking GenAuth: whether to ``go``, what is known by now, and else how the one who went is called or failed."""

    __slots__ = ("_turn", "seen")

    def __init__(self, turn: Turn, seen: Lookup) -> None:
        self._turn = turn
        self.seen = seen

    @property
    def go(self) -> bool:
        """Whether it is ours to ask."""
        return self._turn.go

    @property
    def awaiting(self) -> str:
        """Whom to wait for."""
        return self._turn.awaiting

    @property
    def trouble(self) -> UpstreamFailure | None:
        """How the one we waited for failed."""
        return self._turn.trouble

    @property
    def turn(self) -> Turn:
        """The lease, to be given back with what is remembered."""
        return self._turn


_REFUSALS: dict[type[BffError], Word] = {TokenRefused: "token_invalid", UserBlocked: "user_blocked"}


class AccountsCache:
    """The cache below the route, by verified user id and never by path or token alone. Fails open, but for `forget`."""

    def __init__(
        self,
        store: RedisStore,
        seal: Codec,
        leases: Locks,
        recorder: Recorder,
        lifetimes: Lifetimes,
        *,
        person: Callable[[str], str],
        clock: Callable[[], float] = time.time,
    ) -> None:
        """``person`` names a user by something that tells nothing of them."""
        self._store = store
        self._seal = seal
        self._leases = leases
        self._values = Values(seal, recorder, lifetimes)
        self._lifetimes = lifetimes
        self._name = person
        self._clock = clock
        self._copies: FallbackCache[Lookup] = FallbackCache(clock=clock)
        self._changes: Memo[str, float] = Memo(_CHANGES)  # those made here, which Redis may not have been told
        self._known_keys = lru_cache(_AT_ONCE)(self._derived)

    def recall(self, session: Session) -> Lookup:
        """Everything known of the session's user and token. One round trip."""
        keys = self._keys(session)
        try:
            return self._recollection(keys, self._store.read(*keys))
        except CacheUnavailable:
            return self._from_copies(keys)

    def remember(
        self, session: Session, accounts: Sequence[LinkedAccount], asked_at: float, asking: Asking | None = None
    ) -> Entry:
        """Keep what GenAuth answered when it was asked at ``asked_at``, which accepted the token too. One round trip.

        The turn at asking ends with it. A forced refresh that fails never comes here: nothing prolongs freshness but an answer.
        """
        entry = Entry.reported(accounts, asked_at, self._lifetimes.fresh_for())
        verdict = TokenStatus(entry.at)
        keys = self._keys(session)
        lease = asking.turn.lease if asking else None
        values = self._values.written({keys.accounts: entry, keys.token: verdict})
        stored = self._store.write(values, self._lifetimes.ttl + self._lifetimes.stale, release=lease)
        if asking and stored:
            asking.turn.given_back()
        self._keep_copy(keys, Lookup(entry, verdict), stored=stored)
        return entry

    def refuse(self, session: Session, error: BffError) -> None:
        """Replace the token's acceptance by its refusal; a blocked user's accounts go too, whichever token asks for them."""
        keys = self._keys(session)
        self._copies.drop(keys.token)
        verdict = TokenStatus(self._clock(), _REFUSALS[type(error)])
        # Fails open: this process knows of the refusal (`refusals`), and a token that is refused once is refused again.
        with suppress(CacheUnavailable):
            if not self._store.write(self._values.written({keys.token: verdict}), self._lifetimes.refused):
                self._store.forget(keys.token)  # a full Redis does not write, but deletes
        if isinstance(error, UserBlocked):
            with suppress(CacheUnavailable):
                self.forget(session.user_id)

    def forget(self, user_id: str) -> None:
        """Drop a user's accounts, those that GenAuth is being asked for right now included.

        Raises `bff.cache.redis_store.CacheUnavailable` when other processes would go on serving them.
        """
        person = self._person(user_id)
        changed = f"{person}:changed"
        now = self._clock()
        self._changes.put(changed, now)
        self._store.forget(f"{person}:accounts", leaving=self._values.written({changed: Change(now)}), lifetime=_CHANGED_SECONDS)

    @contextmanager
    def asking(self, session: Session, awaited: str = "", *, unless_known: bool = False) -> Iterator[Asking]:
        """A turn at asking GenAuth about the session, and a look at what is known. One round trip.

        ``awaited`` is what the last turn said of whom to wait for. ``unless_known``: it is nobody's turn, and there is nobody to
        wait for, if the user and the token are known, however well.
        """
        keys = self._keys(session)
        lease, enough = keys.token.replace(":token:", ":lease:"), _ENOUGH if unless_known else 0
        with self._leases.take(lease, *keys, awaited=awaited, enough=enough) as turn:
            seen = self._from_copies(keys) if turn.values is None else self._recollection(keys, turn.values)
            yield Asking(turn, seen)

    def _person(self, user_id: str) -> str:
        return f"{PREFIX}{{{self._name(user_id)}}}"

    def _keys(self, session: Session) -> Keys:
        return self._known_keys(session.user_id, session.digest)

    def _derived(self, user_id: str, digest: str) -> Keys:
        person = self._person(user_id)
        return Keys(f"{person}:accounts", f"{person}:token:{self._seal.name('token', digest)}", f"{person}:changed")

    def _recollection(self, keys: Keys, values: Sequence[bytes | None]) -> Lookup:
        now = self._clock()
        entry = self._values.read(keys.accounts, values[0], Entry, now)
        verdict = self._values.read(keys.token, values[1], TokenStatus, now)
        change = self._values.read(keys.changed, values[2], Change, now)
        known = Lookup(self._standing(keys, entry, change), verdict)
        if (verdict is None or verdict.word == "accepted") and (copy := self._copies.unstored(keys.token)):
            return self._newer(known, self._aged(copy.value, copy.seen_at, keys))
        if known.entry and known.accepted_at is not None:
            self._keep_copy(keys, known, stored=True)
        else:
            self._copies.drop(keys.token)  # refused, forgotten or changed elsewhere
        return known

    def _from_copies(self, keys: Keys) -> Lookup:
        copy = self._copies.any(keys.token)
        return self._aged(copy.value, copy.seen_at, keys) if copy else Lookup()

    def _aged(self, known: Lookup, seen_at: float, keys: Keys) -> Lookup:
        """A copy, fresh for a few seconds and good for nothing once the acceptance of its token is too old.

        What stands in later than that could be somebody's whom another process saw refused.
        """
        accepted_at = known.accepted_at
        entry = self._standing(keys, known.entry, None)
        if entry is None or accepted_at is None or accepted_at <= self._clock() - self._lifetimes.accepted:
            return Lookup()
        fresh_until = min(entry.fresh_until, seen_at + FRESH_SECONDS)
        return Lookup(Entry(entry.at, fresh_until, entry.raw), known.verdict)

    @staticmethod
    def _newer(one: Lookup, other: Lookup) -> Lookup:
        entry = max((r.entry for r in (one, other) if r.entry), key=lambda entry: entry.at, default=None)
        verdict = max((r.verdict for r in (one, other) if r.verdict), key=lambda verdict: verdict.at, default=None)
        return Lookup(entry, verdict)

    def _keep_copy(self, keys: Keys, known: Lookup, *, stored: bool) -> None:
        if known.entry and known.entry.modest:
            self._copies.keep(keys.token, known, stored=stored)

    def _standing(self, keys: Keys, entry: Entry | None, change: Change | None) -> Entry | None:
        """The entry, unless the person's accounts changed since GenAuth was asked."""
        if entry is None:
            return None
        now = self._clock()
        changes = (change.at if change else None, self._changes.get(keys.changed))
        # One that is older than its note would be, or not yet made, is a clock's doing.
        void = any(at is not None and entry.at <= at and abs(now - at) < _CHANGED_SECONDS for at in changes)
        return None if void else entry
