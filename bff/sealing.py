"""Cache values at rest: bound to their key, and with ``CACHE_SECRET`` encrypted and authenticated.

A value that was moved to another person's key, altered, or sealed by somebody else does not open: it is a miss. An older value of
the very same key does; that it ends in time is the business of what is sealed (`cache`). Keys hold no blanks.
"""

import hashlib
import os
from base64 import urlsafe_b64encode
from collections.abc import Sequence
from typing import Protocol

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

_NONCE_BYTES = 12  # NIST SP 800-38D 8.2: 96 bits, random


class Seal(Protocol):
    """How a value is written under a key, and read back."""

    def name(self, *parts: str) -> str:
        """An opaque name for ``parts``: the same for the same parts, telling nothing of them."""

    def seal(self, key: str, value: bytes) -> bytes:
        """``value`` as it is stored under ``key``."""

    def open(self, key: str, stored: bytes) -> bytes | None:
        """The value sealed under this very key, or None."""


class PlainSeal:
    """The value after its key, readable: what Redis holds can be looked at, and a swapped value is noticed."""

    def name(self, *parts: str) -> str:
        """An opaque name for ``parts``."""
        return _digest(parts, key=b"")

    def seal(self, key: str, value: bytes) -> bytes:
        """The key, a blank, the value."""
        return b"%b %b" % (key.encode(), value)

    def open(self, key: str, stored: bytes) -> bytes | None:
        """What follows the key, if it is this one."""
        bound = key.encode() + b" "
        return stored[len(bound) :] if stored.startswith(bound) else None


class SecretSeal:
    """AES-256-GCM with the key as associated data. The first secret seals, all of them open: put a new one in front to rotate.

    Names are keyed with the *last* secret, so that adding one in front keeps the cache warm.
    """

    def __init__(self, secrets: Sequence[tuple[str, bytes]]) -> None:
        """``secrets``: (key id, 32 bytes) pairs, the newest first."""
        self._key_id = secrets[0][0]
        self._ciphers = {key_id: AESGCM(secret) for key_id, secret in secrets}
        self._name_key = hashlib.blake2b(b"linked-accounts names", key=secrets[-1][1], digest_size=32).digest()

    def name(self, *parts: str) -> str:
        """An opaque name for ``parts``."""
        return _digest(parts, key=self._name_key)

    def seal(self, key: str, value: bytes) -> bytes:
        """Key id, nonce and ciphertext."""
        nonce = os.urandom(_NONCE_BYTES)
        return b"%b %b%b" % (self._key_id.encode(), nonce, self._ciphers[self._key_id].encrypt(nonce, value, key.encode()))

    def open(self, key: str, stored: bytes) -> bytes | None:
        """What a secret of ours sealed under this key, and nobody altered."""
        key_id, _, sealed = stored.partition(b" ")
        cipher = self._ciphers.get(key_id.decode("ascii", "replace"))
        if cipher is None:
            return None
        try:
            return cipher.decrypt(sealed[:_NONCE_BYTES], sealed[_NONCE_BYTES:], key.encode())
        except (InvalidTag, ValueError):
            return None


def _digest(parts: Sequence[str], *, key: bytes) -> str:
    # Lengths first: ("ab", "c") and ("a", "bc") are different people.
    framed = b"".join(b"%d:%b" % (len(part.encode()), part.encode()) for part in parts)
    return urlsafe_b64encode(hashlib.blake2b(framed, key=key, digest_size=15).digest()).decode()
