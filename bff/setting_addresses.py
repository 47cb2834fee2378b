"""Settings that are addresses: hosts, origins, GenAuth's URLs and Redis'. The other types are in `setting_types`."""

import re
from collections.abc import Callable, Collection
from ipaddress import ip_address
from urllib.parse import SplitResult, parse_qsl, urlsplit

from environs import ValidationError

from bff.setting_types import ca_bundle, check_client_certificate, check_folder, expects, listed

_HOST = r"(?:[A-Za-z0-9](?:[A-Za-z0-9_.-]*[A-Za-z0-9])?|\[[0-9A-Fa-f:.]+\])"
_HOST_AND_PORT = re.compile(rf"({_HOST})(?::([0-9]{{1,5}}))?")
_ORIGIN = re.compile(rf"([a-z][a-z0-9+.-]*)://({_HOST}(?::([0-9]{{1,5}}))?)")
# Of a domain that the app's makers have, so that no other app has reason to claim it; nothing that code would run for.
_APP_ADDRESS = re.compile(r"[a-z][a-z0-9+-]*(?:\.[a-z0-9+-]+)+:/[A-Za-z0-9._~!$&'()*+;=:/-]+")
LONGEST_RETURN_ADDRESS = 2048
_RETURN_ADDRESS = re.compile(rf"[!\"$-\[\]-~]{{1,{LONGEST_RETURN_ADDRESS}}}")  # visible ASCII without "#" and "\\"
_PAGE = re.compile(r"https?://[^/?]*")  # its origin
_ADDRESS = re.compile(r"([a-z][a-z0-9+.-]*://)([^/?#]*)(.*)", re.IGNORECASE | re.DOTALL)
_ENDPOINT = re.compile(r"/(?:oidc|oauth|login)\Z|/(?:\.well-known|api/v[0-9])(?:/|\Z)", re.IGNORECASE)
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


def split_address(value: str) -> SplitResult:
    """The parts of a URL, ``netloc`` with as many hosts as it lists; ValueError where there are none.

    `urlsplit` is for one host: a Python with the fix of CVE-2025-0938 refuses a list that has brackets after its first character.
    """
    match = _ADDRESS.fullmatch(value)
    if match is None:
        raise ValueError("no scheme and host")
    return urlsplit(match[1] + match[3])._replace(netloc=match[2])


def _split(value: str) -> SplitResult:
    if not re.fullmatch(r"[!-~]+", value) or "\\" in value:
        raise ValidationError("is not a URL")
    try:
        return split_address(value)
    except ValueError:
        raise ValidationError("is not a URL") from None


def _is_host(netloc: str) -> bool:
    match = _HOST_AND_PORT.fullmatch(netloc)
    if match is None or (match[1].startswith("[") and not _is_ip(match[1].strip("[]"))):
        return False
    return 0 < int(match[2] or 1) <= 65535


def _is_ip(text: str) -> bool:
    try:
        ip_address(text)
    except ValueError:
        return False
    return True


def _is_loopback(host: str) -> bool:
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host.lower() == "localhost"


def is_same_host(one: str, other: str) -> bool:
    """Whether two URLs lead to one host, as far as their names tell; all the names of this machine are one."""
    try:
        hosts = {(urlsplit(each).hostname or "").removesuffix(".") for each in (one, other)}
    except ValueError:
        return False
    return "" not in hosts and (len(hosts) == 1 or all(map(_is_loopback, hosts)))


def is_readable_on_the_way(address: str) -> bool:
    """Whether what goes to an address of http or Redis, or comes from that origin, passes a network unencrypted."""
    scheme, _, rest = address.partition("://")
    if scheme.lower().partition("+")[0] not in ("http", "redis"):
        return False
    nodes = re.split("[/?#]", rest, maxsplit=1)[0].rpartition("@")[2].split(",")
    return not all((match := _HOST_AND_PORT.fullmatch(node)) and _is_loopback(match[1].strip("[]")) for node in nodes)


@expects(_URL.format(""))
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
    if parts.path.endswith("/openid-configuration"):
        raise ValidationError("is the address of the discovery document")
    return value


