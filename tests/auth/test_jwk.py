"""Which keys of a set may verify a token."""

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, ed25519
from hypothesis import given, settings
from hypothesis import strategies as st
from jwt.algorithms import ECAlgorithm, OKPAlgorithm, RSAAlgorithm

from bff.auth.jwk import Key, usable_keys
from tests.auth.world import Signer, b64, rsa_key

RSA = Signer("k1").jwk()
EC = Signer("k1", "ES256").jwk()


def kids(*entries):
    return sorted(str(key.kid) for key in usable_keys({"keys": list(entries)}))


def without(jwk, *members):
    return {name: value for name, value in jwk.items() if name not in members}


def test_a_key_verifies_with_the_algorithm_of_its_own_type():
    rsa, p256 = usable_keys({"keys": [RSA, EC | {"kid": "k2"}]})

    assert (rsa.kid, rsa.algorithm) == ("k1", "RS256")
    assert (p256.kid, p256.algorithm) == ("k2", "ES256")


@pytest.mark.parametrize("jwk", [RSA, EC])
def test_a_key_need_not_say_what_it_is_for(jwk):
    assert kids(without(jwk, "use", "alg")) == ["k1"]
    assert kids(jwk | {"key_ops": ["verify", "wrapKey"]}) == ["k1"]
    assert kids(jwk | {"use": None, "alg": None, "key_ops": None, "x5c": 1, "unheard-of": {}}) == ["k1"]


@pytest.mark.parametrize("jwk", [RSA, EC])
@pytest.mark.parametrize(
    "for_something_else",
    [
        *({"use": "enc"}, {"use": ""}, {"use": ["sig"]}, {"key_ops": []}, {"key_ops": ["sign"]}, {"key_ops": "verify"}),
        *({"alg": "RS512"}, {"alg": "PS256"}, {"alg": "HS256"}, {"alg": "none"}, {"alg": ["RS256"]}, {"key_ops": {"verify": 1}}),
    ],
)
def test_a_key_for_something_else_is_passed_over(jwk, for_something_else):
    assert kids(jwk | for_something_else) == []


def test_a_key_whose_algorithm_is_not_its_types_is_passed_over():
    assert kids(RSA | {"alg": "ES256"}, EC | {"alg": "RS256"}) == []


@pytest.mark.parametrize("size", [1024, 2040])
def test_an_rsa_key_below_2048_bits_is_passed_over(size):
    assert kids(Signer("weak", size=size).jwk()) == []


def test_an_rsa_number_that_would_keep_us_busy_is_passed_over():
    assert kids(RSA | {"n": b64(b"\xff" * 1025)}) == []
    assert kids(RSA | {"n": "_" * 900_000}) == []


@pytest.mark.parametrize("curve", [ec.SECP384R1(), ec.SECP521R1(), ec.SECP256K1()])
def test_a_curve_other_than_p256_is_passed_over(curve):
    jwk = ECAlgorithm.to_jwk(ec.generate_private_key(curve).public_key(), as_dict=True)

    assert kids(jwk | {"kid": "k"}) == []
    assert kids(jwk | {"kid": "k", "crv": "P-256"}) == []


def test_a_point_that_is_not_on_the_curve_is_passed_over():
    assert kids(EC | {"x": b64(b"\x01" * 32)}) == []


@pytest.mark.parametrize("private", [rsa_key(2048, "k1"), Signer("k1", "ES256").private])
def test_a_private_key_that_was_published_is_passed_over(private):
    shape = RSAAlgorithm if hasattr(private, "decrypt") else ECAlgorithm

    assert kids(shape.to_jwk(private, as_dict=True) | {"key_ops": ["verify"], "kid": "k"}) == []


def test_keys_of_other_types_are_passed_over():
    okp = OKPAlgorithm.to_jwk(ed25519.Ed25519PrivateKey.generate().public_key(), as_dict=True)

    assert kids({"kty": "oct", "k": "c2VjcmV0", "kid": "k"}, okp | {"kid": "k"}, {"kty": ["RSA"]}, {"kty": None}) == []


