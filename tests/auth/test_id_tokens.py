"""The id_token that comes beside a session: whose it is, and whether GenAuth signed it."""

import hashlib
import hmac
import json
from dataclasses import replace

import pytest

from bff.auth import AccessTokens, IdTokens
from bff.errors import InvalidRequest, UpstreamUnavailable
from bff.genauth import issuer_of
from bff.models import Session
from bff.resilience import Deadline
from tests.auth.world import APP, HOST, NOW, Signer, b64, good_claims, without_none

SECRET = "0123456789abcdef0123456789abcdef"
PERSON = good_claims()["sub"]
NO_SCOPE = {"scope": None, "nonce": "n-0S6_WzA2Mj", "at_hash": "MTIzNDU2Nzg5MDEyMzQ1Ng"}


@pytest.fixture
def session():
    return Session(PERSON, NOW + 3600, "the access token", "digest")


@pytest.fixture
def reader(house, clock):
    def make(*, secret=SECRET, keys=True):
        verifier = AccessTokens(house.keys, audience=APP, issuer=issuer_of(HOST), clock=clock, monotonic=clock)
        return IdTokens(verifier if keys else None, audience=APP, secret=secret, clock=clock)

    return make


@pytest.fixture
def read(reader, session):
    return lambda token, **how: reader(**how).of(token, session, Deadline.after(5))


@pytest.fixture
def refuses(read):
    """Expect a refusal that says why, and quotes nothing."""

    def ask(token, note, **how):
        with pytest.raises(InvalidRequest) as refusal:
            read(token, **how)
        assert refusal.value.note == f"id_token, {note}"
        assert refusal.value.detail.startswith("The id_token ")
        for part in token.split("."):
            assert len(part) < 4 or part not in repr(vars(refusal.value))
        assert refusal.value.__cause__ is None

    return ask


def by_secret(claims=None, secret=SECRET, **headers):
    payload = without_none(good_claims() | NO_SCOPE | (claims or {}))
    signed = f"{b64(json.dumps({'alg': 'HS256', 'typ': 'JWT'} | headers))}.{b64(json.dumps(payload))}"
    return f"{signed}.{b64(hmac.digest(secret.encode(), signed.encode(), hashlib.sha256))}"


@pytest.mark.parametrize("alg", ["RS256", "ES256"])
def test_one_that_genauths_keys_signed_is_verified(read, genauth, alg):
    signer = Signer("id", alg)
    genauth.publish(signer)

    found = read(signer.token(NO_SCOPE, auth_time=NOW - 30))

    assert (found.auth_time, found.verified) == (NOW - 30, True)


def test_one_that_the_applications_secret_signed_is_verified(read):
    assert read(by_secret()).verified
    assert read(by_secret({"aud": ["another", APP]})).verified
    assert read(by_secret({"auth_time": NOW})).auth_time == NOW


def test_where_there_is_nothing_to_check_it_with_genauth_decides(read, signer):
    assert not read(by_secret(secret="x" * 32), secret=None).verified
    assert not read(Signer("nobodys").token(NO_SCOPE), keys=False).verified


def test_a_secret_is_as_long_as_genauth_made_it(read):
    assert read(by_secret(secret="short"), secret="short").verified


def test_its_text_is_not_in_its_repr(read):
    token = by_secret()

    assert read(token).token == token
    assert token not in repr(read(token))


@pytest.mark.parametrize(
    ("claims", "note"),
    [
        ({"exp": int(NOW)}, "expired"),
        ({"exp": int(NOW) - 1}, "expired"),
        ({"exp": None}, "times"),
        ({"exp": True}, "times"),
        ({"exp": "9999999999"}, "times"),
        ({"iat": None}, "times"),
        ({"iat": int(NOW) + 61}, "times"),
        ({"nbf": int(NOW) + 61}, "times"),
        ({"aud": "60193c610f9117e7cb04915"}, "audience"),
        ({"aud": ["another"]}, "audience"),
        ({"aud": {APP: 1}}, "audience"),
        ({"aud": None}, "audience"),
        ({"sub": "60194296801dc7bc2a1b2736"}, "sub"),
        ({"sub": [PERSON]}, "sub"),
        ({"sub": None}, "sub"),
        ({"scope": "openid"}, "access token"),
    ],
)
def test_what_it_says_has_to_be_so(refuses, signer, claims, note):
    refuses(by_secret(claims), note)
    refuses(signer.token(NO_SCOPE | claims), note)
    refuses(by_secret(claims, secret="y" * 32), note, secret=None)


def test_an_access_token_is_none(refuses, signer):
    refuses(signer.token(), "access token")
    refuses(signer.token(NO_SCOPE, headers={"typ": "at+JWT"}), "access token")


def test_the_sessions_own_token_is_none_whatever_it_says(reader, session):
    for token in (by_secret(), "opaque"):
        with pytest.raises(InvalidRequest, match="access token"):
            reader().of(token, replace(session, token=token), Deadline.after(5))


@pytest.mark.parametrize("algorithm", ["none", "None", "HS384", "HS512", "RS512", "PS256", "EdDSA", None, 1, ["HS256"], {}])
def test_no_other_algorithm(refuses, algorithm):
    refuses(by_secret(alg=algorithm), "algorithm")
    refuses(by_secret(alg=algorithm), "algorithm", secret=None, keys=False)


def test_no_extension_that_has_to_be_understood(refuses):
    refuses(by_secret(crit=["exp"]), "algorithm")
    refuses(by_secret(b64=False), "algorithm")


def test_nobody_else_signs(refuses, genauth, signer):
    refuses(by_secret(secret="z" * 32), "signature")
    refuses(Signer("stranger").token(NO_SCOPE, headers={"kid": signer.kid}), "signature")
    refuses(Signer("stranger", "ES256").token(NO_SCOPE, headers={"kid": signer.kid}), "signature")
    refuses(Signer("stranger").token(NO_SCOPE), "kid")
    refuses(signer.token(NO_SCOPE, headers={"kid": 7}), "kid")
    refuses(signer.token(NO_SCOPE, iss="https://elsewhere.example/oidc"), "issuer")


@pytest.mark.parametrize(
    "token", ["", "eyJ", "a.b", "a.b.c", "a.b.c.d", "{}", "\ud800.a.b", by_secret().rpartition(".")[0] + "."]
)
def test_what_is_no_token_at_all(refuses, token):
    refuses(token, "form")


def test_one_that_is_longer_than_an_address_takes(refuses, read):
    around = len(by_secret({"x": ""}))
    assert read(by_secret({"x": "y" * ((4096 - around) * 3 // 4)})).verified
    refuses(by_secret({"x": "y" * ((4100 - around) * 3 // 4)}), "size")


def test_without_the_keys_it_is_neither_good_nor_bad(read, genauth, signer):
    genauth.goes_away()

    with pytest.raises(UpstreamUnavailable):
        read(signer.token(NO_SCOPE))
    assert read(by_secret()).verified, "the secret is at hand"
