"""What GenAuth's OIDC endpoints may answer and what we make of it."""

import pytest

from bff.errors import UpstreamMalformed, UpstreamRejected, UpstreamThrottled, UpstreamUnavailable
from bff.genauth import oidc
from bff.genauth.envelope import TransientError, UnreadableData
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
    "sent",
    [
        {},
        {"issuer": "https://a/oidc"},
        {"jwks_uri": "https://a/jwks"},
        {"issuer": " ", "jwks_uri": "x"},
        {"issuer": None, "jwks_uri": "x"},
        {"issuer": ["https://a/oidc"], "jwks_uri": "x"},
        {"issuer": "https://a/oidc\u202e", "jwks_uri": "x"},
        {"issuer": "https://a/oidc", "jwks_uri": " https://a/jwks"},
        {"issuer": "https://a/oidc", "jwks_uri": "https://a/jwks", "introspection_endpoint": ["https://a/i"]},
        b'{"issuer":"https://a/oidc","issuer":"https://b/oidc","jwks_uri":"https://a/jwks"}',
        b'{"issuer":"https://a/oidc\xff","jwks_uri":"https://a/jwks"}',
    ],
)
def test_discovery_without_an_issuer_or_a_key_set_is_none(sent):
    assert type(refused(sent, read=oidc.read_discovery)) is UpstreamMalformed


def test_key_set():
    assert oidc.read_key_set(answer({"keys": [{"kid": "1"}]})) == {"keys": [{"kid": "1"}]}


def test_what_is_no_key_among_keys_costs_nobody_the_others():
    sent = {"keys": [None, {"kid": "1"}, "x"]}

    assert oidc.read_key_set(answer(sent)) == sent


@pytest.mark.parametrize(
    "sent", [{}, {"keys": {}}, {"keys": ["x"]}, [], b"<html>", b'{"keys":[],"keys":[{}]}', b'{"keys":[{"x":NaN}]}']
)
def test_no_key_set(sent):
    assert type(refused(sent, read=oidc.read_key_set)) is UpstreamMalformed


def test_an_active_token():
    assert oidc.read_introspection(answer(ACTIVE)) == oidc.Introspection(
        True, "5f623f30d85f84c58f141777", 1600634105, "5d01e389985f81c6c1dd31de", issued_at=1600274405
    )


@pytest.mark.parametrize("odd", [None, "1600274405", True, -1, 1e300, [], {}])
def test_a_time_that_decides_nothing_of_the_token_is_read_or_left_out(odd):
    read = oidc.read_introspection(answer(ACTIVE | {"iat": odd, "auth_time": odd}))
    assert (read.active, read.issued_at, read.signed_in_at) == (True, None, None)

    assert oidc.read_introspection(answer(ACTIVE | {"auth_time": 1600274000.5})).signed_in_at == 1600274000.5


def test_an_inactive_token():
    assert oidc.read_introspection(answer({"active": False})) == oidc.Introspection(active=False)


def test_nothing_is_read_of_an_inactive_token():
    assert oidc.read_introspection(answer({"active": False, "sub": 7, "exp": "soon"})) == oidc.Introspection(active=False)


def test_for_whom_and_from_when_an_active_token_is():
    sent = ACTIVE | {"aud": "app", "nbf": 1600274405.5, "token_type": "Bearer"}

    found = oidc.read_introspection(answer(sent))

    assert (found.audience, found.not_before, found.token_type) == (("app",), 1600274405.5, "Bearer")
    assert oidc.read_introspection(answer(sent | {"aud": ["a", "b "]})).audience == ("a", "b ")


def test_what_was_not_sent_is_not_known():
    assert oidc.read_introspection(answer({"active": True, "sub": "u"})) == oidc.Introspection(active=True, sub="u")


NO_ID = [
    "",
    " ",
    " mei",
    "mei\t",
    "mei\u202e",
    "\ufeffmei",
    "mei\u2066",
    "mei\ud800",
    "m" * 257,
    7,
    True,
    None,
    ["mei"],
    {"mei": 1},
]
NO_TIME = ["1600634105", " 1 ", "soon", "", True, None, [1], {}, -1, 1e12, 10**400]


@pytest.mark.parametrize(
    ("member", "value"),
    [
        *(("sub", value) for value in NO_ID),
        *(("client_id", value) for value in NO_ID),
        *(("token_type", value) for value in NO_ID),
        *((member, value) for member in ("exp", "nbf") for value in NO_TIME),
        *(("aud", value) for value in (7, None, True, {}, ["app", 7], [["app"]], [None])),
    ],
)
def test_what_decides_whose_a_token_is_and_whether_it_counts_is_never_made_to_fit(member, value):
    error = refused({**ACTIVE, member: value}, read=oidc.read_introspection)

    assert type(error) is UnreadableData
    assert error.note == f"HTTP 200, introspection with another {member}"


def test_an_active_token_of_nobody_is_unreadable():
    assert type(refused({"active": True}, read=oidc.read_introspection)) is UnreadableData


@pytest.mark.parametrize(
    "body",
    [
        b'{"active":true,"sub":"mei\xff"}',
        b'{"active":true,"sub":"omar","sub":"mei"}',
        b'{"active":false,"sub":"mei","active":true}',
        b'{"active":true,"sub":"mei","exp":NaN}',
        b'{"active":true,"sub":"mei","exp":Infinity}',
        b'{"active":true,"sub":"mei","exp":%s}' % (b"9" * 5000),
        '{"active":true,"sub":"mei"}'.encode("utf-16"),
    ],
)
def test_what_parsers_differ_about_says_nothing_of_a_token(body):
    assert isinstance(refused(body, read=oidc.read_introspection), UpstreamMalformed)


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
        (b"<html>", 401, UpstreamMalformed),
        (b"<html>", 403, UpstreamMalformed),
        (b"", 404, UpstreamMalformed),
        ({"message": "Forbidden"}, 403, UpstreamMalformed),
        ({"status": 403, "error": "Forbidden", "path": "/oidc/token/introspection"}, 403, UpstreamMalformed),
        ({"statusCode": 403, "apiCode": 1001}, 403, UpstreamRejected),
        ({"statusCode": "429"}, 403, UpstreamThrottled),
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
