"""Every bounded cache of this process: what it is for, how large it may grow and how long a value holds.

The least recently used value leaves first. No cache here knows a clock: a value that holds until some time carries that time, and
its reader compares. The caches behind Redis are another matter (`bff.cache`).
"""

import threading
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Generic, ParamSpec, TypeVar, cast

import cachetools

K = TypeVar("K", bound=Hashable)
V = TypeVar("V")
P = ParamSpec("P")
R = TypeVar("R")


@dataclass(frozen=True, slots=True)
class Declaration:
    """One kind of cache. ``size`` is in ``unit``: entries, or bytes as whoever makes the cache weighs a value."""

    purpose: str
    size: int
    lifetime: str = "for ever, as it is a function's value"
    unit: str = "entries"


DECLARED = {
    # Verification of tokens
    "accepted_tokens": Declaration("whose token it is, by its digest", 10_000, "until its exp, or until it is verified again"),
    "refused_tokens": Declaration("tokens that introspection refused, by digest", 10_000, "5 seconds"),
    "unknown_key_ids": Declaration("key ids that are in no key set of GenAuth", 256, "60 seconds"),
    # Linked accounts
    "refusals": Declaration("tokens that GenAuth refused for linked accounts, by digest", 10_000, "8 seconds"),
    "invalidations": Declaration("people whose accounts this process invalidated", 10_000, "60 seconds"),
    "fallback_entries": Declaration("accounts to serve while Redis is away", 1_000, "10 seconds fresh, then stale"),
    "responses": Declaration("finished responses", 16 * 2**20, "LOCAL_CACHE_SECONDS, while invalidations arrive", "bytes"),
    "metas": Declaration("the meta object of a response, as JSON", 256),
    "user_names": Declaration("the opaque id of a user", 256),
    # Requests
    "rate_limit_windows": Declaration("requests counted for a user, an address or a network", 10_000, "one window of the rate"),
    "addresses": Declaration("the counted form of a client's address and network", 1_024),
    "languages": Declaration("the language for an Accept-Language field", 256),
    "includes": Declaration("the meaning of the include parameter", 64),
    # GenAuth
    "prepared_requests": Declaration("a request without its headers, for each of GenAuth's addresses", 32),
    # Observability
    "log_fields": Declaration("whether a log field's name promises a secret", 256),
    "answer_series": Declaration("the series of a route, a status and a source", 256),
}


class Cache(Generic[K, V]):
    """A bounded mapping for many threads, made by `cache`."""

    def __init__(self, size: int, weigh: Callable[[V], int] | None = None) -> None:
        """``size`` is a number of entries, or with ``weigh`` the sum of what it says of each value."""
        self._values: _Evicting[K, V] = _Evicting(size, weigh)
        self._lock = threading.Lock()

    def get(self, key: K) -> V | None:
        """The value, which thereby becomes the most recently used; None when there is none."""
        with self._lock:
            return self._values.get(key)

    def put(self, key: K, value: V) -> Sequence[tuple[K, V]]:
        """Store the value and return what was evicted for it. A value larger than the whole cache is not stored."""
        with self._lock:
            try:
                self._values[key] = value
            except ValueError:
                self._values.pop(key, None)
            return self._values.take_evicted()

    def drop(self, key: K) -> None:
        """Remove the value, if there is one."""
        with self._lock:
            self._values.pop(key, None)

    def clear(self) -> None:
        """Remove all values."""
        with self._lock:
            self._values.clear()

    def __len__(self) -> int:
        """How many values are stored."""
        return len(self._values)


class _Evicting(cachetools.LRUCache[K, V]):
    """Gathers what is evicted: cachetools calls `popitem` for each."""

    def __init__(self, maxsize: int, getsizeof: Callable[[V], float] | None) -> None:
        super().__init__(maxsize, getsizeof)
        self._evicted: list[tuple[K, V]] = []

    def popitem(self) -> tuple[K, V]:
        item = super().popitem()
        self._evicted.append(item)
        return item

    def take_evicted(self) -> Sequence[tuple[K, V]]:
        evicted, self._evicted = self._evicted, []
        return evicted


def cache(name: str, *, weigh: Callable[[V], int] | None = None, size: int | None = None) -> Cache[K, V]:
    """A new cache of the declared kind. ``weigh`` gives a value's bytes where the size is in bytes; ``size`` is another one."""
    declared = DECLARED[name]
    if (declared.unit == "bytes") != (weigh is not None):
        raise TypeError(f"{name} is measured in {declared.unit}")
    return Cache(declared.size if size is None else size, weigh)


def memoised(name: str) -> Callable[[Callable[P, R]], Callable[P, R]]:
    """Decorate a pure function of hashable arguments: its values are kept in a new cache of the declared kind."""

    def decorate(function: Callable[P, R]) -> Callable[P, R]:
        return cast("Callable[P, R]", lru_cache(DECLARED[name].size)(function))

    return decorate
