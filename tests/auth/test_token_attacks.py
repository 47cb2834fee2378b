"""Tokens somebody would like us to believe. Each is a good token but for the one thing its test names."""

import base64
import hashlib
import hmac
import json

import pytest
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from bff.errors import SessionExpired, TokenInvalid
from tests.auth.world import APP, ISSUER, NOW, GenAuth, House, Signer, b64, good_claims, refusal, without_none

P256_ORDER = 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551


@pytest.fixture
def refuses(house, genauth, signer):
    """Ask, and expect a refusal for this reason; the keys are at hand, and GenAuth is not asked again."""
    house.of(signer.token(jti="warm"))
    fetches = genauth.fetches

    def ask(token, note, *, calls=0):
        with pytest.raises(TokenInvalid) as refusal:
            house.of(token)
        assert refusal.value.note == note
        assert genauth.fetches == fetches + calls
        assert not set(map(str, refusal.value.args)) - {note}

    return ask


# Who signed it -----------------------------------------------------------------------------------


def test_no_signature_at_all_with_alg_none(refuses):
    header, payload = b64(json.dumps({"alg": "none", "typ": "JWT", "kid": "k1"})), b64(json.dumps(good_claims()))

    refuses(f"{header}.{payload}.", "form")
    refuses(f"{header}.{payload}.AA", "algorithm")


@pytest.mark.parametrize(
    "none", ["None", "NONE", "nOnE", "", None, 0, [], {}, ["RS256"], "rs256", "RS256 ", "RS512", "PS256", "EdDSA"]
)
def test_an_algorithm_that_is_not_pinned(refuses, signer, none):
    refuses(signer.signs({"alg": none, "typ": "JWT", "kid": "k1"}, good_claims()), "algorithm")


@pytest.mark.parametrize("secret", ["pem", "der", "jwk", "modulus"])
def test_hs256_signed_with_the_public_key(refuses, signer, secret):
    public = signer.private.public_key()
    keys = {
        "pem": public.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo),
        "der": public.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo),
        "jwk": json.dumps(signer.jwk()).encode(),
        "modulus": base64.urlsafe_b64decode(signer.jwk()["n"] + "=="),
    }
    signed = f"{b64(json.dumps({'alg': 'HS256', 'typ': 'JWT', 'kid': 'k1'}))}.{b64(json.dumps(good_claims()))}"
    forged = f"{signed}.{b64(hmac.digest(keys[secret], signed.encode(), hashlib.sha256))}"

    refuses(forged, "algorithm")


def test_somebody_elses_key_under_the_name_of_genauths(refuses):
    refuses(Signer("stranger").token(headers={"kid": "k1"}), "signature")


def test_a_signature_of_other_claims(refuses, signer):
    head, _, signature = signer.token().split(".")

    refuses(f"{head}.{b64(json.dumps(good_claims() | {'sub': 'somebody-else'}))}.{signature}", "signature")


def test_a_signature_of_another_header(refuses, signer):
    _, payload, signature = signer.token().split(".")

    refuses(f"{b64(json.dumps({'alg': 'RS256', 'kid': 'k1', 'x': 1}))}.{payload}.{signature}", "signature")


def test_a_signature_cut_short(refuses, signer):
    signed, _, signature = signer.token().rpartition(".")

    refuses(f"{signed}.{b64(base64.urlsafe_b64decode(signature + '==')[:-1])}", "signature")
    refuses(f"{signed}.AA", "signature")


@pytest.mark.parametrize("bytes_", [b"\0", b"\0" * 64, b"\xff" * 64, b"\0" * 256, b"\xff" * 256, b"\0" * 4_000])
@pytest.mark.parametrize("alg", ["RS256", "ES256"])
def test_what_is_no_signature(clock, alg, bytes_):
    signer = Signer("k", alg)
    house = House(GenAuth(signer), clock)
    signed, _, _ = signer.token().rpartition(".")

    with pytest.raises(TokenInvalid) as refusal:
        house.of(f"{signed}.{b64(bytes_)}")
    assert refusal.value.note == "signature"


@pytest.mark.parametrize(("key", "alg"), [("RS256", "RS384"), ("RS256", "RS512"), ("RS256", "PS256"), ("ES256", "ES384")])
def test_a_signature_by_another_algorithm_of_the_same_key(clock, key, alg):
    signer = Signer("k", key)
    house = House(GenAuth(signer), clock)

    with pytest.raises(TokenInvalid) as refusal:
        house.of(signer.token(headers={"alg": key}, alg=alg))
    assert refusal.value.note == "signature"


