"""Events for others, in a Redis Stream: that an account was linked or unlinked. docs/events.md is for those who read it.

    {EVENTS_STREAM}                        the stream, its latest ten thousand events
    la:6:{EVENTS_STREAM}:last:<id>         what happened last to somebody's account, and when that was added

This is what to write, and how. `changes` writes it: in the script that forgets the person, or, in a cluster, where the stream has
a slot of its own, in one right after.
"""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import chain
from math import ceil

from redis.exceptions import ResponseError

from bff.cache.redis_client import RedisBackend, Script
from bff.cache.redis_errors import CacheUnavailable
from bff.cache.redis_store import PREFIX, RedisStore, Trial
from bff.models import AccountEvent
from bff.observability import Recorder

# GenAuth repeats its events, and of a link that we saw ourselves it sends one as well. Others do again what a killed process did.
_REPEATED_SECONDS = 3600.0
_SCHEMA_VERSION = "1"
_TYPE = re.compile(r"[A-Za-z0-9._:+-]{1,64}")  # GenAuth may send any text; a name, an address or a token is none
# Reads KEYS and ARGV after the first `keys` and `args`: the stream and a key for each event; for each event the time since when
# an earlier one will do, the time now, for how long that is kept (all in ms), and seven fields with their names, `event` first.
# `added` has a 1 for each that was, else a 0. A full Redis lets a script write that has deleted something.
ADD_EVENTS = """
local added = {}
for event = 1, #KEYS - keys - 1 do
  local last, first = KEYS[keys + 1 + event], args + (event - 1) * 17
  local known = redis.pcall('get', last)
  local name, at = string.match(type(known) == 'string' and known or '', '^(%S+) (%d+)$')
  added[event] = 0
  if name ~= ARGV[first + 5] or tonumber(at) < tonumber(ARGV[first + 1]) then
    redis.call('del', last)
    redis.call('xadd', KEYS[keys + 1], 'maxlen', '~', '10000', '*', unpack(ARGV, first + 4, first + 17))
    redis.call('set', last, ARGV[first + 5] .. ' ' .. ARGV[first + 2], 'px', ARGV[first + 3])
    added[event] = 1
  end
end
"""
ADD_ONLY = f"local keys, args = 0, 0{ADD_EVENTS}return added"


@dataclass(frozen=True, slots=True)
class EventStream:
    """The stream under ``key``, which holds no braces. ``clustered``: its slot is not a person's.

    ``request_id`` names the request that events come from. ``account`` is an opaque id of the account that an event is about.
    """

    key: str
    clustered: bool
    request_id: Callable[[], str]
    account: Callable[[AccountEvent], str]

    @property
    def trials(self) -> Mapping[str, Trial]:
        """What shows, by operation, whether events may be added; none is."""
        return {"add" if self.clustered else "forget": self._try_to_add}

    def _try_to_add(self, redis: RedisBackend) -> None:
        try:
            redis.client.xadd(self.key, {"event": ""}, id="0-0")
        except ResponseError as error:
            if type(error) is not ResponseError:  # the right is missing, or it is full
                raise
            # No event may have that id.

    def arguments(self, events: Sequence[AccountEvent], now: float) -> tuple[list[str], list[str | bytes | int]]:
        """The keys and the arguments that `ADD_EVENTS` reads, ``now`` in epoch seconds."""
        # The stream's name is the hash tag: all keys are in its slot.
        keys = [self.key, *(f"{PREFIX}{{{self.key}}}:last:{self.account(event)}" for event in events)]
        arguments = list[str | bytes | int]()
        for event in events:
            type_ = event.provider_type or ""
            fields = {
                "event": event.name,
                "userId": event.user_id,
                "sourceId": event.source_id,
                "providerType": type_ if _TYPE.fullmatch(type_) else "",
                "time": _rfc3339(now),
                "requestId": self.request_id(),
                "schemaVersion": _SCHEMA_VERSION,
            }
            arguments += [ceil(event.since * 1000), ceil(now * 1000), ceil(_REPEATED_SECONDS * 1000)]
            arguments += chain.from_iterable(fields.items())
        return keys, arguments


def run_scripts(
    store: RedisStore, operation: str, scripts: Sequence[Script], events: Sequence[Sequence[AccountEvent]], recorder: Recorder
) -> Sequence[bytes | Sequence[int]]:
    """As the store's `run_scripts`; each script adds some ``events`` and returns what was ``added``, or bytes for nothing."""
    try:
        answers = store.run_scripts(operation, scripts)
    except CacheUnavailable:
        for event in chain.from_iterable(events):
            recorder.event_failed(event.name)
        raise
    for answer, each in zip(answers, events, strict=True):
        for event, added in () if isinstance(answer, bytes) else zip(each, answer, strict=True):
            if added:
                recorder.event_added(event.name)
    return answers


def _rfc3339(moment: float) -> str:
    return datetime.fromtimestamp(moment, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
