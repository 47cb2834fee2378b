"""The leak guard over linked accounts as they are dumped: the last look before they are stored and sent."""

from collections.abc import Iterable, Sequence
from typing import Any

import structlog

from bff.accounts.leak_guard import LeakGuard
from bff.observability import Recorder
from schemas.linked_accounts import IdentitySchema, LinkableProviderSchema, LinkedAccountSchema, ProviderSchema, UnlinkSchema

log = structlog.get_logger()

_SCHEMAS = (LinkedAccountSchema(), ProviderSchema(), IdentitySchema(), LinkableProviderSchema(), UnlinkSchema())
_KEYS = frozenset(field.data_key or name for schema in _SCHEMAS for name, field in schema.dump_fields.items())


def redact(accounts: list[dict[str, Any]], guard: LeakGuard) -> tuple[list[dict[str, Any]], Sequence[str]]:
    """Dumped accounts, or parts of them, with every field that holds a secret made null, and the names of those fields.

    What the contract does not allow to be null becomes "unknown", or leaves its list.
    """
    cleaned, emptied = guard.clean(accounts, ours=_KEYS)
    return [_as_documented(account) for account in cleaned] if emptied else accounts, emptied


def redact_linkable(providers: list[dict[str, Any]], guard: LeakGuard) -> tuple[list[dict[str, Any]], Sequence[str]]:
    """Dumped sources that could be linked, with the same rule. One of which nothing is left to link it by is left out."""
    cleaned, emptied = guard.clean(providers, ours=_KEYS)
    if not emptied:
        return providers, ()
    kept = [each | {"identifiers": _texts(each["identifiers"])} for each in cleaned]
    return [
        each | {"identifier": each["identifiers"][0], "type": type_, "name": each["name"] or type_}
        for each in kept
        if each["id"] and each["identifiers"] and (type_ := each["type"] or "unknown")
    ], emptied


def report(emptied: Iterable[str], recorder: Recorder) -> None:
    """Count and log the fields that were emptied, by name and never by value."""
    for field in emptied:
        recorder.leak_stopped(field)
        log.warning("leak_stopped", field=field)


def _as_documented(account: dict[str, Any]) -> dict[str, Any]:
    documented = dict(account)
    if provider := account.get("provider"):
        type_ = provider["type"] or "unknown"
        documented["provider"] = provider | {"type": type_, "name": provider["name"] or type_}
    if "identityTypes" in account:
        documented["identityTypes"] = _texts(account["identityTypes"])
    if "identities" in account:
        documented["identities"] = [each | {"connectionIds": _texts(each["connectionIds"])} for each in account["identities"]]
    return documented


def _texts(values: Iterable[str | None]) -> list[str]:
    return [value for value in values if value]
