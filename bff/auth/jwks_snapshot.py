"""The last good key set, put away for a process that starts while GenAuth cannot be asked.

The keys are public, but whoever can lay one down here can sign in GenAuth's name. So the shelf has to be sealed with
``CACHE_SECRET``, and `services` gives it a name made of the settings that decide where keys come from. What is laid down are the
public members that `jwks` read, nothing else that GenAuth published; what is taken is read by the rules for GenAuth's own.
"""

import json
import time
from collections.abc import Callable, Sequence
from typing import NamedTuple

import msgspec
import structlog

from bff.auth.jwk import Key, usable_keys
from bff.cache import KEPT_SECONDS, Shelf

log = structlog.get_logger()

_LARGEST = 256 * 1024  # sixty-four keys of 8192 bits with long names, twice over
_SKEW_SECONDS = 60.0  # between the clocks of replicas


class StoredJwks(NamedTuple):
    """A set as GenAuth published it, and when it was asked for, in epoch seconds."""

    issuer: str
    asked_at: float
    keys: Sequence[Key]


class _Stored(msgspec.Struct, frozen=True):
    issuer: str
    asked_at: float
    keys: list[dict[str, str]]


class JwksSnapshot:
    """Where one process puts its key set and the next one finds it."""

    def __init__(self, shelf: Shelf, clock: Callable[[], float] = time.time) -> None:
        self._shelf = shelf
        self._clock = clock

    def put(self, shelved: StoredJwks) -> None:
        """Keep the set, if that can be done."""
        # Not with msgspec: what GenAuth calls its issuer may hold half a character, which only escapes can say.
        value = json.dumps(shelved._asdict() | {"keys": [key.jwk for key in shelved.keys]}).encode()
        if len(value) > _LARGEST:
            log.warning("keys_not_shelved", bytes=len(value))
        else:
            self._shelf.put(value)

    def get(self) -> StoredJwks | None:
        """The set that was put there last; None when there is none that can be believed.

        Whoever writes Redis can put an older one back: it is as old as it is, and ends when Redis would have dropped it.
        """
        value = self._shelf.get()
        if value is None:
            return None
        try:
            stored = msgspec.json.decode(value, type=_Stored)
        except (msgspec.MsgspecError, RecursionError, UnicodeDecodeError):
            log.warning("shelved_keys_not_believed", reason="unreadable")
            return None
        keys = usable_keys({"keys": stored.keys})
        if not keys or not stored.issuer:
            log.warning("shelved_keys_not_believed", reason="no usable key or no issuer")
            return None
        if not -_SKEW_SECONDS <= self._clock() - stored.asked_at <= KEPT_SECONDS:
            log.warning("shelved_keys_not_believed", reason="of another time")
            return None
        return StoredJwks(stored.issuer, stored.asked_at, keys)
