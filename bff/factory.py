"""The application, made from its settings."""

import sys
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import structlog
from flask import Blueprint, Flask
from werkzeug.middleware.proxy_fix import ProxyFix

from bff.observability import logging as logs
from bff.resilience import Gate, Pace
from bff.services import Services, make_services
from bff.settings import Settings
from bff.web import (
    Environ,
    Express,
    Repeats,
    allow_origins,
    carry_request_ids,
    context,
    credential,
    docs,
    health,
    me,
    metering,
    observe,
    openapi,
    refuse_unreadable_queries,
    requires_metrics_token,
    requires_no_session,
    requires_session,
    speak_problems,
    tidy_headers,
)

if TYPE_CHECKING:
    from _typeshed.wsgi import WSGIApplication

log = structlog.get_logger()

_LARGEST_BODY = 64 * 1024
# How many threads of a worker compute at a time; docs/adr/0011 says what others cost.
PERMITS = 4
# How many with a token that is new here do so beside them; docs/adr/0008.
NEWCOMERS = 16
# While others come, newcomers are let in this far apart, so that one computes in a sixth of the time; of a crowd of more than
# `PACED`, those beyond go in at once. Nobody waits much longer than 0.05 s.
PACE_SECONDS = 0.005
PACED = 20
# Who is answered from memory gets the interpreter from who computes after this many seconds instead of five times as many.
_SWITCH_SECONDS = 0.001


class Application(Flask):
    """Flask without coroutine views, for which it would look some twenty times a request."""

    def ensure_sync(self, func: Callable[..., Any]) -> Callable[..., Any]:
        """The function itself."""
        return func


def _fronted(application: "WSGIApplication", services: Services) -> "WSGIApplication":
    """Flask, and what stands before it; a request passes the last one first."""

    def is_new(environ: Environ) -> bool:
        # Who was here before is most likely answered from Redis; a new token has to be verified and GenAuth to be asked.
        token = credential(environ, services.settings)
        return not (token and services.sessions.recognises(token))

    application = Gate(
        Express(application, services), PERMITS, newcomers=NEWCOMERS, is_new=is_new, pace=Pace(PACE_SECONDS, PACED).keep
    )
    if services.micro_cache:
        application = Repeats(application, services, services.micro_cache)
    if hops := services.settings.trusted_proxies:
        application = ProxyFix(application, x_for=hops, x_proto=hops, x_host=0, x_port=0)
    return application


def create_app(settings: Settings | None = None) -> Application:
    """The WSGI application. Connects to nothing.

    Without ``settings`` it reads the environment, and raises `ConfigurationError` if that cannot be used.
    """
    settings = settings or Settings.from_env()
    sys.setswitchinterval(_SWITCH_SECONDS)
    logs.configure(settings.log_level)
    app = Application("bff", static_folder=None)
    # Two slashes are another path, not a redirect to a host that the caller named.
    app.url_map.merge_slashes = False
    app.config.update(
        MAX_CONTENT_LENGTH=_LARGEST_BODY,
        TRUSTED_HOSTS=list(settings.allowed_hosts) or None,
        PROPAGATE_EXCEPTIONS=False,
    )
    if not settings.cache_secret:
        log.warning("cache_is_plain_json", setting="CACHE_SECRET", hint="whoever reads Redis reads what people have linked")
    if settings.micro_cache_seconds is not None:
        log.warning("setting_deprecated", setting="MICRO_CACHE_SECONDS", instead="LOCAL_CACHE_SECONDS")
    services = make_services(app, settings)
    logs.count_dropped(services.metrics)
    context.provide(app.extensions, services)
    app.wsgi_app = _fronted(app.wsgi_app, services)  # type: ignore[assignment,method-assign]

    # After the view these run in reverse: the recorder sees the answer as it goes out.
    observe(app)
    carry_request_ids(app)
    refuse_unreadable_queries(app)
    tidy_headers(app)
    allow_origins(app, settings)
    api = openapi(app)
    speak_problems(app)

    # A guard stands beside each registration, the open ones too.
    def register(blueprint: Blueprint, *, guard: Callable[[], None]) -> None:
        app.before_request_funcs.setdefault(blueprint.name, []).append(guard)
        api.register_blueprint(blueprint)

    register(me, guard=requires_session)
    register(health, guard=requires_no_session)
    register(docs, guard=requires_no_session)
    if settings.metrics_token:
        register(metering, guard=requires_metrics_token)
    return app
