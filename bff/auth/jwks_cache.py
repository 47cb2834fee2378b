"""GenAuth's signing keys, kept here so that verifying a token hardly ever waits for GenAuth.

A key in hand never waits. One fetch runs at a time, in a thread of its own; only a token whose key is missing waits for it, up
to its deadline. While GenAuth is away the last good set serves on, however old; a newer set replaces it whole, so that withdrawn
keys end at once. How often GenAuth is asked is `attempts`'; one fetch is `keysource`'s; what a usable key is, `jwks`'.

A process that has no keys yet looks on the shelf (`keyshelf`) before its first fetch, so that known people wait neither for a
GenAuth that is away nor for one that hangs. StoredJwks keys may say yes, never no: a token that they do not vouch for waits for
GenAuth's own word and gets 503 without it. They count for no fetch, and serve until one succeeds, which starts at the very same
time: a key that GenAuth withdrew while nobody here was looking is good for the moments that this takes, and only for a signature;
whether GenAuth accepts the token is another question (`linked_accounts`).

Build it in the process that uses it: a fetch under way at a fork is the parent's alone, and forgotten in the child.
"""

import os
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import structlog

from bff.auth.jwk import Key
from bff.auth.jwks_fetcher import JwksFetcher
from bff.auth.jwks_snapshot import JwksSnapshot, StoredJwks
from bff.auth.refresh_budget import RefreshBudget
from bff.errors import BffError, TokenInvalid, UpstreamFailure, UpstreamTimeout, UpstreamUnavailable
from bff.resilience import Deadline, Memo, waiting

log = structlog.get_logger()

OLD_AFTER_SECONDS = 600.0
UNKNOWN_SECONDS = 60.0
# A set speaks for tokens issued up to this long after we asked for it: GenAuth's clock may be that far ahead of ours.
SKEW_SECONDS = 10.0
# With a GenAuth that hangs, forged tokens could occupy every thread: those beyond the first few wait for a key only as long as
# a fetch usually takes.
PATIENT_THREADS = 16
IMPATIENT_SECONDS = 0.5
REMEMBERED_UNKNOWN = 256


@dataclass(frozen=True, slots=True)
class Keys:
    """The keys of one fetch. ``asked_at`` is in epoch seconds, ``asked`` in monotonic ones; a new ``version`` has other keys.

    ``shelved``: another process fetched them.
    """

    issuer: str
    by_kid: Mapping[str | None, Key]
    version: int
    asked_at: float
    asked: float
    shelved: bool = False

    def find(self, kid: str | None) -> Key | None:
        """The key of that name; a token that names none gets the only key there is."""
        if kid is None:
            return next(iter(self.by_kid.values())) if len(self.by_kid) == 1 else None
        return self.by_kid.get(kid)

    def speak_for(self, issued_at: float) -> bool:
        """Whether a token of that ``iat`` would have its key in here."""
        return issued_at <= self.asked_at + SKEW_SECONDS


@dataclass(slots=True)
class _Fetch:
    process: int = field(default_factory=os.getpid)
    any_keys: threading.Event = field(default_factory=threading.Event)  # shelved ones, or it is done
    done: threading.Event = field(default_factory=threading.Event)
    failure: type[UpstreamFailure] = UpstreamUnavailable


def in_a_thread(work: Callable[[], None]) -> None:
    """Run the work beside us; the process does not wait for it at its end."""
    threading.Thread(target=work, name="key-set", daemon=True).start()


