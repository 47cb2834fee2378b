"""What is a token here, what is not, and what /oidc says of it."""

import base64

import jwt
import pytest

NOT_LOGGED_IN = (200, 401, 2020)


def verdict(response):
    return response.status_code, response.json()["statusCode"], response.json().get("apiCode")


@pytest.mark.parametrize("alg", ["RS256", "ES256"])
def test_tokens_verify_against_the_served_keys(alg, ask, genauth):
    token = genauth.token("mei", alg=alg)
    keys = jwt.PyJWKSet.from_dict(ask(path="/oidc/.well-known/jwks.json").json())
    kid = jwt.get_unverified_header(token)["kid"]

    claims = jwt.decode(token, keys[kid], algorithms=[alg], audience=genauth.app_id, issuer=genauth.issuer)

    assert claims["sub"] == genauth.id_of("mei")
    assert claims["exp"] - claims["iat"] == 3600
    assert set(claims) == {"jti", "sub", "iat", "exp", "scope", "iss", "aud"}
    assert jwt.get_unverified_header(token) == {"alg": alg, "typ": "JWT", "kid": kid}
    assert "d" not in ask(path="/oidc/.well-known/jwks.json").json()["keys"][0]


def test_discovery_leads_to_the_keys(ask, genauth, http):
    about = ask(path="/oidc/.well-known/openid-configuration").json()

    assert about["issuer"] == genauth.issuer == f"{genauth.url}/oidc"
    assert http.get(about["jwks_uri"], timeout=5).json()["keys"]


@pytest.mark.parametrize("kind", ["access", "opaque"])
@pytest.mark.parametrize("form", ["{}", "Bearer {}", "bearer {}"])
def test_both_kinds_of_token_are_accepted_raw_and_as_bearer(kind, form, ask, genauth):
    token = genauth.token("mei", kind=kind)

    assert ask(headers={"Authorization": form.format(token)}).json()["statusCode"] == 200


def test_an_id_token_is_hs256_with_nonce_and_without_scope(ask, genauth):
    token = genauth.token("mei", kind="id")
    claims = jwt.decode(token, genauth.app_secret, algorithms=["HS256"], audience=genauth.app_id)

    assert {"nonce", "at_hash"} < set(claims)
    assert "scope" not in claims
    assert verdict(ask(token=token)) == NOT_LOGGED_IN


@pytest.mark.parametrize(
    "how",
    [
        {"lifetime": -1},
        {"alg": "none"},
        {"alg": "HS256"},
        {"alg": "RS256", "key": "foreign"},
        {"alg": "ES256", "key": "foreign"},
        {"kind": "id", "alg": "RS256"},
        {"headers": {"kid": "unknown"}},
        {"headers": {"kid": None}},
        {"headers": {"kid": ["a"]}},
        {"headers": {"alg": "ES256"}},
        {"claims": {"exp": None}},
        {"claims": {"exp": "soon"}},
        {"claims": {"sub": None}},
        {"claims": {"iss": "https://elsewhere.example/oidc"}},
        {"claims": {"aud": "f" * 24}},
        {"claims": {"scope": None}},
        {"claims": {"nbf": 99_999_999_999}},
        {"kind": "opaque", "lifetime": -1},
    ],
    ids=str,
)
def test_genauth_refuses_a_token_with(how, ask, genauth):
    assert verdict(ask(token=genauth.token("mei", **how))) == NOT_LOGGED_IN


def test_a_token_signed_with_the_public_key_is_refused(ask, genauth):
    token = genauth.token("mei", alg="HS256", key=genauth.public_key_pem)

    assert jwt.get_unverified_header(token)["alg"] == "HS256"
    assert verdict(ask(token=token)) == NOT_LOGGED_IN


@pytest.mark.parametrize("token", ["nonsense", "a.b.c", "..", "é", "Bearer", "W10.e30.", "e30.e30.e30"])
def test_what_is_no_token_is_refused(token, ask):
    assert verdict(ask(headers={"Authorization": token.encode()})) == NOT_LOGGED_IN


def test_no_token_and_maxs_expired_one_are_refused_alike(ask):
    assert verdict(ask()) == verdict(ask("max")) == NOT_LOGGED_IN


def test_a_token_of_somebody_unknown_finds_no_user(ask, genauth):
    token = genauth.token("mei", claims={"sub": "0" * 24})

    assert verdict(ask(token=token)) == (200, 404, 2004)


def test_revoking_one_token_leaves_the_others(ask, genauth):
    first, second = genauth.token("mei"), genauth.token("mei")
    genauth.revoke(first)

    assert verdict(ask(token=first)) == NOT_LOGGED_IN
    assert ask(token=second).json()["statusCode"] == 200


