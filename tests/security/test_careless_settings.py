"""Settings that let somebody in, or that nobody meant: refused where they cannot be meant, else named at the start.

What is refused because it could not work at all: tests/unit/test_settings.py.
"""

import base64

import pytest

from bff.settings import ConfigurationError, Settings

NEEDED = {"GENAUTH_HOST": "https://my-app.genauth.ai", "GENAUTH_APP_ID": "app-1", "REDIS_URL": "redis://localhost:6379/0"}
RANDOM = "f3Zq9wTrX1mB7kLs"


def named(**environ):
    return [name for name, _ in Settings.from_env(NEEDED | environ).warnings]


def key(secret):
    return f"2026a:{base64.b64encode(secret).decode()}"


CARELESS = [
    ("METRICS_TOKEN", "a"),
    ("METRICS_TOKEN", "fifteen-letters"),
    ("METRICS_TOKEN", "secretsecretsecret"),
    ("METRICS_TOKEN", "0123456789abcdef"),
    ("METRICS_TOKEN", "changeme"),
    ("WEBHOOK_SECRET", "fifteen-letters"),
    ("WEBHOOK_SECRET", "0123456789abcdef"),
    ("WEBHOOK_SECRET", f"{RANDOM},fifteen-letters"),
    ("GENAUTH_APP_SECRET", "3f1c9a7e5b2d #not-a-comment"),
    ("TOKEN_ACCEPTED_SECONDS", "86400"),
    ("TOKEN_ACCEPTED_SECONDS", "601"),
    ("SESSION_COOKIE_NAME", "session"),
    ("SESSION_COOKIE_NAME", "__Secure-session"),
    ("REDIS_URL", "redis://:hunter2@cache.example:6379"),
    ("REDIS_URL", "redis://cache.example?password=hunter2"),
    ("REDIS_URL", "REDIS://user:a,b%40c@10.0.0.7/1"),
    ("REDIS_URL", "redis+sentinel://:hunter2@127.0.0.1,sentinel.example/mymaster"),
    ("REDIS_URL", "redis+cluster://[2001:db8::1]:6379"),
    ("CACHE_SECRET", "x" * 32),
    ("CACHE_SECRET", "changeme" * 4),
    ("CACHE_SECRET", "abcdefghijklmnopqrstuvwxyz0123456789"),
    ("CACHE_SECRET", key(bytes(32))),
    ("CACHE_SECRET", key(bytes(range(32)))),
    ("CACHE_SECRET", f"{key(b'a key of thirty-two random bytes')}, {'x' * 32}"),
    ("RATE_LIMIT", "off"),
]
MEANT = [
    ("WEBHOOK_SECRET", RANDOM),
    ("WEBHOOK_SECRET", f"{RANDOM}, {RANDOM[::-1]}"),
    ("METRICS_TOKEN", RANDOM),
    ("TOKEN_ACCEPTED_SECONDS", "600"),
    ("SESSION_COOKIE_NAME", "__Host-session"),
    ("REDIS_URL", "embedded"),
    ("REDIS_URL", "rediss://:hunter2@cache.example:6379"),
    ("REDIS_URL", "redis://:hunter2@127.0.0.1:6379"),
    ("REDIS_URL", "redis+cluster://:hunter2@localhost:6379,127.0.0.1:6380"),
    ("REDIS_URL", "unix://:hunter2@/run/valkey.sock"),
    ("CACHE_SECRET", "a passphrase of more than thirty-two characters"),
    ("CACHE_SECRET", "8f14e45fceea167a5a36dedd4bea2543"),
    ("CACHE_SECRET", key(b"a key of thirty-two random bytes")),
    ("RATE_LIMIT", "1000/minute"),
]


@pytest.mark.parametrize(("setting", "value"), CARELESS)
def test_a_setting_that_is_hardly_meant_is_warned_about_once_and_without_its_value(setting, value):
    ((name, hint),) = Settings.from_env(NEEDED | {setting: value}).warnings

    assert name == setting
    assert "hunter2" not in hint
    assert value not in hint or len(value) < 8


@pytest.mark.parametrize(("setting", "value"), MEANT)
def test_a_setting_that_can_be_meant_is_not_warned_about(setting, value):
    assert named(**{setting: value}) == []


def test_a_page_over_http_that_could_use_the_cookie_is_refused():
    with pytest.raises(ConfigurationError, match="CORS_ORIGINS has http while"):
        named(CORS_ORIGINS="http://app.example", SESSION_COOKIE_NAME="__Host-session")


