"""A signed access token (RFC 7519, RFC 9068): what it must say, and that GenAuth said it.

`form` and `claims` are pure; `AccessTokens` adds the key set and the clock. Signatures are `jwks`'s, fetching keys is `keyset`'s.
"""

import binascii
import json
import re
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from functools import lru_cache
from types import MappingProxyType
from typing import Any

import msgspec
from msgspec import Struct

from bff.auth.jwk import ALGORITHMS, Key, acceptable_kid
from bff.auth.jwks_cache import JwksCache, Keys
from bff.auth.sessions import LONGEST_USER_ID, Acceptance
from bff.errors import TokenInvalid
from bff.resilience import Deadline

# How far GenAuth's clock may be ahead of ours. The end of a token gets no such grace.
LEEWAY_SECONDS = 10
# A token in constant use is verified again this often: that is what notices that the key set has grown old.
VERIFIED_SECONDS = 60.0

_END_OF_TIME = 253_402_300_799  # 9999-12-31, the last second that has a date
# RFC 7515 2: base64url without padding. An alphabet wider than that would give one token several spellings, hence digests.
_COMPACT = re.compile(r"([A-Za-z0-9_-]+)\.([A-Za-z0-9_-]+)\.([A-Za-z0-9_-]+)", re.ASCII)
_STANDARD = bytes.maketrans(b"-_", b"+/")  # from base64url to base64 (RFC 4648 4 and 5)
_TYPES = frozenset({"jwt", "at+jwt", "application/jwt", "application/at+jwt"})
_LONGEST_USUAL_HEADER = 256
_ID_TOKEN_CLAIMS = frozenset({"nonce", "at_hash", "c_hash"})


class Claims(Struct, frozen=True):
    """What a token says of itself; nobody has vouched for it yet.

    ``signed`` is the text that the ``signature`` is for (the JWS Signing Input, RFC 7515 2).
    """

    algorithm: str
    kid: str | None
    issuer: str
    user_id: str
    issued_at: float
    expires_at: float
    signed: bytes
    signature: bytes

    def __repr__(self) -> str:
        """Without the token."""
        return f"Claims(issuer={self.issuer!r}, user_id={self.user_id!r})"


