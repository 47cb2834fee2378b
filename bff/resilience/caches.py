"""Every bounded cache of this process: what it is for, how many bytes it may take and how long a value is kept.

What was kept for its time leaves at the next `put`; beyond the budget the least recently used value leaves first. A value larger
than `LARGEST_ENTRY` is not kept at all, so that nobody's data takes everybody's place. A value that holds until some time carries
that time, and its reader compares. The caches behind Redis are another matter (`bff.cache`).
"""

import sys
import threading
import time
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass, fields, is_dataclass
from functools import lru_cache, wraps
from typing import Generic, ParamSpec, TypeVar, cast

import cachetools

K = TypeVar("K", bound=Hashable)
V = TypeVar("V")
P = ParamSpec("P")
R = TypeVar("R")

LARGEST_ENTRY = 16 * 1024
_PLACE = 640  # the most bytes that a cache takes for an entry beside its key and its value, measured while entries come and go
_MIB = 2**20


@dataclass(frozen=True, slots=True)
class Declaration:
    """One kind of cache: each takes at most ``budget`` bytes, however many entries that is."""

    purpose: str
    budget: int
    lifetime: str


@dataclass(frozen=True, slots=True)
class FunctionDeclaration:
    """One memoised function: its values for the ``entries`` arguments that were used last, for ever.

    ``longest``: texts of more characters than this are not kept; None where all arguments are our own, few and short.
    """

    purpose: str
    entries: int
    longest: int | None = None