def is_permitted_url(value: str) -> bool:
    """Whether an address that GenAuth names is one that an operator could have set."""
    try:
        url.parse(value)
    except ValidationError:
        return False
    return True


@expects(_URL.format(", query"))
def plain_url(value: str) -> str:
    """A `url` without a query, kept to the letter."""
    if "?" in url.parse(value):
        raise ValidationError("has a query")
    return value


@expects(_URL.format(", query"))
def base_url(value: str) -> str:
    """A `plain_url` to append paths to: its trailing slashes go."""
    base: str = plain_url.parse(value).rstrip("/")
    return base


def origin_of(address: str) -> str:
    """The origin of a `url` as browsers send it: in lower case, without a default port."""
    parts = urlsplit(address)
    return f"{parts.scheme}://{parts.netloc}".lower().removesuffix(f":{_DEFAULT_PORTS[parts.scheme]}")


@expects(_URL.format(", query") + ", up to where its /oidc and /api begin")
def host_url(value: str) -> str:
    """A `base_url`."""
    host: str = base_url.parse(value)
    if _ENDPOINT.search(urlsplit(host).path):
        raise ValidationError("has the path of an endpoint")
    return host


@expects("scheme://host[:port] as browsers send it, without a path, comma separated; or *")
def origins(value: str) -> tuple[str, ...]:
    """Origins exactly as browsers send them, or ``*``."""
    entries = listed(value)
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


@expects("origins of https, or of http on this machine, and apps' addresses in full (com.example.app:/linked), comma separated")
def return_targets(value: str) -> tuple[str, ...]:
    """Where a browser may be sent back to: exact origins, and private-use addresses of apps (RFC 8252 7.1) to the letter."""
    entries = listed(value)
    for number, entry in enumerate(entries, 1):
        if _APP_ADDRESS.fullmatch(entry):
            continue
        if not entry.startswith(("https://", "http://")) or not origins.parse(entry):
            raise ValidationError(f"has an entry that names no single origin (number {number})")
        if is_readable_on_the_way(entry):
            raise ValidationError(f"has an origin of plain http on another machine (number {number})")
    return tuple(entries)


def may_return_to(value: str, targets: Collection[str]) -> bool:
    """Whether a browser may be sent to ``value``: an address below one of the origins in `return_targets`, or an app's in full.

    To the letter: what a browser would first have to put right (a capital, a backslash, a tab) leads nowhere.
    """
    if not _RETURN_ADDRESS.fullmatch(value):
        return False
    page = _PAGE.match(value)
    return (page[0] if page else value) in targets


@expects("host[:port] or .domain, comma separated")
def hosts(value: str) -> tuple[str, ...]:
    """Host names in lower case; one that begins with a dot stands for its subdomains too."""
    entries = listed(value.lower())
    for number, host in enumerate(entries, 1):
        if not _is_host(host.removeprefix(".")):
            raise ValidationError(f"has an entry that is no host name (number {number})")
    return tuple(entries)


@expects(
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
    if len(given := dict(options)) < len(options):
        raise ValidationError("has an option twice")
    if "ssl_keyfile" in given and "ssl_certfile" not in given:
        raise ValidationError("has an ssl_keyfile that comes without an ssl_certfile")
    _check_tls_files(given)


def _check_tls_files(options: dict[str, str]) -> None:
    key = options.get("ssl_keyfile")
    checks: dict[str, Callable[[str], object]] = {
        "ssl_ca_certs": ca_bundle.parse,
        "ssl_ca_path": check_folder,
        "ssl_certfile": lambda certificate: check_client_certificate(certificate, key),
    }
    for option, check in checks.items():
        try:
            if option in options:
                check(options[option])
        except ValidationError as error:
            raise ValidationError(f"has an {option} that {error.messages[0]}") from None


def without_secrets(redis_url: str) -> str:
    """The scheme, the hosts and the path of a REDIS_URL that was accepted, without a name, a password and options."""
    scheme, separator, rest = redis_url.partition("?")[0].partition("://")
    authority, slash, path = rest.partition("/")
    return f"{scheme}{separator}{authority.rpartition('@')[2]}{slash}{path}"
