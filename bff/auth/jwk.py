"""JSON Web Keys: which keys of a set may vouch for a token, and whether one did. The only module that knows PyJWT.

Fetching and keeping the set is `keyset`'s, putting it away `keyshelf`'s; what a signed token must say is `access_tokens`'.
"""

import re
from collections import defaultdict
from dataclasses import dataclass, field
from typing import Any

import jwt
from jwt.algorithms import AllowedPublicKeys, ECAlgorithm, RSAAlgorithm

ALGORITHMS = ("RS256", "ES256")
MOST_KEYS = 64
LONGEST_KID = 256

_MODULUS_BITS = range(2048, 8192 + 1)
_NUMBER = re.compile(r"[A-Za-z0-9_-]{1,1400}", re.ASCII)
_PRIVATE_MEMBER = "d"
_MEMBERS = {"RSA": ("n", "e"), "EC": ("x", "y")}

_ALGORITHMS = {name: jwt.get_algorithm_by_name(name) for name in ALGORITHMS}


@dataclass(frozen=True, slots=True)
class Key:
    """A public key that may vouch for tokens of one algorithm, which its own type decides, never the token."""

    kid: str | None
    algorithm: str
    material: tuple[str, ...]
    public: AllowedPublicKeys = field(repr=False, compare=False)

    @property
    def jwk(self) -> dict[str, str]:
        """The key as `usable_keys` reads it: its public members by name, and nothing else that came with it."""
        shape = {"kty": "RSA"} if self.algorithm == "RS256" else {"kty": "EC", "crv": "P-256"}
        named = {} if self.kid is None else {"kid": self.kid}
        members = dict(zip(_MEMBERS[shape["kty"]], self.material, strict=True))
        return {**shape, **named, "alg": self.algorithm, "use": "sig", **members}

    def signed(self, message: bytes, signature: bytes) -> bool:
        """Whether this key's owner signed the ``message``, by the key's own algorithm, whatever the message says of itself.

        Not by PyJWT's decoding, which takes the token apart once more and looks at its every character.
        """
        return _ALGORITHMS[self.algorithm].verify(message, self.public, signature)


def usable_keys(document: object) -> tuple[Key, ...]:
    """The keys of a JWK set (RFC 7517) that may vouch for a token, of its first 64.

    Everything else is passed over: other uses and algorithms, RSA below 2048 bits, curves other than P-256, private or malformed
    keys, and different keys of one name, of which nobody can tell which is meant.
    """
    entries = document.get("keys") if isinstance(document, dict) else None
    if not isinstance(entries, list):
        return ()
    named: defaultdict[str | None, set[Key]] = defaultdict(set)
    for entry in entries[:MOST_KEYS]:
        if key := _usable(entry):
            named[key.kid].add(key)
    return tuple(key for keys in named.values() if len(keys) == 1 for key in keys)


def acceptable_kid(kid: object) -> bool:
    """Whether this can name a key: up to 256 printable characters."""
    return isinstance(kid, str) and 0 < len(kid) <= LONGEST_KID and kid.isprintable()


def _usable(entry: object) -> Key | None:
    if not isinstance(entry, dict) or not _may_verify(entry):
        return None
    kid = entry.get("kid")
    if kid is not None and not acceptable_kid(kid):
        return None
    shape, members = _rsa if entry["kty"] == "RSA" else _p256, _MEMBERS[entry["kty"]]
    numbers = [entry[member] for member in members if _is_number(entry.get(member))]
    return shape(kid, *numbers) if len(numbers) == len(members) else None


def _is_number(value: object) -> bool:
    return isinstance(value, str) and _NUMBER.fullmatch(value) is not None


def _may_verify(entry: dict[str, Any]) -> bool:
    kty, alg, operations = entry.get("kty"), entry.get("alg"), entry.get("key_ops")
    its_algorithm = {"RSA": "RS256", "EC": "ES256"}.get(kty) if isinstance(kty, str) else None
    return (
        its_algorithm is not None
        and alg in (None, its_algorithm)
        and (kty != "EC" or entry.get("crv") == "P-256")
        and entry.get("use") in (None, "sig")
        and (operations is None or (isinstance(operations, list) and "verify" in operations))
        # Whoever publishes a private key has told everybody how to sign.
        and _PRIVATE_MEMBER not in entry
    )


def _rsa(kid: str | None, n: str, e: str) -> Key | None:
    try:
        public = RSAAlgorithm.from_jwk({"kty": "RSA", "n": n, "e": e})
    except (jwt.PyJWTError, ValueError):
        return None
    return Key(kid, "RS256", (n, e), public) if public.key_size in _MODULUS_BITS else None  # type: ignore[arg-type]


def _p256(kid: str | None, x: str, y: str) -> Key | None:
    try:
        public = ECAlgorithm.from_jwk({"kty": "EC", "crv": "P-256", "x": x, "y": y})
    except (jwt.PyJWTError, ValueError):
        return None
    return Key(kid, "ES256", (x, y), public)  # type: ignore[arg-type]
