"""Somebody who reads our logs, at LOG_LEVEL=debug and through every kind of trouble: they find no token and no secret.

The redaction itself is held by tests/observability/test_logging.py; this is the whole service, its libraries' loggers included.
"""

import logging

import pytest

from tests.security.conftest import COOKIE, PAGE
from tests.security.service import PATH

TROUBLES = (
    {"status": 500},
    {"status": 401},
    {"status": 302, "location": "https://evil.example/?token=x"},
    {"envelope": 429},
    {"malformed": "html"},
    {"malformed": "deep"},
    {"malformed": "invalid-utf8"},
    {"ending": "close"},
    {"ending": "reset"},
    {"ending": "truncate"},
    {"set_cookie": "canary-cookie-of-genauth=1"},
    {"headers": {"Content-Encoding": "gzip"}},
    {"headers": {"X-Bad": "a" * 70_000}},
)

LIBRARIES = ("urllib3", "redis", "requests", "werkzeug", "flask_cors", "limits")


@pytest.fixture
def libraries_talk():
    """What the libraries would say if they were let: everything."""
    levels = {
        name: logging.getLogger(name).level for name in ("urllib3", "redis", "requests", "werkzeug", "flask_cors", "limits")
    }
    yield lambda: [logging.getLogger(name).setLevel(logging.DEBUG) for name in levels]
    for name, level in levels.items():
        logging.getLogger(name).setLevel(level)


def secrets_of(genauth, *tokens):
    return {genauth.app_secret, *tokens}.union(*(genauth.canaries(person) for person in ("mei", "omar", "ivy")))


def unsaid(log, secrets):
    text = log.read()
    assert text
    assert not [secret for secret in secrets if secret in text]


@pytest.mark.parametrize("how", TROUBLES, ids=str)
def test_trouble_with_genauth_tells_no_token(service, genauth, log, libraries_talk, how):
    libraries_talk()
    token = genauth.token("omar")
    genauth.trouble(**how)

    service.accounts_of(token)

    unsaid(log, secrets_of(genauth, token, "canary-cookie-of-genauth"))


def test_a_good_day_tells_no_token(open_service, genauth, log, libraries_talk):
    libraries_talk()
    tokens = [genauth.token(person) for person in ("mei", "omar", "ivy")]
    for token in tokens * 2:
        assert open_service.accounts_of(token, query="include=identities").status == 200
        assert (
            open_service.ask(headers=[("Cookie", f"{COOKIE}={token}"), ("X-Requested-With", "x"), ("Origin", PAGE)]).status == 200
        )
        open_service.ask(headers=[("Cookie", f"{COOKIE}={token}")])

    unsaid(log, secrets_of(genauth, *tokens))


def test_a_token_in_the_wrong_place_is_not_told(service, genauth, log):
    token, opaque = genauth.token("mei"), genauth.token("mei", kind="opaque")
    for secret in (token, opaque):
        for request in (
            {"query": f"access_token={secret}"},
            {"query": f"include={secret}"},
            {"path": f"{PATH}/{secret}"},
            {"headers": [("Authorization", f"Basic {secret}")]},
            {"headers": [("Authorization", secret)]},
            {"headers": [("Authorization", f"Bearer {secret}, Bearer {secret}")]},
            {"headers": [("Cookie", f"session={secret}")]},
            {"headers": [("Accept-Language", secret), ("If-None-Match", secret), ("Origin", secret), ("Referer", secret)]},
            {"headers": [("Host", f"{secret}.example")]},
            {"method": secret[:60]},
        ):
            service.ask(**request)

    unsaid(log, {token, opaque, opaque[:60]})


def test_introspection_tells_neither_the_token_nor_our_secret(service_with, genauth, log, libraries_talk):
    service = service_with(TOKEN_VERIFICATION="introspection")
    libraries_talk()
    token = genauth.token("mei", kind="opaque")
    for how in ({}, {"status": 500}, {"ending": "close"}, {"malformed": "html"}):
        if how:
            genauth.trouble(path="/oidc/token/introspection", **how)
        service.accounts_of(token)

    unsaid(log, {token, genauth.app_secret})


def test_redis_away_tells_no_password(service_with, genauth, log, libraries_talk):
    service = service_with(REDIS_URL="redis://user:canary-password-81c2@127.0.0.1:1/0")
    libraries_talk()

    assert service.accounts_of(genauth.token("mei")).status == 200

    unsaid(log, {"canary-password-81c2"})


def test_a_defect_tells_where_and_never_what(service, genauth, log, monkeypatch):
    """An exception's text may quote a request; its type and our own lines are enough."""
    token = genauth.token("mei")

    def defect(*_args, **_kwargs):
        raise ValueError(f"Invalid header value b'Bearer {token}' for {genauth.app_secret}")

    monkeypatch.setattr("bff.accounts.service.link", defect)
    # Not through `service`, which would count the one 500 that is meant.
    answer = service.app.test_client().get(PATH, headers={"Authorization": f"Bearer {token}"})
    assert (answer.status_code, answer.json["code"]) == (500, "internal_error")

    unsaid(log, {token, genauth.app_secret, "Invalid header value"})


def test_no_answer_to_an_error_tells_what_was_sent(service, genauth):
    """Problem details repeat neither token nor query, not even for whoever sent them: they are logged on the other side too."""
    token = genauth.token("mei", key="foreign")
    for request in (
        {"headers": [("Authorization", f"Bearer {token}")]},
        {"headers": [("Authorization", f"Bearer {token}, Bearer {token}")]},
        {"query": f"access_token={token}"},
        {"headers": [("Authorization", f"Bearer {token}")], "path": f"{PATH}/{token}"},
    ):
        assert token not in service.ask(**request).everything


def test_exceptions_and_values_do_not_show_tokens(genauth):
    from bff.errors import TokenInvalid
    from bff.genauth.messages import Request
    from bff.models import Session

    token = genauth.token("mei")
    values = [
        Session("u", 0.0, token, "digest"),
        Request("GET", "/", {"Authorization": f"Bearer {token}"}, token.encode()),
        TokenInvalid(note="form"),
    ]

    assert not [value for value in values if token in f"{value!r}{value}"]
