"""Linked accounts as finished JSON: dumped by the contract's schema, named in both languages, passed by the leak guard.

This is done once, when GenAuth has answered; what comes of it is what is stored and what is sent.
"""

from collections.abc import Collection, Iterable, Sequence
from typing import Any

import orjson

from bff.accounts.leak_guard import LeakGuard
from bff.accounts.providers import Catalogue, LinkableProvider
from bff.accounts.redaction import redact
from bff.accounts.unlink_rule import Permission
from bff.models import LANGUAGES, Language, LinkedAccount, RenderedAccounts
from schemas.genauth import LONGEST_NAME
from schemas.linked_accounts import LinkableProviderSchema, LinkedAccountSchema, ProviderSchema, UnlinkSchema

_ACCOUNTS, _PROVIDER = LinkedAccountSchema(many=True, exclude=("provider",)), ProviderSchema()
_LINKABLE, _UNLINK = LinkableProviderSchema(many=True), UnlinkSchema(many=True)


def render(
    accounts: Sequence[LinkedAccount], catalogue: Catalogue, secrets: Iterable[str]
) -> tuple[RenderedAccounts, Collection[str]]:
    """The accounts as JSON, with every field that holds one of ``secrets`` made null, and the names of those fields.

    UpstreamMalformed if there is more to look for, or to look through, than the leak guard does.
    """
    guard = LeakGuard(secrets)
    shown, fields = redact(_ACCOUNTS.dump(accounts), guard)
    emptied = dict.fromkeys(fields)
    plain: dict[Language, bytes] = {}
    with_identities: dict[Language, bytes] = {}
    for language in LANGUAGES:
        providers = [{"provider": _PROVIDER.dump(catalogue.provider_of(account, language))} for account in accounts]
        providers, fields = redact(providers, guard)
        emptied |= dict.fromkeys(fields)
        named = [_shortened(account, provider["provider"]) for account, provider in zip(shown, providers, strict=True)]
        with_identities[language] = _json(named)
        plain[language] = _json([{name: account[name] for name in account if name != "identities"} for account in named])
    # An id that held a secret is kept nowhere.
    sources = tuple([account.source_id if each["id"] else None for account, each in zip(accounts, shown, strict=True)])
    return RenderedAccounts(sources, plain, with_identities), tuple(emptied)


def render_linkable(providers: Iterable[LinkableProvider] | None) -> bytes:
    """What could be linked as JSON, ``null`` where nobody can say. The catalogue has passed the leak guard."""
    if providers is None:
        return b"null"
    return _json([each | {"name": _cut(each["name"])} for each in _LINKABLE.dump(providers)])


def render_with_unlink(accounts: bytes, permissions: Iterable[Permission]) -> bytes:
    """An array of accounts, each with whether it may be unlinked."""
    unlinks = _UNLINK.dump(permissions)
    return _json([account | {"unlink": unlink} for account, unlink in zip(orjson.loads(accounts), unlinks, strict=True)])


def _shortened(account: dict[str, Any], provider: dict[str, Any]) -> dict[str, Any]:
    """The account as it is shown. Its names are cut only now: the guard has to see what a name ends in."""
    provider = provider | {"name": _cut(provider["name"])}
    return {"id": account["id"], "provider": provider} | account | {"displayName": _cut(account["displayName"])}


def _cut(name: str | None) -> str | None:
    return name if name is None or len(name) <= LONGEST_NAME else name[:LONGEST_NAME].strip()


def _json(value: object) -> bytes:
    # A copy: orjson leaves its whole buffer behind what it wrote, and what is rendered is kept in memory.
    return b"%b" % orjson.dumps(value)
