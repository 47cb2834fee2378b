"""Somebody with a token that is not good, or no longer. (Forged and malformed ones: tests/auth/test_token_attacks.py.)"""

import json
import time

import pytest

from tests.security.service import PATH

IDENTITIES = "/api/v3/get-identities"
INTROSPECTION = "/oidc/token/introspection"


@pytest.fixture
def hasty(service_with):
    """A service that believes GenAuth's acceptance for one second."""
    return service_with(TOKEN_ACCEPTED_SECONDS="1")


def test_a_revoked_token_ends_within_token_accepted_seconds_while_another_session_keeps_the_cache_warm(hasty, genauth):
    stolen, own = genauth.token("mei"), genauth.token("mei")
    assert hasty.accounts_of(stolen).status == 200
    genauth.revoke(stolen)
    time.sleep(1.05)
    assert hasty.accounts_of(own).status == 200

    answers = [hasty.accounts_of(stolen) for _ in range(3)]

    assert {answer.json["code"] for answer in answers} == {"token_invalid"}
    assert hasty.accounts_of(own).status == 200


def test_a_refused_token_is_not_served_from_memory_when_genauth_goes_away(hasty, genauth):
    stolen = genauth.token("mei")
    hasty.accounts_of(stolen)
    genauth.revoke(stolen)
    time.sleep(1.05)
    assert hasty.accounts_of(stolen).status == 401

    genauth.trouble(status=503)

    assert hasty.accounts_of(stolen).status in {401, 503}


def test_a_refusal_in_one_process_is_heeded_by_another(service_with, genauth):
    here, there = (service_with(TOKEN_ACCEPTED_SECONDS="1") for _ in range(2))
    stolen = genauth.token("mei")
    assert (here.accounts_of(stolen).status, there.accounts_of(stolen).status) == (200, 200)
    genauth.revoke(stolen)
    time.sleep(1.05)
    assert here.accounts_of(stolen).status == 401

    genauth.trouble(path=IDENTITIES, status=503)

    assert there.accounts_of(stolen).status in {401, 503}


def test_a_token_never_seen_before_gets_nothing_while_genauth_is_away(service, genauth):
    assert service.accounts_of(genauth.token("mei")).status == 200
    genauth.trouble(path=IDENTITIES, status=503)

    answer = service.accounts_of(genauth.token("mei"))

    assert answer.json["code"] == "upstream_unavailable"


def test_a_blocked_users_token_gets_nothing_while_genauth_is_away(hasty, genauth):
    token = genauth.token("mei")
    hasty.accounts_of(token)
    genauth.block("mei")
    time.sleep(1.05)
    assert hasty.accounts_of(token).json["code"] == "user_blocked"
    genauth.trouble(path=IDENTITIES, status=503)

    assert hasty.accounts_of(token).json["code"] in {"user_blocked", "upstream_unavailable"}


@pytest.mark.parametrize(
    ("stolen", "code"),
    [
        ({"lifetime": -1}, "token_expired"),
        ({"claims": {"aud": "60193c610f9117e7cb000000"}}, "token_invalid"),
        ({"claims": {"iss": "https://evil.example/oidc"}}, "token_invalid"),
        ({"kind": "id"}, "token_invalid"),
        ({"kind": "opaque"}, "token_invalid"),
        ({"key": "foreign"}, "token_invalid"),
        ({"alg": "none"}, "token_invalid"),
        ({"claims": {"nbf": 4_000_000_000}}, "token_invalid"),
    ],
)
def test_a_token_that_is_not_for_this_costs_genauth_nothing(service, genauth, stolen, code):
    service.accounts_of(genauth.token("nia"))
    genauth.forget_calls()

    answer = service.accounts_of(genauth.token("mei", **stolen))

    assert (answer.status, answer.json["code"]) == (401, code)
    assert 'error="invalid_token"' in answer.headers["Www-Authenticate"]
    assert genauth.calls() == 0


def test_a_token_signed_with_the_public_key_as_a_secret(service, genauth):
    forged = genauth.token("mei", alg="HS256", key=genauth.public_key_pem)

    assert service.accounts_of(forged).json["code"] == "token_invalid"


@pytest.mark.parametrize("where", ["query", "path", "body", "cookie"])
def test_a_token_that_lies_about_is_no_credential(service, genauth, where):
    """In addresses and forms tokens end up in histories and logs; RFC 6750 2.2 and 2.3 are not on offer."""
    token = genauth.token("mei")
    request = {
        "query": {"query": f"access_token={token}"},
        "path": {"path": f"{PATH};access_token={token}"},
        "body": {"body": f"access_token={token}".encode(), "headers": [("Content-Type", "application/x-www-form-urlencoded")]},
        "cookie": {"headers": [("Cookie", f"access_token={token}; token={token}")]},
    }[where]

    answer = service.ask(**request)

    assert answer.status in {401, 404}
    assert genauth.calls(IDENTITIES) == 0


def test_an_opaque_token_that_was_revoked_ends_within_token_accepted_seconds(service_with, genauth):
    service = service_with(TOKEN_VERIFICATION="introspection", TOKEN_ACCEPTED_SECONDS="1")
    stolen = genauth.token("mei", kind="opaque")
    assert service.accounts_of(stolen).status == 200
    genauth.revoke(stolen)
    time.sleep(1.05)

    assert service.accounts_of(stolen).json["code"] == "token_invalid"


@pytest.mark.parametrize(
    ("said", "status", "code"),
    [
        ({"aud": "60193c610f9117e7cb000000"}, 401, "token_invalid"),
        ({"aud": ["60193c610f9117e7cb000000"]}, 401, "token_invalid"),
        ({"aud": []}, 401, "token_invalid"),
        ({"client_id": "60193c610f9117e7cb000000"}, 401, "token_invalid"),
        ({"token_type": "refresh_token"}, 401, "token_invalid"),
        ({"nbf": 4_000_000_000}, 401, "token_invalid"),
        ({"exp": 1_600_000_000}, 401, "token_expired"),
        ({"exp": "4000000000"}, 502, "upstream_malformed"),
        ({"exp": "junk"}, 502, "upstream_malformed"),
        ({"exp": None}, 502, "upstream_malformed"),
        ({"nbf": "now"}, 502, "upstream_malformed"),
        ({"client_id": ["60193c610f9117e7cb000000"]}, 502, "upstream_malformed"),
        ({"client_id": "  "}, 502, "upstream_malformed"),
        ({"aud": {"0": "app"}}, 502, "upstream_malformed"),
        ({"token_type": 7}, 502, "upstream_malformed"),
    ],
)
def test_an_opaque_token_that_is_not_for_this_or_not_now(service_with, genauth, said, status, code):
    """Active it is; what else introspection says of it counts as what a signed token says does."""
    service = service_with(TOKEN_VERIFICATION="introspection")
    said = {"active": True, "sub": genauth.id_of("mei"), "client_id": genauth.app_id, "token_type": "Bearer"} | said
    genauth.answers_raw(INTROSPECTION, body=json.dumps(said).encode())

    answer = service.accounts_of(genauth.token("mei", kind="opaque"))

    assert (answer.status, answer.json["code"]) == (status, code)
    assert genauth.calls(IDENTITIES) == 0


def test_introspection_that_is_away_is_never_taken_for_a_yes(service_with, genauth):
    service = service_with(TOKEN_VERIFICATION="introspection")
    genauth.trouble(path="/oidc/token/introspection", status=503)

    assert service.accounts_of(genauth.token("mei", kind="opaque")).status == 503
