"""Whose session is this token? Every request asks here first, and nothing is cached or served for a user named elsewhere.

`Sessions` looks at the token's form and remembers what was verified; the verifying itself is `access_tokens` (signed tokens,
`TOKEN_VERIFICATION=jwks`) or `introspection` (opaque ones). Reading the token from header or cookie is the web package's.
"""

import hashlib
import re
import time
from collections.abc import Callable
from typing import Protocol

from msgspec import Struct

from bff.errors import InvalidTokenRequest, SessionExpired, TokenInvalid, UpstreamTimeout
from bff.models import Session
from bff.resilience import Deadline, Memo, SingleFlight

LONGEST_TOKEN = 8192
LONGEST_USER_ID = 256
# About 4 MB when full of GenAuth's 24-character user ids; what falls out is verified again.
REMEMBERED_TOKENS = 10_000

_B64TOKEN = re.compile(r"[A-Za-z0-9\-._~+/]+=*", re.ASCII)  # RFC 6750 2.1


class Acceptance(Struct, frozen=True):
    """That a token is genuine, without the token.

    ``expires_at``: the token's own end in epoch seconds, None when nobody told it; it may have passed. ``believed_until``: the
    monotonic second from which the token has to be verified again. ``epoch``: the verifier's state that it was judged by.
    """

    user_id: str
    expires_at: float | None
    believed_until: float
    epoch: int


class Verifier(Protocol):
    """What judges a token that we do not remember."""

    @property
    def epoch(self) -> int:
        """Changes when earlier verdicts no longer hold, as when a signing key was withdrawn."""

    @property
    def asks(self) -> bool:
        """Whether each verdict costs a call, so that simultaneous ones of one token are better shared."""

    def verify(self, token: str, deadline: Deadline) -> Acceptance:
        """Raise TokenInvalid or UpstreamFailure, or tell whose token it is, even if it has ended."""


class Sessions:
    """Tokens in, sessions out.

    Only acceptance is remembered here: a bad token costs a look at its form or one signature check, and introspection, where a
    refusal costs a call, remembers its refusals itself.
    """

    def __init__(
        self,
        verifier: Verifier,
        *,
        size: int = REMEMBERED_TOKENS,
        clock: Callable[[], float] = time.time,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._verifier = verifier
        self._accepted: Memo[bytes, Acceptance] = Memo(size)
        self._flights: SingleFlight[Acceptance] = SingleFlight()
        self._clock = clock
        self._monotonic = monotonic

    def of(self, token: str, deadline: Deadline) -> Session:
        """The session that the token stands for.

        Raises InvalidTokenRequest (too long), TokenInvalid, SessionExpired; UpstreamFailure when GenAuth is needed and away.
        """
        if len(token) > LONGEST_TOKEN:
            raise InvalidTokenRequest(f"The session token is longer than {LONGEST_TOKEN} characters.", note="token too long")
        name = _name(token)
        digest = name.digest()
        acceptance = self._recall(digest)
        new = acceptance is None
        if acceptance is None:
            if not _B64TOKEN.fullmatch(token):
                raise TokenInvalid(note="charset")
            acceptance = self._shared(token, digest, deadline) if self._verifier.asks else self._verify(token, digest, deadline)
        expires_at = acceptance.expires_at
        if expires_at is None:
            expires_at = self._clock() + acceptance.believed_until - self._monotonic()
        elif expires_at <= self._clock():
            raise SessionExpired(note="expired")
        return Session(acceptance.user_id, expires_at, token, name.hexdigest(), new)

    def recognises(self, token: str) -> bool:
        """Whether the token was genuine when it was last here, however long ago that is; asks nobody."""
        return self._accepted.get(_name(token).digest()) is not None

    def forget(self, session: Session) -> None:
        """Verify the session's token anew next time, because GenAuth refused it."""
        self._accepted.drop(bytes.fromhex(session.digest))

    def _verify(self, token: str, digest: bytes, deadline: Deadline) -> Acceptance:
        acceptance = self._verifier.verify(token, deadline)
        self._accepted.put(digest, acceptance)
        return acceptance

    def _shared(self, token: str, digest: bytes, deadline: Deadline) -> Acceptance:
        def verify() -> Acceptance:
            # Somebody else's flight may have landed since we looked.
            return self._recall(digest) or self._verify(token, digest, deadline)

        try:
            acceptance, _ = self._flights.do(digest, verify, deadline)
        except TimeoutError:
            raise UpstreamTimeout(note="waiting for somebody else's answer") from None
        return acceptance

    def _recall(self, digest: bytes) -> Acceptance | None:
        acceptance = self._accepted.get(digest)
        if acceptance is None or acceptance.epoch != self._verifier.epoch:
            return None
        # That a token has ended stays true, whoever vouched for it.
        ended = acceptance.expires_at is not None and acceptance.expires_at <= self._clock()
        return acceptance if ended or self._monotonic() < acceptance.believed_until else None


def _name(token: str) -> "hashlib._Hash":
    # What is no token may have the name of another such text, and never that of a token: "?" is in none.
    return hashlib.sha256(token.encode("ascii", "replace"))
