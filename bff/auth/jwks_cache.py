"""GenAuth's signing keys (RFC 7517), kept here so that verifying a token hardly ever waits for GenAuth.

- A key that is here never waits. A key set older than ten minutes is refreshed in the background.
- One fetch runs at a time, in a thread of its own. A token whose key is missing waits for it, up to the request's deadline.
- The last good key set stays while GenAuth is away, however old. A newer one replaces it whole: withdrawn keys end at once.
- "Unknown kid" is only said by a key set that was fetched after the token was issued. A frontend that reads "invalid" signs its
  user out, so without such a set the answer is 503.
- A process without keys first takes the snapshot that another process stored (`jwks_snapshot`), so that people stay signed in
  while GenAuth is away or hangs. A snapshot can accept a token and never refuse one: a token that it does not verify waits for
  the fetch that starts at the same time, and gets 503 without it. Whether GenAuth accepts a token is another question, which
  every miss of the accounts cache puts to GenAuth.

How often GenAuth may be called is `refresh_budget`'s, one fetch `jwks_fetcher`'s, which keys are usable `jwk`'s.
"""

import threading
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field

import structlog

from bff.auth.jwk import Key
from bff.auth.jwks_fetcher import JwksFetcher
from bff.auth.jwks_snapshot import JwksSnapshot, StoredJwks
from bff.auth.refresh_budget import RefreshBudget
from bff.errors import BffError, TokenInvalid, UpstreamFailure, UpstreamTimeout, UpstreamUnavailable
from bff.resilience import Cache, Deadline, cache, waiting

log = structlog.get_logger()

REFRESH_AFTER_SECONDS = 600.0
UNKNOWN_SECONDS = 60.0
# A token issued up to this long after the fetch is covered by its key set: GenAuth's clock may be that far ahead of ours.
SKEW_SECONDS = 10.0
# While GenAuth hangs, tokens with an unknown kid could occupy every thread. Beyond these many, a thread waits for a key only as
# long as a fetch usually takes.
MOST_WAITING = 16
BRIEF_WAIT_SECONDS = 0.5


@dataclass(frozen=True, slots=True)
class KeySet:
    """The keys of one fetch. ``fetched_at`` is its start in epoch seconds; ``version`` is another one when the keys are others.

    ``from_snapshot``: fetched by another process.
    """

    issuer: str
    keys: Mapping[str | None, Key]
    version: int
    fetched_at: float
    fetched_at_monotonic: float
    from_snapshot: bool = False

    def get(self, kid: str | None) -> Key | None:
        """The key with that id; for a token without a kid, the only key there is."""
        if kid is None:
            return next(iter(self.keys.values())) if len(self.keys) == 1 else None
        return self.keys.get(kid)

    def covers(self, issued_at: float) -> bool:
        """Whether the key of a token with that ``iat`` would be in this set."""
        return issued_at <= self.fetched_at + SKEW_SECONDS


@dataclass(slots=True)
class _Fetch:
    """A fetch under way. ``any_keys`` is set when a snapshot was found, or with ``done``."""

    any_keys: threading.Event = field(default_factory=threading.Event)
    done: threading.Event = field(default_factory=threading.Event)
    failure: type[UpstreamFailure] = UpstreamUnavailable


def in_a_thread(work: Callable[[], None]) -> None:
    """Run ``work`` in the background; the process does not wait for it at its end."""
    threading.Thread(target=work, name="jwks", daemon=True).start()


