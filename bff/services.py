"""The wiring, top to bottom: settings in, services out. Every edge is made here and handed in; nothing connects yet."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

from flask import Flask

from bff.accounts import (
    HINT_SECONDS,
    LINK_SECONDS,
    Inclusions,
    LinkedAccounts,
    LinkFlow,
    Providers,
    Refusals,
    SecurityFacts,
    Unlinking,
)
from bff.auth import (
    AccessTokens,
    GenAuthCheck,
    IdTokens,
    Introspector,
    JwksCache,
    JwksFetcher,
    JwksRefresher,
    JwksSnapshot,
    Sessions,
    Verifier,
)
from bff.cache import (
    PREFIX,
    AccountsCache,
    BriefValues,
    CachedResponses,
    Changes,
    Codec,
    EventStream,
    InvalidationBus,
    Lifetimes,
    Locks,
    RecognisedTokens,
    RedisStore,
    Snapshot,
    Values,
    is_cluster,
)
from bff.genauth import GenAuthClient, issuer_of
from bff.observability import Audit, Metrics, Readiness, Reason, request_id
from bff.resilience import RateLimit, SingleFlight, WaitingRoom
from bff.settings import Settings
from bff.storage import make_storage

REDIS_TIMEOUT_SECONDS = 0.25
REFUSAL_SECONDS = 8.0
# A site that has a /48 of IPv6 may fail as often as so many addresses: one client of it can come from 65,536 of them.
NETWORK_TIMES = 4
# How many events one address may send without their secret, whatever RATE_LIMIT says.
WEBHOOK_RATE = "20/minute"
# A caller that is killed keeps the others waiting this long; one that lives renews it.
LOCK_SECONDS = 1.5
# For those that wait for longer than a second: as many as a worker's threads leave to them (`bff.factory.THREADS`), and half of
# them for one person.
WAITING_PLACES = 32
WAITING_EACH = 16


@dataclass(frozen=True, slots=True)
class Services:
    """What the web package may use."""

    settings: Settings
    sessions: Sessions
    id_tokens: IdTokens
    linked_accounts: LinkedAccounts
    inclusions: Inclusions
    unlinking: Unlinking
    links: LinkFlow
    accounts_cache: AccountsCache
    changes: Changes
    user_limit: RateLimit | None
    change_limit: RateLimit | None
    address_limit: RateLimit | None
    network_limit: RateLimit | None
    webhook_limit: RateLimit | None
    readiness: Readiness
    invalidations: InvalidationBus
    responses: CachedResponses
    metrics: Metrics
    audit: Audit


def make_services(
    app: Flask,
    settings: Settings,
    *,
    clock: Callable[[], float] = time.time,
    redis_seconds: float = REDIS_TIMEOUT_SECONDS,
    hint_seconds: float = HINT_SECONDS,
) -> Services:
    """Everything the service needs, from its settings alone.

    ``app`` is what flask-caching registers its backend with; ``clock`` is what linked accounts age by, in epoch seconds.
    ``redis_seconds`` is how long Redis may take to be connected to, and for each answer; ``hint_seconds`` how long GenAuth may
    take for what is a hint beside the accounts.
    """
    metrics = Metrics()
    storage = make_storage(app, settings, metrics, redis_seconds=redis_seconds)
    store, codec, application = storage.store, storage.codec, storage.application
    names, person = storage.names, storage.person

    responses = CachedResponses(settings.local_cache_seconds, person=person, clock=clock)
    genauth = GenAuthClient.from_settings(settings, metrics)
    waiting_room = WaitingRoom(WAITING_PLACES, each=WAITING_EACH, watched=metrics.waiting)
    lifetimes = Lifetimes(
        ttl=settings.cache_ttl_seconds,
        stale=settings.cache_stale_seconds,
        accepted=settings.token_accepted_seconds,
        refused=REFUSAL_SECONDS,
    )

    def changed(person: str, *, refusals: bool, acceptances: bool) -> None:
        linked_accounts.on_change(person)
        if refusals:
            refused_tokens.forget(person)
        if refusals or acceptances:
            sessions.forget(person, acceptances=acceptances)

    def on_gap() -> None:
        responses.clear()
        sessions.forget_everybody()

    def on_connect() -> None:
        sessions.forget_everybody()
        linked_accounts.on_missed_changes()

    values = Values(codec, metrics, lifetimes)
    invalidations = InvalidationBus(
        store,
        storage.changes_channel,
        on_invalidate=responses.invalidate,
        on_gap=on_gap,
        on_connect=on_connect,
        on_change=lambda person, marker: changes.receive(person, marker),  # noqa: PLW0108 - made below
    )
    stream = None
    if settings.events_stream:
        stream = EventStream(
            settings.events_stream,
            clustered=is_cluster(settings.redis_url),
            request_id=request_id,
            account=lambda event: values.opaque_id(person(event.user_id), event.source_id),
        )
    changes = Changes(
        store,
        values,
        invalidations,
        metrics,
        person=person,
        on_change=changed,
        stream=stream,
        clock=clock,
    )
    cache = AccountsCache(store, values, Locks(store, LOCK_SECONDS), changes, person=person, clock=clock)
    providers = Providers(
        genauth,
        settings.upstream_deadline_seconds,
        Snapshot(store, codec, f"{PREFIX}providers:{application}", metrics),
    )
    refused_tokens = Refusals(REFUSAL_SECONDS, clock, kept_seconds=lifetimes.longest, person=person)
    linked_accounts = LinkedAccounts(
        genauth,
        cache,
        providers,
        refused_tokens,
        metrics,
        waiting_room=waiting_room,
        person=person,
        clock=clock,
    )
    security_facts = SecurityFacts(genauth, cache, linked_accounts, hint_seconds=hint_seconds, clock=clock)
    verifier = _verifier(settings, genauth, _jwks_snapshot(settings, store, codec, metrics), person)
    discovery = settings.genauth_issuer is None or settings.genauth_jwks_url is None
    sessions = Sessions(
        verifier,
        recognised=RecognisedTokens(store, codec, f"{PREFIX}recognised:{application}", metrics)
        if settings.token_verification == "introspection"  # noqa: S105 - the name of a way, no password
        else None,
        flights=SingleFlight(waiting_room),
        refused=linked_accounts.refuse,
        person=person,
    )
    audit = Audit(metrics, _named(settings.log_user_ids, person))
    return Services(
        settings=settings,
        sessions=sessions,
        id_tokens=IdTokens(
            verifier if isinstance(verifier, AccessTokens) else None,
            audience=settings.genauth_app_id,
            secret=settings.genauth_app_secret,
        ),
        linked_accounts=linked_accounts,
        inclusions=Inclusions(
            providers,
            security_facts,
            denied=settings.unlink_denied_sources,
            methods=settings.sign_in_methods,
            clock=clock,
        ),
        unlinking=Unlinking(
            genauth,
            linked_accounts,
            providers,
            security_facts,
            audit,
            denied=settings.unlink_denied_sources,
            methods=settings.sign_in_methods,
        ),
        links=LinkFlow(
            genauth,
            linked_accounts,
            providers,
            BriefValues(store, codec, f"{PREFIX}link", LINK_SECONDS, metrics, opaque_id=partial(names, "link")),
            audit,
            public_url=settings.public_url,
            return_targets=settings.return_to_origins,
            clock=clock,
        ),
        accounts_cache=cache,
        changes=changes,
        user_limit=_limit("user", settings.rate_limit, store, names, metrics),
        change_limit=_limit("change", settings.change_rate_limit, store, names, metrics),
        address_limit=_limit("address", settings.rate_limit, store, names, metrics),
        network_limit=_limit("network", settings.rate_limit, store, names, metrics, times=NETWORK_TIMES),
        webhook_limit=_limit("webhook", WEBHOOK_RATE if settings.webhook_secret else None, store, names, metrics),
        readiness=Readiness(
            {
                "redis": lambda: Reason(word) if (word := store.trouble(stream.trials if stream else None)) else None,
                "genauth": GenAuthCheck(genauth, verifier, discovery=discovery),
            }
        ),
        invalidations=invalidations,
        responses=responses,
        metrics=metrics,
        audit=audit,
    )


def _named(how: str, person: Callable[[str], str]) -> Callable[[str], str | None]:
    """What the log calls a person: the user id, the id that stands for it in Redis, or nothing."""
    names: dict[str, Callable[[str], str | None]] = {"plain": str, "hashed": person, "off": lambda _user_id: None}
    return names[how]


def _jwks_snapshot(settings: Settings, store: RedisStore, codec: Codec, metrics: Metrics) -> JwksSnapshot | None:
    if not settings.cache_secret:
        return None  # whoever writes Redis could store a key of their own, and sign with it
    origin = (settings.genauth_host, settings.genauth_app_id, settings.genauth_issuer or "", settings.genauth_jwks_url or "")
    return JwksSnapshot(Snapshot(store, codec, f"{PREFIX}jwks:{codec.opaque_id('keys', *origin)}", metrics))


def _verifier(
    settings: Settings, genauth: GenAuthClient, snapshot: JwksSnapshot | None, person: Callable[[str], str]
) -> Verifier:
    if settings.token_verification == "introspection":  # noqa: S105 - the name of a way, no password
        return Introspector(
            genauth, app_id=settings.genauth_app_id, accepted_seconds=settings.token_accepted_seconds, person=person
        )
    fetcher = JwksFetcher(genauth, host=settings.genauth_host, issuer=settings.genauth_issuer, url=settings.genauth_jwks_url)
    refresher = JwksRefresher(fetcher, snapshot, fetch_seconds=settings.upstream_deadline_seconds)
    return AccessTokens(JwksCache(refresher), audience=settings.genauth_app_id, issuer=issuer_of(settings.genauth_host))


def _limit(
    scope: str, rate: str | None, store: RedisStore, names: Callable[..., str], metrics: Metrics, *, times: int = 1
) -> RateLimit | None:
    if rate is None:
        return None
    return RateLimit(
        scope,
        rate,
        store,
        namespace=f"{PREFIX}rate:{scope}",
        opaque_id=partial(names, scope),
        times=times,
        on_refuse=metrics.rate_limited,
    )
