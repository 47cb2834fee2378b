"""The values that metrics' labels may have; every other becomes "other".

What other modules pass is listed here once more: a new value is "other" until somebody decides that it is worth a series.
"""

import re
from collections.abc import Callable, Hashable
from typing import get_args

from bff import errors
from bff.observability.audit import Action

OTHER = "other"
Bound = Callable[[str], str]
STATES = ("closed", "open", "half_open")
SOURCES = ("memory", "cache", "genauth", "collapsed", "stale", "none")
OUTCOMES = (
    "ok", "circuit_open", "bulkhead_full", "token_refused", "user_blocked", "throttled", "timeout", "malformed", "unavailable",
    "forbidden", "rejected", "error",
)  # fmt: skip
CACHE_REASONS = (
    "breaker_open", "rights", "authentication", "certificate", "tls", "name", "refused", "read_only", "full", "loading",
    "no_master", "too_many", "timeout", "cluster", "no_redis", "refusal", "closed",
)  # fmt: skip
_MOST_ROUTES = 64


def _words(text: str) -> Bound:
    return _one_of(*text.split())


def _one_of(*values: str) -> Bound:
    words = frozenset(values)
    return lambda value: value if value in words else OTHER


SOURCE = _one_of(*SOURCES)
OPERATION = _words("identities ext_idps discovery key_set introspection security_info link_url unlink")
OUTCOME = _one_of(*OUTCOMES)
CACHE_OPERATION = _words("get set delete lock increment forget add ping publish subscribe subscribers")
CACHE_REASON = _one_of(*CACHE_REASONS)
REJECTION = _words("foreign unreadable forged oversized")
BREAKER = _words(
    "redis genauth genauth-identities genauth-ext-idps genauth-oidc genauth-introspection genauth-health "
    "genauth-security-info genauth-security-hint genauth-changes genauth-link-url"
)
SCOPE = _words("user change address network webhook")
WEBHOOK_EVENT = _words(
    "user:link-account user:updated user:udv-changed user:email-verified user:password-changed user:unblocked user:unarchived "
    "user:blocked user:archived user:deleted kick test"
)
WEBHOOK_RESULT = _words("forgotten nobody ignored unreadable unavailable")
# Why a token was refused; of other errors the code says it.
REASON = _words(
    "algorithm audience charset claims client_id crit exp form iat id_token inactive issuer kid nbf no_kid scope signature sub "
    "token_type typ unknown_kid"
)
_CODES = [kind.code for kind in vars(errors).values() if hasattr(kind, "code")]
CODE = _one_of(*_CODES)
ACTION = _one_of(*get_args(Action))
RESULT = _one_of("ok", "pending", "linked", "unchanged", "failed", "another_person", *_CODES)
CAUSE = _words("webhook unlink link_returned link_outcome user_blocked")
EVENT = _words("linked_account.linked linked_account.unlinked")
_FIELD = _words(
    "id provider display_name email avatar_url identity_types identities type subject connection_ids name logo_url * "
    "displayName avatarUrl identityTypes connectionIds logoUrl"
)


def field(path: str) -> str:
    """The field at the end of a path such as ``[].identities[].subject``."""
    return _FIELD(path.rpartition(".")[2].removesuffix("[]"))


def first(most: int) -> Callable[[Hashable], bool]:
    """Whether a value is among the first so many."""
    known: set[Hashable] = set()

    def is_known(value: Hashable) -> bool:
        if len(known) < most:
            known.add(value)
        return value in known

    return is_known


def route() -> Bound:
    """A rule as it was registered, such as ``/me/linked-accounts/<id>``.

    The rules of an application are not known here, so the first ones that look like a rule are taken: no digits, no capitals.
    Made-up paths are without end; once there are too many, every new one is "other".
    """
    is_known = first(_MOST_ROUTES)
    rule = re.compile(r"unmatched|/|(?:/[a-z][a-z._-]{0,30}|/<[a-z_:]{1,30}>){1,6}")
    return lambda value: value if rule.fullmatch(value) and is_known(value) else OTHER
