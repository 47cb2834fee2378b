"""May a person unlink an account? One rule, for what is shown before the click and for the change itself.

Pure: who asks has the entries, and the facts where they decide.
"""

from collections.abc import Collection, Iterable
from dataclasses import dataclass

from bff.models import SecurityInfo

ENTERPRISE = "enterprise"


@dataclass(frozen=True, slots=True)
class LinkedSource:
    """A linked account, as far as the rule knows it. ``category`` is social, enterprise or None where it is not known."""

    source_id: str | None
    type: str
    category: str | None


@dataclass(frozen=True, slots=True)
class Permission:
    """Whether an account may be unlinked, None where nobody can say, and why not."""

    allowed: bool | None
    reason: str | None = None


ALLOWED = Permission(allowed=True)
LAST_LOGIN_METHOD = Permission(False, "last_login_method")
MANAGED_BY_ORGANIZATION = Permission(False, "managed_by_organization")
UNKNOWN = Permission(None, "unknown")


def permission(
    entries: Iterable[LinkedSource],
    chosen: LinkedSource,
    facts: SecurityInfo | None,
    *,
    denied: Collection[str],
    methods: Collection[str],
) -> Permission:
    """Whether the person with these ``entries`` may unlink the ``chosen`` one; the first rule that fits decides.

    ``denied``: ids of sources, provider types, or the word enterprise (``UNLINK_DENIED_SOURCES``). ``methods``: those of
    password, email and phone that a person can sign in with (``SIGN_IN_METHODS``). ``facts``: None where they are not to be had;
    they decide only where `needs_facts`.
    """
    decided = _without_facts(entries, chosen, denied)
    if decided is not None:
        return decided
    found = _found(facts, methods)
    if True in found:
        return ALLOWED
    return UNKNOWN if None in found else LAST_LOGIN_METHOD


def needs_facts(
    entries: Iterable[LinkedSource], chosen: LinkedSource, *, denied: Collection[str], methods: Collection[str]
) -> bool:
    """Whether `permission` depends on the facts: nothing else decides, and there is a method that they would tell of."""
    return bool(methods) and _without_facts(entries, chosen, denied) is None


def _without_facts(entries: Iterable[LinkedSource], chosen: LinkedSource, denied: Collection[str]) -> Permission | None:
    denied = {name.lower() for name in denied}
    category = chosen.category if ENTERPRISE in denied else "any"
    if category == ENTERPRISE or not denied.isdisjoint({(chosen.source_id or "").lower(), chosen.type.lower()}):
        return MANAGED_BY_ORGANIZATION
    # A source that may be an enterprise's must not slip through while nobody can say whether it is.
    if chosen.source_id is None or category is None:
        return UNKNOWN
    # An account without a source is no way in that anybody could vouch for.
    return ALLOWED if any(entry.source_id not in {None, chosen.source_id} for entry in entries) else None


def _found(facts: SecurityInfo | None, methods: Collection[str]) -> set[bool | None]:
    """What is known of the methods."""
    if facts is None:
        return {None for _ in methods}
    known = {"password": facts.password_set, "email": facts.email_bound, "phone": facts.phone_bound}
    return {known[method] for method in methods}