class JwksCache:
    """The current keys, refreshed when they are old or one is missing. ``fetch_seconds`` bounds one fetch.

    On the ``shelf`` lies what serves until the first one succeeds; None where nobody may be trusted to have put it there.
    """

    def __init__(
        self,
        source: JwksFetcher,
        shelf: JwksSnapshot | None = None,
        *,
        fetch_seconds: float = 3.0,
        clock: Callable[[], float] = time.time,
        monotonic: Callable[[], float] = time.monotonic,
        start: Callable[[Callable[[], None]], None] = in_a_thread,
    ) -> None:
        self._source = source
        self._shelf = shelf
        self._fetch_seconds = fetch_seconds
        self._clock = clock
        self._monotonic = monotonic
        self._start = start
        self._lock = threading.Lock()
        self._room = threading.Semaphore(PATIENT_THREADS)
        self._attempts = RefreshBudget()
        self._unknown: Memo[str, Keys] = Memo(REMEMBERED_UNKNOWN)
        self._held: Keys | None = None
        self._last_failed = False
        self._fetching: _Fetch | None = None

    @property
    def issuer(self) -> str | None:
        """The ``iss`` of good tokens, None as long as neither GenAuth nor a setting told it."""
        held = self._in_hand(shelved=False)
        return held.issuer if held else self._source.issuer

    @property
    def version(self) -> int:
        """Changes whenever the keys do; 0 before there are any."""
        return self._held.version if self._held else 0

    @property
    def age(self) -> float | None:
        """Seconds since the keys in hand were asked for, None before there are any."""
        return self._monotonic() - self._held.asked if self._held else None

    def find(self, kid: str | None, issued_at: float, deadline: Deadline, *, shelved: bool = True) -> tuple[Key, Keys]:
        """The key that a token of this kid and ``iat`` has to be signed with, and the set it is from.

        Raises TokenInvalid when there is no such key, UpstreamUnavailable or UpstreamTimeout when that cannot be told now. Not
        ``shelved``: a key that GenAuth told this very process.
        """
        held = self._in_hand(shelved=shelved)
        first = held is None
        if held is None:
            held = self._first(deadline, shelved=shelved)
        elif held.shelved:
            self._refresh()
        elif self._monotonic() - held.asked >= OLD_AFTER_SECONDS:
            self._refresh(unhurried=True)
        key = held.find(kid)
        if key is not None:
            return key, held
        if held.shelved:
            return self.find(kid, issued_at, deadline, shelved=False)
        if kid is None:
            # No newer set would tell which of its keys is meant.
            raise TokenInvalid(note="no kid")
        if first and held.speak_for(issued_at):
            raise self._unheard_of(kid, held)
        return self._newly_published(kid, issued_at, deadline)

    def _first(self, deadline: Deadline, *, shelved: bool) -> Keys:
        fetch = self._refresh()
        if fetch is not None and shelved:
            self._wait(fetch.any_keys, deadline)
        elif fetch is not None:
            self._wait_in_a_crowd(fetch, deadline)
        held = self._in_hand(shelved=shelved)
        if held is None:
            failure = fetch.failure if fetch else UpstreamUnavailable
            raise failure(note="no key set yet" if shelved else "shelved keys alone", retry_after=self._rest())
        return held

    def _in_hand(self, *, shelved: bool) -> Keys | None:
        held = self._held
        return held if held is None or shelved or not held.shelved else None

    def _newly_published(self, kid: str, issued_at: float, deadline: Deadline) -> tuple[Key, Keys]:
        """A key that is missing may be new: ask GenAuth, as far as the budget goes.

        A frontend that hears "invalid" signs its user out. So that is only said by an answer of GenAuth's younger than the token;
        without one the token may be good, and the answer is 503.
        """
        lacking = self._unknown.get(kid)
        if lacking and lacking.speak_for(issued_at) and self._monotonic() - lacking.asked < UNKNOWN_SECONDS:
            raise TokenInvalid(note="unknown kid, again")
        fetch = self._refresh()
        if fetch is not None:
            self._wait_in_a_crowd(fetch, deadline)
        held = self._held
        key = held.find(kid) if held else None
        if held and key:
            return key, held
        if held and not self._last_failed and (fetch or held.speak_for(issued_at)):
            raise self._unheard_of(kid, held)
        raise UpstreamUnavailable(note="unknown kid, and no newer key set", retry_after=self._rest())

    def _unheard_of(self, kid: str, held: Keys) -> TokenInvalid:
        self._unknown.put(kid, held)
        return TokenInvalid(note="unknown kid")

    def _wait_in_a_crowd(self, fetch: _Fetch, deadline: Deadline) -> None:
        patient = self._room.acquire(blocking=False)
        try:
            self._wait(fetch.done, deadline if patient else deadline.within(IMPATIENT_SECONDS))
        finally:
            if patient:
                self._room.release()

    @staticmethod
    def _wait(event: threading.Event, deadline: Deadline) -> None:
        with waiting():
            arrived = event.wait(deadline.remaining())
        if not arrived:
            raise UpstreamTimeout(note="waiting for the key set")

    def _rest(self) -> float:
        with self._lock:
            return max(1.0, self._attempts.rest(self._monotonic(), have_keys=self._in_hand(shelved=False) is not None))

    def _refresh(self, *, unhurried: bool = False) -> _Fetch | None:
        """The fetch under way, or a new one; None while none may start."""
        with self._lock:
            if self._fetching is not None and self._fetching.process == os.getpid():
                return self._fetching
            if not self._attempts.start(
                self._monotonic(), have_keys=self._in_hand(shelved=False) is not None, unhurried=unhurried
            ):
                return None
            fetch = self._fetching = _Fetch()
        try:
            self._start(lambda: self._run(fetch))
        except RuntimeError:
            log.warning("key_set_not_refreshed", reason="no thread to be had")
            self._end(fetch, None)
        return fetch

    def _run(self, fetch: _Fetch) -> None:
        # What looking on the shelf takes is the fetch's loss: nobody waits for longer than for a fetch.
        deadline = Deadline.after(self._fetch_seconds)
        keys = None
        try:
            if self._shelf is not None and self._held is None:
                self._look_on(self._shelf, fetch)
            asked_at, asked = self._clock(), self._monotonic()
            issuer, published = self._source.fetch(deadline)
            by_kid = {key.kid: key for key in published}
            held = self._held
            same = held is not None and (held.issuer, held.by_kid) == (issuer, by_kid)
            version = self.version if same else self.version + 1
            keys = Keys(issuer, by_kid, version, asked_at, asked)
        except BffError as trouble:
            log.warning("key_set_not_refreshed", reason=trouble.note or trouble.code)
            fetch.failure = UpstreamTimeout if isinstance(trouble, UpstreamTimeout) else UpstreamUnavailable
        except Exception:
            # Nobody stands above a thread, and those who wait must be let go.
            log.exception("key_set_not_refreshed")
        finally:
            self._end(fetch, keys)
        if keys is not None and self._shelf is not None:
            self._shelf.put(StoredJwks(keys.issuer, keys.asked_at, [*keys.by_kid.values()]))

    def _look_on(self, shelf: JwksSnapshot, fetch: _Fetch) -> None:
        shelved = shelf.get()
        if shelved is None:
            return
        age = max(0.0, self._clock() - shelved.asked_at)
        by_kid = {key.kid: key for key in shelved.keys}
        with self._lock:
            self._held = Keys(shelved.issuer, by_kid, self.version + 1, shelved.asked_at, self._monotonic() - age, shelved=True)
        fetch.any_keys.set()
        log.info("shelved_keys_in_use", keys=len(by_kid), age_seconds=round(age))

    def _end(self, fetch: _Fetch, keys: Keys | None) -> None:
        with self._lock:
            self._fetching = None
            self._last_failed = keys is None
            if keys is None:
                self._attempts.failed(self._monotonic())
            else:
                self._held = keys
        fetch.any_keys.set()
        fetch.done.set()
