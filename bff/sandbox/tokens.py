"""The application's keys and everything signed with them: minting, verifying, rotating, revoking.

Minting takes any claim, header, algorithm and key, because tests need the tokens that a service must refuse.
Verifying is as strict as the documentation asks of others (docs/genauth.md 4).
"""

import base64
import hashlib
import re
import secrets
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import jwt
import orjson
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_pem_private_key,
)
from jwt.algorithms import ECAlgorithm, RSAAlgorithm

Claims = Mapping[str, Any]

SCOPE = "openid profile email phone"
_REMEMBERED = 20_000


@dataclass(frozen=True, slots=True)
class Key:
    """A signing key and its public half."""

    alg: str
    kid: str
    private: Any

    @property
    def jwk(self) -> dict[str, Any]:
        """The public half, as the JWKS shows it."""
        shape: Any = RSAAlgorithm if self.alg == "RS256" else ECAlgorithm
        public = shape.to_jwk(self.private.public_key(), as_dict=True)
        public.pop("key_ops", None)
        return {**public, "use": "sig", "alg": self.alg, "kid": self.kid}

    @property
    def pem(self) -> bytes:
        """The public half as PEM; an attacker would sign HS256 with it."""
        public: bytes = self.private.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
        return public


def new_key(alg: str) -> Key:
    """A fresh key for RS256 or ES256."""
    private: Any
    if alg == "RS256":
        private = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    elif alg == "ES256":
        private = ec.generate_private_key(ec.SECP256R1())
    else:
        raise ValueError(f"no keys for {alg!r}, only for RS256 and ES256")
    return _named(alg, private)


def _named(alg: str, private: Any) -> Key:  # noqa: ANN401 - an RSA or an EC key
    """A key is called by its public half, so that it has the same name wherever it is read."""
    public = private.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    return Key(alg, _base64(hashlib.sha256(public).digest()[:24]).decode(), private)