@pytest.mark.parametrize(
    ("name", "meant"),
    [
        ("CORS_ORIGIN", "CORS_ORIGINS"),
        ("CROS_ORIGINS", "CORS_ORIGINS"),
        ("cors_origins", "CORS_ORIGINS"),
        ("CORSORIGINS", "CORS_ORIGINS"),
        ("CACHE_SECRETS", "CACHE_SECRET"),
        ("METRIC_TOKEN", "METRICS_TOKEN"),
        ("REDIS_URI", "REDIS_URL"),
        ("ALLOWED_HOST", "ALLOWED_HOSTS"),
        ("GENAUTH_APPID", "GENAUTH_APP_ID"),
        ("PORTS", "PORT"),
        ("RATE_LIMIT_PER_MINUTE", ""),
        ("GENAUTH_SECRET", "GENAUTH_APP_SECRET"),
        ("CORS_ALLOWED_ORIGINS", "CORS_ORIGINS"),
        ("CACHE_TTL", "CACHE_TTL_SECONDS"),
        ("SESSION_COOKIE", "SESSION_COOKIE_NAME"),
        ("TRUSTED_PROXY", ""),
        ("TRUST_PROXY", ""),
        ("AUTHING_APP_ID", "GENAUTH_APP_ID"),
        ("AUTHING_HOST", "GENAUTH_HOST"),
        ("REDIS_TLS_URL", "REDIS_URL"),
        ("REDIS_CACHE_URL", "REDIS_URL"),
        ("URL_REDIS", "REDIS_URL"),
        ("COOKIE_NAME", "SESSION_COOKIE_NAME"),
        ("APP_ID", "GENAUTH_APP_ID"),
        ("APP_SECRET", "GENAUTH_APP_SECRET"),
        ("JWKS_URL", "GENAUTH_JWKS_URL"),
        ("CA_BUNDLE", "GENAUTH_CA_BUNDLE"),
        ("LOG_LEVEL_ROOT", "LOG_LEVEL"),
        ("LOGLEVEL", "LOG_LEVEL"),
        ("GENAUTH_HOST ", "GENAUTH_HOST"),
        ("WEBHOOK_SECRETS", "WEBHOOK_SECRET"),
        ("WEBHOOK_URL", ""),
        ("GRANIAN_WORKERS", ""),
    ],
)
@pytest.mark.parametrize("value", ["https://app.example", ""])
def test_a_variable_that_is_nearly_one_of_ours_is_named(name, meant, value):
    ((found, hint),) = Settings.from_env(NEEDED | {name: value}).warnings

    assert found == name
    assert f"{meant}?" in hint if meant else "read by nothing" in hint


@pytest.mark.parametrize(
    "name",
    [
        *("HOME", "PATH", "PWD", "TERM", "LANG", "SHELL", "USER", "LOGNAME", "SESSION_MANAGER", "LOG_FORMAT", "WEB_ROOT"),
        *(
            "NAME",
            "HOSTNAME",
            "OTEL_LOG_LEVEL",
            "REQUESTS_CA_BUNDLE",
            "HEROKU_REDIS_AMBER_URL",
            "HEROKU_APP_ID",
            "DESKTOP_SESSION",
        ),
        *("REDIS_PASSWORD", "REDIS_SERVICE_HOST", "CACHE_SERVICE_HOST", "CACHE_SERVICE_PORT", "CACHE_SERVICE_PORT_HTTP"),
        *("CACHE_PORT", "CACHE_PORT_6379_TCP", "METRICS_PORT_9090_TCP_ADDR", "PYTHONPATH", "MALLOC_ARENA_MAX", "RES_OPTIONS"),
    ],
)
def test_the_variables_of_others_are_not_named(name):
    assert named(**{name: "anything"}) == []


def test_each_warning_is_a_line_of_the_log_at_the_start(service_with, log):
    service_with(RATE_LIMIT="100/minute", METRICS_TOKEN="a", SESSION_COOKIE_NAME="sid", CORS_ORIGIN="https://app.example")

    lines = log.lines("setting_warning")

    assert [line["setting"] for line in lines] == ["SESSION_COOKIE_NAME", "METRICS_TOKEN", "CORS_ORIGIN"]
    assert {line["level"] for line in lines} == {"warning"}
    assert all("[redacted]" not in line["hint"] for line in lines)


def test_no_hint_looks_like_a_credential_to_the_log(service_with, log):
    service_with(**dict(CARELESS) | {"GENAUTH_SECRET": "x", "REDIS_URI": "x", "REDIS_URL": "redis://127.0.0.1:1"})

    lines = log.lines("setting_warning")

    assert len(lines) == len({setting for setting, _ in CARELESS}) - 1 + 2
    assert not any("[redacted]" in text for line in lines for text in line.values() if isinstance(text, str))
