"""A signed access token (RFC 7519, RFC 9068): what it must say, and that GenAuth signed it.

PyJWT reads and verifies. Around it stand the rules that it does not have: one token has one spelling, an id_token is no access
token, extensions are refused, times follow the clock that was handed in. Which keys verify is `jwks_cache`'s.
"""

import base64
import hashlib
import re
import time
from collections.abc import Callable, Container
from contextlib import suppress
from typing import Any, NoReturn

import jwt
from jwt.exceptions import InvalidSubjectError
from jwt.types import Options

from bff.auth.jwk import ALGORITHMS, Key, KeySet, acceptable_kid
from bff.auth.jwks_cache import JwksCache
from bff.auth.refusal_watch import RefusalWatch
from bff.auth.sessions import Acceptance
from bff.auth.token_kinds import ID_TOKEN_CLAIMS
from bff.errors import TokenInvalid
from bff.observability import Reason
from bff.resilience import Deadline
from schemas.oidc import is_identifier, is_numeric_date, numeric_date, strict_json

# How far GenAuth's clock may be ahead of ours, as servers' clocks are. The end of a token gets no leeway.
LEEWAY_SECONDS = 60
# A token in constant use is verified again this often; that is also when an old key set is refreshed.
VERIFIED_SECONDS = 60.0

# Many of these are PyJWT's defaults. They are spelled out to state which checks are meant to be made.
OPTIONS: Options = {
    "verify_signature": True,
    # `require` looks only for the presence of a claim; what it says is checked by its `verify_` option.
    "require": ["exp", "iat", "iss", "aud", "sub"],
    "verify_iss": True,
    "verify_aud": True,
    "strict_aud": False,  # RFC 7519 4.1.3: a token may be for several audiences
    "verify_sub": True,
    "verify_jti": False,  # not used here
    "enforce_minimum_key_length": True,
    # PyJWT reads the system's clock, has one leeway for all three and takes "1" and true for times: see `_check_claims`.
    "verify_exp": False,
    "verify_nbf": False,
    "verify_iat": False,
}

_COMPACT = re.compile(r"([A-Za-z0-9_-]+)\.([A-Za-z0-9_-]+)\.([A-Za-z0-9_-]+)", re.ASCII)  # RFC 7515 7.1
_TYPES = frozenset({"jwt", "at+jwt", "application/jwt", "application/at+jwt"})
_CLAIM_NOTES = {"iss": "issuer", "aud": "audience"}
_NOTES: tuple[tuple[type[jwt.PyJWTError], str], ...] = (
    (jwt.InvalidSignatureError, "signature"),
    (jwt.InvalidAlgorithmError, "algorithm of another key type"),
    (jwt.InvalidAudienceError, "audience"),
    (jwt.InvalidIssuerError, "issuer"),
    (InvalidSubjectError, "sub"),
    (jwt.DecodeError, "form"),
)

Claims = dict[str, Any]