@pytest.mark.parametrize(("named", "signed"), [("RS256", "ES256"), ("ES256", "RS256")])
def test_a_signature_by_a_key_of_the_other_type(clock, named, signed):
    genuine, other = Signer("k", named), Signer("k", signed)
    house = House(GenAuth(genuine), clock)

    with pytest.raises(TokenInvalid) as refusal:
        house.of(other.token(headers={"alg": named}))
    assert refusal.value.note == "signature"


@pytest.mark.parametrize(("key", "header"), [("RS256", "ES256"), ("ES256", "RS256")])
def test_an_algorithm_of_the_other_key_type(clock, key, header):
    signer = Signer("k", key)
    house = House(GenAuth(signer), clock)

    with pytest.raises(TokenInvalid) as refusal:
        house.of(signer.token(headers={"alg": header}, alg=key))
    assert refusal.value.note == "algorithm of another key type"


@pytest.mark.parametrize("where", ["jwk", "jku", "x5u", "x5c"])
def test_a_key_that_the_token_brings_along(refuses, where):
    stranger = Signer("stranger")
    brought = {"jwk": stranger.jwk(), "jku": "https://evil.example/jwks", "x5u": "https://evil.example/x", "x5c": ["AA=="]}

    refuses(stranger.token(headers={"kid": "k1", where: brought[where]}), "signature")


@pytest.mark.parametrize("kid", ["../../dev/null", "k1' OR '1'='1", "https://evil.example/jwks", "k2"])
def test_a_key_that_genauth_does_not_have(refuses, kid):
    refuses(Signer("stranger").token(headers={"kid": kid}), "unknown kid", calls=1)


@pytest.mark.parametrize("kid", ["", "x" * 257, "k\n1", "k\x00", "\ud800", 1, None, [], {}, True])
def test_a_kid_that_can_name_no_key(refuses, signer, kid):
    refuses(signer.signs({"alg": "RS256", "kid": kid}, good_claims()), "kid")


@pytest.mark.parametrize("headers", [{"crit": ["exp"], "exp": 1}, {"crit": []}, {"b64": False}, {"b64": False, "crit": ["b64"]}])
def test_an_extension_that_must_be_understood(refuses, signer, headers):
    refuses(signer.signs({"alg": "RS256", "kid": "k1"} | headers, good_claims()), "crit")


@pytest.mark.parametrize("typ", ["dpop+jwt", "logout+jwt", "JWE", "", 1, ["JWT"], "secevent+jwt"])
def test_a_jwt_of_another_purpose(refuses, signer, typ):
    refuses(signer.token(headers={"typ": typ}), "typ")


@pytest.mark.parametrize("typ", ["JWT", "jwt", "at+jwt", "AT+JWT", "application/at+jwt", None])
def test_the_types_of_an_access_token_are_welcome(house, signer, typ):
    assert house.of(signer.token(headers={"typ": typ})).user_id


# For whom, by whom, of whom ----------------------------------------------------------------------


@pytest.mark.parametrize(
    "issuer", ["https://evil.example/oidc", ISSUER + "/", ISSUER.upper(), ISSUER + " ", "", " ", 1, [ISSUER], {"x": ISSUER}]
)
def test_a_foreign_issuer(refuses, signer, issuer):
    refuses(signer.token(iss=issuer), "issuer")


def test_a_foreign_issuer_where_genauths_own_has_a_slash_at_its_end(genauth, clock, signer):
    genauth.issuer = ISSUER + "/"
    house = House(genauth, clock)

    for issuer in (ISSUER, ISSUER + "/"):
        assert house.of(signer.token(iss=issuer)).user_id
    for issuer in (ISSUER + "//", ISSUER.removesuffix("c"), "https://evil.example/oidc", "https://evil.example/oidc/"):
        assert refusal(house, signer.token(iss=issuer)).note == "issuer"


@pytest.mark.parametrize("issuer", ["", " ", 1, [ISSUER], {"x": ISSUER}, None])
def test_an_issuer_that_can_be_nobodys_costs_no_call(house, signer, genauth, issuer):
    with pytest.raises(TokenInvalid) as refusal:
        house.of(signer.token({"iss": issuer}))

    assert refusal.value.note == "issuer"
    assert (genauth.discoveries, genauth.fetches) == (0, 0)