DECLARED = {
    # Verification of tokens
    "accepted_tokens": Declaration("whose token it is, by its digest", 8 * _MIB, "an hour since it was verified"),
    "refused_tokens": Declaration("tokens that introspection refused or failed for, by digest", 2 * _MIB, "5 seconds"),
    "forgotten_acceptances": Declaration("people whose tokens GenAuth is asked about again", _MIB, "until it is full"),
    "forgotten_refused_tokens": Declaration("people whose inactive tokens are asked about again", _MIB // 8, "until it is full"),
    "unknown_key_ids": Declaration("key ids that are in no key set of GenAuth", _MIB // 4, "60 seconds"),
    # Linked accounts
    "refusals": Declaration("tokens that GenAuth refused for linked accounts, by digest", 2 * _MIB, "as long as an acceptance"),
    "forgotten_refusals": Declaration("people whose refused tokens GenAuth is asked about again", _MIB // 8, "until it is full"),
    "failures": Declaration("tokens for which GenAuth failed to answer, by opaque id", 2 * _MIB, "2 seconds"),
    "changed_people": Declaration("people about whom something changed lately", _MIB // 4, "until it is full"),
    "changes": Declaration("what changed about people, as this process learned last", 4 * _MIB, "as long as an entry"),
    "security_failures": Declaration("people of whom GenAuth failed to say how they sign in", _MIB // 4, "2 seconds"),
    "fallback_entries": Declaration("accounts to serve while Redis is away", 16 * _MIB, "TOKEN_ACCEPTED_SECONDS"),
    "responses": Declaration("finished responses", 16 * _MIB, "LOCAL_CACHE_SECONDS, while invalidations arrive"),
    # Requests
    "rate_limit_windows": Declaration("requests counted for a user, an address or a network", 4 * _MIB, "one window of the rate"),
}

MEMOISED = {
    # Linked accounts
    "metas": FunctionDeclaration("the meta object of a response, as JSON", 256),
    "user_names": FunctionDeclaration("the opaque id of a user", 256, longest=256),
    # Requests
    "addresses": FunctionDeclaration("the counted form of a client's address and network", 1_024, longest=64),
    "languages": FunctionDeclaration("the language for an Accept-Language field", 256, longest=256),
    "queries": FunctionDeclaration("the meaning of the include and refresh parameters", 64, longest=256),
    # GenAuth
    "prepared_requests": FunctionDeclaration("a request without its headers, for each of GenAuth's addresses", 32),
    # Observability
    "log_fields": FunctionDeclaration("whether a log field's name promises a secret", 256),
    "answer_series": FunctionDeclaration("the series of a route, a status and a source", 256),
}


def size_of(value: object) -> int:
    """Bytes of a value with the texts, numbers, tuples and dataclasses in it, as if it shared nothing with another but types."""
    if isinstance(value, type):
        return 0
    parts: Sequence[object] = ()
    if isinstance(value, tuple):
        parts = value
    elif is_dataclass(value):
        parts = [getattr(value, each.name) for each in fields(value)]
    return sys.getsizeof(value) + sum(map(size_of, parts))


class Cache(Generic[K, V]):
    """A mapping for many threads, bounded in bytes, made by `cache`."""

    def __init__(
        self,
        budget: int,
        seconds: float,
        *,
        weigh: Callable[[V], int] = size_of,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """At most ``budget`` bytes of values, each kept for ``seconds``. ``weigh`` gives the bytes of one."""
        self._weigh = weigh
        self._largest = min(LARGEST_ENTRY, budget)
        self._values: _Evicting[K, V] = _Evicting(budget, seconds, clock)
        self._lock = threading.Lock()

    def get(self, key: K) -> V | None:
        """The value, which thereby becomes the most recently used; None when there is none."""
        with self._lock:
            kept = self._values.get(key)
        return kept[0] if kept else None

    def put(self, key: K, value: V) -> Sequence[tuple[K, V]]:
        """Keep the value, and return what is kept no longer: what was kept for its time, and what was evicted for this value.

        A value that is too large is not kept and returned as well, and what it was to replace is removed.
        """
        weight = _PLACE + size_of(key) + self._weigh(value)
        with self._lock:
            if weight > self._largest:
                self._values.pop(key, None)
                return [(key, value)]
            self._values[key] = (value, weight)
            return [left for left in self._values.take_left() if left[0] != key]

    def drop(self, key: K) -> None:
        """Remove the value, if there is one."""
        with self._lock:
            self._values.pop(key, None)

    def clear(self) -> None:
        """Remove all values."""
        with self._lock:
            self._values.clear()

    def __len__(self) -> int:
        """How many values are kept."""
        with self._lock:
            return len(self._values)

    @property
    def weight(self) -> int:
        """How many bytes the values take, as they are weighed."""
        with self._lock:
            return int(self._values.currsize)


class _Evicting(cachetools.TTLCache[K, tuple[V, int]]):
    """Values with their bytes. Gathers what leaves: cachetools calls `popitem` to evict, `expire` for what has ended."""

    def __init__(self, budget: int, seconds: float, clock: Callable[[], float]) -> None:
        super().__init__(budget, seconds, clock, lambda kept: kept[1])
        self._left: list[tuple[K, V]] = []

    def popitem(self) -> tuple[K, tuple[V, int]]:
        key, kept = super().popitem()
        self._left.append((key, kept[0]))
        return key, kept

    def expire(self, time: float | None = None) -> list[tuple[K, tuple[V, int]]]:
        ended = super().expire(time)
        self._left += [(key, kept[0]) for key, kept in ended]
        return ended

    def take_left(self) -> Sequence[tuple[K, V]]:
        left, self._left = self._left, []
        return left


def cache(
    name: str,
    *,
    seconds: float,
    weigh: Callable[[V], int] = size_of,
    budget: int | None = None,
    clock: Callable[[], float] = time.monotonic,
) -> Cache[K, V]:
    """A new cache of the declared kind, which keeps a value for ``seconds``. ``budget``: another one than declared, in bytes."""
    return Cache(DECLARED[name].budget if budget is None else budget, seconds, weigh=weigh, clock=clock)


def memoised(name: str) -> Callable[[Callable[P, R]], Callable[P, R]]:
    """Decorate a pure function of hashable arguments: its values are kept in a new cache of the declared kind."""
    declared = MEMOISED[name]

    def decorate(function: Callable[P, R]) -> Callable[P, R]:
        kept = cast("Callable[P, R]", lru_cache(declared.entries)(function))
        longest = declared.longest
        if longest is None:
            return kept

        @wraps(function)
        def bounded(*args: P.args, **kwargs: P.kwargs) -> R:
            characters = sum([len(each) for each in args if isinstance(each, str)])
            return (kept if characters <= longest else function)(*args, **kwargs)

        return bounded

    return decorate
