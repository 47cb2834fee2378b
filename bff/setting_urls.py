"""What a setting's address may be: URLs, origins, hosts. Like `setting_rules`, never quotes what it refuses."""

import re
from ipaddress import ip_address
from urllib.parse import SplitResult, parse_qsl, urlsplit

from bff.setting_types import Wrong, listed

_HOST = r"(?:[A-Za-z0-9](?:[A-Za-z0-9_.-]*[A-Za-z0-9])?|\[[0-9A-Fa-f:.]+\])"
_HOST_AND_PORT = re.compile(rf"({_HOST})(?::([0-9]{{1,5}}))?")
_ORIGIN = re.compile(rf"([a-z][a-z0-9+.-]*)://({_HOST}(?::([0-9]{{1,5}}))?)")
_DEFAULT_PORTS = {"http": "80", "https": "443"}
# redis-py lets a URL's options override the caller's: only those pass that cannot undo our timeouts and checks.
_REDIS_OPTIONS = {"db", "username", "password", "client_name"}
_REDIS_TLS_OPTIONS = {"ssl_ca_certs", "ssl_ca_path", "ssl_certfile", "ssl_keyfile", "ssl_cert_reqs", "ssl_check_hostname"}
_VERIFYING = {"ssl_cert_reqs": "required", "ssl_check_hostname": "true"}


def url(value: str) -> str:
    """An address to send tokens to or to fetch keys from: https, or http on this machine."""
    _split(value)
    return value


def plain_url(value: str) -> str:
    """A `url` without a query, kept to the letter."""
    if _split(value).query or "?" in value:
        raise Wrong("has a query")
    return value


def host_url(value: str) -> str:
    """A `plain_url` to append paths to: its trailing slashes go."""
    return plain_url(value).rstrip("/")


def _split(value: str) -> SplitResult:
    parts = _parsed(value)
    if parts.scheme not in ("https", "http"):
        raise Wrong("is not an https URL")
    if "@" in parts.netloc:
        raise Wrong("holds credentials")
    if parts.fragment or "#" in value:
        raise Wrong("has a fragment")
    if not _is_host(parts.netloc):
        raise Wrong("has a host or port that cannot be")
    if parts.scheme == "http" and not _is_loopback(parts.hostname or ""):
        raise Wrong("is plain http to another machine")
    return parts


def _parsed(value: str) -> SplitResult:
    if not re.fullmatch(r"[!-~]+", value) or "\\" in value:
        raise Wrong("is not a URL")
    try:
        return urlsplit(value)
    except ValueError:
        raise Wrong("is not a URL") from None


def _is_host(netloc: str) -> bool:
    match = _HOST_AND_PORT.fullmatch(netloc)
    return match is not None and 0 < int(match[2] or 1) <= 65535


def _is_loopback(host: str) -> bool:
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host.lower() == "localhost"


def origins(value: str) -> tuple[str, ...]:
    """Origins exactly as browsers send them, or ``*``."""
    entries = listed(value)
    for number, origin in enumerate(entries, 1):
        if origin == "*":
            continue
        match = _ORIGIN.fullmatch(origin)
        if not match or not _is_host(match[2]):
            raise Wrong(f"has an entry that is no exact origin (number {number})")
        if origin != origin.lower() or match[3] == _DEFAULT_PORTS.get(match[1], ""):
            # Browsers send origins in lower case and without a default port: another spelling would never match.
            raise Wrong(f"has an origin with capitals or a default port (number {number})")
    return entries


def hosts(value: str) -> tuple[str, ...]:
    """Host names in lower case; one that begins with a dot stands for its subdomains too."""
    entries = listed(value.lower())
    for number, host in enumerate(entries, 1):
        if not _is_host(host.removeprefix(".")):
            raise Wrong(f"has an entry that is no host name (number {number})")
    return entries


def redis_url(value: str) -> str:
    """Where the cache lives; see the schemes below. ``embedded`` is a private Valkey beside the service."""
    if value == "embedded":
        return value
    parts = _parsed(value)
    hosts_ = parts.netloc.rpartition("@")[2]
    match parts.scheme:
        case "unix":
            fits = not hosts_ and len(parts.path) > 1
        case "redis" | "rediss":
            fits = _are_hosts(hosts_, several=False) and re.fullmatch(r"/?|/[0-9]{1,5}", parts.path) is not None
        case "redis+cluster" | "rediss+cluster":
            fits = _are_hosts(hosts_) and parts.path in ("", "/", "/0")
        case "redis+sentinel" | "rediss+sentinel":
            fits = _are_hosts(hosts_) and re.fullmatch(r"/[A-Za-z0-9._-]+(?:/[0-9]{1,5})?", parts.path) is not None
        case _:
            raise Wrong("has a scheme that is not one of its schemes")
    if not fits:
        raise Wrong("has hosts or a path that do not fit its scheme")
    if parts.fragment or "#" in value:
        # A password with a bare "#" ends here too: it has to be written %23.
        raise Wrong("has a fragment")
    _check_redis_options(parts)
    return value


def _check_redis_options(parts: SplitResult) -> None:
    allowed = _REDIS_OPTIONS | (_REDIS_TLS_OPTIONS if parts.scheme.startswith("rediss") else set())
    options = parse_qsl(parts.query, keep_blank_values=True)
    if any("verify" in name or option.lower() != _VERIFYING.get(name, option.lower()) for name, option in options):
        raise Wrong("asks to skip the verification of certificates")
    for name, option in options:
        if name not in allowed or not option:
            raise Wrong("has an option that is not one of its options")
        if name == "db" and not re.fullmatch(r"[0-9]{1,5}", option):
            raise Wrong("has a db that is not a number")


def _are_hosts(netloc: str, *, several: bool = True) -> bool:
    entries = netloc.split(",")
    return (several or len(entries) == 1) and all(map(_is_host, entries))
