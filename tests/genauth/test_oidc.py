"""What GenAuth's OIDC endpoints may answer and what we make of it."""

import pytest

from bff.errors import UpstreamMalformed, UpstreamRejected, UpstreamThrottled, UpstreamUnavailable
from bff.genauth import oidc
from bff.genauth.envelope import TransientError
from tests.genauth.conftest import answer, refused

ACTIVE = {
    "active": True,
    "sub": "5f623f30d85f84c58f141777",
    "client_id": "5d01e389985f81c6c1dd31de",
    "exp": 1600634105,
    "iat": 1600274405,
    "iss": "https://oidc1.genauth.ai",
    "jti": "hoV44FPNR-_EfxTP7s7vw",
    "scope": "openid profile",
}


def test_discovery():
    sent = {
        "issuer": "https://a/oidc",
        "jwks_uri": "https://a/jwks",
        "introspection_endpoint_auth_methods_supported": ["client_secret_basic"],
    }

    found = oidc.read_discovery(answer(sent))

    assert found == oidc.Discovery("https://a/oidc", "https://a/jwks", None, ("client_secret_basic",))


@pytest.mark.parametrize(
    "sent", [{}, {"issuer": "https://a/oidc"}, {"jwks_uri": "https://a/jwks"}, {"issuer": " ", "jwks_uri": "x"}]
)
def test_discovery_without_an_issuer_or_a_key_set_is_none(sent):
    assert type(refused(sent, read=oidc.read_discovery)) is UpstreamMalformed


def test_key_set():
    assert oidc.read_key_set(answer({"keys": [{"kid": "1"}]})) == {"keys": [{"kid": "1"}]}


@pytest.mark.parametrize("sent", [{}, {"keys": {}}, {"keys": ["x"]}, [], b"<html>"])
def test_no_key_set(sent):
    assert type(refused(sent, read=oidc.read_key_set)) is UpstreamMalformed


def test_an_active_token():
    assert oidc.read_introspection(answer(ACTIVE)) == oidc.Introspection(
        True, "5f623f30d85f84c58f141777", 1600634105, "5d01e389985f81c6c1dd31de"
    )


def test_an_inactive_token():
    assert oidc.read_introspection(answer({"active": False})) == oidc.Introspection(active=False)


@pytest.mark.parametrize("active", [1, "true", None, "false", [True]])
def test_anything_but_true_and_false_is_unreadable(active):
    assert type(refused({**ACTIVE, "active": active}, read=oidc.read_introspection)) is UpstreamMalformed


@pytest.mark.parametrize(
    ("sent", "status", "error"),
    [
        ({"error": "invalid_client"}, 401, UpstreamRejected),
        ({"error": "invalid_request"}, 400, UpstreamRejected),
        ({}, 429, UpstreamThrottled),
        ({}, 500, UpstreamUnavailable),
        ({}, 302, UpstreamMalformed),
        (b"<html>", 200, UpstreamMalformed),
        ({"statusCode": 429}, 200, UpstreamThrottled),
        ({"statusCode": 503}, 200, TransientError),
        ({"statusCode": 404}, 200, UpstreamRejected),
        ({"statusCode": 200}, 200, UpstreamMalformed),
    ],
)
def test_a_refusal_is_about_us_and_never_about_the_token(sent, status, error):
    assert type(refused(sent, status, read=oidc.read_introspection)) is error


def test_the_secret_goes_into_the_form_or_encoded_into_the_header():
    post = oidc.introspection_request("https://a/i", "app", "s&c:ret", "to+ken")
    basic = oidc.introspection_request("https://a/i", "app", "s&c:ret", "to+ken", basic=True)

    assert post.body == b"token=to%2Bken&token_type_hint=access_token&strict=true&client_id=app&client_secret=s%26c%3Aret"
    assert "Authorization" not in post.headers
    assert basic.body == b"token=to%2Bken&token_type_hint=access_token&strict=true"
    assert basic.headers["Authorization"] == "Basic YXBwOnMlMjZjJTNBcmV0"
