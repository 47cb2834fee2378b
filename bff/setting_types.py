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
from dataclasses import dataclass
from ipaddress import ip_address
from pathlib import Path
from typing import Any
from urllib.parse import SplitResult, parse_qsl, urlsplit

import limits
from environs import ValidationError
from marshmallow.validate import OneOf, Range, Regexp

Keys = tuple[tuple[str, bytes], ...]

_HOST = r"(?:[A-Za-z0-9](?:[A-Za-z0-9_.-]*[A-Za-z0-9])?|\[[0-9A-Fa-f:.]+\])"
_HOST_AND_PORT = re.compile(rf"({_HOST})(?::([0-9]{{1,5}}))?")
_ORIGIN = re.compile(rf"([a-z][a-z0-9+.-]*)://({_HOST}(?::([0-9]{{1,5}}))?)")
_DEFAULT_PORTS = {"http": "80", "https": "443"}
_REDIS_PATHS = {
    "unix": r"/.+",
    "redis": r"/?|/[0-9]{1,5}",
    "redis+cluster": r"/?|/0",
    "redis+sentinel": r"/[A-Za-z0-9._-]+(?:/[0-9]{1,5})?",
}
# redis-py lets a URL's options override the caller's: only those pass that cannot undo our timeouts and checks.
_REDIS_OPTIONS = {"db", "username", "password", "client_name"}
_REDIS_TLS_OPTIONS = {"ssl_ca_certs", "ssl_ca_path", "ssl_certfile", "ssl_keyfile", "ssl_cert_reqs", "ssl_check_hostname"}
_VERIFYING = {"ssl_cert_reqs": "required", "ssl_check_hostname": "true"}
_URL = "https://host[:port][/path] without credentials{} or fragment, plain http only for this machine"


@dataclass(frozen=True, slots=True)
class Type:
    """How a setting's text is read, and a description of what is expected."""

    parse: Callable[[str], Any]
    expected: str


def _expects(expected: str) -> Callable[[Callable[[str], Any]], Type]:
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
app_id = Type(header_text.parse, "the application's id")
# A token of RFC 9110 5.6.2, which RFC 6265 4.1.1 takes for cookie names.
cookie_name = Type(
    Regexp(r"[!#$%&'*+\-.^_`|~0-9A-Za-z]+\Z", error="holds a character that no cookie name may hold"),
    "a cookie name as RFC 6265 allows it",
)


@_expects("a rate such as 120/minute, or off")
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


@_expects("keyid:base64-of-32-bytes pairs or text of at least 32 characters, comma separated")
def keys(value: str) -> Keys:
    """Named keys of 32 bytes, the encrypting one first; a passphrase gets a key and a name derived from it."""
    parsed = tuple(_key(part) for part in _listed(value))
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


@_expects("the path of a readable PEM file")
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


def _listed(value: str) -> list[str]:
    return [entry for part in value.split(",") if (entry := part.strip())]


def _split(value: str) -> SplitResult:
    if not re.fullmatch(r"[!-~]+", value) or "\\" in value:
        raise ValidationError("is not a URL")
    try:
        return urlsplit(value)
    except ValueError:
        raise ValidationError("is not a URL") from None


def _is_host(netloc: str) -> bool:
    match = _HOST_AND_PORT.fullmatch(netloc)
    return match is not None and 0 < int(match[2] or 1) <= 65535


def _is_loopback(host: str) -> bool:
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host.lower() == "localhost"


def is_readable_on_the_way(address: str) -> bool:
    """Whether what goes to an address of http or Redis, or comes from that origin, passes a network unencrypted."""
    scheme, _, rest = address.partition("://")
    if scheme.lower().partition("+")[0] not in ("http", "redis"):
        return False
    nodes = re.split("[/?#]", rest, maxsplit=1)[0].rpartition("@")[2].split(",")
    return not all((match := _HOST_AND_PORT.fullmatch(node)) and _is_loopback(match[1].strip("[]")) for node in nodes)


