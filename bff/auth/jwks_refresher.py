"""Fetches GenAuth's key set in a thread of its own, one fetch at a time, and keeps the last good one.

A process without keys first takes the snapshot that another process stored. It serves until a fetch succeeds.
How often GenAuth may be called is `refresh_budget`'s, one fetch `jwks_fetcher`'s; what a missing key means is `jwks_cache`'s.
"""

import threading
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

import structlog

from bff.auth.jwk import Key, KeySet
from bff.auth.jwks_fetcher import JwksFetcher
from bff.auth.jwks_snapshot import JwksSnapshot, StoredJwks
from bff.auth.refresh_budget import RefreshBudget
from bff.errors import BffError, UpstreamFailure, UpstreamTimeout, UpstreamUnavailable
from bff.resilience import Deadline

log = structlog.get_logger()

REFRESH_AFTER_SECONDS = 600.0


@dataclass(slots=True)
class Fetch:
    """A fetch under way. ``any_keys`` is set when a snapshot was found, and with ``done``; ``failure`` says how it failed."""

    any_keys: threading.Event = field(default_factory=threading.Event)
    done: threading.Event = field(default_factory=threading.Event)
    failure: type[UpstreamFailure] = UpstreamUnavailable


def in_a_thread(work: Callable[[], None]) -> None:
    """Run ``work`` in the background; the process does not wait for it at its end."""
    threading.Thread(target=work, name="jwks", daemon=True).start()


class JwksRefresher:
    """The last good key set, and the fetch of the next.

    ``snapshot`` is None where Redis cannot be trusted with keys. ``fetch_seconds`` bounds one fetch, ``start`` runs it.
    ``failure`` says in a word why the last fetch brought no keys, None if it did or there was none.
    """

    def __init__(
        self,
        fetcher: JwksFetcher,
        snapshot: JwksSnapshot | None = None,
        *,
        fetch_seconds: float = 3.0,
        clock: Callable[[], float] = time.time,
        monotonic: Callable[[], float] = time.monotonic,
        start: Callable[[Callable[[], None]], None] = in_a_thread,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self.failure: str | None = None
        self._fetcher = fetcher
        self._snapshot = snapshot
        self._fetch_seconds = fetch_seconds
        self._clock = clock
        self._monotonic = monotonic
        self._start = start
        self._sleep = sleep
        self._lock = threading.Lock()  # around the budget, the fetch under way and what it brings
        self._budget = RefreshBudget()
        self._fetch: Fetch | None = None
        self._key_set: KeySet | None = None

    @property
    def issuer(self) -> str | None:
        """The ``iss`` of good tokens, None while neither GenAuth nor a setting has given it."""
        fetched = self.current(allow_snapshot=False)
        return fetched.issuer if fetched else self._fetcher.issuer

    def current(self, *, allow_snapshot: bool = True) -> KeySet | None:
        """The last good key set, None before there is one. Without ``allow_snapshot``, of this process's own fetches alone."""
        key_set = self._key_set
        return key_set if key_set is None or allow_snapshot or not key_set.from_snapshot else None

    def retry_after(self) -> float:
        """In how many seconds another fetch may start, one at least."""
        with self._lock:
            return max(1.0, self._budget.seconds_left(self._monotonic(), have_keys=self._have_keys()))

    def fetch_first_keys(self) -> None:
        """Fetch in the background, again and again, until this process has keys of its own. Nobody waits for it."""
        try:
            self._start(self._until_there_are_keys)
        except RuntimeError:
            log.warning("jwks_refresh_failed", reason="no thread to be had")

    def _until_there_are_keys(self) -> None:
        while not self._have_keys():
            if fetch := self.refresh():
                fetch.done.wait()
            else:
                self._sleep(self.retry_after())

    def refresh_in_background(self, key_set: KeySet) -> None:
        """Start a fetch if the key set is old or a snapshot. Nobody waits for it."""
        if key_set.from_snapshot:
            self.refresh()
        elif self._monotonic() - key_set.fetched_at_monotonic >= REFRESH_AFTER_SECONDS:
            self.refresh(background=True)

    def refresh(self, *, background: bool = False) -> Fetch | None:
        """The fetch under way, or a new one; None while none may start. ``background``: see `RefreshBudget.spend`."""
        with self._lock:
            if self._fetch is not None:
                return self._fetch
            if not self._budget.spend(self._monotonic(), have_keys=self._have_keys(), background=background):
                return None
            fetch = self._fetch = Fetch()
        try:
            self._start(lambda: self._run(fetch))
        except RuntimeError:
            log.warning("jwks_refresh_failed", reason="no thread to be had")
            self._end(fetch, None, "no_thread")
        return fetch

    def _have_keys(self) -> bool:
        return self.current(allow_snapshot=False) is not None

    def _run(self, fetch: Fetch) -> None:
        # Reading the snapshot is part of the time of a fetch: nobody waits for longer than that.
        deadline = Deadline.after(self._fetch_seconds)
        key_set, reason = None, "defect"
        try:
            if self._snapshot is not None and self._key_set is None:
                self._use(self._snapshot.get(), fetch)
            fetched_at, monotonic = self._clock(), self._monotonic()
            issuer, keys = self._fetcher.fetch(deadline)
            key_set = self._next(issuer, keys, fetched_at, monotonic)
        except BffError as error:
            log.warning("jwks_refresh_failed", reason=error.note or error.code)
            reason = error.reason or error.code
            fetch.failure = UpstreamTimeout if isinstance(error, UpstreamTimeout) else UpstreamUnavailable
        except Exception:
            # Nothing above a thread would report it, and the requests that wait have to go on.
            log.exception("jwks_refresh_failed")
        finally:
            self._end(fetch, key_set, reason)
        if key_set is not None and self._snapshot is not None:
            self._snapshot.put(StoredJwks(key_set.issuer, key_set.fetched_at, [*key_set.keys.values()]))

    def _use(self, stored: StoredJwks | None, fetch: Fetch) -> None:
        """Serve the snapshot until a fetch succeeds."""
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
        by_kid, last = {key.kid: key for key in keys}, self._key_set
        version = last.version if last else 0
        if last is None or (last.issuer, last.keys) != (issuer, by_kid):
            version += 1
        return KeySet(issuer, by_kid, version, fetched_at, monotonic, from_snapshot)

    def _end(self, fetch: Fetch, key_set: KeySet | None, reason: str) -> None:
        with self._lock:
            self._fetch = None
            self.failure = reason if key_set is None else None
            if key_set is None:
                self._budget.record_failure(self._monotonic())
            else:
                self._key_set = key_set
        fetch.any_keys.set()
        fetch.done.set()
