"""What the text of a setting may be: each `Type` turns text into a value or raises marshmallow's `ValidationError`.

The message ends a sentence that begins with the setting's name, and never quotes the text: a secret in the wrong variable is
still a secret.
"""

import base64
import binascii
import hashlib
import hmac
import re
import ssl
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from ipaddress import ip_address
from pathlib import Path
from typing import Any

import limits
from environs import ValidationError
from marshmallow.validate import OneOf, Range, Regexp

Keys = tuple[tuple[str, bytes], ...]


@dataclass(frozen=True, slots=True)
class Type:
    """How a setting's text is read, and a description of what is expected."""

    parse: Callable[[str], Any]
    expected: str


# With a shell's quotes left around it, as from an env file that no shell reads: quotes of any kind are meant by nobody.
_QUOTES = frozenset("\"'`\N{LEFT DOUBLE QUOTATION MARK}\N{RIGHT DOUBLE QUOTATION MARK}")


def read(value: str, kind: Type) -> Any:  # noqa: ANN401 - what the type makes of it
    """The value of a setting's text; `ValidationError` also where the text is in quotes."""
    if len(value) > 1 and _QUOTES.issuperset((value[0], value[-1])):
        raise ValidationError("has quotes around it, which are part of the value")
    return kind.parse(value)


def expects(expected: str) -> Callable[[Callable[[str], Any]], Type]:
    """Make a function that parses a `Type`."""
    return lambda parse: Type(parse, expected)


def one_of(*choices: str) -> Type:
    """One word of a few, in any case."""
    choice = OneOf(choices, error="is not one of its values")
    return Type(lambda value: choice(value.lower()), " or ".join(filter(None, (", ".join(choices[:-1]), choices[-1]))))


def whole(lowest: int, highest: int) -> Type:
    """A whole number within bounds."""
    digits = Regexp(r"[0-9]{1,10}\Z", error="is not a whole number")
    bounds = Range(lowest, highest, error="is out of bounds")
    return Type(lambda value: bounds(int(digits(value))), f"a whole number from {lowest} to {highest}")


def seconds(highest: int, *, or_zero: bool = False) -> Type:
    """A positive decimal, or zero where that switches something off; ``nan``, ``inf`` and exponents are no durations."""
    decimal = Regexp(r"[0-9]{1,10}(?:\.[0-9]{1,10})?\Z", error="is not a decimal number")
    bounds = Range(0, highest, min_inclusive=or_zero, error="is out of bounds")
    expected = f"decimal seconds{' from 0 (off) to' if or_zero else ', more than 0 and at most'} {highest}"
    return Type(lambda value: bounds(float(decimal(value))), expected)


def _printable(value: str) -> str:
    if not value.isprintable():
        raise ValidationError("holds a character that cannot be printed")
    return value


text = Type(_printable, "printable text")
header_text = Type(Regexp(r"[!-~]+\Z", error="holds a blank or a character outside ASCII"), "visible ASCII without blanks")
# Not every character that a header may have: quotes, and what templates put around a name, are left over from somewhere.
app_id = Type(Regexp(r"[!#%&(-;=?-_a-z|~]+\Z", error="holds a character that no id has"), "the application's id")
# No braces: what is noted about the stream has its name as a hash tag, to be in its slot of a cluster.
stream_name = Type(
    Regexp(r"[A-Za-z0-9:._-]{1,128}\Z", error="holds a character that no such key has"),
    "a key such as la:events: letters, digits, colon, dot, underscore, hyphen",
)
# A token of RFC 9110 5.6.2, which RFC 6265 4.1.1 takes for cookie names.
cookie_name = Type(
    Regexp(r"[!#$%&'*+\-.^_`|~0-9A-Za-z]+\Z", error="holds a character that no cookie name may hold"),
    "a cookie name as RFC 6265 allows it",
)


@expects("an IP address of this machine, such as 0.0.0.0, 127.0.0.1 or :: (IPv6, and IPv4 too)")
def address(value: str) -> str:
    """An IP address to listen on; brackets go, and the server knows no zones."""
    with suppress(ValueError):
        if "%" not in value:
            return str(ip_address(value.strip("[]")))
    raise ValidationError("is not an IP address")


@expects("a rate such as 120/minute, or off")
def rate(value: str) -> str | None:
    """A limit as the `limits` package writes it, or None for ``off``."""
    if value.lower() == "off":
        return None
    try:
        several = limits.parse_many(value)
    except ValueError:
        raise ValidationError("is not a rate") from None
    if len(several) != 1 or several[0].amount < 1:
        raise ValidationError("is not one rate of at least 1")
    return value


