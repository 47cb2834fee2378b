"""Token introspection (RFC 7662): GenAuth is asked whether an opaque token is active, and whose it is.

While GenAuth is away no token is called active or inactive. Active tokens are kept by `sessions`, for as long as this module
decides; inactive ones, which take a call too, are kept here.
"""

import hashlib
import time
from collections.abc import Callable
from typing import Protocol

from bff.auth.sessions import LONGEST_USER_ID, Acceptance
from bff.errors import TokenInvalid, TokenRefused, UpstreamMalformed
from bff.resilience import Cache, Deadline, cache

# A client that retries without end does not reach GenAuth, and a mistake that was corrected there is seen soon.
REFUSED_SECONDS = 5.0


class IntrospectionResponse(Protocol):
    """What is read of GenAuth's response (RFC 7662 2.2)."""

    @property
    def active(self) -> bool:
        """Exactly true for a token that is active now."""

    @property
    def sub(self) -> str | None:
        """The user's id."""

    @property
    def exp(self) -> float | None:
        """The token's end in epoch seconds, if the response has it."""

    @property
    def client_id(self) -> str | None:
        """The application that the token was issued to, if the response has it."""


class IntrospectionEndpoint(Protocol):
    """`bff.genauth.GenAuthClient`."""

    def introspect(self, token: str, deadline: Deadline, *, strict: bool = True) -> IntrospectionResponse:
        """GenAuth's response, or UpstreamFailure. ``strict`` also counts the tokens of blocked users as inactive."""


class Introspector:
    """Verifies each token by a call; a `bff.auth.sessions.Verifier`. A response holds for ``accepted_seconds``."""

    version = 0
    calls_genauth = True

    def __init__(
        self,
        genauth: IntrospectionEndpoint,
        *,
        app_id: str,
        accepted_seconds: float = 60.0,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._genauth = genauth
        self._app_id = app_id
        self._accepted_seconds = accepted_seconds
        self._monotonic = monotonic
        self._refused_until: Cache[bytes, float] = cache("refused_tokens")

    def verify(self, token: str, deadline: Deadline) -> Acceptance:
        """Whose token it is; raises TokenRefused, TokenInvalid, and UpstreamFailure without a response of GenAuth."""
        digest = hashlib.sha256(token.encode("ascii")).digest()
        refused_until = self._refused_until.get(digest)
        if refused_until is not None and self._monotonic() < refused_until:
            raise TokenRefused(note="inactive, a moment ago")
        asked_at = self._monotonic()
        try:
            return self._accept(self._genauth.introspect(token, deadline, strict=True), asked_at)
        except TokenInvalid:
            self._refused_until.put(digest, self._monotonic() + REFUSED_SECONDS)
            raise

    def _accept(self, response: IntrospectionResponse, asked_at: float) -> Acceptance:
        if response.active is not True:
            raise TokenRefused(note="inactive")
        if response.client_id not in (None, self._app_id):
            raise TokenInvalid(note="client_id")
        user_id = response.sub
        if not isinstance(user_id, str) or not (
            0 < len(user_id) <= LONGEST_USER_ID and user_id.isprintable() and user_id.strip()
        ):
            raise UpstreamMalformed(note="introspection names no user")
        # From the request on, not the response: the token may have been revoked while the response was on its way.
        return Acceptance(user_id, response.exp, asked_at + self._accepted_seconds, self.version)
