"""Whose session is this token? Every request asks here first, and nothing is cached or served for a user named elsewhere.

`Sessions` checks a token's characters and keeps what was verified; verifying is `access_tokens` (signed tokens,
`TOKEN_VERIFICATION=jwks`) or `introspection` (opaque ones). Reading the token from header or cookie is the web package's.
"""

import copy
import hashlib
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from math import inf
from typing import Protocol

from bff.auth.token_kinds import B64TOKEN, what_to_send_instead
from bff.errors import (
    InvalidTokenRequest,
    SessionExpired,
    TokenInvalid,
    TokenRefused,
    UpstreamFailure,
    UpstreamTimeout,
    UpstreamUnavailable,
)
from bff.models import Session
from bff.observability import Reason
from bff.resilience import BulkheadFull, Cache, Deadline, Forgotten, SingleFlight, cache

LONGEST_TOKEN = 8192
# As whom all those wait together whose token nobody knows; no user has that id.
_NOBODY = ""
# For how long a token that nobody sends counts as one that was genuine here.
_RECOGNISED_SECONDS = 3600.0


@dataclass(frozen=True, slots=True)
class Acceptance:
    """That a token is genuine, without the token.

    ``expires_at``: the token's own end in epoch seconds, None when it is not known; it may have passed. ``reverify_at``: the
    monotonic second from which the token has to be verified again. ``version``: the verifier's at that time. ``digest`` names
    the token if other texts are the same one, None if this text alone is it. ``issued_at``, ``signed_in_at``: as in `Session`.

    Where GenAuth was asked: ``person`` is the user's opaque id, and ``begun`` was `Forgotten.number` before.
    """

    user_id: str
    expires_at: float | None
    reverify_at: float
    version: int
    digest: str | None = None
    issued_at: float | None = None
    signed_in_at: float | None = None
    person: str | None = None
    begun: int = 0


@dataclass(frozen=True, slots=True)
class Verified:
    """What a flight found for everybody who waited for it. ``begun``: `Forgotten.number` at its beginning."""

    begun: int
    outcome: Acceptance | TokenInvalid


class Verifier(Protocol):
    """Verifies a token that is not kept as accepted."""

    @property
    def version(self) -> int:
        """Changes when earlier acceptances end, as when a signing key was withdrawn."""

    @property
    def calls_genauth(self) -> bool:
        """Whether each verification is a call, so that simultaneous ones of one token are better shared."""

    def prepare(self) -> None:
        """Have ready what verifying takes. Nobody waits for it."""

    def obstacle(self, deadline: Deadline) -> Reason | None:
        """Why no token can be verified, as it never could or GenAuth refuses us: `misconfigured`. Why some cannot: `down`.

        None if all can. Raises UpstreamFailure when GenAuth is needed, and is away after it did its work.
        """

    def verify(self, token: str, deadline: Deadline, *, known_as: str | None = None) -> Acceptance:
        """Whose token it is, even if it has expired; raises TokenInvalid or UpstreamFailure.

        ``known_as``: the user whose token it was when it was accepted here before.
        """

    def forget(self, person: str | None) -> None:
        """Ask GenAuth again about the tokens of the person, an opaque id, that it refused; None: of anybody."""

    @property
    def begun(self) -> int:
        """Read before verifying: by that `is_reconsidered` knows what was forgotten meanwhile."""

    def is_reconsidered(self, user_id: str, begun: int) -> bool:
        """Whether the user was forgotten since verifying was `begun`, so that a refusal counts no longer."""


class Recognised(Protocol):
    """What the workers know together: `bff.cache.RecognisedTokens`."""

    def put(self, digest: bytes, user_id: str, seconds: float) -> None:
        """The token was accepted here, and is the user's."""

    def get(self, digest: bytes) -> str | None:
        """Whose token it was when some worker accepted it; None also while nobody can be asked."""

    def drop(self, digest: bytes) -> None:
        """The token is good no longer."""


