"""Whatever is sent as a token: one of our errors or a session, and GenAuth is left in peace."""

import json

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from bff.errors import BffError, InvalidRequest, Unauthenticated
from tests.auth.world import APP, ISSUER, NOW, Clock, GenAuth, House, Signer, b64, good_claims

# Without deadlines: a busy machine is no finding.
SIGNER = Signer("k1")
GOOD = SIGNER.token()
B64TOKEN = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._~+/="

json_values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(max_size=20)
    | st.sampled_from([APP, ISSUER, "RS256", "none", "k1", NOW, NOW + 60, 10**400]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=6,
)
claim_names = st.sampled_from([*good_claims(), "nbf", "nonce", "at_hash", "c_hash", "tenant_id", "cnf"])
header_names = st.sampled_from(["alg", "typ", "kid", "crit", "b64", "jwk", "jku", "x5u", "x5c", "cty", "enc", "zip"])
segments = st.binary(max_size=60).map(b64) | st.text(B64TOKEN, max_size=40) | json_values.map(json.dumps).map(b64)


@pytest.fixture(scope="module")
def house():
    """Keys in hand, and a GenAuth that would tell if it were asked again."""
    house = House(GenAuth(SIGNER), Clock())
    house.of(GOOD)
    return house


@pytest.fixture(scope="module")
def cold_house():
    """No keys yet: a call that a token causes is seen at once."""
    return House(GenAuth(SIGNER), Clock())


def answered(house, token):
    """The session, or the error that the caller hears; nothing else may come out, and nobody is asked."""
    genauth = house.genauth
    before = (genauth.discoveries, genauth.fetches)
    try:
        answer = house.of(token)
    except (Unauthenticated, InvalidRequest) as refusal:
        answer = refusal
    if isinstance(answer, BffError):
        assert len(token) < 40 or token not in f"{answer!r}{answer.note}{answer.detail}"
    assert (genauth.discoveries, genauth.fetches) == before
    return answer


@settings(deadline=None)
@given(token=st.text(max_size=200) | st.text(B64TOKEN, max_size=400) | st.text(max_size=9000))
@example(token="a" * 8192)
@example(token="." * 8192)
@example(token="e30." * 2000)
@example(token="\x00")
@example(token="\ud800")
def test_any_text(house, cold_house, token):
    assert isinstance(answered(house, token), BffError)
    assert isinstance(answered(cold_house, token), BffError)


@settings(deadline=None)
@given(parts=st.lists(segments, min_size=1, max_size=6))
def test_anything_between_dots(house, cold_house, parts):
    assert isinstance(answered(house, ".".join(parts)), BffError)
    assert isinstance(answered(cold_house, ".".join(parts)), BffError)


@settings(deadline=None)
@given(head=json_values, payload=json_values)
def test_any_json_with_a_signature_that_holds(house, head, payload):
    assert isinstance(answered(house, SIGNER.signs(json.dumps(head), json.dumps(payload))), BffError)


@settings(max_examples=300, deadline=None)
@given(claims=st.dictionaries(claim_names, json_values, max_size=4))
def test_any_claims_with_a_signature_that_holds(house, claims):
    said = good_claims() | claims
    answer = answered(house, SIGNER.signs({"alg": "RS256", "kid": "k1"}, said))

    if not isinstance(answer, BffError):
        assert (said["iss"], answer.user_id) == (ISSUER, said["sub"])
        assert said["aud"] == APP or APP in said["aud"]
        assert NOW < answer.expires_at == said["exp"] < 1e12
        assert not {"nonce", "at_hash", "c_hash"} & set(said)


@settings(max_examples=300, deadline=None)
@given(headers=st.dictionaries(header_names.filter(lambda name: name != "kid"), json_values, max_size=4))
def test_any_header_with_a_signature_that_holds(house, headers):
    said = {"alg": "RS256", "typ": "JWT", "kid": "k1"} | headers
    answer = answered(house, SIGNER.signs(said, good_claims()))

    assert isinstance(answer, BffError) or (said["alg"] == "RS256" and not {"crit", "b64"} & set(said))


@settings(deadline=None)
@given(at=st.integers(GOOD.index("."), len(GOOD) - 1), character=st.sampled_from(B64TOKEN))
def test_a_good_token_with_one_character_changed(house, at, character):
    token = GOOD[:at] + character + GOOD[at + 1 :]

    assert token == GOOD or isinstance(answered(house, token), BffError)


@settings(deadline=None)
@given(length=st.integers(0, len(GOOD) - 1))
def test_a_good_token_cut_short(house, length):
    assert isinstance(answered(house, GOOD[:length]), BffError)


@pytest.mark.parametrize("doubled", ['{"sub":"a","sub":"a"}', '{"a":{"b":1,"b":1}}', '[{"a":1,"a":2}]', '{"a":1,"\\u0061":1}'])
def test_no_name_comes_twice_at_any_depth(house, doubled):
    payload = f'{json.dumps(good_claims())[:-1]}, "x": {doubled}}}'

    assert answered(house, SIGNER.signs({"alg": "RS256", "kid": "k1"}, payload)).note == "form"


@settings(deadline=None)
@given(value=json_values, name=st.text(max_size=5))
def test_no_name_comes_twice_whatever_it_stands_for(house, value, name):
    once = json.dumps(value)
    twice = f"{{{json.dumps(name)}: {once}, {json.dumps(name)}: {once}}}"
    payload = f'{json.dumps(good_claims())[:-1]}, "x": [{twice}]}}'

    assert answered(house, SIGNER.signs({"alg": "RS256", "kid": "k1"}, payload)).note == "form"
