"""Identities become linked accounts. Pure rules: nothing here knows HTTP, Redis or a clock.

GenAuth reports identity *records*, people see *accounts*; `link` makes the ones of the others.
"""

import re
from collections import defaultdict
from collections.abc import Iterable
from urllib.parse import urlsplit

from bff.models import Identity, LinkedAccount, LinkedIdentity, Profile
from schemas.genauth import clean

# The id that is the same in all of a provider's applications speaks best for the account, the per-application one least. Types
# are spelled with and without underscores (docs/genauth.md 2.1).
_SPOKESMEN = {"unionid": 0, "primary": 1, "generic": 1, "userid": 2, "openid": 3}

# They send http addresses of pictures that they serve over https, too (docs/genauth.md 2.4).
_HTTPS_TOO = frozenset({"thirdwx.qlogo.cn", "wx.qlogo.cn", "thirdqq.qlogo.cn", "q.qlogo.cn", "p.qlogo.cn", "wework.qpic.cn"})
# Anywhere in a name. It begins where a word does, so that looking for it takes no longer than the name is long.
_MAIL = re.compile(r"""(?<![^\s@<>()[\],;:"'])[^\s@<>()[\],;:"']+@[^\s@<>()[\],;:"']+\.[^\s@<>()[\],;:"'.]+""")

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
        # A name in any record before the beginning of a mail address in the best one.
        display_name=_first(map(_name, profiles)) or _first(map(display_name, profiles)),
        email=_first(map(masked, [profile.email for profile in profiles])),
        avatar_url=_first(map(safe_avatar, [profile.photo for profile in profiles])),
        identity_types=tuple(sorted({identity.type for identity in identities if identity.type})),
        identities=tuple(sorted(records, key=lambda record: (record.type or "", record.id or ""))),
        source_id=_first(identity.ext_idp_id for identity in identities),
    )


def _precedence(identity: Identity) -> tuple[int, str]:
    kind = (identity.type or "").replace("_", "").lower()
    return _SPOKESMEN.get(kind, len(_SPOKESMEN)), identity.identity_id or ""


def _first(values: Iterable[str | None]) -> str | None:
    return next(filter(None, values), None)


def display_name(profile: Profile) -> str | None:
    """The first name in which there is something to see, in the order people recognise themselves by (docs/genauth.md 2.4).

    A mail address in it, or the beginning of one for want of a name, is masked as `masked` does, not to be given away.
    """
    return _name(profile) or (masked(profile.email) or "").partition("@")[0] or None


def _name(profile: Profile) -> str | None:
    name = _first(map(clean, (profile.nickname, profile.name, profile.username)))
    if name and name.lower() == (profile.email or "").lower():
        return masked(name)  # of a domain without a dot, too
    return _MAIL.sub(lambda mail: masked(mail[0]) or "", name) if name and "@" in name else name


def masked(email: str | None) -> str | None:
    """``nuts@example.com`` as ``n•••@example.com``; None for what is no address."""
    local, at, domain = (email or "").strip().rpartition("@")
    return f"{local[0]}•••@{domain}" if local and at and domain and "@" not in local else None


def safe_avatar(url: str | None) -> str | None:
    """The URL when a page may load it as an image: https, a host, no credentials, no blanks; else None.

    An http address on one of the hosts that are known to serve https becomes https.
    """
    if not url or len(url) > 2048 or not url.isprintable() or _NOT_IN_URLS.search(url):
        return None
    try:
        parts = urlsplit(url)
        if parts.scheme == "http" and parts.netloc.lower() in _HTTPS_TOO:
            return f"https{url[len('http') :]}"
        harmless = parts.scheme == "https" and parts.hostname and parts.username is None
    except ValueError:
        return None
    return url if harmless else None