@expects("keyid:base64-of-32-bytes pairs or text of at least 32 characters, comma separated")
def keys(value: str) -> Keys:
    """Named keys of 32 bytes, the encrypting one first; a passphrase gets a key and a name derived from it."""
    parsed = tuple(_key(part) for part in listed(value))
    if not parsed:
        raise ValidationError("holds no key")
    if len({key_id for key_id, _ in parsed}) < len(parsed):
        raise ValidationError("names two keys alike")
    return parsed


def _key(part: str) -> tuple[str, bytes]:
    key_id, colon, encoded = part.partition(":")
    if not colon:
        if len(_printable(part)) < 32:
            raise ValidationError("holds a passphrase of fewer than 32 characters")
        key = hmac.digest(b"linked-accounts cache key", part.encode(), hashlib.sha256)
        return hmac.digest(b"linked-accounts cache key id", key, hashlib.sha256).hex()[:8], key
    if not re.fullmatch(r"[A-Za-z0-9._-]{1,16}", key_id):
        raise ValidationError("holds a key id that is not 1 to 16 of A-Z a-z 0-9 . _ -")
    try:
        # Both alphabets, with and without padding: `openssl rand -base64 32` and `secrets.token_urlsafe(32)`.
        padded = encoded.rstrip("=") + "=" * (-len(encoded.rstrip("=")) % 4)
        key = base64.b64decode(padded.translate({ord("-"): "+", ord("_"): "/"}), validate=True)
    except (binascii.Error, ValueError):
        raise ValidationError("holds a key that is not base64") from None
    if len(key) != 32:
        raise ValidationError("holds a key that is not 32 bytes long")
    return key_id, key


@expects("the path of a readable PEM file")
def ca_bundle(value: str) -> str:
    """A file of certificates that OpenSSL can load."""
    try:
        if not Path(value).is_file():
            raise ValidationError("names no file")
        ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT).load_verify_locations(cafile=value)
    except ssl.SSLError:
        raise ValidationError("names a file without certificates") from None
    except (OSError, ValueError):
        raise ValidationError("names a file that cannot be read") from None
    return value


@expects("names of header fields, comma separated, such as X-Tenant; not *, and none that only proxies send")
def header_names(value: str) -> tuple[str, ...]:
    """Header fields that pages may send."""
    names = listed(value)
    if not all(re.fullmatch(r"[A-Za-z0-9_-]{1,64}", name) for name in names):
        raise ValidationError("holds what is no name of a header field")
    # Whoever may set them could pass for another client.
    if any(name.lower() == "forwarded" or name.lower().startswith("x-forwarded-") for name in names):
        raise ValidationError("holds a header field that is a proxy's to send")
    return tuple(names)


@expects("ids of identity sources, provider types or the word enterprise, comma separated")
def source_names(value: str) -> tuple[str, ...]:
    """What identity sources are called by."""
    names = listed(value)
    if not all(re.fullmatch(r"[!-)+-~]{1,256}", name) for name in names):  # a star would stand for nothing
        raise ValidationError("holds what is no id and no type of an identity source")
    return tuple(dict.fromkeys(names))


@expects("some of password, email, phone, comma separated, or none")
def sign_in_methods(value: str) -> tuple[str, ...]:
    """How a person can sign in without a linked account, in the order of the contract."""
    names = [name.lower() for name in listed(value)]
    if names == ["none"]:
        return ()
    if not names or not {"password", "email", "phone"}.issuperset(names):
        raise ValidationError("holds a word that is none of these")
    return tuple(name for name in ("password", "email", "phone") if name in names)


@expects("one secret of visible ASCII, or two while one replaces the other, comma separated")
def secrets(value: str) -> tuple[str, ...]:
    """What another service shows us in a header."""
    shown = listed(value)
    if not 1 <= len(shown) <= 2:
        raise ValidationError("holds no secret, or more than two")
    if not all(re.fullmatch("[!-~]+", secret) for secret in shown):
        raise ValidationError("holds a blank or a character outside ASCII")
    return tuple(dict.fromkeys(shown))


def check_client_certificate(certificate: str, key: str | None) -> None:
    """Raise `ValidationError` unless OpenSSL can load both; without a ``key`` the certificate's file has it."""
    try:
        ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT).load_cert_chain(certificate, key, password=str)  # an empty one: nobody is asked
    except ssl.SSLError:
        raise ValidationError("does not go with its key") from None
    except (OSError, ValueError):
        raise ValidationError("names a file that cannot be read, or has no key") from None


def check_folder(value: str) -> None:
    """Raise `ValidationError` unless there is such a folder."""
    if not Path(value).is_dir():
        raise ValidationError("names no folder")


def listed(value: str) -> list[str]:
    """The entries of a list with commas, without the empty ones."""
    return [entry for part in value.split(",") if (entry := part.strip())]
