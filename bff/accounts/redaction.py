"""The leak guard over linked accounts: the last look before they are remembered."""

from collections.abc import Iterable, Sequence
from typing import Any

import msgspec
import structlog

from bff.accounts.leak_guard import LeakGuard
from bff.models import LinkedAccount, LinkedIdentity
from bff.observability import Recorder

log = structlog.get_logger()

_NAMES = frozenset(LinkedAccount.__struct_fields__ + LinkedIdentity.__struct_fields__)


def tell(stopped: Iterable[str], recorder: Recorder) -> None:
    """Count and log the fields that were emptied, by name; what they held is told to nobody."""
    for field in stopped:
        recorder.leak_stopped(field)
        log.warning("leak_stopped", field=field)


def guarded(accounts: Iterable[LinkedAccount], secrets: Iterable[str]) -> tuple[list[LinkedAccount], Sequence[str]]:
    """The accounts with every field that holds one of ``secrets`` made None, and the names of those fields."""
    looked_at = list(accounts)
    guard = LeakGuard(secrets)
    if guard.clears(msgspec.json.encode(looked_at).decode()):  # nearly always
        return looked_at, ()
    cleaned, stopped = guard.clean([_named(account) for account in looked_at], ours=_NAMES)
    return [_account(fields) for fields in cleaned] if stopped else looked_at, stopped


def _named(account: LinkedAccount) -> dict[str, Any]:
    identities = [msgspec.structs.asdict(identity) for identity in account.identities]
    return msgspec.structs.asdict(account) | {"identities": identities}


def _account(fields: dict[str, Any]) -> LinkedAccount:
    identities = (
        LinkedIdentity(**identity | {"connection_ids": _kept(identity["connection_ids"])}) for identity in fields["identities"]
    )
    return LinkedAccount(
        **fields
        | {
            "provider": fields["provider"] or "unknown",
            "identity_types": _kept(fields["identity_types"]),
            "identities": tuple(identities),
        }
    )


def _kept(texts: Iterable[str | None]) -> tuple[str, ...]:
    return tuple(text for text in texts if text)
