"""The store's former calls, until nothing uses them any more."""

import random
from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import suppress
from typing import Any, NamedTuple, TypeVar

from bff.cache.redis_client import RedisBackend

T = TypeVar("T")

# What a holder that failed leaves behind, "!receipt word", is for those who waited for it; anybody else may try anew.
# A lease that never ends, or not soon, is none of ours: nobody waits for it.
_TAKE = """
local values = redis.call('mget', unpack(KEYS, 2))
local known, enough = 0, tonumber(ARGV[4])
while values[known + 1] do known = known + 1 end
if enough > 0 and known >= enough then return {'', values} end
local holder = redis.call('get', KEYS[1])
local failed = holder and string.match(holder, '^!(%x+)')
local left = redis.call('pttl', KEYS[1])
if not holder or (failed and failed ~= ARGV[3]) or left < 0 or left > tonumber(ARGV[2]) then
  holder = ARGV[1]
  redis.call('set', KEYS[1], holder, 'px', ARGV[2])
end
return {holder, values}
"""
# Compare and act in one step: a lease that ran out may be somebody else's by now.
_EXTEND = "if redis.call('get', KEYS[1]) == ARGV[1] then return redis.call('pexpire', KEYS[1], ARGV[2]) end return 0"
_RELEASE = "if redis.call('get', KEYS[1]) == ARGV[1] then return redis.call('del', KEYS[1]) end return 0"
_FAIL = """
if redis.call('get', KEYS[1]) ~= ARGV[1] then return 0 end
return redis.call('set', KEYS[1], '!' .. ARGV[1] .. ' ' .. ARGV[2], 'px', ARGV[3])
"""
_FAILURE_SECONDS = 1.0  # long enough for everybody who waits to look once more


class CacheUnavailable(Exception):
    """Redis did not do what had to be done."""


class Lease(NamedTuple):
    """The right to be the one who asks, until it runs out. ``receipt`` proves whose it is."""

    name: str
    receipt: str


class Taken(NamedTuple):
    """How an attempt to take a lease ended: it is ours if ``holder`` is our receipt; ``failed`` is how the one awaited ended."""

    holder: str
    failed: str
    values: Sequence[bytes | None]


class FormerCalls:
    """Several things in one round trip."""

    def _do(self, operation: str, work: Callable[[RedisBackend], T]) -> T:
        raise NotImplementedError

    def read(self, *keys: str) -> Sequence[bytes | None]:
        """The values under ``keys``, None for each that is missing or no text. One round trip; raises `CacheUnavailable`."""
        values: Sequence[bytes | None] = self._ask("read", ("MGET", *keys))[0]
        return values

    def write(self, values: Mapping[str, bytes], lifetime: float, release: Lease | None = None) -> bool:
        """Keep ``values`` for ``lifetime`` seconds, give a lease back with it. Whether it was done. One round trip."""
        commands = _kept(values, lifetime)
        if release:
            commands.append(("EVAL", _RELEASE, 1, *release))
        try:
            self._ask("write", *commands)
        except CacheUnavailable:
            return False
        return True

    def forget(self, *keys: str, leaving: Mapping[str, bytes] | None = None, lifetime: float = 1.0) -> None:
        """Delete ``keys`` and leave notes for ``lifetime`` seconds, or raise `CacheUnavailable`: what stays would be served."""
        self._ask("forget", *_kept(leaving or {}, lifetime), ("UNLINK", *keys))

    def take(self, lease: Lease, lifetime: float, awaited: str, *keys: str, enough: int = 0) -> Taken:
        """Try to take ``lease`` for ``lifetime`` seconds and read ``keys``. One round trip; raises `CacheUnavailable`.

        ``awaited`` is the receipt of the holder that the caller was waiting for, if any: how that one failed is told. If each of
        the first ``enough`` keys has a value, the lease is left alone and has no ``holder``.
        """
        names = (lease.name, *keys)
        take = ("EVAL", _TAKE, len(names), *names, lease.receipt, round(lifetime * 1000), awaited, enough)
        holder, values = self._ask("lease", take)[0]
        receipt, _, failed = holder.decode("ascii", "replace").partition(" ")
        return Taken(receipt.removeprefix("!"), failed, values)

    def extend(self, leases: Collection[Lease], lifetime: float) -> int:
        """Hold ``leases`` for ``lifetime`` seconds from now; how many were still ours. One round trip."""
        milliseconds = round(lifetime * 1000)
        try:
            return sum(self._ask("lease", *(("EVAL", _EXTEND, 1, *lease, milliseconds) for lease in leases)))
        except CacheUnavailable:
            return 0

    def release(self, lease: Lease, failed: str = "") -> None:
        """Give ``lease`` back if it is still ours, leaving word of a failure for those who wait; else it runs out by itself."""
        script, more = (_FAIL, (failed, round(_FAILURE_SECONDS * 1000))) if failed else (_RELEASE, ())
        with suppress(CacheUnavailable):
            self._ask("lease", ("EVAL", script, 1, *lease, *more))

    @staticmethod
    def lease(name: str) -> Lease:
        """A lease to be taken, with a receipt that nobody else has."""
        return Lease(name, f"{random.getrandbits(64):016x}")

    def _ask(self, operation: str, *commands: Any) -> Sequence[Any]:  # noqa: ANN401
        def work(redis: RedisBackend) -> Sequence[Any]:
            if len(commands) == 1:
                return [redis.client.execute_command(*commands[0])]
            with redis.client.pipeline(transaction=False) as pipe:
                for command in commands:
                    pipe.execute_command(*command)
                answers: list[Any] = pipe.execute()
                return answers

        return self._do(operation, work)


def _kept(values: Mapping[str, bytes], lifetime: float) -> list[Any]:
    milliseconds = max(1, round(lifetime * 1000))
    return [("SET", key, value, "PX", milliseconds) for key, value in values.items()]