class Sessions:
    """Tokens in, sessions out.

    Only acceptances are kept here: refusing a signed token takes one signature check, and introspection, where a refusal takes a
    call, keeps its refusals itself. ``accepted`` and ``flights`` are handed in by tests. ``recognised`` is None where verifying
    takes no call, so that nobody has to be let in before others.

    What GenAuth said of a person's tokens holds no longer when it tells that something about them changed (`forget`).
    """

    def __init__(
        self,
        verifier: Verifier,
        *,
        recognised: Recognised | None = None,
        accepted: Cache[bytes, Acceptance] | None = None,
        flights: SingleFlight[Verified] | None = None,
        refused: Callable[[Session, TokenRefused], None] = lambda _session, _refusal: None,
        person: Callable[[str], str] = str,
        clock: Callable[[], float] = time.time,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        """``refused(session, refusal)`` is called when GenAuth refuses a token that was a session here.

        ``person(user_id)`` is the opaque id of a user, as `forget` takes it.
        """
        self._verifier = verifier
        self._recognised = recognised
        self._accepted: Cache[bytes, Acceptance] = (
            cache("accepted_tokens", seconds=_RECOGNISED_SECONDS) if accepted is None else accepted
        )
        self._flights: SingleFlight[Verified] = SingleFlight() if flights is None else flights
        self._refused = refused
        self._person = person
        self._forgotten = Forgotten(cache("forgotten_acceptances", seconds=inf))
        self._clock = clock
        self._monotonic = monotonic

    def of(self, token: str, deadline: Deadline) -> Session:
        """The session that the token stands for.

        Raises InvalidTokenRequest (too long), TokenInvalid, SessionExpired; UpstreamFailure when GenAuth is needed and away.
        """
        if len(token) > LONGEST_TOKEN:
            raise InvalidTokenRequest(f"The session token is longer than {LONGEST_TOKEN} characters.", note="token too long")
        hashed = _hash(token)
        digest = hashed.digest()
        acceptance = self._lookup(digest)
        if acceptance is None:
            try:
                acceptance = self._verified(token, digest, deadline)
            except TokenInvalid as error:
                error.detail = what_to_send_instead(token) or error.detail
                raise
        expires_at = acceptance.expires_at
        if expires_at is None:
            expires_at = self._clock() + acceptance.reverify_at - self._monotonic()
        elif expires_at <= self._clock():
            raise SessionExpired(note="expired")
        return Session(
            acceptance.user_id,
            expires_at,
            token,
            acceptance.digest or hashed.hexdigest(),
            issued_at=acceptance.issued_at,
            signed_in_at=acceptance.signed_in_at,
        )

    @property
    def version(self) -> int:
        """Changes when sessions have to be verified anew, as when a signing key was withdrawn."""
        return self._verifier.version

    def prepare(self) -> None:
        """Have ready what verifying takes, in the background: the first request should not wait for it."""
        self._verifier.prepare()

    def forget(self, person: str, *, acceptances: bool) -> None:
        """Something about the person, an opaque id, changed: GenAuth is asked again about their tokens that it refused.

        ``acceptances``: about those that it accepted as well. A call that is under way is no answer to who asks from here on.
        Nothing where verifying takes no call: GenAuth's own word is with the accounts then (`bff.cache.AccountsCache`).
        """
        if self._verifier.calls_genauth:
            self._verifier.forget(person)
            self._forgotten.put(person if acceptances else None)

    def forget_everybody(self) -> None:
        """Changes may have been missed: GenAuth is asked again about all tokens."""
        self._verifier.forget(None)
        self._forgotten.put_everybody()

    def would_call(self, token: str) -> bool:
        """Whether verifying takes a call for a token that no worker accepted within the last hour. May take a round trip."""
        if not self._verifier.calls_genauth:
            return False
        digest = _hash(token).digest()
        if self._known_as(digest) is not None:
            return False
        user_id = self._recognised.get(digest) if self._recognised else None
        if user_id is None:
            return True
        # Another worker's word lets nobody in: the token has to be verified, before those that nobody knows.
        self._accepted.put(digest, Acceptance(user_id, None, float("-inf"), self._verifier.version))
        return False

    def _verified(self, token: str, digest: bytes, deadline: Deadline) -> Acceptance:
        if not B64TOKEN.fullmatch(token):
            raise TokenInvalid(note="charset")
        verify = self._verify_once if self._verifier.calls_genauth else self._verify
        return verify(token, digest, deadline)

    def _verify(self, token: str, digest: bytes, deadline: Deadline, begun: int = 0) -> Acceptance:
        refusal_begun = self._verifier.begun
        try:
            acceptance = self._verifier.verify(token, deadline, known_as=self._known_as(digest))
        except TokenInvalid as error:
            # From here on it is like any that is made up, unless GenAuth may say otherwise by now: the next request finds out.
            if (user_id := self._known_as(digest)) is not None and not self._verifier.is_reconsidered(user_id, refusal_begun):
                self._accepted.drop(digest)
                if self._recognised:
                    self._recognised.drop(digest)
                if isinstance(error, TokenRefused):
                    # Answers to its earlier requests are stored, here and elsewhere.
                    self._refused(Session(user_id, 0.0, token, digest.hex()), error)
            raise
        if self._verifier.calls_genauth:
            acceptance = replace(acceptance, person=self._person(acceptance.user_id), begun=begun)
        self._accepted.put(digest, acceptance)
        if self._recognised:
            self._recognised.put(digest, acceptance.user_id, _RECOGNISED_SECONDS)
        return acceptance

    def _verify_once(self, token: str, digest: bytes, deadline: Deadline) -> Acceptance:
        """Verify in a single flight: simultaneous requests with one token share one call."""

        def verify() -> Verified:
            begun = self._forgotten.number
            try:
                # Another request's flight may have ended since the look-up.
                return Verified(begun, self._lookup(digest) or self._verify(token, digest, deadline, begun))
            except TokenInvalid as refusal:
                return Verified(begun, refusal)

        known_as, arrived = self._known_as(digest), self._forgotten.number
        failure: UpstreamFailure
        try:
            while True:
                visitor, stranger = known_as or _NOBODY, known_as is None
                verified, shared = self._flights.do(digest, verify, deadline, visitor=visitor, stranger=stranger)
                # A call that began before somebody was forgotten is no answer to who asks afterwards.
                if not shared or verified.begun >= arrived:
                    break
        except TimeoutError:
            failure = UpstreamTimeout(note="waited for another request's introspection")
        except BulkheadFull:
            failure = UpstreamUnavailable(note="too many wait", retry_after=1)
        else:
            if isinstance(verified.outcome, TokenInvalid):
                raise copy.copy(verified.outcome).with_traceback(None)  # one object in many threads grows one traceback
            return verified.outcome
        failure.counted = known_as is None
        raise failure

    def _known_as(self, digest: bytes) -> str | None:
        """Whose token it was when it was accepted here within the last hour; None for others."""
        acceptance = self._accepted.get(digest)
        return acceptance.user_id if acceptance else None

    def _lookup(self, digest: bytes) -> Acceptance | None:
        """The acceptance that is kept for the token, if it need not be verified again."""
        acceptance = self._accepted.get(digest)
        if acceptance is None or acceptance.version != self._verifier.version:
            return None
        # That a token has expired stays true and needs no verification.
        expired = acceptance.expires_at is not None and acceptance.expires_at <= self._clock()
        if expired or acceptance.reverify_at <= self._monotonic():
            return acceptance if expired else None
        forgotten = acceptance.person is not None and self._forgotten.since(acceptance.begun, acceptance.person)
        return None if forgotten else acceptance


def _hash(token: str) -> "hashlib._Hash":
    # Text that is no token may share its hash with other such text, and never with a token: "?" is in none.
    return hashlib.sha256(token.encode("ascii", "replace"))
