"""Identities become linked accounts. Pure rules: nothing here knows HTTP, Redis or a clock.

GenAuth reports identity *records*, people see *accounts*; `link` makes the ones of the others.
"""

import re
from collections import defaultdict
from collections.abc import Iterable
from urllib.parse import urlsplit

from bff.models import Identity, LinkedAccount, LinkedIdentity, Profile

# The id that is the same in all of a provider's applications speaks best for the account, the per-application one least.
_SPOKESMEN = {"unionid": 0, "union_id": 0, "primary": 1, "generic": 1, "user_id": 2, "openid": 3, "open_id": 3}

_NOT_IN_URLS = re.compile(r"""[ "'<>\\]""")  # of what is printable


def link(identities: Iterable[Identity]) -> list[LinkedAccount]:
    """Gather the identities of each external account into one linked account.

    WeChat reports an openid and a unionid for one login; people see one account.
    Grouped by ``extIdpId``, the id that openid and unionid share (docs/genauth.md 2.2), never by provider: people link two
    sources of one provider. Sorted by (provider, id), so that equal data gives equal bytes.
    """
    groups: defaultdict[str, list[Identity]] = defaultdict(list)
    for identity in identities:
        if id_ := identity.account_id:
            groups[id_].append(identity)
    accounts = [_account(id_, sorted(group, key=_precedence)) for id_, group in groups.items()]
    return sorted(accounts, key=lambda account: (account.provider, account.id))


def _account(id_: str, identities: list[Identity]) -> LinkedAccount:
    profiles = [identity.profile for identity in identities]
    records = [LinkedIdentity(each.identity_id, each.type, each.user_id_in_idp, each.connection_ids) for each in identities]
    return LinkedAccount(
        id=id_,
        provider=identities[0].provider,
        display_name=_first(map(display_name, profiles)),
        email=_first(map(masked, [profile.email for profile in profiles])),
        avatar_url=_first(map(safe_avatar, [profile.photo for profile in profiles])),
        identity_types=tuple(sorted({identity.type for identity in identities if identity.type})),
        identities=tuple(sorted(records, key=lambda record: (record.type or "", record.id or ""))),
    )


def _precedence(identity: Identity) -> tuple[int, str]:
    return _SPOKESMEN.get(identity.type or "", len(_SPOKESMEN)), identity.identity_id or ""


def _first(values: Iterable[str | None]) -> str | None:
    return next(filter(None, values), None)


def display_name(profile: Profile) -> str | None:
    """The first name that is not blank, in the order people recognise themselves by (docs/genauth.md 2.4)."""
    local_part = profile.email.partition("@")[0] if masked(profile.email) and profile.email else None
    for name in (profile.nickname, profile.name, profile.username, local_part):
        if name and (shown := name.strip()):
            return shown
    return None


def masked(email: str | None) -> str | None:
    """``nuts@example.com`` as ``n•••@example.com``; None for what is no address."""
    local, at, domain = (email or "").strip().rpartition("@")
    return f"{local[0]}•••@{domain}" if local and at and domain and "@" not in local else None


def safe_avatar(url: str | None) -> str | None:
    """The URL when a page may load it as an image: https, a host, no credentials, no blanks; else None."""
    if not url or len(url) > 2048 or not url.isprintable() or _NOT_IN_URLS.search(url):
        return None
    try:
        parts = urlsplit(url)
        harmless = parts.scheme == "https" and parts.hostname and parts.username is None
    except ValueError:
        return None
    return url if harmless else None
