"""Token introspection (RFC 7662): GenAuth is asked whether an opaque token is active, and whose it is.

While GenAuth is away no token is called active or inactive. Active tokens are kept by `sessions`, for as long as this module
decides; inactive ones, which take a call too, are kept here, and so are those that GenAuth fails to answer for.
"""

import hashlib
import time
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass
from math import inf

from bff.auth.access_tokens import LEEWAY_SECONDS
from bff.auth.refusal_watch import RefusalWatch
from bff.auth.sessions import Acceptance
from bff.errors import TokenInvalid, TokenRefused, UpstreamFailure, UpstreamMalformed, UpstreamRejected, UpstreamUnavailable
from bff.genauth import NOBODYS_TOKEN, CallCircuitOpen, CallNotMade, GenAuthClient, Introspection
from bff.observability import Reason
from bff.resilience import BulkheadFull, Cache, Deadline, Forgotten, Shares, cache
from schemas.oidc import is_identifier

# A client that retries without end does not reach GenAuth, and a mistake that was corrected there is seen soon.
REFUSED_SECONDS = 5.0
FAILED_SECONDS = 2.0
# How many tokens of one person are asked about at a time: few of the places for tokens that were accepted before.
_CALLS_EACH = 4


@dataclass(frozen=True, slots=True)
class _Error:
    """What is repeated for a token, without asking, until that monotonic second.

    ``person``: the opaque id of whose token it was, None where that is not known; ``begun``: `Forgotten.number` before asking.
    """

    until: float
    kind: type[TokenInvalid | UpstreamFailure | UpstreamRejected]
    retry_after: float | None
    person: str | None
    begun: int


class Introspector:
    """Verifies each token by a call; a `bff.auth.sessions.Verifier`. A response holds for ``accepted_seconds``."""

    version = 0
    calls_genauth = True

    def __init__(
        self,
        genauth: GenAuthClient,
        *,
        app_id: str,
        accepted_seconds: float = 60.0,
        person: Callable[[str], str] = str,
        clock: Callable[[], float] = time.time,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        """``person(user_id)`` is the opaque id of a user, as `forget` takes it."""
        self._genauth = genauth
        self._app_id = app_id
        self._accepted_seconds = accepted_seconds
        self._person = person
        self._clock = clock
        self._monotonic = monotonic
        self._errors: Cache[bytes, _Error] = cache("refused_tokens", seconds=REFUSED_SECONDS)
        self._forgotten = Forgotten(cache("forgotten_refused_tokens", seconds=inf))
        self._calls = Shares(_CALLS_EACH)
        self._watch = RefusalWatch(monotonic)
        self._worked = False

    def prepare(self) -> None:
        """Nothing: each verification is a call of its own."""

    def forget(self, person: str | None) -> None:
        """Ask again about the tokens of the person, an opaque id, that are inactive, and about those of nobody known.

        A token that was refused twice, or that another worker saw refused, may be the person's as well. None: of everybody.
        """
        if person is None:
            self._forgotten.put_everybody()
        else:
            self._forgotten.put(person)

    @property
    def begun(self) -> int:
        """Read before verifying, for `is_reconsidered`."""
        return self._forgotten.number

    def is_reconsidered(self, user_id: str, begun: int) -> bool:
        """Whether GenAuth is asked again about the user's token, if it refused it when it was asked at `begun`."""
        return self._forgotten.since(begun, self._person(user_id))

    def obstacle(self, deadline: Deadline) -> Reason | None:
        """Why GenAuth does not introspect for us, None if it does. A call."""
        try:
            self._genauth.introspect(NOBODYS_TOKEN, deadline, policy=self._genauth.health_policy)
        except UpstreamRejected as error:
            return Reason(error.reason, "misconfigured")  # our secret, most often
        except UpstreamFailure as error:
            if self._worked or isinstance(error, CallNotMade):
                raise
            return Reason(error.reason, "misconfigured")
        self._worked = True
        return None

    def verify(self, token: str, deadline: Deadline, *, known_as: str | None = None) -> Acceptance:
        """Whose token it is; raises TokenRefused, TokenInvalid, and UpstreamFailure without a response of GenAuth."""
        digest = hashlib.sha256(token.encode("ascii")).digest()
        error = self._errors.get(digest)
        if error and self._monotonic() < error.until and not self._is_forgotten(error):
            raise error.kind(note="a moment ago", retry_after=error.retry_after)
        begun, asked_at = self._forgotten.number, self._monotonic()
        try:
            with self._calls.place(known_as) if known_as else nullcontext():
                response = self._genauth.introspect(token, deadline, known=known_as is not None, whose=digest.hex())
            self._worked = True
            return self._accept(response, digest.hex(), asked_at)
        except BulkheadFull:
            raise UpstreamUnavailable(note="too many tokens of one person", retry_after=1) from None
        except (TokenInvalid, UpstreamFailure, UpstreamRejected) as raised:
            if not isinstance(raised, CallNotMade):  # which is about this process, not about the token
                seconds = REFUSED_SECONDS if isinstance(raised, TokenInvalid) else FAILED_SECONDS
                person = self._person(known_as) if known_as else None
                until = self._monotonic() + seconds
                self._errors.put(digest, _Error(until, type(raised), raised.retry_after, person, begun))
            if isinstance(raised, UpstreamFailure):
                # It took a call, or waited for a place. An open circuit takes neither: while GenAuth is away nobody is to blame.
                raised.counted = known_as is None and not isinstance(raised, CallCircuitOpen)
            raise

    def _is_forgotten(self, error: _Error) -> bool:
        return issubclass(error.kind, TokenInvalid) and self._forgotten.since(error.begun, error.person)

    def _accept(self, response: Introspection, digest: str, asked_at: float) -> Acceptance:
        if response.active is not True:
            raise TokenRefused(note="inactive")
        if response.client_id not in (None, self._app_id):
            self._watch.refused(digest, "client_id", self._app_id, response.client_id)
            raise TokenInvalid(note="client_id")
        if response.audience is not None and self._app_id not in response.audience:
            self._watch.refused(digest, "audience", self._app_id, response.audience)
            raise TokenInvalid(note="audience")
        # RFC 6749 7.1: a type in any case. A refresh token, or one that is bound to a key, is no bearer token.
        _require(response.token_type is None or response.token_type.lower() == "bearer", "token_type")
        _require(response.not_before is None or response.not_before <= self._clock() + LEEWAY_SECONDS, "nbf")
        if not is_identifier(response.sub):
            raise UpstreamMalformed(note="introspection names no user")
        self._watch.accepted()
        # From the request on, not the response: the token may have been revoked while the response was on its way.
        return Acceptance(
            response.sub,
            response.exp,
            asked_at + self._accepted_seconds,
            self.version,
            issued_at=response.issued_at,
            signed_in_at=response.signed_in_at,
        )


def _require(condition: object, note: str) -> None:
    if not condition:
        raise TokenInvalid(note=note)
