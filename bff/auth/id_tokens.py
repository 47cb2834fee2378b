"""The id_token (OpenID Connect Core 2) that GenAuth asks for beside the session when an account is to be linked.

Whether its signature is checked depends on what there is to check it with: the key set, or the application's secret for HS256,
with which GenAuth's are often signed (docs/genauth.md 4.1). Where there is nothing, GenAuth's own check decides.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import NoReturn

import jwt
from jwt.types import Options

from bff.auth.access_tokens import LEEWAY_SECONDS, AccessTokens, Claims, canonical_header
from bff.auth.jwk import ALGORITHMS, acceptable_kid
from bff.errors import InvalidRequest, TokenInvalid
from bff.models import Session
from bff.resilience import Deadline
from schemas.oidc import is_numeric_date, numeric_date

LONGEST_ID_TOKEN = 4096  # characters; GenAuth takes it in the query of an address
_HMAC, _DIGEST_BYTES = "HS256", 32
_ACCESS_TOKEN = "access token", "is an access token; send the id_token that came with it"
# The claims are checked here, so that a sentence can say what is wrong with the token.
_SIGNATURE_ONLY: Options = {
    "verify_signature": True,
    "enforce_minimum_key_length": True,
    "verify_exp": False,
    "verify_nbf": False,
    "verify_iat": False,
    "verify_aud": False,
    "verify_iss": False,
    "verify_sub": False,
    "verify_jti": False,
}


@dataclass(frozen=True, slots=True)
class IdToken:
    """An id_token of the session's person for this application.

    ``auth_time`` is when the person signed in, in epoch seconds, None if it does not say. ``verified``: whether GenAuth's
    signature was checked here; else what it says counts for nothing until GenAuth has accepted it.
    """

    token: str = field(repr=False)
    auth_time: float | None
    verified: bool


class IdTokens:
    """Reads id_tokens of the application ``audience``. ``verifier`` is None where there is no key set, as with introspection."""

    def __init__(
        self,
        verifier: AccessTokens | None,
        *,
        audience: str,
        secret: str | None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._verifier = verifier
        self._audience = audience
        # RFC 2104 2: a key is filled up with zeros, so this is the same one. How long it is, is GenAuth's choice; PyJWT warns of
        # one that is shorter than the digest.
        self._secret = None if secret is None else secret.encode().ljust(_DIGEST_BYTES, b"\0")
        self._clock = clock

    def of(self, token: str, session: Session, deadline: Deadline) -> IdToken:
        """The id_token that the session's person sent.

        Raises InvalidRequest with a sentence that says what is wrong with it and quotes nothing of it, and UpstreamFailure when
        the key set is needed and missing.
        """
        if len(token) > LONGEST_ID_TOKEN:
            _refuse("size", f"is longer than {LONGEST_ID_TOKEN} characters")
        if token == session.token:
            _refuse(*_ACCESS_TOKEN)
        try:
            header = canonical_header(token)
        except TokenInvalid:
            _refuse("form", "is no signed token (JWT)")
        # RFC 7515 4.1.11: extensions that must be understood, and we understand none.
        if header.get("alg") not in (*ALGORITHMS, _HMAC) or not {"crit", "b64"}.isdisjoint(header):
            _refuse("algorithm", "is not signed with RS256, ES256 or HS256")
        if not acceptable_kid(header.get("kid", "none")):
            _refuse("kid", "names no key of GenAuth")
        try:
            claims: Claims = jwt.decode(token, options={"verify_signature": False})
        except jwt.PyJWTError:  # without its cause, which may quote the token
            _refuse("form", "is no signed token (JWT)")
        self._check(header, claims, session)
        verified = self._verify(token, header, claims, deadline)
        return IdToken(token, numeric_date(claims.get("auth_time")), verified)

    def _check(self, header: Claims, claims: Claims, session: Session) -> None:
        now, audience = self._clock(), claims.get("aud")
        typ = header.get("typ", "JWT")
        # GenAuth's access tokens have a scope, its id_tokens have none.
        if "scope" in claims or (isinstance(typ, str) and "at+jwt" in typ.lower()):
            _refuse(*_ACCESS_TOKEN)
        if self._audience not in (audience if isinstance(audience, list) else [audience]):
            _refuse("audience", "is for another application")
        if claims.get("sub") != session.user_id:
            _refuse("sub", "is not of the person whose session this is")
        times = [claims.get("exp"), claims.get("iat"), claims.get("nbf", 0)]
        if not all(map(is_numeric_date, times)) or max(times[1:]) > now + LEEWAY_SECONDS:
            _refuse("times", "has no end, or begins later than now")
        if claims["exp"] <= now:
            _refuse("expired", "has expired; refresh the session, or sign in again, for another one")

    def _verify(self, token: str, header: Claims, claims: Claims, deadline: Deadline) -> bool:
        """Whether there was something to check the signature with; InvalidRequest if it does not hold."""
        key: bytes | jwt.PyJWK | None
        if header["alg"] == _HMAC:
            key = self._secret
        elif self._verifier:
            key = self._public_key(self._verifier, header.get("kid"), claims, deadline)
        else:
            key = None
        if key is None:
            return False
        try:
            jwt.decode(token, key, algorithms=[header["alg"]], options=_SIGNATURE_ONLY)
        except jwt.PyJWTError:
            _refuse("signature", "is not signed by GenAuth")
        return True

    @staticmethod
    def _public_key(verifier: AccessTokens, kid: str | None, claims: Claims, deadline: Deadline) -> jwt.PyJWK:
        try:
            key, issuers = verifier.key_for(kid, claims["iat"], deadline)
        except TokenInvalid:
            _refuse("kid", "names no key of GenAuth")
        if claims.get("iss") not in issuers:
            _refuse("issuer", "is from another issuer")
        return key.public


def _refuse(note: str, what: str) -> NoReturn:
    raise InvalidRequest(f"The id_token {what}.", note=f"id_token, {note}") from None
