"""Keys, tokens that say anything, a clock, and a GenAuth that lives in memory."""

import base64
import json
import threading
from functools import cache
from types import SimpleNamespace

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from jwt.algorithms import ECAlgorithm, RSAAlgorithm

from bff.auth.access_tokens import AccessTokens
from bff.auth.jwks_cache import JwksCache
from bff.auth.jwks_fetcher import JwksFetcher
from bff.auth.jwks_refresher import JwksRefresher
from bff.auth.sessions import Sessions
from bff.errors import TokenInvalid, UpstreamUnavailable
from bff.genauth import issuer_of
from bff.resilience import Cache, Deadline

HOST = "https://app.genauth.ai"
ISSUER = f"{HOST}/oidc"
JWKS_URL = f"{ISSUER}/.well-known/jwks.json"
APP = "60193c610f9117e7cb049159"
NOW = 1_700_000_000.0


class Clock:
    """Both of a process's clocks; stands still until it is advanced."""

    def __init__(self):
        self.now = NOW

    def __call__(self):
        return self.now

    def advance(self, seconds):
        self.now += seconds


class Signer:
    """A key pair of GenAuth's, or of somebody's."""

    def __init__(self, kid="k1", alg="RS256", size=2048):
        self.kid, self.alg = kid, alg
        self.private = rsa_key(size, kid) if alg == "RS256" else ec_key(kid)

    def jwk(self, **changes):
        shape = RSAAlgorithm if self.alg == "RS256" else ECAlgorithm
        public = shape.to_jwk(self.private.public_key(), as_dict=True)
        public.pop("key_ops", None)
        return public | {"use": "sig", "alg": self.alg, "kid": self.kid} | changes

    def token(self, claims=None, *, headers=None, alg=None, secret=None, **more):
        """A good access token, but for these claims and headers; None takes one out."""
        head = without_none({"alg": alg or self.alg, "typ": "JWT", "kid": self.kid} | (headers or {}))
        payload = without_none(good_claims() | (claims or {}) | more)
        signed = f"{b64(json.dumps(head))}.{b64(json.dumps(payload))}"
        return f"{signed}.{b64(self.sign(signed, alg or self.alg, secret))}"

    def signs(self, head, payload):
        """Any header and payload, also what is no JSON, with a signature that holds."""
        signed = ".".join(b64(part if isinstance(part, str | bytes) else json.dumps(part)) for part in (head, payload))
        return f"{signed}.{b64(self.sign(signed))}"

    def sign(self, signed, alg=None, secret=None):
        return jwt.get_algorithm_by_name(alg or self.alg).sign(signed.encode(), secret or self.private)


def good_claims():
    return {
        "jti": "3YByyfvL0xoMP5wpMulgL",
        "sub": "60194296801dc7bc2a1b2735",
        "iat": int(NOW) - 60,
        "exp": int(NOW) + 3600,
        "scope": "openid email",
        "iss": ISSUER,
        "aud": APP,
    }


def without_none(members):
    return {name: value for name, value in members.items() if value is not None}


def b64(data):
    data = data.encode() if isinstance(data, str) else data
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


@cache
def rsa_key(size, name):
    # A tenth of a second each: tests that name the same key share it.
    return rsa.generate_private_key(public_exponent=65537, key_size=size)


@cache
def ec_key(name):
    return ec.generate_private_key(ec.SECP256R1())


class GenAuth:
    """Publishes keys, counts who asks, and can be away or hang."""

    def __init__(self, *signers):
        self.document = {"keys": [signer.jwk() for signer in signers]}
        self.issuer, self.jwks_uri = ISSUER, JWKS_URL
        self.discoveries = 0
        self.fetches = 0
        self.urls = []
        self.trouble = None
        self.hangs = None
        self.arrived = threading.Event()

    def discovery(self, _deadline):
        self.discoveries += 1
        self._misbehave()
        return SimpleNamespace(issuer=self.issuer, jwks_uri=self.jwks_uri)

    def key_set(self, url, _deadline):
        self.fetches += 1
        self.urls.append(url)
        self._misbehave()
        return self.document

    def publish(self, *signers):
        self.document = {"keys": [signer.jwk() for signer in signers]}

    def goes_away(self):
        self.trouble = UpstreamUnavailable(note="connection refused")

    def is_back(self):
        self.trouble = None

    def _misbehave(self):
        self.arrived.set()
        if self.hangs is not None:
            assert self.hangs.wait(10)
        if self.trouble is not None:
            raise self.trouble


class House:
    """A process's sessions, wired as the factory does."""

    def __init__(self, genauth, clock, *, host=HOST, issuer=None, url=None, brief_wait_seconds=0.5, **refreshing):
        fetcher = JwksFetcher(genauth, host=host, issuer=issuer, url=url, monotonic=clock)
        self.genauth, self.clock = genauth, clock
        self.accepted = Cache(2**20, 3600.0)
        self.refresher = JwksRefresher(fetcher, clock=clock, monotonic=clock, **refreshing)
        self.keys = JwksCache(self.refresher, brief_wait_seconds=brief_wait_seconds, monotonic=clock)
        verifier = AccessTokens(self.keys, audience=APP, issuer=issuer_of(host), clock=clock, monotonic=clock)
        self.sessions = Sessions(verifier, accepted=self.accepted, clock=clock, monotonic=clock)

    @property
    def age(self):
        """Seconds since the current key set was fetched, None before there is one."""
        key_set = self.refresher.current()
        return key_set and self.clock() - key_set.fetched_at_monotonic

    def of(self, token, seconds=5):
        return self.sessions.of(token, Deadline.after(seconds))


def refusal(house, token, kind=TokenInvalid, seconds=5.0):
    with pytest.raises(kind) as caught:
        house.of(token, seconds)
    return caught.value


def fresh(clock, signer, **claims):
    return signer.token({"iat": int(clock()), "exp": int(clock()) + 3600} | claims)