def kept_keys(file: Path) -> dict[str, Key]:
    """The keys in that file, by algorithm, which is made with new ones where there is none: tokens outlive a sandbox.

    `OSError` where it cannot be written, `ValueError` where it holds something else.
    """
    if not file.exists():
        forms = (Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
        whole = file.with_name(f"{file.name}.{secrets.token_hex(8)}")
        whole.touch(0o600)
        try:
            whole.write_bytes(b"".join(new_key(alg).private.private_bytes(*forms) for alg in ("RS256", "ES256")))
            whole.replace(file)
        finally:
            whole.unlink(missing_ok=True)
    parts = re.findall(rb"-----BEGIN.+?-----END [A-Z ]+-----\n", file.read_bytes(), re.DOTALL)
    loaded = [load_pem_private_key(part, None) for part in parts]
    found = {"RS256" if isinstance(each, rsa.RSAPrivateKey) else "ES256": each for each in loaded}
    if set(found) != {"RS256", "ES256"}:
        raise ValueError(f"{file} holds no RSA and EC key; remove it, and new ones are made")
    return {alg: _named(alg, each) for alg, each in found.items()}


# RSA keys are slow to generate, so all sandboxes of a process begin with the same one; their tokens differ in the issuer.
@cache
def first_key(alg: str) -> Key:
    """The key a sandbox of this process begins with."""
    return new_key(alg)


@cache
def strangers_key(alg: str) -> Key:
    """A key that no sandbox publishes, for tokens that must not verify."""
    return new_key(alg)


class Tokens:
    """The tokens of one application. ``issuer`` is known once the sandbox listens."""

    def __init__(
        self,
        app_id: str,
        app_secret: str,
        algorithms: Sequence[str],
        clock: Callable[[], float] = time.time,
        keys: Mapping[str, Key] | None = None,
    ) -> None:
        """``keys`` are those to begin with, by algorithm, for a sandbox whose tokens are good in the next one too."""
        self.issuer = ""
        self._app_id = app_id
        self._app_secret = app_secret
        self._clock = clock
        self._signing = {alg: keys[alg] if keys else first_key(alg) for alg in algorithms}
        self._published = list(self._signing.values())
        self._opaque: dict[str, dict[str, Any]] = {}
        self._revoked: set[str] = set()
        # By user id, where earlier tokens are not accepted any more: those minted since.
        self._since_kick: dict[str, set[str]] = {}
        self._verified: dict[str, dict[str, Any] | None] = {}
        self._verifying: dict[str, tuple[Any, str]] = {}
        self.jwks = b""
        self._publish()

    @property
    def key(self) -> Key:
        """The key tokens are signed with when nothing else is asked for."""
        return next(iter(self._signing.values()))

    def mint(
        self,
        subject: str,
        lifetime: float,
        kind: str = "access",
        alg: str | None = None,
        claims: Claims | None = None,
        headers: Claims | None = None,
        key: str | bytes | None = None,
    ) -> str:
        """A token for that user id, expiring in ``lifetime`` seconds (which may be negative).

        ``kind`` is access, id (HS256 with the application's secret, as GenAuth's often are) or opaque.
        ``claims`` and ``headers`` go over the usual ones; None takes one out. ``key`` is a secret for HS256,
        or ``"foreign"`` for a signature that no published key made.
        """
        payload = self._claims(subject, lifetime, kind) | dict(claims or {})
        payload = {name: value for name, value in payload.items() if value is not None}
        if kind == "opaque":
            token = secrets.token_urlsafe(32)
            self._opaque[token] = payload
            return self._noted(subject, token)
        alg = alg or ("HS256" if kind == "id" else self.key.alg)
        secret, kid = self._secret(alg, key)
        head = {"alg": alg, "typ": "JWT", "kid": kid} | dict(headers or {})
        head = {name: value for name, value in head.items() if value is not None}
        signed = b".".join(_base64(orjson.dumps(part)) for part in (head, payload))
        signature = jwt.get_algorithm_by_name(alg).sign(signed, secret)
        return self._noted(subject, b".".join((signed, _base64(signature))).decode())

    def accepted(self, token: str) -> dict[str, Any] | None:
        """The claims of an access token that is good now; None for every other."""
        claims = self.genuine(token)
        now = self._clock()
        if claims is None or token in self._revoked or "scope" not in claims:
            return None
        since_kick = self._since_kick.get(str(claims.get("sub")))
        if since_kick is not None and token not in since_kick:
            return None
        return claims if claims.get("nbf", 0) <= now < claims["exp"] else None

    def genuine(self, token: str) -> dict[str, Any] | None:
        """The claims of a token made here for this application, however old or revoked."""
        if token in self._opaque:
            return self._opaque[token]
        if token not in self._verified:
            if len(self._verified) >= _REMEMBERED:
                self._verified.clear()
            self._verified[token] = self._verify(token)
        return self._verified[token]

    def identifies(self, token: str) -> dict[str, Any] | None:
        """The claims of an id_token that is good now."""
        claims = self.genuine(token) or self._verify(token, self._app_secret)
        if claims is None or "scope" in claims or token in self._revoked:
            return None
        return claims if claims["exp"] > self._clock() else None

    def revoke(self, token: str) -> None:
        """Refuse this token from now on."""
        self._revoked.add(token)

    def kick(self, subject: str) -> None:
        """Refuse every token of that user id that was minted before now."""
        self._since_kick[subject] = set()

    def reset(self) -> None:
        """Accept what was revoked; the keys stay."""
        self._revoked.clear()
        self._since_kick.clear()

    def rotate(self, *, keep_old: bool) -> None:
        """Sign with new keys. The old ones stay published, or go and take their tokens with them."""
        self._signing = {alg: new_key(alg) for alg in self._signing}
        kept = self._published if keep_old else []
        self._published = [*self._signing.values(), *kept]
        self._verified.clear()
        self._publish()

    def _noted(self, subject: str, token: str) -> str:
        if subject in self._since_kick:
            self._since_kick[subject].add(token)
        return token

    def _publish(self) -> None:
        self._verifying = {key.kid: (key.private.public_key(), key.alg) for key in self._published}
        self.jwks = orjson.dumps({"keys": [key.jwk for key in self._published]})

    def _secret(self, alg: str, key: str | bytes | None) -> tuple[Any, str]:
        usual = self._signing.get(alg, self.key)
        if alg == "none":
            return None, usual.kid
        if alg.startswith("HS"):
            secret = self._app_secret if key is None else key
            return secret.encode() if isinstance(secret, str) else secret, usual.kid
        family = "ES256" if alg.startswith("ES") else "RS256"
        if key == "foreign":
            return strangers_key(family).private, usual.kid
        if key is not None:
            raise ValueError('key is a secret for HS256, or "foreign"')
        if family not in self._signing:
            raise ValueError(f"this sandbox publishes no {family} key: Sandbox(algorithms=...)")
        return self._signing[family].private, self._signing[family].kid

    def _claims(self, subject: str, lifetime: float, kind: str) -> dict[str, Any]:
        now = int(self._clock())
        expires = now + int(lifetime)
        claims: dict[str, Any] = {
            "jti": secrets.token_urlsafe(16),
            "sub": subject,
            "iat": now if lifetime > 0 else expires - 3600,
            "exp": expires,
            "scope": SCOPE,
            "iss": self.issuer,
            "aud": self._app_id,
        }
        if kind == "id":
            del claims["scope"]
            half = hashlib.sha256(claims["jti"].encode()).digest()[:16]
            claims |= {"nonce": secrets.token_urlsafe(12), "at_hash": _base64(half).decode()}
        elif kind not in ("access", "opaque"):
            raise ValueError(f"kind is access, id or opaque, not {kind!r}")
        return claims

    def _verify(self, token: str, secret: str | None = None) -> dict[str, Any] | None:
        """Signature, issuer, audience and shape; the time is for the caller, who may ask again later."""
        try:
            key, alg = (secret, "HS256") if secret else self._key_for(token)
            claims: dict[str, Any] = jwt.decode(
                token,
                key,
                algorithms=[alg],
                audience=self._app_id,
                issuer=self.issuer,
                options={
                    "require": ["exp", "iat", "sub", "iss", "aud"],
                    "verify_exp": False,
                    "verify_nbf": False,
                    "verify_iat": False,
                },
            )
        except (jwt.PyJWTError, ValueError, LookupError, TypeError):
            return None
        # PyJWT checks the type of a time only when it compares it.
        timely = all(isinstance(claims.get(name, 0), int | float) for name in ("exp", "nbf"))
        return claims if timely else None

    def _key_for(self, token: str) -> tuple[Any, str]:
        """The published key the token names, with the only algorithm it is for; LookupError for any other."""
        head = orjson.loads(base64.urlsafe_b64decode(token.partition(".")[0] + "=="))
        return self._verifying[head["kid"]]


def _base64(value: bytes) -> bytes:
    return base64.urlsafe_b64encode(value).rstrip(b"=")
