"""What an operator may set, read once from the environment and handed in; nothing is read at import.

The fields of `Settings` are the table: each is named as its variable in lower case, and has its type (`bff.setting_types`, for
addresses `bff.setting_addresses`) and its default beside it. docs/configuration.md explains them to operators.
"""

import os
from collections.abc import Iterator, Mapping
from dataclasses import MISSING, dataclass, field, fields
from itertools import pairwise
from typing import Annotated, Any, Self, cast, get_origin, get_type_hints

from environs import Env, EnvValidationError

from bff import setting_addresses as addresses
from bff import setting_types as types
from bff.setting_warnings import warnings_about

_DAY = 86_400


class ConfigurationError(Exception):
    """The environment cannot be used. ``mistakes`` holds a sentence for each reason, none of them with a value."""

    def __init__(self, mistakes: list[str]) -> None:
        super().__init__("\n".join(mistakes))
        self.mistakes = mistakes


class _Environment(Env):
    """environs over the mapping that was handed in, as its own `FileAwareEnv` is environs over files."""

    def __init__(self, given: Mapping[str, str]) -> None:
        super().__init__(eager=False)
        self.given = given
        self.add_parser("setting", types.read)

    def _get_value(self, env_key: str, default: Any) -> Any:  # noqa: ANN401 - as in environs
        return self.given.get(env_key, default)


@dataclass(frozen=True, slots=True, kw_only=True)
class StorageSettings:
    """Where the service's Redis is, and what the names in it are made of: what a program beside the service has to know.

    Valid by construction through `from_env`, whatever is wrong with the other settings. Secrets stay out of its repr.
    """

    genauth_host: Annotated[str, addresses.host_url]
    genauth_app_id: Annotated[str, types.app_id]
    redis_url: Annotated[str, addresses.redis_url] = field(repr=False)
    cache_secret: Annotated[types.Keys, types.keys] = field(default=(), repr=False)

    @classmethod
    def kinds(cls) -> dict[str, types.Type]:
        """The variables that are read, each with its type."""
        hints = get_type_hints(cls, include_extras=True)
        return {name.upper(): hint.__metadata__[0] for name, hint in hints.items() if get_origin(hint) is Annotated}

    @classmethod
    def from_env(cls, environ: Mapping[str, str] = os.environ) -> Self:
        """Read and check these settings alone, or raise `ConfigurationError` with every mistake among them at once.

        A variable that is empty or blank counts as unset: `.env` files and deploy templates write ``NAME=``.
        """
        return cls(**_read(cls, _given(environ)))


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings(StorageSettings):
    """The service's configuration, valid by construction through `from_env`. Secrets stay out of its repr.

    ``warnings`` has the name of each variable that is hardly meant as it is, and a hint (`bff.setting_warnings`).
    """

    genauth_app_secret: Annotated[str | None, types.text] = field(default=None, repr=False)
    genauth_issuer: Annotated[str | None, addresses.plain_url] = None
    genauth_jwks_url: Annotated[str | None, addresses.url] = None
    token_verification: Annotated[str, types.one_of("jwks", "introspection")] = "jwks"  # noqa: S105 - names a method, no password
    token_accepted_seconds: Annotated[int, types.whole(1, _DAY)] = 60
    genauth_ca_bundle: Annotated[str | None, types.ca_bundle] = None
    cache_ttl_seconds: Annotated[int, types.whole(1, _DAY)] = 60
    cache_stale_seconds: Annotated[int, types.whole(0, 30 * _DAY)] = 3600
    local_cache_seconds: Annotated[float, types.seconds(300, or_zero=True)] = 30.0
    # Deprecated: read where LOCAL_CACHE_SECONDS is not set.
    micro_cache_seconds: Annotated[float | None, types.seconds(2, or_zero=True)] = None
    upstream_connect_seconds: Annotated[float, types.seconds(60)] = 1.0
    upstream_deadline_seconds: Annotated[float, types.seconds(300)] = 3.0
    request_deadline_seconds: Annotated[float, types.seconds(300)] = 3.5
    change_deadline_seconds: Annotated[float, types.seconds(45)] = 10.0
    session_cookie_name: Annotated[str | None, types.cookie_name] = None
    cors_origins: Annotated[tuple[str, ...], addresses.origins] = ()
    cors_allow_headers: Annotated[tuple[str, ...], types.header_names] = ()
    public_url: Annotated[str | None, addresses.base_url] = None
    return_to_origins: Annotated[tuple[str, ...], addresses.return_targets] = ()
    id_token_cookie_name: Annotated[str | None, types.cookie_name] = None
    unlink_denied_sources: Annotated[tuple[str, ...], types.source_names] = ()
    sign_in_methods: Annotated[tuple[str, ...], types.sign_in_methods] = ("password", "email", "phone")
    step_up_seconds: Annotated[int | None, types.whole(1, 30 * _DAY)] = None
    webhook_secret: Annotated[tuple[str, ...], types.secrets] = field(default=(), repr=False)
    events_stream: Annotated[str | None, types.stream_name] = None
    metrics_token: Annotated[str | None, types.header_text] = field(default=None, repr=False)
    rate_limit: Annotated[str | None, types.rate] = "120/minute"
    change_rate_limit: Annotated[str | None, types.rate] = "10/minute"
    host: Annotated[str, types.address] = "0.0.0.0"  # noqa: S104 - a service in a container is reached from outside
    port: Annotated[int, types.whole(1, 65_535)] = 8000
    web_concurrency: Annotated[int, types.whole(1, 256)] = 2
    keepalive_seconds: Annotated[float, types.seconds(3600)] = 75.0
    drain_lead_seconds: Annotated[float, types.seconds(300, or_zero=True)] = 1.0
    log_level: Annotated[str, types.one_of("debug", "info", "warning", "error", "critical")] = "info"
    log_user_ids: Annotated[str, types.one_of("off", "hashed", "plain")] = "hashed"
    trusted_proxies: Annotated[int, types.whole(0, 16)] = 0
    allowed_hosts: Annotated[tuple[str, ...], addresses.hosts] = ()
    warnings: tuple[tuple[str, str], ...] = field(default=(), compare=False, repr=False)

    @property
    def longest_deadline_seconds(self) -> float:
        """What the slowest of all requests may take."""
        return max(self.request_deadline_seconds, self.change_deadline_seconds)

    @property
    def public_origin(self) -> str | None:
        """The origin of PUBLIC_URL as browsers send it."""
        return addresses.origin_of(self.public_url) if self.public_url else None

    @classmethod
    def from_env(cls, environ: Mapping[str, str] = os.environ) -> Self:
        """Read and check every setting, or raise `ConfigurationError` with every mistake at once.

        A variable that is empty or blank counts as unset: `.env` files and deploy templates write ``NAME=``.
        """
        given = _given(environ)
        values = _read(cls, given)
        if "MICRO_CACHE_SECONDS" in given and "LOCAL_CACHE_SECONDS" not in given:
            values["local_cache_seconds"] = values["micro_cache_seconds"]
        return cls(**values, warnings=tuple(warnings_about(values, environ, cls.kinds())))


