"""Whatever a key set, a discovery document or an introspection says: keys that can be used, an answer, or one of our errors."""

import json

from hypothesis import given
from hypothesis import strategies as st

from bff.auth.introspection import Introspector
from bff.auth.jwk import Key, usable_keys
from bff.auth.jwks_fetcher import JwksFetcher
from bff.auth.sessions import Sessions
from bff.errors import BffError, TokenInvalid
from bff.genauth import oidc
from bff.genauth.messages import Response
from bff.resilience.deadline import Deadline
from schemas.genauth import LONGEST_ID
from tests.auth.world import HOST, Clock, GenAuth, House, Signer
from tests.security.effort import examples, tried

SIGNER = Signer("k1")
NAMES = """
    keys kty kid use alg n e x y crv key_ops d p q x5c issuer jwks_uri introspection_endpoint
    introspection_endpoint_auth_methods_supported active sub exp client_id scope iss aud nbf token_type statusCode
"""
names = st.sampled_from(NAMES.split())
leaves = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(max_size=20)
    | st.binary(max_size=90).map(bytes.hex)
    | st.sampled_from(
        ["RSA", "EC", "P-256", "sig", "RS256", "ES256", "k1", "AQAB", "https://a", "http://evil.example/", "file:///etc/passwd"]
    )
    | st.sampled_from([*SIGNER.jwk().values(), f"{HOST}/oidc", f"{HOST}:99999/", "https://u:p@a/"])
)
anything = st.recursive(
    leaves,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(names | st.text(max_size=5), inner, max_size=7),
    max_leaves=20,
)
key_sets = st.fixed_dictionaries({"keys": st.lists(st.dictionaries(names, anything, max_size=9) | anything, max_size=5)})
bent_keys = st.dictionaries(names, anything, max_size=3).map(lambda changes: {"keys": [SIGNER.jwk() | changes]})
documents = anything | key_sets | bent_keys | st.dictionaries(names, anything, max_size=9)


@examples(40, 2000)
@given(document=documents)
def test_any_key_set(document):
    keys = usable_keys(document)

    tried("key sets")
    assert all(isinstance(key, Key) and key.algorithm in {"RS256", "ES256"} for key in keys)
    assert len({key.kid for key in keys}) == len(keys)


@examples(20, 500)
@given(document=bent_keys, claims=st.dictionaries(names, anything, max_size=2))
def test_a_session_in_spite_of_any_key_set_is_of_a_token_that_was_signed(document, claims):
    genauth = GenAuth()
    genauth.document = document
    house = House(genauth, Clock(), start=lambda work: work())
    token = Signer("k1").token(claims)
    foreign = Signer("stranger").token(headers={"kid": "k1"})

    tried("key sets")
    try:
        session = house.of(token)
    except BffError:
        pass
    else:
        assert session.user_id == claims.get("sub", session.user_id)
    try:
        house.of(foreign)
    except BffError:
        return
    raise AssertionError("a stranger's signature was accepted")


@examples(40, 2000)
@given(document=documents | st.binary(max_size=60), status=st.sampled_from([200, 200, 200, 301, 401, 404, 429, 503]))
def test_any_discovery_document_sends_us_nowhere_but_to_https(document, status):
    body = document if isinstance(document, bytes) else json.dumps(document).encode()

    class Published(GenAuth):
        def discovery(self, _deadline):
            return oidc.read_discovery(Response(status, {}, body))

    published = Published(SIGNER)
    tried("discovery documents")
    try:
        JwksFetcher(published, host=HOST).fetch(Deadline.after(1))
    except BffError:
        return
    assert all(url.startswith("https://") for url in published.urls)


class Asked:
    def __init__(self, body, status):
        self.answer = Response(status, {}, body)

    def introspect(self, _token, _deadline, *, known=False, whose):
        assert whose
        assert not known
        return oidc.read_introspection(self.answer)


@examples(40, 2000)
@given(
    document=st.dictionaries(
        names, anything | st.sampled_from(["app", ["app"], "Bearer", "refresh_token", " u"]), max_size=6
    ).map(lambda said: {"active": True, "sub": "u"} | said)
    | anything,
    status=st.sampled_from([200, 200, 200, 400, 401, 500]),
)
def test_any_introspection_admits_nobody_who_is_not_named(document, status):
    sessions = Sessions(Introspector(Asked(json.dumps(document).encode(), status), app_id="app"))

    tried("introspection answers")
    try:
        session = sessions.of("opaque", Deadline.after(1))
    except TokenInvalid:
        assert status == 200  # a refusal of us is no word about the token
        return
    except BffError:
        return
    assert status == 200
    assert document["active"] is True
    assert session.user_id == document["sub"]
    assert 0 < len(session.user_id) <= LONGEST_ID
    assert session.user_id.isprintable()
    assert document.get("client_id", "app") == "app"
    assert document.get("token_type", "Bearer").lower() == "bearer"
    audience = document.get("aud", "app")
    assert audience == "app" or (isinstance(audience, list) and "app" in audience)
