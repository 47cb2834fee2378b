"""The last good key set, stored for a process that starts while GenAuth cannot be reached.

The keys are public, but whoever can store some here can sign in GenAuth's name. So the value is encrypted with ``CACHE_SECRET``,
and `services` names it by the settings that decide where keys come from. Only the public members that `jwk` checked are stored,
and what is read back is checked by the same rules as GenAuth's own set.
"""

import json
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import structlog

from bff.auth.jwk import Key, usable_keys
from bff.cache import SNAPSHOT_SECONDS, Snapshot

log = structlog.get_logger()

_SKEW_SECONDS = 60.0  # between the clocks of replicas


@dataclass(frozen=True, slots=True)
class StoredJwks:
    """A key set as GenAuth published it. ``fetched_at``: when it was asked for, in epoch seconds."""

    issuer: str
    fetched_at: float
    keys: Sequence[Key]


class JwksSnapshot:
    """Where one process stores its key set and the next one finds it."""

    def __init__(self, store: Snapshot, clock: Callable[[], float] = time.time) -> None:
        self._store = store
        self._clock = clock

    def put(self, jwks: StoredJwks) -> None:
        """Store the key set in place of the one before; a store that is away is no error."""
        # The standard encoder: an issuer may hold half of a surrogate pair, which orjson does not write.
        document = {"issuer": jwks.issuer, "fetched_at": jwks.fetched_at, "keys": [key.jwk for key in jwks.keys]}
        self._store.put(json.dumps(document).encode())

    def get(self) -> StoredJwks | None:
        """The key set that was stored last; None when there is none, or none that may be used.

        Whoever writes Redis can put an older one back. It is then too old when Redis would have dropped it.
        """
        value = self._store.get()
        if value is None:
            return None
        jwks = _parsed(value)
        if jwks is None:
            reason = "unreadable"
        elif not jwks.keys or not jwks.issuer:
            reason = "no usable key or no issuer"
        elif not -_SKEW_SECONDS <= self._clock() - jwks.fetched_at <= SNAPSHOT_SECONDS:
            reason = "too old, or from the future"
        else:
            return jwks
        log.warning("jwks_snapshot_rejected", reason=reason)
        return None


def _parsed(value: bytes) -> StoredJwks | None:
    try:
        document = json.loads(value)
        issuer, fetched_at, keys = document["issuer"], float(document["fetched_at"]), document["keys"]
    except (ValueError, TypeError, KeyError, OverflowError, RecursionError):
        return None
    if not isinstance(issuer, str) or not isinstance(keys, list):
        return None
    return StoredJwks(issuer, fetched_at, usable_keys(document))