def _given(environ: Mapping[str, str]) -> dict[str, str]:
    return {name: text.strip() for name, text in environ.items() if text.strip()}


def _read(cls: type[StorageSettings], given: Mapping[str, str]) -> dict[str, Any]:
    """The values of a class's settings by field; raises `ConfigurationError`."""
    kinds = cls.kinds()
    env = _Environment(given)
    values: dict[str, Any] = {}
    for setting in fields(cls):
        name = setting.name.upper()
        if name in kinds:
            is_read = name in given or setting.default is MISSING
            values[setting.name] = env.setting(name, kind=kinds[name]) if is_read else setting.default
    mistakes: list[str] = []
    try:
        env.seal()
    except EnvValidationError as error:
        for name, messages in cast("Mapping[str, list[str]]", error.error_messages).items():
            del values[name.lower()]
            what = messages[0] if name in given else "is missing"
            mistakes.append(f"{name} {what}: expected {kinds[name].expected}.")
    mistakes.extend(_contradictions(values))
    if mistakes:
        raise ConfigurationError(mistakes)
    return values


def _contradictions(values: Mapping[str, Any]) -> Iterator[str]:
    """Mistakes between settings that are fine alone; one that is not fine has been named already."""
    budgets = ("upstream_connect_seconds", "upstream_deadline_seconds", "request_deadline_seconds")
    for inner, outer in (*pairwise(budgets), ("upstream_deadline_seconds", "change_deadline_seconds")):
        if inner in values and outer in values and values[inner] > values[outer]:
            yield f"{inner.upper()} exceeds {outer.upper()}: expected a budget to fit into the one around it."
    if values.get("token_verification") == "introspection" and values.get("genauth_app_secret", "") is None:
        yield "GENAUTH_APP_SECRET is missing: expected the application's secret, which introspection sends."
    if not values.get("session_cookie_name"):
        return
    if values["session_cookie_name"] == values.get("id_token_cookie_name"):
        yield "ID_TOKEN_COOKIE_NAME is SESSION_COOKIE_NAME's: expected a cookie of its own."
    if "*" in values.get("cors_origins", ()):
        yield "CORS_ORIGINS is * while SESSION_COOKIE_NAME is set: expected exact origins, for any page could use the cookie."
    if any(map(addresses.is_readable_on_the_way, values.get("cors_origins", ()))):
        yield "CORS_ORIGINS has http while SESSION_COOKIE_NAME is set: expected https, for any network could use the cookie."