class AccessTokens:
    """Verifies tokens against GenAuth's key set; a `bff.auth.sessions.Verifier`."""

    calls_genauth = False
    begun = 0

    def __init__(
        self,
        keys: JwksCache,
        *,
        audience: str,
        issuer: str | None = None,
        clock: Callable[[], float] = time.time,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        """``issuer`` is the one that belongs to GENAUTH_HOST: where the key set's is the same but for a slash, both count."""
        self._keys = keys
        self._issuer = issuer
        self._audience = audience
        self._clock = clock
        self._monotonic = monotonic
        self._watch = RefusalWatch(monotonic)

    @property
    def version(self) -> int:
        """The version of the key set: an acceptance ends when a key is withdrawn."""
        return self._keys.version

    def prepare(self) -> None:
        """Begin to fetch GenAuth's keys."""
        self._keys.prepare()

    def obstacle(self, deadline: Deadline) -> Reason | None:
        """Why there are no keys, or no newer ones; None if there are."""
        return self._keys.obstacle(deadline)

    def verify(self, token: str, deadline: Deadline, *, known_as: str | None = None) -> Acceptance:  # noqa: ARG002 - a `Verifier`'s
        """Whose token it is; raises TokenInvalid, or UpstreamFailure when the key set is needed and missing.

        An ``exp`` that has passed is accepted here and refused by `Sessions`: only a genuine token may be called expired.
        """
        try:
            claims, key_set = self._verify(token, deadline)
        except TokenInvalid as error:
            self._watch_for_others(token, error.note)
            raise
        self._watch.accepted()
        return Acceptance(
            user_id=claims["sub"],
            expires_at=float(claims["exp"]),
            reverify_at=self._monotonic() + VERIFIED_SECONDS,
            version=key_set.version,
            digest=_digest(token),
            issued_at=float(claims["iat"]),
            signed_in_at=numeric_date(claims.get("auth_time")),  # RFC 9068 2.2.1
        )

    def forget(self, person: str | None) -> None:
        """Nothing: what a signature proves does not change."""

    def is_reconsidered(self, user_id: str, begun: int) -> bool:  # noqa: ARG002 - the signature is `Verifier`'s
        """No."""
        return False

    def key_for(self, kid: str | None, issued_at: float, deadline: Deadline) -> tuple[Key, tuple[str, ...]]:
        """The key of that id, and what the ``iss`` of a token that it signed may be; raises as `JwksCache.find`.

        Never a snapshot's, which may be too old to know the key, and so could not refuse.
        """
        key, key_set = self._keys.at_hand(kid) or self._keys.find(kid, issued_at, deadline, allow_snapshot=False)
        return key, self._issuers(key_set.issuer) or ()

    def _verify(self, token: str, deadline: Deadline) -> tuple[Claims, KeySet]:
        kid = _checked_header(token).get("kid")
        found = self._keys.at_hand(kid)
        return self._read(token, *found) if found else self._read_with_new_key(token, kid, deadline)

    def _watch_for_others(self, token: str, note: str) -> None:
        """Report a token that was refused because it is for others, with what it should have said and what it says."""
        expected = {"algorithm": ALGORITHMS, "audience": (self._audience,), "issuer": self._issuers(self._keys.issuer)}.get(note)
        if expected is None:
            return
        with suppress(jwt.PyJWTError):  # it was not read far enough to tell
            said = jwt.get_unverified_header(token) if note == "algorithm" else _unverified(token)
            self._watch.refused(_digest(token), note, " or ".join(expected), said.get(note[:3]))  # alg, aud, iss

    def _read_with_new_key(self, token: str, kid: str | None, deadline: Deadline) -> tuple[Claims, KeySet]:
        # What is wrong for certain is found before a key is looked for, so that it never costs a call.
        issued_at = unverified_claims(token, self._audience, self._clock(), issuers=self._issuers(self._keys.issuer))["iat"]
        key, key_set = self._keys.find(kid, issued_at, deadline)
        try:
            return self._read(token, key, key_set)
        except TokenInvalid:
            if not key_set.from_snapshot:
                raise
        # A snapshot may accept a token and never refuse one: it may be too old to know the token's key.
        return self._read(token, *self._keys.find(kid, issued_at, deadline, allow_snapshot=False))

    def _issuers(self, named: str | None) -> tuple[str, ...] | None:
        """What a token's ``iss`` may be, to the letter; None while no issuer is known."""
        if named is None:
            return None
        if self._issuer is None or named.removesuffix("/") != self._issuer.removesuffix("/"):
            return (named,)
        # One discovery document belongs to both (RFC 8414 3.1), so GenAuth may say the one there and the other in tokens.
        return named, self._issuer

    def _read(self, token: str, key: Key, key_set: KeySet) -> tuple[Claims, KeySet]:
        try:
            claims = jwt.decode(
                token,
                key.public,
                algorithms=[key.algorithm],
                options=OPTIONS,
                audience=self._audience,
                issuer=self._issuers(key_set.issuer),
            )
        except jwt.PyJWTError as error:
            _refuse(error)
        _check_claims(claims, self._clock())
        return claims, key_set


def unverified_claims(token: str, audience: str, now: float, *, issuers: Container[str] | None = None) -> Claims:
    """The claims of an access token for ``audience``, checked in everything but its signature and its end.

    Raises TokenInvalid. ``issuers``: None while none is known.
    """
    _checked_header(token)
    try:
        claims = jwt.decode(token, options={**OPTIONS, "verify_signature": False}, audience=audience, issuer=issuers)
    except jwt.PyJWTError as error:
        _refuse(error)
    _check_claims(claims, now)
    return claims


def _unverified(token: str) -> Claims:
    return jwt.decode(token, options={"verify_signature": False})


def _checked_header(token: str) -> dict[str, Any]:
    header = canonical_header(token)
    _require(header.get("alg") in ALGORITHMS, "algorithm")
    # RFC 7515 4.1.11: extensions that must be understood, and we understand none. b64 (RFC 7797) changes what is signed.
    _require("crit" not in header and "b64" not in header, "crit")
    _require("kid" not in header or acceptable_kid(header["kid"]), "kid")
    typ = header.get("typ", "JWT")
    _require(isinstance(typ, str) and typ.lower() in _TYPES, "typ")
    return header


def _refuse(error: jwt.PyJWTError) -> NoReturn:
    """Raise TokenInvalid in our own words and without its cause: PyJWT's may quote the token."""
    if isinstance(error, jwt.MissingRequiredClaimError):
        note = _CLAIM_NOTES.get(error.claim, error.claim)
    else:
        note = next((note for kind, note in _NOTES if isinstance(error, kind)), "claims")
    raise TokenInvalid(note=note) from None


def _check_claims(claims: Claims, now: float) -> None:
    _require(ID_TOKEN_CLAIMS.isdisjoint(claims) and _is_text(claims.get("scope")), "id_token")
    _require(_is_text(claims["iss"]), "issuer")
    _require(is_identifier(claims["sub"]), "sub")
    _require(is_numeric_date(claims["exp"]), "exp")
    _require(is_numeric_date(claims["iat"]) and claims["iat"] <= now + LEEWAY_SECONDS, "iat")
    if "nbf" in claims:
        _require(is_numeric_date(claims["nbf"]) and claims["nbf"] <= now + LEEWAY_SECONDS, "nbf")


def canonical_header(token: str) -> dict[str, Any]:
    """The header of a token in its one canonical spelling; TokenInvalid for any other text.

    Sessions are kept by a token's digest, so a second spelling would bring a refused token back. PyJWT refuses spare bits, but
    reads padding, UTF-16, a byte order mark, NaN, and the last of two members of one name.
    """
    parts = _COMPACT.fullmatch(token)
    if parts is None:
        raise TokenInvalid("This is no signed token (JWT); send the access token.", note="form")
    try:
        header, _payload = (strict_json(_decoded(part).decode("utf-8")) for part in parts.group(1, 2))
    except (ValueError, RecursionError):
        # Without its cause: the text of a decoder's exception holds a piece of the token.
        raise TokenInvalid(note="form") from None
    if not isinstance(header, dict):
        raise TokenInvalid(note="form")
    return header


def _digest(token: str) -> str:
    """The digest of what was signed, without the signature.

    Of an elliptic signature (r, s) anybody can make (r, n-s), which verifies too: what GenAuth says of one token holds for both.
    """
    return hashlib.sha256(token.rpartition(".")[0].encode()).hexdigest()


def _decoded(part: str) -> bytes:
    return base64.urlsafe_b64decode(part + "=" * (-len(part) % 4))


def _require(condition: object, note: str) -> None:
    if not condition:
        raise TokenInvalid(note=note)


def _is_text(value: object) -> bool:
    return isinstance(value, str) and bool(value.strip())