def test_a_foreign_issuer_is_refused_while_the_first_keys_come(house, signer, genauth):
    with pytest.raises(TokenInvalid) as refusal:
        house.of(signer.token(iss="https://evil.example"))

    assert refusal.value.note == "issuer"
    assert genauth.fetches == 1


@pytest.mark.parametrize(
    "audience", ["another-app", APP + " ", APP.upper(), APP[:-1], "", 1, [], ["another-app"], [[APP]], {APP: 1}, [1, APP]]
)
def test_a_token_for_another_application(refuses, signer, audience):
    refuses(signer.token(aud=audience), "audience")


@pytest.mark.parametrize("audience", [APP, [APP], ["another-app", APP]])
def test_a_token_for_us_among_others_is_for_us(house, signer, audience):
    assert house.of(signer.token(aud=audience)).user_id


@pytest.mark.parametrize(
    "sub", ["", " ", "\t", " a", "a ", "x" * 257, "a\nb", "a\x00", "a\u200eb", "\ud800", 7, ["mei"], {"mei": 1}, True]
)
def test_a_user_id_that_cannot_be_one(refuses, signer, sub):
    refuses(signer.token(sub=sub), "sub")


@pytest.mark.parametrize("claim", ["exp", "iat", "iss", "aud", "sub", "scope"])
def test_a_claim_that_is_missing(refuses, signer, claim):
    notes = {"iss": "issuer", "aud": "audience", "scope": "id_token"}

    refuses(signer.token({claim: None}), notes.get(claim, claim))


# When ---------------------------------------------------------------------------------------------


def test_a_token_is_good_until_exp_and_not_a_moment_longer(house, signer, clock):
    token = signer.token(exp=int(NOW) + 100)

    clock.advance(99.999)
    assert house.of(token).expires_at == NOW + 100
    clock.advance(0.001)
    with pytest.raises(SessionExpired):
        house.of(token)


def test_an_expired_token_is_expired(house, signer):
    with pytest.raises(SessionExpired):
        house.of(signer.token(iat=int(NOW) - 7200, exp=int(NOW) - 1))


def test_an_expired_token_that_is_forged_too_is_invalid(refuses):
    refuses(Signer("stranger").token(headers={"kid": "k1"}, exp=int(NOW) - 1), "signature")


def test_an_expired_token_of_somebody_elses_is_invalid(refuses, signer):
    refuses(signer.token(aud="another-app", exp=int(NOW) - 1), "audience")


@pytest.mark.parametrize(
    "exp", ["1900000000", 1e400, -1, True, [1900000000], {}, 10**30, 253402300800, float("nan"), float("-inf"), 10**4000]
)
def test_an_end_that_is_no_moment(refuses, signer, exp):
    note = "form" if repr(exp) in ("nan", "inf", "-inf") else "exp"

    refuses(signer.token(exp=exp), note)


def test_an_end_that_only_json_can_write(refuses, signer):
    for exp in ("1e400", "-1e400", "1" + "0" * 5000):
        payload = json.dumps(good_claims() | {"exp": "EXP"}).replace('"EXP"', exp)
        refuses(signer.signs({"alg": "RS256", "kid": "k1"}, payload), "form" if len(exp) > 4300 else "exp")


def test_an_end_with_a_fraction_is_a_moment(house, signer):
    assert house.of(signer.token(exp=NOW + 0.5)).expires_at == NOW + 0.5


@pytest.mark.parametrize("claim", ["nbf", "iat"])
def test_a_token_from_the_future(refuses, signer, claim):
    refuses(signer.token({claim: int(NOW) + 61}), claim)


@pytest.mark.parametrize("claim", ["nbf", "iat"])
def test_genauths_clock_may_be_a_minute_ahead(house, signer, claim):
    assert house.of(signer.token({claim: int(NOW) + 60})).user_id


@pytest.mark.parametrize("nbf", ["now", True, [], 1e400, -5])
def test_a_beginning_that_is_no_moment(refuses, signer, nbf):
    refuses(signer.token(nbf=nbf), "form" if nbf == float("inf") else "nbf")


# Not an access token ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "claims", [{"nonce": "n"}, {"at_hash": "h"}, {"c_hash": "h"}, {"scope": ""}, {"scope": " "}, {"scope": ["openid"]}]
)
def test_an_id_token(refuses, signer, claims):
    refuses(signer.token(claims), "id_token")