@pytest.mark.parametrize("member", ["n", "e"])
@pytest.mark.parametrize("value", [None, "", "=", "a b", "!!", 1, ["AQAB"], "AQAB\n", "AA", "é"])
def test_a_malformed_rsa_key_is_passed_over(member, value):
    assert kids(RSA | {member: value}, EC | {"kid": "k2"}) == ["k2"]


@pytest.mark.parametrize("member", ["x", "y", "crv"])
@pytest.mark.parametrize("value", [None, "", "A", "AAAA", 1, ["P-256"], "p-256"])
def test_a_malformed_elliptic_key_is_passed_over(member, value):
    assert kids(EC | {member: value}, RSA | {"kid": "k2"}) == ["k2"]


@pytest.mark.parametrize("kid", ["", 1, [], {}, True, "x" * 257, "a\nb", "\ud800"])
def test_a_key_whose_name_cannot_be_asked_for_is_passed_over(kid):
    assert kids(RSA | {"kid": kid}) == []


def test_two_keys_of_one_name_are_no_keys():
    assert kids(RSA, Signer("other").jwk() | {"kid": "k1"}, EC | {"kid": "k2"}) == ["k2"]
    assert kids(RSA, EC) == []


def test_a_key_listed_twice_is_one_key():
    assert kids(RSA, dict(RSA)) == ["k1"]


def test_a_key_may_share_its_name_with_one_for_encryption():
    assert kids(RSA, Signer("other").jwk() | {"kid": "k1", "use": "enc"}) == ["k1"]


def test_no_more_than_64_keys_are_looked_at():
    entries = [EC | {"kid": f"k{number:03}"} for number in range(100)]

    assert len(kids(*entries)) == 64


@pytest.mark.parametrize(
    "document", [None, [], "", 1, {}, {"keys": None}, {"keys": {}}, {"keys": "k"}, {"keys": []}, {"keys": [None, 1, [], "k"]}]
)
def test_what_is_no_key_set_has_no_keys(document):
    assert usable_keys(document) == ()


def test_equal_keys_are_equal_and_others_are_not():
    again, other = usable_keys({"keys": [dict(RSA)]}), usable_keys({"keys": [Signer("other").jwk(kid="k1")]})

    assert usable_keys({"keys": [RSA]}) == again != other


def test_a_keys_jwk_is_its_public_members_and_no_more():
    more = {"use": "sig", "alg": "RS256", "x5c": ["MIIC"], "x5t": "x", "exp": 1, "secret": "s", "key_ops": ["verify"]}
    nameless = {name: value for name, value in EC.items() if name != "kid"}

    rsa, p256 = keys = usable_keys({"keys": [RSA | more, nameless]})

    assert rsa.jwk == {name: RSA[name] for name in ("kty", "kid", "n", "e")} | {"alg": "RS256", "use": "sig"}
    assert p256.jwk == {name: EC[name] for name in ("kty", "crv", "x", "y")} | {"alg": "ES256", "use": "sig"}
    assert usable_keys({"keys": [rsa.jwk, p256.jwk]}) == keys


def test_a_key_does_not_show_its_object():
    assert "object at" not in repr(usable_keys({"keys": [RSA]}))


anything = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text()
    | st.sampled_from(["RSA", "EC", "P-256", "sig", "verify", "AQAB"]),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(st.sampled_from(["kty", "kid", "n", "e", "x", "y", "crv", "use", "key_ops", "keys", "d"]), inner)
    ),
    max_leaves=20,
)


@settings(deadline=None)
@given(
    document=anything,
    jwk=st.sampled_from([RSA, EC]),
    changes=st.dictionaries(st.sampled_from([*RSA, *EC, "d", "key_ops"]), anything),
)
def test_no_key_set_can_upset_us(document, jwk, changes):
    for published in (document, {"keys": document}, {"keys": [document]}, {"keys": [jwk | changes]}):
        assert all(isinstance(key, Key) for key in usable_keys(published))
