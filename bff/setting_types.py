"""What a setting's text may be: each parser turns text into a value or raises `Wrong`.

`Wrong` never quotes the text, for a secret that landed in the wrong variable is still a secret.
"""

import base64
import binascii
import hashlib
import hmac
import re
import ssl
from collections.abc import Callable
from pathlib import Path

import limits

Keys = tuple[tuple[str, bytes], ...]

# RFC 9110 5.6.2, which RFC 6265 4.1.1 takes for cookie names.
_TOKEN = re.compile(r"[!#$%&'*+\-.^_`|~0-9A-Za-z]+")


class Wrong(ValueError):
    """What is wrong with the text, as the end of a sentence that begins with the setting's name."""


def text(value: str) -> str:
    """Printable text."""
    if not value.isprintable():
        raise Wrong("holds a character that cannot be printed")
    return value


def header_text(value: str) -> str:
    """Text that travels in a header: visible ASCII, no blanks."""
    if not re.fullmatch(r"[!-~]+", value):
        raise Wrong("holds a blank or a character outside ASCII")
    return value


def cookie_name(value: str) -> str:
    """A token of RFC 6265."""
    if not _TOKEN.fullmatch(value):
        raise Wrong("holds a character that no cookie name may hold")
    return value


def one_of(*choices: str) -> Callable[[str], str]:
    """One word of a few, in any case."""

    def parse(value: str) -> str:
        if value.lower() not in choices:
            raise Wrong("is not one of its values")
        return value.lower()

    return parse


def whole(lowest: int, highest: int) -> Callable[[str], int]:
    """A whole number within bounds."""

    def parse(value: str) -> int:
        if not re.fullmatch(r"[0-9]{1,10}", value):
            raise Wrong("is not a whole number")
        if not lowest <= int(value) <= highest:
            raise Wrong("is out of bounds")
        return int(value)

    return parse


def seconds(highest: float, *, or_zero: bool = False) -> Callable[[str], float]:
    """A positive decimal, or zero where that switches something off; ``nan``, ``inf`` and exponents are no durations."""

    def parse(value: str) -> float:
        if not re.fullmatch(r"[0-9]{1,10}(?:\.[0-9]{1,10})?", value):
            raise Wrong("is not a decimal number")
        number = float(value)
        if number > highest or (number == 0 and not or_zero):
            raise Wrong("is out of bounds")
        return number

    return parse


def rate(value: str) -> str | None:
    """A limit as the `limits` package writes it, or None for ``off``."""
    if value.lower() == "off":
        return None
    try:
        several = limits.parse_many(value)
    except ValueError:
        raise Wrong("is not a rate") from None
    if len(several) != 1 or several[0].amount < 1:
        raise Wrong("is not one rate of at least 1")
    return value


def keys(value: str) -> Keys:
    """Named keys of 32 bytes, the sealing one first; a passphrase gets a key and a name derived from it."""
    parsed = tuple(_key(part.strip()) for part in value.split(",") if part.strip())
    if not parsed:
        raise Wrong("holds no key")
    if len({key_id for key_id, _ in parsed}) < len(parsed):
        raise Wrong("names two keys alike")
    return parsed


def _key(part: str) -> tuple[str, bytes]:
    key_id, colon, encoded = part.partition(":")
    if not colon:
        if len(text(part)) < 32:
            raise Wrong("holds a passphrase of fewer than 32 characters")
        key = hmac.digest(b"linked-accounts cache key", part.encode(), hashlib.sha256)
        return hmac.digest(b"linked-accounts cache key id", key, hashlib.sha256).hex()[:8], key
    if not re.fullmatch(r"[A-Za-z0-9._-]{1,16}", key_id):
        raise Wrong("holds a key id that is not 1 to 16 of A-Z a-z 0-9 . _ -")
    try:
        # Both alphabets, with and without padding: `openssl rand -base64 32` and `secrets.token_urlsafe(32)`.
        padded = encoded.rstrip("=") + "=" * (-len(encoded.rstrip("=")) % 4)
        key = base64.b64decode(padded.translate({ord("-"): "+", ord("_"): "/"}), validate=True)
    except (binascii.Error, ValueError):
        raise Wrong("holds a key that is not base64") from None
    if len(key) != 32:
        raise Wrong("holds a key that is not 32 bytes long")
    return key_id, key


def ca_bundle(value: str) -> str:
    """A file of certificates that OpenSSL can load."""
    try:
        is_file = Path(value).is_file()
        if is_file:
            ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT).load_verify_locations(cafile=value)
    except ssl.SSLError:
        raise Wrong("names a file without certificates") from None
    except (OSError, ValueError):
        raise Wrong("names a file that cannot be read") from None
    if not is_file:
        raise Wrong("names no file")
    return value


def listed(value: str) -> tuple[str, ...]:
    """Comma separated entries, without blanks and doubles."""
    return tuple(dict.fromkeys(part.strip() for part in value.split(",") if part.strip()))
