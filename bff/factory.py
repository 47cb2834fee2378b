"""The application, made from its settings: the order of the middleware, and the blueprints with their guards."""

import sys
import time
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING

import structlog
from flask import Blueprint, Flask
from werkzeug.middleware.proxy_fix import ProxyFix

from bff.accounts import HINT_SECONDS
from bff.observability import logging as logs
from bff.resilience import SteadyClock
from bff.services import REDIS_TIMEOUT_SECONDS, Services, make_services
from bff.settings import Settings
from bff.web import (
    AdmissionControl,
    RequestContext,
    ResponseCache,
    allow_origins,
    answer_problems,
    bounded,
    docs,
    health,
    link_returns,
    links,
    me,
    metrics,
    openapi,
    provide,
    requires_metrics_token,
    requires_no_session,
    requires_session,
    requires_webhook_secret,
    shows_secret,
    webhooks,
)

if TYPE_CHECKING:
    from _typeshed.wsgi import WSGIApplication

log = structlog.get_logger()

_LARGEST_BODY = 64 * 1024
# How many requests of a worker compute at a time; docs/adr/0013 says why so few.
PERMITS = 4
# A worker's threads, where the machine allows so many, and how many are kept for what waits for nobody: health, metrics, hits.
THREADS = 80
_NEVER_WAITING = 16
# A thread that computes is asked to give the interpreter to others after this many seconds, for requests that hold no permit.
_SWITCH_SECONDS = 0.001


def create_app(
    settings: Settings | None = None,
    *,
    clock: Callable[[], float] = time.time,
    threads: int = sys.maxsize,
    redis_seconds: float = REDIS_TIMEOUT_SECONDS,
    hint_seconds: float = HINT_SECONDS,
    warn: bool = True,
) -> Flask:
    """The WSGI application. Connects to nothing.

    Without ``settings`` it reads the environment, and raises `ConfigurationError` if that cannot be used.
    ``clock`` is what linked accounts age by, in epoch seconds. ``threads`` is how many call the application at once.
    ``redis_seconds`` is how long Redis may take for an answer, ``hint_seconds`` how long GenAuth may for one beside the accounts.
    ``warn``: `warn_about` the settings.
    """
    settings = settings or Settings.from_env()
    sys.setswitchinterval(_SWITCH_SECONDS)
    logs.configure(settings.log_level)
    app = Flask("bff", static_folder=None)
    # Two slashes are another path, not a redirect to a host that the caller named.
    app.url_map.merge_slashes = False
    app.config.update(MAX_CONTENT_LENGTH=_LARGEST_BODY, PROPAGATE_EXCEPTIONS=False)
    if warn:
        warn_about(settings)
    clock = SteadyClock(clock, on_set_back=_clock_set_back)
    services = make_services(app, settings, clock=clock, redis_seconds=redis_seconds, hint_seconds=hint_seconds)
    logs.WRITER.recorder = services.metrics
    provide(app, services)
    allow_origins(app, settings)
    api = openapi(app)
    answer_problems(app)  # in the place of flask-smorest's error handlers

    # A guard stands beside each registration, the open ones too.
    def register(blueprint: Blueprint, *, guard: Callable[[], None]) -> None:
        app.before_request_funcs.setdefault(blueprint.name, []).append(guard)
        api.register_blueprint(blueprint)

    register(me, guard=requires_session)
    register(links, guard=requires_session)
    register(link_returns, guard=requires_no_session)
    register(health, guard=requires_no_session)
    register(docs, guard=requires_no_session)
    if settings.metrics_token:
        register(metrics, guard=requires_metrics_token)
    if settings.webhook_secret:
        register(webhooks, guard=requires_webhook_secret)

    app.wsgi_app = _behind_middleware(app.wsgi_app, services, clock, threads)  # type: ignore[assignment,method-assign]
    return app


def warn_about(settings: Settings) -> None:
    """Log a warning for each setting that can be used and is hardly meant, or is missed later."""
    if not settings.cache_secret:
        log.warning("cache_is_plain_json", setting="CACHE_SECRET", hint="whoever reads Redis reads what people have linked")
    if not settings.metrics_token:
        log.warning("setting_warning", setting="METRICS_TOKEN", hint="is not set: nothing is counted, and /metrics is 404")
    for setting, hint in settings.warnings:
        log.warning("setting_warning", setting=setting, hint=hint)
    if settings.micro_cache_seconds is not None:
        log.warning("setting_deprecated", setting="MICRO_CACHE_SECONDS", instead="LOCAL_CACHE_SECONDS")


def _behind_middleware(
    flask: "WSGIApplication", services: Services, clock: Callable[[], float], threads: int
) -> "WSGIApplication":
    """Flask behind its middleware; a request passes the last one first."""
    settings = services.settings
    application: WSGIApplication = AdmissionControl(
        flask,
        PERMITS,
        waiting=threads - min(_NEVER_WAITING, threads // 4),
        is_event=partial(shows_secret, settings.webhook_secret),
    )
    if settings.local_cache_seconds:
        application = ResponseCache(
            application,
            services.responses,
            connected=lambda: services.invalidations.connected,
            limit=services.user_limit,
            cookies=settings.session_cookie_name is not None,
            sessions_version=lambda: services.sessions.version,
            clock=clock,
        )
    application = RequestContext(application, flask, settings, services.metrics)
    if hops := settings.trusted_proxies:
        application = ProxyFix(application, x_for=hops, x_proto=hops, x_host=0, x_port=0)
    return bounded(application)


def _clock_set_back(seconds: float) -> None:
    log.warning("clock_set_back", seconds=round(seconds), hint="until it is restarted, this worker shares no answers with others")
