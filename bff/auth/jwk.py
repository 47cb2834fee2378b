"""JSON Web Keys (RFC 7517): which keys of a set may verify a token, and the set that one fetch brought.

Fetching is `jwks_fetcher`'s and `jwks_refresher`'s, storing `jwks_snapshot`'s; verifying is `access_tokens`'s.
"""

import re
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, field

import jwt

MOST_KEYS = 64
LONGEST_KID = 256
# GenAuth's clock may be this far ahead of ours.
SKEW_SECONDS = 10.0

_MODULUS_BITS = range(2048, 8192 + 1)
_NUMBER = re.compile(r"[A-Za-z0-9_-]{1,1400}", re.ASCII)
_PRIVATE_MEMBER = "d"


# What every usable key of a ``kty`` says, and the members that differ.
_KEY_TYPES = {
    "RSA": ({"kty": "RSA", "alg": "RS256"}, ("n", "e")),
    "EC": ({"kty": "EC", "crv": "P-256", "alg": "ES256"}, ("x", "y")),
}
ALGORITHMS = ("RS256", "ES256")


@dataclass(frozen=True, slots=True)
class Key:
    """A public key that may verify tokens of one algorithm, which its own type decides, never the token."""

    kid: str | None
    algorithm: str
    members: tuple[tuple[str, str], ...]
    public: jwt.PyJWK = field(repr=False, compare=False)

    @property
    def jwk(self) -> dict[str, str]:
        """The key as `usable_keys` reads it: its public members, and nothing else that GenAuth published with it."""
        return dict(self.members)


@dataclass(frozen=True, slots=True)
class KeySet:
    """The keys of one fetch, by key id. ``version`` is another one when the keys are others.

    ``fetched_at`` and ``fetched_at_monotonic`` are the start of the fetch, by the two clocks. ``from_snapshot``: it was another
    process's.
    """

    issuer: str
    keys: Mapping[str | None, Key]
    version: int
    fetched_at: float
    fetched_at_monotonic: float
    from_snapshot: bool = False

    def get(self, kid: str | None) -> Key | None:
        """The key with that id; for a token without a kid, the only key there is."""
        if kid is None:
            return next(iter(self.keys.values())) if len(self.keys) == 1 else None
        return self.keys.get(kid)

    def covers(self, issued_at: float) -> bool:
        """Whether the key of a token with that ``iat`` would be in this set."""
        return issued_at <= self.fetched_at + SKEW_SECONDS


def usable_keys(document: object) -> tuple[Key, ...]:
    """The keys of a JWK set that may verify a token, of its first 64.

    Everything else is passed over: other uses and algorithms, RSA below 2048 bits, curves other than P-256, private or malformed
    keys, and different keys with one kid, of which nobody can tell which is meant.
    """
    entries = document.get("keys") if isinstance(document, dict) else None
    if not isinstance(entries, list):
        return ()
    by_kid: defaultdict[str | None, set[Key]] = defaultdict(set)
    for entry in entries[:MOST_KEYS]:
        if key := _usable(entry):
            by_kid[key.kid].add(key)
    return tuple(key for keys in by_kid.values() if len(keys) == 1 for key in keys)


def acceptable_kid(kid: object) -> bool:
    """Whether this can be a key's id: up to 256 printable characters."""
    return isinstance(kid, str) and 0 < len(kid) <= LONGEST_KID and kid.isprintable()


def _usable(entry: object) -> Key | None:
    if not isinstance(entry, dict):
        return None
    kty, kid, operations = entry.get("kty"), entry.get("kid"), entry.get("key_ops")
    fixed, names = _KEY_TYPES.get(kty, ({}, ())) if isinstance(kty, str) else ({}, ())
    numbers = {name: entry.get(name) for name in names}
    if (
        not fixed
        or _PRIVATE_MEMBER in entry  # whoever publishes a private key lets everybody sign
        or not (kid is None or acceptable_kid(kid))
        or entry.get("use") not in (None, "sig")
        or entry.get("alg") not in (None, fixed["alg"])
        or entry.get("crv") != fixed.get("crv", entry.get("crv"))
        or not (operations is None or (isinstance(operations, list) and "verify" in operations))
        or not all(isinstance(number, str) and _NUMBER.fullmatch(number) for number in numbers.values())
    ):
        return None
    # PyJWT is given the members that were checked, and no others.
    members = {**fixed, "use": "sig", **({} if kid is None else {"kid": kid}), **numbers}
    try:
        public = jwt.PyJWK.from_dict(members, algorithm=fixed["alg"])
    except jwt.PyJWTError:
        return None
    if kty == "RSA" and public.key.key_size not in _MODULUS_BITS:
        return None
    return Key(kid, fixed["alg"], tuple(members.items()), public)