def test_an_id_token_as_genauth_makes_them(refuses, signer):
    claims = {"scope": None, "nonce": "n", "at_hash": "h"}
    signed = f"{b64(json.dumps({'alg': 'HS256', 'typ': 'JWT'}))}.{b64(json.dumps(without_none(good_claims() | claims)))}"

    refuses(f"{signed}.{b64(hmac.digest(b'app-secret', signed.encode(), hashlib.sha256))}", "algorithm")
    refuses(signer.token(claims), "id_token")


# How it is written --------------------------------------------------------------------------------


def test_another_spelling_of_a_good_token_is_no_token(refuses, signer):
    """Several spellings of one token would each have their own digest: a refused one would be back under another name."""
    token = signer.token()
    head, payload, signature = token.split(".")
    alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
    spare = signature[:-1] + alphabet[alphabet.index(signature[-1]) ^ 1]
    assert base64.urlsafe_b64decode(spare + "==") == base64.urlsafe_b64decode(signature + "==")

    refuses(f"{head}.{payload}.{spare}", "form")
    refuses(f"{token}==", "form")
    refuses(f"{token}=", "form")
    refuses(f"{head}.{payload}.{signature[:-1]}+", "form")
    refuses(f"{head}.{payload}~.{signature}", "form")


def test_the_other_half_of_an_elliptic_signature_is_the_same_token(clock):
    """(r, n-s) verifies wherever (r, s) does, and JWS has no rule against it: a verdict on one is a verdict on both."""
    signer = Signer("ec", "ES256")
    house = House(GenAuth(signer), clock)
    token = signer.token()
    signed, _, signature = token.rpartition(".")
    raw = base64.urlsafe_b64decode(signature + "==")
    s = P256_ORDER - int.from_bytes(raw[32:], "big")
    twin = f"{signed}.{b64(raw[:32] + s.to_bytes(32, 'big'))}"

    first, second = house.of(token), house.of(twin)
    assert first.digest == second.digest != house.of(signer.token(jti="another")).digest
    assert (first.user_id, first.expires_at) == (second.user_id, second.expires_at)
    assert second.token == twin
    assert len(house.accepted) == 3, "each text is verified by itself"


def test_a_signature_that_does_not_hold_inherits_nothing_from_the_token_it_is_put_on(house, signer):
    """Verdicts go by what was signed; whether it was is remembered of the whole text alone."""
    token = signer.token()
    signed = token.rpartition(".")[0]
    good = house.of(token)

    for signature in (b64(b"x" * 256), b64(b"\0" * 256), token.rpartition(".")[2][:-4] + "AAAA"):
        assert refusal(house, f"{signed}.{signature}").note in {"signature", "form"}
    assert house.of(token) == good


def test_doubled_names(refuses, signer):
    once = json.dumps(good_claims())

    refuses(signer.signs({"alg": "RS256", "kid": "k1"}, once[:-1] + ', "sub": "admin"}'), "form")
    refuses(signer.signs('{"alg": "RS256", "kid": "k1", "alg": "none"}', once), "form")


@pytest.mark.parametrize(
    "payload",
    [b"[]", b"null", b'"sub"', b"1", b"{", b"\xff\xfe{\x00}\x00", b"\xef\xbb\xbf{}", b"[" * 3000, b'{"a":' * 1000, b"{}{}"],
)
def test_a_payload_that_is_no_object(refuses, signer, payload):
    refuses(signer.signs({"alg": "RS256", "kid": "k1"}, payload), "form")
    refuses(signer.signs(payload, good_claims()), "form")


@pytest.mark.parametrize(
    "token", [".", "..", "...", "a", "a.b", "a.b.c.d", "a.b.c.d.e", "....", "a..c", "=", "e30.e30.e30", "a.b.c"]
)
def test_what_is_no_signed_jwt(house, genauth, token):
    with pytest.raises(TokenInvalid):
        house.of(token)
    assert (genauth.discoveries, genauth.fetches) == (0, 0)


def test_no_refusal_says_what_was_in_the_token(house, signer):
    secret = "c4n4ry-in-the-token"
    for token in (
        signer.token(sub=secret + "\n"),
        signer.token(iss=secret),
        signer.token(aud=secret),
        signer.token(headers={"kid": secret}),
        signer.token(headers={"alg": secret}, alg="RS256"),
        f"{b64(secret)}.{b64(secret)}.{b64(secret)}",
    ):
        with pytest.raises(TokenInvalid) as refusal:
            house.of(token)
        error = refusal.value
        while error is not None:
            assert secret not in f"{error!r} {error} {vars(error)}"
            assert token not in f"{error!r} {error} {vars(error)}"
            error = error.__cause__ or (None if error.__suppress_context__ else error.__context__)
