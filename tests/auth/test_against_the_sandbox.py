"""The whole way from a token to a session, with a GenAuth on a real port and the client that asks it."""

import threading

import pytest

from bff.auth.access_tokens import AccessTokens
from bff.auth.introspection import Introspector
from bff.auth.jwks_cache import JwksCache
from bff.auth.jwks_fetcher import JwksFetcher
from bff.auth.jwks_refresher import JwksRefresher
from bff.auth.sessions import Sessions
from bff.errors import SessionExpired, TokenInvalid, TokenRefused, UpstreamFailure, UpstreamRejected, UpstreamUnavailable
from bff.genauth.client import GenAuthClient
from bff.genauth.transport import Transport
from bff.resilience.deadline import Deadline
from bff.sandbox import Sandbox

JWKS = "/oidc/.well-known/jwks.json"
DISCOVERY = "/oidc/.well-known/openid-configuration"
INTROSPECTION = "/oidc/token/introspection"


class NoMetrics:
    """Nobody looks."""

    def __getattr__(self, _name):
        return lambda *_args, **_how: None


@pytest.fixture
def genauth():
    with Sandbox() as sandbox:
        yield sandbox


@pytest.fixture
def client(genauth):
    client = GenAuthClient(genauth.url, genauth.app_id, genauth.app_secret, Transport(), recorder=NoMetrics())
    yield client
    client.close()


@pytest.fixture
def sessions(client, genauth):
    return Sessions(AccessTokens(JwksCache(JwksRefresher(JwksFetcher(client, host=genauth.url))), audience=genauth.app_id))


@pytest.fixture
def asking(client, genauth):
    return Sessions(Introspector(client, app_id=genauth.app_id))


def of(sessions, token, seconds=5.0):
    return sessions.of(token, Deadline.after(seconds))


@pytest.mark.parametrize("alg", ["RS256", "ES256"])
def test_mei_is_mei(sessions, genauth, alg):
    assert of(sessions, genauth.token("mei", alg=alg)).user_id == genauth.id_of("mei")


def test_max_has_expired(sessions, genauth):
    with pytest.raises(SessionExpired):
        of(sessions, genauth.token("max"))


@pytest.mark.parametrize(
    "how",
    [
        {"kind": "id"},
        {"kind": "opaque"},
        {"key": "foreign"},
        {"key": "foreign", "headers": {"kid": "nobody"}},
        {"alg": "none"},
        {"alg": "HS256"},
        {"headers": {"crit": ["exp"]}},
        {"claims": {"aud": "another-app"}},
        {"claims": {"iss": "https://evil.example/oidc"}},
        {"claims": {"nonce": "n"}},
        {"claims": {"exp": None}},
        {"claims": {"nbf": 32503680000}},
    ],
)
def test_what_is_not_meis_token_is_invalid(sessions, genauth, how):
    for _ in range(3):
        with pytest.raises(TokenInvalid):
            of(sessions, genauth.token("mei", **how))


def test_the_public_key_is_no_secret_to_sign_with(sessions, genauth):
    with pytest.raises(TokenInvalid):
        of(sessions, genauth.token("mei", alg="HS256", key=genauth.public_key_pem))


@pytest.mark.parametrize("keep_old", [True, False])
def test_keys_rotate_while_people_are_signed_in(sessions, genauth, keep_old):
    before = genauth.token("mei")
    of(sessions, before)
    genauth.rotate_keys(keep_old=keep_old)

    assert of(sessions, genauth.token("mei")).user_id == genauth.id_of("mei")
    if keep_old:
        assert of(sessions, before).user_id
    else:
        with pytest.raises(TokenInvalid):
            of(sessions, before)


def test_a_rotation_among_forged_tokens_is_noticed(sessions, genauth):
    of(sessions, genauth.token("mei"))
    for number in range(2):
        with pytest.raises(TokenInvalid):
            of(sessions, genauth.token("mei", key="foreign", headers={"kid": f"nobody-{number}"}))
    genauth.rotate_keys()

    assert of(sessions, genauth.token("mei")).user_id


def test_many_people_at_once_cost_one_fetch(sessions, genauth):
    users = []
    tokens = [genauth.token("mei") for _ in range(32)]
    threads = [threading.Thread(target=lambda token=token: users.append(of(sessions, token).user_id)) for token in tokens]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(10)

    assert users == [genauth.id_of("mei")] * 32
    assert (genauth.calls(DISCOVERY), genauth.calls(JWKS)) == (1, 1)


def test_everything_wrong_with_the_keys_is_trouble_and_not_the_token(sessions, genauth):
    genauth.answers_raw(JWKS, body=b'{"keys": []}')

    with pytest.raises(UpstreamFailure):
        of(sessions, genauth.token("mei"))


def test_good_tokens_stay_good_while_genauth_is_away(sessions, genauth):
    of(sessions, genauth.token("mei"))
    another, of_no_key = genauth.token("omar"), genauth.token("mei", key="foreign", headers={"kid": "nobody"})
    genauth.stop_listening()

    assert of(sessions, another).user_id == genauth.id_of("omar")
    with pytest.raises(UpstreamUnavailable):
        of(sessions, of_no_key)


def test_an_opaque_token_is_meis(asking, genauth):
    token = genauth.token("mei", kind="opaque")
    for _ in range(5):
        assert of(asking, token).user_id == genauth.id_of("mei")

    assert genauth.calls(INTROSPECTION) == 1


def test_a_revoked_opaque_token_is_refused_once_the_belief_ends(client, genauth):
    at = [0.0]
    asking = Sessions(
        Introspector(client, app_id=genauth.app_id, monotonic=lambda: at[0]),
        monotonic=lambda: at[0],
    )
    token = genauth.token("mei", kind="opaque")
    of(asking, token)
    genauth.revoke(token)
    assert of(asking, token).user_id

    at[0] = 60.0
    with pytest.raises(TokenRefused):
        of(asking, token)


def test_a_blocked_users_opaque_token_is_refused(asking, genauth):
    genauth.block("mei")

    with pytest.raises(TokenRefused):
        of(asking, genauth.token("mei", kind="opaque"))


def test_an_unknown_opaque_token_is_refused_and_asked_about_once(asking, genauth):
    for _ in range(5):
        with pytest.raises(TokenRefused):
            of(asking, "n0-such-token")

    assert genauth.calls(INTROSPECTION) == 1


def test_introspection_down_says_nothing_of_the_token(asking, genauth):
    genauth.stop_listening()

    with pytest.raises(UpstreamUnavailable):
        of(asking, genauth.token("mei", kind="opaque"))


def test_a_wrong_secret_of_ours_says_nothing_of_the_token(genauth):
    client = GenAuthClient(genauth.url, genauth.app_id, "wrong", Transport(), recorder=NoMetrics())

    with pytest.raises((UpstreamRejected, UpstreamFailure)):
        of(Sessions(Introspector(client, app_id=genauth.app_id)), genauth.token("mei", kind="opaque"))
    client.close()