class AccessTokens:
    """Verifies tokens against GenAuth's key set; a `bff.auth.sessions.Verifier`."""

    asks = False

    def __init__(
        self,
        keys: JwksCache,
        *,
        audience: str,
        clock: Callable[[], float] = time.time,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._keys = keys
        self._audience = audience
        self._clock = clock
        self._monotonic = monotonic

    @property
    def epoch(self) -> int:
        """The version of the key set: verdicts end when a key is withdrawn."""
        return self._keys.version

    def verify(self, token: str, deadline: Deadline) -> Acceptance:
        """Whose token it is; raises TokenInvalid, or UpstreamFailure when the key set is needed and missing.

        Whatever is wrong for certain is found before a key is looked up, so that it never costs a call. Whether a token has ended
        is asked only of what comes out here: a forged one is a forged one.
        """
        said = claims(token, self._audience, self._clock())
        if self._keys.issuer not in (None, said.issuer):
            raise TokenInvalid(note="issuer")
        key, held = self._keys.find(said.kid, said.issued_at, deadline)
        try:
            _vouch(key, held, said)
        except TokenInvalid:
            if not held.shelved:
                raise
            # StoredJwks keys may say yes, never no: whatever they are too old for would be signed out by an outage.
            key, held = self._keys.find(said.kid, said.issued_at, deadline, shelved=False)
            _vouch(key, held, said)
        return Acceptance(said.user_id, said.expires_at, self._monotonic() + VERIFIED_SECONDS, held.version)


def _vouch(key: Key, held: Keys, said: Claims) -> None:
    if said.issuer != held.issuer:
        raise TokenInvalid(note="issuer")
    if said.algorithm != key.algorithm:
        raise TokenInvalid(note="algorithm of another key type")
    if not key.signed(said.signed, said.signature):
        raise TokenInvalid(note="signature")


def claims(token: str, audience: str, now: float) -> Claims:
    """Read an unverified token; TokenInvalid unless it has the form and the claims of an access token for ``audience``.

    An ``exp`` that has passed is no reason here.
    """
    header, payload, signature = form(token)
    _demand(header.get("alg") in ALGORITHMS, "algorithm")
    # RFC 7515 4.1.11: extensions that must be understood, and we understand none. b64 (RFC 7797) changes what is signed.
    _demand("crit" not in header and "b64" not in header, "crit")
    _demand("kid" not in header or acceptable_kid(header["kid"]), "kid")
    typ = header.get("typ", "JWT")
    _demand(isinstance(typ, str) and typ.lower() in _TYPES, "typ")

    _demand(_ID_TOKEN_CLAIMS.isdisjoint(payload) and _text(payload.get("scope")), "id_token")
    _demand(_text(payload.get("iss")), "issuer")
    _demand(_is_for(audience, payload.get("aud")), "audience")
    user_id = payload.get("sub", "")
    _demand(_text(user_id) and len(user_id) <= LONGEST_USER_ID and user_id.isprintable(), "sub")
    _demand(_moment(payload.get("exp")), "exp")
    _demand(_moment(payload.get("iat")) and payload["iat"] <= now + LEEWAY_SECONDS, "iat")
    _demand("nbf" not in payload or (_moment(payload["nbf"]) and payload["nbf"] <= now + LEEWAY_SECONDS), "nbf")
    return Claims(
        algorithm=header["alg"],
        kid=header.get("kid"),
        issuer=payload["iss"],
        user_id=user_id,
        issued_at=float(payload["iat"]),
        expires_at=float(payload["exp"]),
        signed=token.rpartition(".")[0].encode(),
        signature=signature,
    )


def form(token: str) -> tuple[Mapping[str, Any], dict[str, Any], bytes]:
    """Header, payload and signature of a compact JWS in its one canonical spelling; the first two are JSON objects.

    TokenInvalid for any other text, and for an object with doubled names.
    """
    parts = _COMPACT.fullmatch(token)
    if parts is None:
        raise TokenInvalid(note="form")
    try:
        header, payload, signature = parts.groups()
        return _header(header), _object(_canonical(payload)), _canonical(signature)
    except (ValueError, RecursionError):
        # Without its cause: the text of a decoder's exception holds a piece of the token.
        raise TokenInvalid(note="form") from None


def _header(part: str) -> Mapping[str, Any]:
    # The same one comes with every token that a key has signed; a long one may be anything.
    return _usual_header(part) if len(part) <= _LONGEST_USUAL_HEADER else _object(_canonical(part))


@lru_cache(maxsize=128)
def _usual_header(part: str) -> Mapping[str, Any]:
    return MappingProxyType(_object(_canonical(part)))


def _canonical(part: str) -> bytes:
    spelling = part.encode("ascii").translate(_STANDARD) + b"=" * (-len(part) % 4)
    data = binascii.a2b_base64(spelling)
    # The last character has bits to spare; set, they would give the same bytes another spelling.
    if binascii.b2a_base64(data, newline=False) != spelling:
        raise binascii.Error
    return data


def _object(data: bytes) -> dict[str, Any]:
    value = _json(data)
    if not isinstance(value, dict):
        raise ValueError  # noqa: TRY004 - the caller tells no kinds of malformed apart
    return value


def _json(data: bytes) -> Any:  # noqa: ANN401 - what JSON can say
    # What is written again as it came has no name twice; nearly every payload is, and is read in a fifth of the time.
    with suppress(msgspec.MsgspecError, OverflowError):
        value = msgspec.json.decode(data)
        if msgspec.json.encode(value) == data:
            return value
    return _STRICT.decode(data.decode("utf-8"))


def _without_doubles(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    members = dict(pairs)
    if len(members) != len(pairs):
        raise ValueError
    return members


def _refuse(_nan_or_infinity: str) -> None:
    raise ValueError


_STRICT = json.JSONDecoder(object_pairs_hook=_without_doubles, parse_constant=_refuse)


def _demand(truth: object, note: str) -> None:
    if not truth:
        raise TokenInvalid(note=note)


def _text(value: object) -> bool:
    return isinstance(value, str) and bool(value.strip())


def _is_for(audience: str, aud: object) -> bool:
    return aud == audience or (isinstance(aud, list) and audience in aud)


def _moment(value: object) -> bool:
    # bool is an int to Python, and 1e400 an infinity to its JSON.
    return isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value <= _END_OF_TIME