class JwksCache:
    """The current key set, refreshed when it is old or a key is missing.

    ``fetch_seconds`` bounds one fetch. ``snapshot`` is None where Redis cannot be trusted with keys. ``start`` runs a fetch.
    """

    def __init__(
        self,
        fetcher: JwksFetcher,
        snapshot: JwksSnapshot | None = None,
        *,
        fetch_seconds: float = 3.0,
        brief_wait_seconds: float = BRIEF_WAIT_SECONDS,
        clock: Callable[[], float] = time.time,
        monotonic: Callable[[], float] = time.monotonic,
        start: Callable[[Callable[[], None]], None] = in_a_thread,
    ) -> None:
        self._fetcher = fetcher
        self._snapshot = snapshot
        self._fetch_seconds = fetch_seconds
        self._brief_wait_seconds = brief_wait_seconds
        self._clock = clock
        self._monotonic = monotonic
        self._start = start
        self._lock = threading.Lock()  # around the budget, the fetch under way and what it brings
        self._budget = RefreshBudget()
        self._fetch: _Fetch | None = None
        self._last_failed = False
        self._key_set: KeySet | None = None
        self._long_waits = threading.Semaphore(MOST_WAITING)
        self._missing_from: Cache[str, KeySet] = cache("unknown_key_ids")

    @property
    def issuer(self) -> str | None:
        """The ``iss`` of good tokens, None while neither GenAuth nor a setting has given it."""
        fetched = self._current(allow_snapshot=False)
        return fetched.issuer if fetched else self._fetcher.issuer

    @property
    def version(self) -> int:
        """Changes whenever the keys do; 0 before there are any."""
        return self._key_set.version if self._key_set else 0

    @property
    def age(self) -> float | None:
        """Seconds since the current key set was fetched, None before there is one."""
        return self._monotonic() - self._key_set.fetched_at_monotonic if self._key_set else None

    def find(self, kid: str | None, issued_at: float, deadline: Deadline, *, allow_snapshot: bool = True) -> tuple[Key, KeySet]:
        """The key for a token of this kid and ``iat``, and the key set that has it.

        Raises TokenInvalid when GenAuth has no such key, UpstreamUnavailable or UpstreamTimeout when that cannot be known now.
        Without ``allow_snapshot``, the key set is one that this very process fetched.
        """
        key_set = self._current(allow_snapshot=allow_snapshot)
        if key_set is None:
            return self._find_in_first(kid, issued_at, deadline, allow_snapshot=allow_snapshot)
        if key_set.from_snapshot:
            self._refresh()
        elif self._monotonic() - key_set.fetched_at_monotonic >= REFRESH_AFTER_SECONDS:
            self._refresh(background=True)
        if key := key_set.get(kid):
            return key, key_set
        if key_set.from_snapshot:
            return self.find(kid, issued_at, deadline, allow_snapshot=False)
        return self._find_in_newer(kid, issued_at, deadline)

    def _find_in_first(
        self, kid: str | None, issued_at: float, deadline: Deadline, *, allow_snapshot: bool
    ) -> tuple[Key, KeySet]:
        """As `find`, in the first key set of this process."""
        fetch = self._refresh()
        if fetch is not None and allow_snapshot:
            _wait(fetch.any_keys, deadline)
        elif fetch is not None:
            self._wait_for_fetch(fetch, deadline)
        key_set = self._current(allow_snapshot=allow_snapshot)
        if key_set is None:
            failure = fetch.failure if fetch else UpstreamUnavailable
            raise failure(
                note="no key set yet" if allow_snapshot else "no key set but a snapshot", retry_after=self._retry_after()
            )
        if key := key_set.get(kid):
            return key, key_set
        if key_set.from_snapshot:
            return self.find(kid, issued_at, deadline, allow_snapshot=False)
        if kid is not None and key_set.covers(issued_at):
            raise self._unknown(kid, key_set)
        return self._find_in_newer(kid, issued_at, deadline)

    def _find_in_newer(self, kid: str | None, issued_at: float, deadline: Deadline) -> tuple[Key, KeySet]:
        """As `find`, in a newer key set than the current one, where the key is missing: GenAuth may have published it since."""
        if kid is None:
            # No newer set would tell which of its keys is meant.
            raise TokenInvalid(note="no kid")
        lacking = self._missing_from.get(kid)
        if lacking and lacking.covers(issued_at) and self._monotonic() - lacking.fetched_at_monotonic < UNKNOWN_SECONDS:
            raise TokenInvalid(note="unknown kid, again")
        fetch = self._refresh()
        if fetch is not None:
            self._wait_for_fetch(fetch, deadline)
        key_set = self._key_set
        if key_set and (key := key_set.get(kid)):
            return key, key_set
        if key_set and not self._last_failed and (fetch or key_set.covers(issued_at)):
            raise self._unknown(kid, key_set)
        raise UpstreamUnavailable(note="unknown kid, and no newer key set", retry_after=self._retry_after())

    def _current(self, *, allow_snapshot: bool) -> KeySet | None:
        key_set = self._key_set
        return key_set if key_set is None or allow_snapshot or not key_set.from_snapshot else None

    def _unknown(self, kid: str, key_set: KeySet) -> TokenInvalid:
        self._missing_from.put(kid, key_set)
        return TokenInvalid(note="unknown kid")

    def _wait_for_fetch(self, fetch: _Fetch, deadline: Deadline) -> None:
        may_wait_long = self._long_waits.acquire(blocking=False)
        try:
            _wait(fetch.done, deadline if may_wait_long else deadline.within(self._brief_wait_seconds))
        finally:
            if may_wait_long:
                self._long_waits.release()

    def _retry_after(self) -> float:
        with self._lock:
            return max(1.0, self._budget.seconds_left(self._monotonic(), have_keys=self._have_keys()))

    def _have_keys(self) -> bool:
        return self._current(allow_snapshot=False) is not None

    def _refresh(self, *, background: bool = False) -> _Fetch | None:
        """The fetch under way, or a new one; None while none may start."""
        with self._lock:
            if self._fetch is not None:
                return self._fetch
            if not self._budget.spend(self._monotonic(), have_keys=self._have_keys(), background=background):
                return None
            fetch = self._fetch = _Fetch()
        try:
            self._start(lambda: self._run(fetch))
        except RuntimeError:
            log.warning("jwks_refresh_failed", reason="no thread to be had")
            self._end(fetch, None)
        return fetch

    def _run(self, fetch: _Fetch) -> None:
        # Reading the snapshot is part of the time of a fetch: nobody waits for longer than that.
        deadline = Deadline.after(self._fetch_seconds)
        key_set = None
        try:
            if self._snapshot is not None and self._key_set is None:
                self._use(self._snapshot.get(), fetch)
            fetched_at, monotonic = self._clock(), self._monotonic()
            issuer, keys = self._fetcher.fetch(deadline)
            key_set = self._next(issuer, keys, fetched_at, monotonic)
        except BffError as error:
            log.warning("jwks_refresh_failed", reason=error.note or error.code)
            fetch.failure = UpstreamTimeout if isinstance(error, UpstreamTimeout) else UpstreamUnavailable
        except Exception:
            # Nothing above a thread would report it, and the requests that wait have to go on.
            log.exception("jwks_refresh_failed")
        finally:
            self._end(fetch, key_set)
        if key_set is not None and self._snapshot is not None:
            self._snapshot.put(StoredJwks(key_set.issuer, key_set.fetched_at, [*key_set.keys.values()]))

    def _use(self, stored: StoredJwks | None, fetch: _Fetch) -> None:
        """Verify with the snapshot until a fetch succeeds."""
        if stored is None:
            return
        age = max(0.0, self._clock() - stored.fetched_at)
        key_set = self._next(stored.issuer, stored.keys, stored.fetched_at, self._monotonic() - age, from_snapshot=True)
        with self._lock:
            self._key_set = key_set
        fetch.any_keys.set()
        log.info("jwks_snapshot_in_use", keys=len(key_set.keys), age_seconds=round(age))

    def _next(
        self, issuer: str, keys: Iterable[Key], fetched_at: float, monotonic: float, *, from_snapshot: bool = False
    ) -> KeySet:
        by_kid = {key.kid: key for key in keys}
        current = self._key_set
        same = current is not None and (current.issuer, current.keys) == (issuer, by_kid)
        version = self.version if same else self.version + 1
        return KeySet(issuer, by_kid, version, fetched_at, monotonic, from_snapshot)

    def _end(self, fetch: _Fetch, key_set: KeySet | None) -> None:
        with self._lock:
            self._fetch = None
            self._last_failed = key_set is None
            if key_set is None:
                self._budget.record_failure(self._monotonic())
            else:
                self._key_set = key_set
        fetch.any_keys.set()
        fetch.done.set()


def _wait(event: threading.Event, deadline: Deadline) -> None:
    with waiting():
        arrived = event.wait(deadline.remaining())
    if not arrived:
        raise UpstreamTimeout(note="waited for the key set")