def test_rotation_that_keeps_the_old_key_keeps_its_tokens(ask, genauth):
    old = genauth.token("mei")
    genauth.rotate_keys(keep_old=True)
    new = genauth.token("mei")

    published = {key["kid"] for key in ask(path="/oidc/.well-known/jwks.json").json()["keys"]}
    kids = {jwt.get_unverified_header(token)["kid"] for token in (old, new)}
    assert len(kids) == 2
    assert kids < published
    assert {ask(token=token).json()["statusCode"] for token in (old, new)} == {200}


def test_rotation_that_drops_the_old_key_drops_its_tokens(ask, genauth):
    old = genauth.token("mei")
    assert ask(token=old).json()["statusCode"] == 200
    genauth.rotate_keys(keep_old=False)

    assert verdict(ask(token=old)) == NOT_LOGGED_IN
    assert ask("mei").json()["statusCode"] == 200


@pytest.fixture
def introspect(genauth, http):
    def introspecting(token, *, basic=False, secret=None, **more):
        secret = secret or genauth.app_secret
        form = {"token": token, **more}
        auth = None
        if basic:
            auth = (genauth.app_id, secret)
        else:
            form |= {"client_id": genauth.app_id, "client_secret": secret}
        return http.post(f"{genauth.url}/oidc/token/introspection", data=form, auth=auth, timeout=5)

    return introspecting


@pytest.mark.parametrize("kind", ["access", "opaque"])
@pytest.mark.parametrize("basic", [False, True])
def test_introspection_knows_good_tokens(kind, basic, genauth, introspect):
    state = introspect(genauth.token("mei", kind=kind), basic=basic).json()

    assert (state["active"], state["sub"], state["client_id"]) == (True, genauth.id_of("mei"), genauth.app_id)
    assert (state["token_type"], state["iss"]) == ("Bearer", genauth.issuer)
    assert {"exp", "iat", "jti", "scope"} < set(state)


def test_introspection_calls_bad_tokens_inactive(genauth, introspect):
    revoked = genauth.token("mei")
    genauth.revoke(revoked)

    bad = [revoked, genauth.token("max"), genauth.token("mei", kind="id"), "nonsense"]
    assert [introspect(token).json() for token in bad] == [{"active": False}] * 4


def test_strict_introspection_minds_a_blocked_user(genauth, introspect):
    token = genauth.token("rui")

    assert introspect(token).json()["active"] is True
    assert introspect(token, strict="true").json() == {"active": False}


@pytest.mark.parametrize("basic", [False, True])
def test_introspection_wants_the_applications_secret(basic, genauth, introspect):
    response = introspect(genauth.token("mei"), basic=basic, secret="wrong")

    assert (response.status_code, response.json()["error"]) == (401, "invalid_client")


def test_introspection_without_a_token_is_an_invalid_request(introspect):
    response = introspect("")

    assert (response.status_code, response.json()["error"]) == (400, "invalid_request")


def test_a_basic_secret_is_form_decoded(http, genauth):
    pair = base64.b64encode(f"{genauth.app_id}:{genauth.app_secret.replace('-', '%2D')}".encode()).decode()
    form = {"token": genauth.token("mei")}
    url = f"{genauth.url}/oidc/token/introspection"

    assert http.post(url, data=form, headers={"Authorization": f"Basic {pair}"}, timeout=5).json()["active"] is True


def test_a_revoked_token_is_refused_everywhere(ask, genauth, http, introspect):
    token = genauth.token("mei")
    form = {"token": token, "client_id": genauth.app_id, "client_secret": genauth.app_secret}
    revoked = http.post(f"{genauth.url}/oidc/token/revocation", data=form, timeout=5)

    assert (revoked.status_code, revoked.text) == (200, "")
    assert introspect(token).json() == {"active": False}
    assert verdict(ask(token=token)) == NOT_LOGGED_IN
    assert ask(token=token, path="/oidc/me").status_code == 401


def test_userinfo_has_claims_and_no_identities(ask, genauth):
    response = ask("mei", "/oidc/me")

    assert (response.status_code, response.json()["sub"]) == (200, genauth.id_of("mei"))
    assert "identities" not in response.json()


def test_userinfo_refuses_with_a_real_status(ask):
    response = ask("max", "/oidc/me")

    assert (response.status_code, response.json()["error"]) == (401, "invalid_token")
    assert response.headers["WWW-Authenticate"].startswith("Bearer")
