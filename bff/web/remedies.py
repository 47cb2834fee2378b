"""What a frontend does about each error: the contract's last column, told in `/openapi.json`, `/docs` and `/problems/<code>`."""

from collections import defaultdict
from collections.abc import Iterator

from bff.errors import BffError

ADVICE = {
    "invalid_request": "Fix the call; `detail` says what is wrong with it.",
    "token_missing": "Sign in.",
    "token_expired": "Refresh the session token and ask again.",
    "token_invalid": "Sign in again: refreshing will not help.",
    "user_blocked": "Tell the person that their account is blocked; another try will not help.",
    "csrf_header_missing": "Fix the call: send `X-Requested-With`, with any value, along with the cookie.",
    "origin_not_allowed": "Fix the call, or have the page's origin added to CORS_ORIGINS.",
    "not_found": "Fix the call: nothing lives at this path.",
    "method_not_allowed": "Fix the call; `Allow` names the methods that there are.",
    "rate_limited": "Wait as many seconds as `Retry-After` says, then ask again.",
    "upstream_malformed": "Show that the accounts cannot be read at the moment, and offer another try later.",
    "upstream_unavailable": "Show that the accounts are unavailable at the moment; ask again after `Retry-After` seconds.",
    "upstream_timeout": "Show that the accounts are unavailable at the moment, and offer another try later.",
    "internal_error": "Apologise, and tell us the `requestId`.",
}


def errors_by_code() -> dict[str, type[BffError]]:
    """Every error there is, by its code, by status; where several share a code, the one that others are a kind of."""
    found: dict[str, type[BffError]] = {}
    for kind in _kinds(BffError):
        if "code" in vars(kind):
            found.setdefault(kind.code, kind)
    return dict(sorted(found.items(), key=lambda item: item[1].status))


def codes_by_status() -> dict[int, list[str]]:
    """Every code there is, by its HTTP status."""
    codes: defaultdict[int, list[str]] = defaultdict(list)
    for code, kind in errors_by_code().items():
        codes[kind.status].append(code)
    return codes


def _kinds(kind: type[BffError]) -> Iterator[type[BffError]]:
    for below in kind.__subclasses__():
        yield below
        yield from _kinds(below)
