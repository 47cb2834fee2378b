"""The key for a token, from GenAuth's key set (JWKS), which is kept here so that hardly any token waits for GenAuth.

- A key that is here never waits. An old key set is refreshed in the background, and stays while GenAuth is away. A newer one
  replaces it whole: withdrawn keys end at once.
- A token whose key is missing waits for a fetch, up to the request's deadline.
- A key id counts as unknown only in a key set that was fetched after the token was issued. A frontend that reads "invalid" signs
  its user out, so without such a set the answer is 503.
- A snapshot, fetched by another process before this one started, can accept a token and never refuse one: people stay signed in
  while GenAuth is away or hangs, and a token that it does not verify waits for a fetch, and gets 503 without it. Whether GenAuth
  accepts a token is another question, which every miss of the accounts cache puts to GenAuth.

When and how the set is fetched is `jwks_refresher`'s.
"""

import threading
import time
from collections.abc import Callable

from bff.auth.jwk import Key, KeySet
from bff.auth.jwks_refresher import Fetch, JwksRefresher
from bff.errors import TokenInvalid, UpstreamFailure, UpstreamTimeout, UpstreamUnavailable
from bff.observability import Reason
from bff.resilience import Cache, Deadline, cache, is_crowded, released

UNKNOWN_SECONDS = 60.0
# While GenAuth hangs, tokens with an unknown kid could occupy every thread. Beyond these many, a thread waits for a key only as
# long as a fetch usually takes, and beyond the brief ones too, not at all: others need threads, and anybody can make up a kid.
MOST_WAITING = 16
MOST_WAITING_BRIEFLY = 32
BRIEF_WAIT_SECONDS = 0.5


