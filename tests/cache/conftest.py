"""The cache's parts over a real Valkey, with a clock to turn and a recorder that keeps everything."""

import hashlib
import json
from contextlib import nullcontext
from functools import partial

import pytest
from flask import Flask

from bff.accounts.providers import Catalogue
from bff.accounts.rendering import render
from bff.cache.accounts_cache import AccountsCache
from bff.cache.changes import Changes
from bff.cache.codec import PlainCodec
from bff.cache.entries import Lifetimes
from bff.cache.invalidation import InvalidationBus
from bff.cache.lock import Locks
from bff.cache.redis_client import redis_backend
from bff.cache.redis_store import PREFIX, RedisStore
from bff.cache.values import Values
from bff.models import LinkedAccount, Session
from bff.resilience.circuit_breaker import CircuitBreaker, Rules
from tests.cache.proxy import Proxy

LIFETIMES = Lifetimes(ttl=60, stale=3600, accepted=60, refused=8)


class Clock:
    def __init__(self):
        self.now = 1_800_000_000.0

    def __call__(self):
        return self.now

    def advance(self, seconds):
        self.now += seconds


class Witness:
    """Records everything."""

    def __init__(self):
        self.failed = []
        self.rejected = []
        self.forgot = []
        self.events = []

    def cache_failed(self, operation, reason):
        self.failed.append((operation, reason))

    def cache_rejected(self, reason):
        self.rejected.append(reason)

    def forgotten(self, cause, people):
        self.forgot.append((cause, people))

    def event_added(self, event):
        self.events.append(event)

    def event_failed(self, event):
        self.events.append(f"not {event}")

    def leak_stopped(self, field):
        raise AssertionError(field)

    def waiting(self):
        return nullcontext()


def session(user="mei", bearer="token-of-mei"):
    return Session(user, 2e9, bearer, hashlib.sha256(bearer.encode()).hexdigest())


def accounts(*ids, provider="wechat"):
    return render([LinkedAccount(each, provider, "小明", None, None, ("openid",), (), each) for each in ids], Catalogue(), ())[0]


def ids(entry):
    return [account["id"] for account in json.loads(entry.accounts.json("en", identities=False))]


@pytest.fixture
def proxy(valkey):
    """A way to Valkey that can be slowed down and cut."""
    with Proxy(valkey.address) as proxy:
        yield proxy


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def witness():
    return Witness()


@pytest.fixture
def store_at(witness, valkey):
    """``store_at(url)``: a store of its own, as a process has one. Its breaker opens at the first failure, for 0.2 seconds."""

    def make(url, *, timeout=None, **rules):
        timeout = timeout or (10.0 if url == valkey.url else 0.25)  # no test freezes the one that all share
        rules = Rules(**{"failures_in_a_row": 1, "open_seconds": 0.2, "open_at_most": 0.4, **rules})
        app, breaker = Flask("test"), CircuitBreaker("redis", rules)
        return RedisStore(lambda: redis_backend(app, url, timeout=timeout), breaker, witness, connect_seconds=timeout)

    return make


@pytest.fixture
def store(store_at, valkey):
    return store_at(valkey.url)


@pytest.fixture
def cache_on(witness, clock):
    """``cache_on(store)``: a cache of its own over a store."""

    def make(store, codec=None, lifetimes=LIFETIMES, app_id="app", **hooks):
        codec = codec or PlainCodec()
        person = partial(codec.opaque_id, app_id)
        values = Values(codec, witness, lifetimes)
        bus = InvalidationBus(
            store,
            f"{PREFIX}changed:{app_id}",
            lambda _person: None,
            lambda: None,
            on_change=lambda person, marker: changes.receive(person, marker),  # noqa: PLW0108 - made below
        )
        changes = Changes(store, values, bus, witness, person=person, clock=clock, **hooks)
        return AccountsCache(store, values, Locks(store, 1.5), changes, person=person, clock=clock)

    return make


@pytest.fixture
def cache(cache_on, store):
    return cache_on(store)