@_expects(_URL.format(""))
def url(value: str) -> str:
    """An address to send tokens to or to fetch keys from: https, or http on this machine."""
    parts = _split(value)
    if parts.scheme not in ("https", "http"):
        raise ValidationError("is not an https URL")
    if "@" in parts.netloc:
        raise ValidationError("holds credentials")
    if parts.fragment or "#" in value:
        raise ValidationError("has a fragment")
    if not _is_host(parts.netloc):
        raise ValidationError("has a host or port that cannot be")
    if is_readable_on_the_way(value):
        raise ValidationError("is plain http to another machine")
    return value


def is_permitted_url(value: str) -> bool:
    """Whether an address that GenAuth names is one that an operator could have set."""
    try:
        url.parse(value)
    except ValidationError:
        return False
    return True


@_expects(_URL.format(", query"))
def plain_url(value: str) -> str:
    """A `url` without a query, kept to the letter."""
    if "?" in url.parse(value):
        raise ValidationError("has a query")
    return value


# A URL to append paths to: its trailing slashes go.
host_url = Type(lambda value: plain_url.parse(value).rstrip("/"), plain_url.expected)


@_expects("scheme://host[:port] as browsers send it, without a path, comma separated; or *")
def origins(value: str) -> tuple[str, ...]:
    """Origins exactly as browsers send them, or ``*``."""
    entries = _listed(value)
    for number, origin in enumerate(entries, 1):
        if origin == "*":
            continue
        match = _ORIGIN.fullmatch(origin)
        if not match or not _is_host(match[2]):
            raise ValidationError(f"has an entry that is no exact origin (number {number})")
        if origin != origin.lower() or match[3] == _DEFAULT_PORTS.get(match[1], ""):
            # Browsers send origins in lower case and without a default port: another spelling would never match.
            raise ValidationError(f"has an origin with capitals or a default port (number {number})")
    return tuple(entries)


@_expects("host[:port] or .domain, comma separated")
def hosts(value: str) -> tuple[str, ...]:
    """Host names in lower case; one that begins with a dot stands for its subdomains too."""
    entries = _listed(value.lower())
    for number, host in enumerate(entries, 1):
        if not _is_host(host.removeprefix(".")):
            raise ValidationError(f"has an entry that is no host name (number {number})")
    return tuple(entries)


@_expects(
    "embedded, redis[s]://host:port[/db], unix:///path, redis[s]+sentinel://host:port,…/service or "
    "redis[s]+cluster://host:port,…, with the options db, username, password, client_name and, over TLS, "
    "ssl_ca_certs, ssl_ca_path, ssl_certfile, ssl_keyfile"
)
def redis_url(value: str) -> str:
    """Where the cache lives. ``embedded`` is a private Valkey beside the service."""
    if value == "embedded":
        return value
    parts = _split(value)
    scheme = parts.scheme.replace("rediss", "redis")
    if scheme not in _REDIS_PATHS:
        raise ValidationError("has a scheme that is not one of its schemes")
    nodes = parts.netloc.rpartition("@")[2].split(",")
    fits = nodes == [""] if scheme == "unix" else all(map(_is_host, nodes)) and (len(nodes) == 1 or "+" in scheme)
    if not fits or not re.fullmatch(_REDIS_PATHS[scheme], parts.path):
        raise ValidationError("has hosts or a path that do not fit its scheme")
    if parts.fragment or "#" in value:
        # A password with a bare "#" ends here too: it has to be written %23.
        raise ValidationError("has a fragment")
    _check_redis_options(parts.query, tls=parts.scheme.startswith("rediss"))
    return value


def _check_redis_options(query: str, *, tls: bool) -> None:
    options = parse_qsl(query, keep_blank_values=True)
    if any("verify" in name or option.lower() != _VERIFYING.get(name, option.lower()) for name, option in options):
        raise ValidationError("asks to skip the verification of certificates")
    for name, option in options:
        if name not in (_REDIS_OPTIONS | _REDIS_TLS_OPTIONS if tls else _REDIS_OPTIONS) or not option:
            raise ValidationError("has an option that is not one of its options")
        if name == "db" and not re.fullmatch(r"[0-9]{1,5}", option):
            raise ValidationError("has a db that is not a number")