class JwksCache:
    """Finds the key for a token."""

    def __init__(
        self,
        refresher: JwksRefresher,
        *,
        brief_wait_seconds: float = BRIEF_WAIT_SECONDS,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._refresher = refresher
        self._brief_wait_seconds = brief_wait_seconds
        self._monotonic = monotonic
        self._long_waits = threading.Semaphore(MOST_WAITING)
        self._brief_waits = threading.Semaphore(MOST_WAITING_BRIEFLY)
        # In which key set a kid was missing. Tokens with it are refused without a call until another set could have it.
        self._missing_from: Cache[str, KeySet] = cache("unknown_key_ids", seconds=UNKNOWN_SECONDS)

    @property
    def issuer(self) -> str | None:
        """The ``iss`` of good tokens, None while neither GenAuth nor a setting has given it."""
        return self._refresher.issuer

    @property
    def version(self) -> int:
        """Changes whenever the keys do; 0 before there are any."""
        key_set = self._refresher.current()
        return key_set.version if key_set else 0

    def prepare(self) -> None:
        """Begin to fetch the first keys. Nobody waits for anything."""
        self._refresher.fetch_first_keys()

    def obstacle(self, deadline: Deadline) -> Reason | None:
        """Why there are no keys, not even a snapshot's, or no newer ones than those at hand; None if there are.

        Waits for a fetch that may bring the first, and begins one if the last one failed.
        """
        if self._refresher.current() is None and (fetch := self._refresher.refresh()):
            fetch.any_keys.wait(deadline.remaining())
        failure = self._refresher.failure
        if self._refresher.current() is None:
            return Reason(failure or "keys_not_fetched", "misconfigured")
        if failure is None:
            return None
        self._refresher.refresh(background=True)
        return Reason(failure)

    def at_hand(self, kid: str | None) -> tuple[Key, KeySet] | None:
        """The key that this very process has fetched, and its key set. Nobody waits for anything."""
        key_set = self._refresher.current(allow_snapshot=False)
        if key_set is None:
            return None
        self._refresher.refresh_in_background(key_set)
        key = key_set.get(kid)
        return (key, key_set) if key else None

    def find(self, kid: str | None, issued_at: float, deadline: Deadline, *, allow_snapshot: bool = True) -> tuple[Key, KeySet]:
        """The key for a token of this kid and ``iat``, and the key set that has it.

        Raises TokenInvalid when GenAuth has no such key, UpstreamUnavailable or UpstreamTimeout when that cannot be known now.
        Without ``allow_snapshot``, the key set is one that this very process fetched.
        """
        any_keys = self._refresher.current() is not None
        try:
            return self._find(kid, issued_at, deadline, allow_snapshot=allow_snapshot)
        except UpstreamFailure as failure:
            # There are keys, and not this one: anybody can make up a kid. Without any key it says nothing about the token.
            failure.counted = any_keys
            raise

    def _find(self, kid: str | None, issued_at: float, deadline: Deadline, *, allow_snapshot: bool) -> tuple[Key, KeySet]:
        key_set = self._refresher.current(allow_snapshot=allow_snapshot)
        first = key_set is None
        if key_set is None:
            key_set = self._first(deadline, allow_snapshot=allow_snapshot)
        else:
            self._refresher.refresh_in_background(key_set)
        if key := key_set.get(kid):
            return key, key_set
        if key_set.from_snapshot:
            return self._find(kid, issued_at, deadline, allow_snapshot=False)
        if kid is None:
            # No newer set would tell which of its keys is meant.
            raise TokenInvalid(note="no kid")
        if first and key_set.covers(issued_at):
            raise self._unknown(kid, key_set)
        return self._find_in_newer(kid, issued_at, deadline)

    def _first(self, deadline: Deadline, *, allow_snapshot: bool) -> KeySet:
        """The first key set of this process, waited for."""
        fetch = self._refresher.refresh()
        if fetch is not None and allow_snapshot:
            _wait(fetch.any_keys, deadline)
        elif fetch is not None:
            self._wait_for_fetch(fetch, deadline)
        key_set = self._refresher.current(allow_snapshot=allow_snapshot)
        if key_set is None:
            failure = fetch.failure if fetch else UpstreamUnavailable
            note = "no key set yet" if allow_snapshot else "no key set but a snapshot"
            raise failure(note=note, retry_after=self._refresher.retry_after())
        return key_set

    def _find_in_newer(self, kid: str, issued_at: float, deadline: Deadline) -> tuple[Key, KeySet]:
        """The key from a newer key set: GenAuth may have published it since the current one was fetched."""
        lacking = self._missing_from.get(kid)
        if lacking and lacking.covers(issued_at) and self._monotonic() - lacking.fetched_at_monotonic < UNKNOWN_SECONDS:
            raise TokenInvalid(note="unknown kid, again")
        fetch = self._refresher.refresh()
        if fetch is not None:
            self._wait_for_fetch(fetch, deadline)
        key_set = self._refresher.current()
        if key_set and (key := key_set.get(kid)):
            return key, key_set
        if key_set and self._refresher.failure is None and (fetch or key_set.covers(issued_at)):
            raise self._unknown(kid, key_set)
        raise UpstreamUnavailable(note="unknown kid, and no newer key set", retry_after=self._refresher.retry_after())

    def _unknown(self, kid: str, key_set: KeySet) -> TokenInvalid:
        self._missing_from.put(kid, key_set)
        return TokenInvalid(note="unknown kid")

    def _wait_for_fetch(self, fetch: Fetch, deadline: Deadline) -> None:
        if self._long_waits.acquire(blocking=False):
            place, until = self._long_waits, deadline
        elif self._brief_waits.acquire(blocking=False):
            place, until = self._brief_waits, deadline.within(self._brief_wait_seconds)
        else:
            raise UpstreamUnavailable(note="too many wait for a key", retry_after=1)
        try:
            _wait(fetch.done, until)
        finally:
            place.release()


def _wait(event: threading.Event, deadline: Deadline) -> None:
    if is_crowded():
        raise UpstreamUnavailable(note="too many wait", retry_after=1)
    with released():
        arrived = event.wait(deadline.remaining())
    if not arrived:
        raise UpstreamTimeout(note="waited for the key set")
