"""Opaque tokens: GenAuth itself is asked whose they are (RFC 7662). Never guesses while GenAuth is away.

Acceptance is remembered by `sessions`, for as long as we say here; refusals, which cost a call too, are remembered here.
"""

import hashlib
import time
from collections.abc import Callable
from typing import Protocol

from bff.auth.sessions import LONGEST_USER_ID, Acceptance
from bff.errors import TokenInvalid, TokenRefused, UpstreamMalformed
from bff.resilience import Deadline, Memo

# Long enough that a looping client does not hammer GenAuth, short enough that nobody waits for what was mended there.
REFUSED_SECONDS = 5.0
REMEMBERED_REFUSALS = 10_000


class Introspection(Protocol):
    """What we read of GenAuth's answer."""

    @property
    def active(self) -> bool:
        """Exactly true for a token that is good now."""

    @property
    def sub(self) -> str | None:
        """The user's id."""

    @property
    def exp(self) -> float | None:
        """The token's end in epoch seconds, if told."""

    @property
    def client_id(self) -> str | None:
        """The application that the token was issued to, if told."""


class GenAuth(Protocol):
    """Who is asked: `bff.genauth.client.GenAuthClient`."""

    def introspect(self, token: str, deadline: Deadline, *, strict: bool = True) -> Introspection:
        """What GenAuth says of the token, or UpstreamFailure. ``strict`` also counts the tokens of blocked users as inactive."""


class Introspector:
    """Verifies each token by asking; a `bff.auth.sessions.Verifier`. An answer is believed for ``accepted_seconds``."""

    epoch = 0
    asks = True

    def __init__(
        self,
        genauth: GenAuth,
        *,
        app_id: str,
        accepted_seconds: float = 60.0,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._genauth = genauth
        self._app_id = app_id
        self._accepted_seconds = accepted_seconds
        self._monotonic = monotonic
        self._refused: Memo[bytes, float] = Memo(REMEMBERED_REFUSALS)

    def verify(self, token: str, deadline: Deadline) -> Acceptance:
        """Whose token it is, or TokenRefused, TokenInvalid, and UpstreamFailure when GenAuth does not tell."""
        digest = hashlib.sha256(token.encode("ascii")).digest()
        refused_until = self._refused.get(digest)
        if refused_until is not None and self._monotonic() < refused_until:
            raise TokenRefused(note="inactive, a moment ago")
        asked = self._monotonic()
        try:
            return self._judge(self._genauth.introspect(token, deadline, strict=True), asked)
        except TokenInvalid:
            self._refused.put(digest, self._monotonic() + REFUSED_SECONDS)
            raise

    def _judge(self, answer: Introspection, asked: float) -> Acceptance:
        if answer.active is not True:
            raise TokenRefused(note="inactive")
        if answer.client_id not in (None, self._app_id):
            raise TokenInvalid(note="client_id")
        user_id = answer.sub
        if not isinstance(user_id, str) or not (
            0 < len(user_id) <= LONGEST_USER_ID and user_id.isprintable() and user_id.strip()
        ):
            raise UpstreamMalformed(note="introspection names no user")
        # Counted from the question: GenAuth may have revoked the token while its answer was on the way.
        return Acceptance(user_id, answer.exp, asked + self._accepted_seconds, self.epoch)
