"""What an operator may set, read once from the environment and handed in; nothing is read at import.

The fields are the table: each is named as its variable in lower case and carries its rule and its default. What a text may be
is in `setting_rules` and `setting_urls`; docs/configuration.md tells the same to people.
"""

import os
from collections.abc import Callable, Iterator, Mapping
from dataclasses import MISSING, dataclass, field, fields
from itertools import pairwise
from typing import Annotated, Any, NamedTuple, Self, get_type_hints

from bff import setting_types as rules
from bff import setting_urls as urls


class ConfigurationError(Exception):
    """The environment cannot be used. ``mistakes`` holds a sentence for each reason, none of them a value."""

    def __init__(self, mistakes: list[str]) -> None:
        super().__init__("\n".join(mistakes))
        self.mistakes = mistakes


class Rule(NamedTuple):
    """How a variable's text is read, and what to say is expected of it."""

    parse: Callable[[str], Any]
    expected: str


_DAY = 86_400
_SECONDS = "decimal seconds, more than 0 and at most {}"
_URL = "https://host[:port][/path] without credentials{} or fragment, plain http only for this machine"


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """The service's configuration, valid by construction through `from_env`. Secrets stay out of its repr."""

    genauth_host: Annotated[str, Rule(urls.host_url, _URL.format(", query"))]
    genauth_app_id: Annotated[str, Rule(rules.header_text, "the application's id")]
    genauth_app_secret: Annotated[str | None, Rule(rules.text, "printable text")] = field(default=None, repr=False)
    genauth_issuer: Annotated[str | None, Rule(urls.plain_url, _URL.format(", query"))] = None
    genauth_jwks_url: Annotated[str | None, Rule(urls.url, _URL.format(""))] = None
    token_verification: Annotated[str, Rule(rules.one_of("jwks", "introspection"), "jwks or introspection")] = "jwks"  # noqa: S105 - the name of a way, no password
    token_accepted_seconds: Annotated[int, Rule(rules.whole(1, _DAY), f"a whole number from 1 to {_DAY}")] = 60
    genauth_ca_bundle: Annotated[str | None, Rule(rules.ca_bundle, "the path of a readable PEM file")] = None
    redis_url: Annotated[
        str,
        Rule(
            urls.redis_url,
            "embedded, redis[s]://host:port[/db], unix:///path, redis[s]+sentinel://host:port,…/service or "
            "redis[s]+cluster://host:port,…, with the options db, username, password, client_name and, over TLS, "
            "ssl_ca_certs, ssl_ca_path, ssl_certfile, ssl_keyfile",
        ),
    ] = field(repr=False)
    cache_secret: Annotated[
        rules.Keys, Rule(rules.keys, "keyid:base64-of-32-bytes pairs or text of at least 32 characters, comma separated")
    ] = field(default=(), repr=False)
    cache_ttl_seconds: Annotated[int, Rule(rules.whole(1, _DAY), f"a whole number from 1 to {_DAY}")] = 60
    cache_stale_seconds: Annotated[int, Rule(rules.whole(0, 30 * _DAY), f"a whole number from 0 to {30 * _DAY}")] = 3600
    upstream_connect_seconds: Annotated[float, Rule(rules.seconds(60), _SECONDS.format(60))] = 1.0
    upstream_deadline_seconds: Annotated[float, Rule(rules.seconds(300), _SECONDS.format(300))] = 3.0
    request_deadline_seconds: Annotated[float, Rule(rules.seconds(300), _SECONDS.format(300))] = 3.5
    local_cache_seconds: Annotated[float, Rule(rules.seconds(300, or_zero=True), "decimal seconds from 0 (off) to 300")] = 30.0
    # Deprecated: read where LOCAL_CACHE_SECONDS is not set.
    micro_cache_seconds: Annotated[float | None, Rule(rules.seconds(2, or_zero=True), "decimal seconds from 0 (off) to 2")] = None
    session_cookie_name: Annotated[str | None, Rule(rules.cookie_name, "a cookie name as RFC 6265 allows it")] = None
    cors_origins: Annotated[
        tuple[str, ...], Rule(urls.origins, "scheme://host[:port] as browsers send it, without a path, comma separated; or *")
    ] = ()
    webhook_secret: Annotated[str | None, Rule(rules.text, "printable text")] = field(default=None, repr=False)
    metrics_token: Annotated[str | None, Rule(rules.header_text, "visible ASCII without blanks")] = field(
        default=None, repr=False
    )
    rate_limit: Annotated[str | None, Rule(rules.rate, "a rate such as 120/minute, or off")] = "120/minute"
    port: Annotated[int, Rule(rules.whole(1, 65_535), "a whole number from 1 to 65535")] = 8000
    web_concurrency: Annotated[int, Rule(rules.whole(1, 256), "a whole number from 1 to 256")] = 2
    log_level: Annotated[
        str, Rule(rules.one_of("debug", "info", "warning", "error", "critical"), "debug, info, warning, error or critical")
    ] = "info"
    trusted_proxies: Annotated[int, Rule(rules.whole(0, 16), "a whole number from 0 to 16")] = 0
    allowed_hosts: Annotated[tuple[str, ...], Rule(urls.hosts, "host[:port] or .domain, comma separated")] = ()

    @classmethod
    def from_env(cls, environ: Mapping[str, str] = os.environ) -> Self:
        """Read and check every setting, or raise `ConfigurationError` with every mistake at once.

        A variable that is empty or blank counts as unset: `.env` files and deploy templates write ``NAME=``.
        """
        hints = get_type_hints(cls, include_extras=True)
        values: dict[str, Any] = {}
        mistakes: list[str] = []
        for setting in fields(cls):
            rule: Rule = hints[setting.name].__metadata__[0]
            name, given = setting.name.upper(), environ.get(setting.name.upper(), "").strip()
            try:
                if given:
                    values[setting.name] = rule.parse(given)
                elif setting.default is MISSING:
                    mistakes.append(f"{name} is missing: expected {rule.expected}.")
                else:
                    values[setting.name] = setting.default
            except rules.Wrong as wrong:
                mistakes.append(f"{name} {wrong}: expected {rule.expected}.")
        mistakes.extend(_contradictions(values))
        if mistakes:
            raise ConfigurationError(mistakes)
        if values["micro_cache_seconds"] is not None and not environ.get("LOCAL_CACHE_SECONDS", "").strip():
            values["local_cache_seconds"] = values["micro_cache_seconds"]
        return cls(**values)


def _contradictions(values: Mapping[str, Any]) -> Iterator[str]:
    """Mistakes between settings that are fine alone; one that is not fine has been named already."""
    budgets = ("upstream_connect_seconds", "upstream_deadline_seconds", "request_deadline_seconds")
    for inner, outer in pairwise(budgets):
        if inner in values and outer in values and values[inner] > values[outer]:
            yield f"{inner.upper()} exceeds {outer.upper()}: expected a budget to fit into the one around it."
    if values.get("token_verification") == "introspection" and values.get("genauth_app_secret", "") is None:
        yield "GENAUTH_APP_SECRET is missing: expected the application's secret, which introspection sends."
    if "*" in values.get("cors_origins", ()) and values.get("session_cookie_name"):
        yield "CORS_ORIGINS is * while SESSION_COOKIE_NAME is set: expected exact origins, for any page could use the cookie."
