"""The wiring, top to bottom: settings in, services out. Every edge is made here and handed in; nothing connects yet."""

from dataclasses import dataclass
from functools import lru_cache, partial

from flask import Flask

from bff.access_tokens import AccessTokens
from bff.announcements import Announcements
from bff.backends import redis_backend
from bff.breaker import Breaker, Rules
from bff.cache import AccountsCache
from bff.deadline import Deadline
from bff.dependencies import Dependencies
from bff.errors import BffError, GenAuthTrouble
from bff.genauth.client import GenAuthClient
from bff.introspection import Introspector
from bff.keyset import KeySet
from bff.keyshelf import KeyShelf
from bff.keysource import KeySource
from bff.leases import Leases
from bff.linked_accounts import LinkedAccounts
from bff.metrics import Metrics
from bff.microcache import MicroCache
from bff.providers import Providers
from bff.ratelimit import RateLimit
from bff.refusals import Refusals
from bff.remembered import Lifetimes
from bff.sealing import PlainSeal, Seal, SecretSeal
from bff.sessions import Sessions, Verifier
from bff.settings import Settings
from bff.shelf import Shelf
from bff.store import PREFIX, Store

REDIS_TIMEOUT_SECONDS = 0.25
REFUSAL_SECONDS = 8.0
# A caller that is killed keeps the others waiting this long; one that lives renews it.
LEASE_SECONDS = 1.5
# A worker has 128 threads, of which GenAuth may hold 64: with these waiting too, some are left to answer from memory.
WAITING_PLACES = 32
_AT_ONCE = 256  # people who are answered at the same time: each is named several times
# Orchestrators give a probe a second or two.
_PROBE_SECONDS = 1.0
# Redis answers in well under a millisecond or not at all: one failure is enough to know, and a second to find out again.
_REDIS_BREAKER = Rules(failures_in_a_row=1, open_seconds=1.0, open_at_most=4.0, probe_seconds=2.0)


@dataclass(frozen=True, slots=True)
class Services:
    """What the web package may use."""

    settings: Settings
    sessions: Sessions
    linked_accounts: LinkedAccounts
    providers: Providers
    user_limit: RateLimit | None
    address_limit: RateLimit | None
    dependencies: Dependencies
    announcements: Announcements
    micro_cache: MicroCache | None
    metrics: Metrics


def make_services(app: Flask, settings: Settings) -> Services:
    """Everything the service needs, from its settings alone. ``app`` is what flask-caching registers its backend with."""
    metrics = Metrics()
    seal: Seal = SecretSeal(settings.cache_secret) if settings.cache_secret else PlainSeal()
    store = Store(
        lambda: redis_backend(app, settings.redis_url, timeout=REDIS_TIMEOUT_SECONDS),
        Breaker("redis", _REDIS_BREAKER, on_change=metrics.breaker_changed),
        metrics,
    )

    person = lru_cache(_AT_ONCE)(partial(seal.name, settings.genauth_app_id))

    micro_cache = MicroCache(settings.micro_cache_seconds, person=person) if settings.micro_cache_seconds else None
    announcements = Announcements(
        store,
        heard=micro_cache.forget if micro_cache else lambda _: None,
        lost=micro_cache.forget_all if micro_cache else lambda: None,
    )
    genauth = GenAuthClient.from_settings(settings, metrics)
    lifetimes = Lifetimes(
        ttl=settings.cache_ttl_seconds,
        stale=settings.cache_stale_seconds,
        accepted=settings.token_accepted_seconds,
        refused=REFUSAL_SECONDS,
    )
    return Services(
        settings=settings,
        sessions=Sessions(_verifier(settings, genauth, _key_shelf(settings, store, seal, metrics))),
        linked_accounts=LinkedAccounts(
            genauth,
            AccountsCache(store, seal, Leases(store, LEASE_SECONDS), metrics, lifetimes, person=person),
            Refusals(REFUSAL_SECONDS),
            metrics,
            lifetimes,
            waiting_places=WAITING_PLACES,
            changed=lambda user_id: announcements.announce(person(user_id)),
        ),
        providers=Providers(
            genauth,
            settings.upstream_deadline_seconds,
            Shelf(store, seal, f"{PREFIX}providers:{seal.name('providers', settings.genauth_app_id)}", metrics),
        ),
        user_limit=_limit("user", settings, store, seal, metrics),
        address_limit=_limit("address", settings, store, seal, metrics),
        dependencies=Dependencies({"redis": store.ping, "genauth": lambda: _answers(genauth)}),
        announcements=announcements,
        micro_cache=micro_cache,
        metrics=metrics,
    )


def _key_shelf(settings: Settings, store: Store, seal: Seal, metrics: Metrics) -> KeyShelf | None:
    if not settings.cache_secret:
        return None  # whoever writes Redis could lay down a key of their own, and sign
    origin = (settings.genauth_host, settings.genauth_app_id, settings.genauth_issuer or "", settings.genauth_jwks_url or "")
    return KeyShelf(Shelf(store, seal, f"{PREFIX}keys:{seal.name('keys', *origin)}", metrics))


def _verifier(settings: Settings, genauth: GenAuthClient, shelf: KeyShelf | None) -> Verifier:
    if settings.token_verification == "introspection":  # noqa: S105 - the name of a way, no password
        return Introspector(genauth, app_id=settings.genauth_app_id, accepted_seconds=settings.token_accepted_seconds)
    source = KeySource(genauth, host=settings.genauth_host, issuer=settings.genauth_issuer, url=settings.genauth_jwks_url)
    keys = KeySet(source, shelf, fetch_seconds=settings.upstream_deadline_seconds)
    return AccessTokens(keys, audience=settings.genauth_app_id)


def _limit(scope: str, settings: Settings, store: Store, seal: Seal, metrics: Metrics) -> RateLimit | None:
    if settings.rate_limit is None:
        return None
    return RateLimit(
        scope, settings.rate_limit, store, metrics, key=lambda member: f"{PREFIX}rate:{scope}:{seal.name(scope, member)}"
    )


def _answers(genauth: GenAuthClient) -> bool:
    try:
        genauth.discovery(Deadline.after(_PROBE_SECONDS), lane=genauth.health_lane)
    except GenAuthTrouble:
        return False
    except BffError:
        return True  # it answered, if only to say no
    return True
