"""Somebody between us and GenAuth or Redis, or who can name an address for us: they read nothing and answer for nobody.

TLS to GenAuth: tests/genauth/test_tls.py. What a setting's address may be: tests/unit/test_settings.py.
"""

import socket
import ssl
import threading
from contextlib import suppress

import pytest
from redis.exceptions import RedisClusterException, RedisError

from bff.cache.redis_client import redis_backend
from bff.settings import ConfigurationError, Settings
from tests.security.conftest import PAGE


class Tapped:
    """Answers TLS with a certificate of its own making and keeps whatever anybody tells it in confidence."""

    def __init__(self, certificate, key):
        self._context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self._context.load_cert_chain(certificate, key)
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = self._listener.getsockname()[1]
        self.heard = b""
        self.connections = 0
        threading.Thread(target=self._listen, daemon=True).start()

    def _listen(self):
        with suppress(OSError):
            while True:
                connection, _ = self._listener.accept()
                self.connections += 1
                with suppress(OSError), self._context.wrap_socket(connection, server_side=True) as inside:
                    inside.settimeout(1)
                    self.heard += inside.recv(65536)

    def close(self):
        self._listener.close()


@pytest.fixture(scope="module")
def certificate(tmp_path_factory):
    from datetime import UTC, datetime, timedelta
    from ipaddress import ip_address

    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec
    from cryptography.x509.oid import NameOID

    folder = tmp_path_factory.mktemp("tapped")
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "mallory")])
    now = datetime.now(UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ip_address("127.0.0.1"))]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    (folder / "made.pem").write_bytes(made.public_bytes(serialization.Encoding.PEM))
    private = key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    (folder / "made.key").write_bytes(private)
    return folder / "made.pem", folder / "made.key"


@pytest.fixture
def tapped(certificate):
    tapped = Tapped(*certificate)
    yield tapped
    tapped.close()


def test_a_redis_with_a_certificate_of_its_own_making_hears_nothing(service_with, genauth, tapped):
    service = service_with(REDIS_URL=f"rediss://user:canary-password@127.0.0.1:{tapped.port}/0")

    assert service.accounts_of(genauth.token("mei")).status == 200  # as without Redis

    assert tapped.connections
    assert tapped.heard == b""


def test_a_redis_whose_authority_is_named_is_spoken_to(service_with, genauth, tapped, certificate):
    """Or the test above would prove nothing."""
    service = service_with(REDIS_URL=f"rediss://127.0.0.1:{tapped.port}/0?ssl_ca_certs={certificate[0]}")

    service.accounts_of(genauth.token("mei"))

    assert tapped.heard


@pytest.mark.parametrize("scheme", ["rediss+sentinel", "rediss+cluster"])
def test_sentinels_and_clusters_with_such_a_certificate_hear_nothing(service, tapped, scheme):
    service_name = "/mymaster" if "sentinel" in scheme else ""
    with pytest.raises((RedisError, RedisClusterException, OSError)):  # noqa: PT012 - a cluster is asked when it is built, sentinels when they are used
        backend = redis_backend(service.app, f"{scheme}://:canary-password@127.0.0.1:{tapped.port}{service_name}", timeout=0.5)
        backend.client.get("x")

    assert tapped.connections
    assert tapped.heard == b""


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("GENAUTH_HOST", "http://id.example.com"),
        ("GENAUTH_HOST", "https://user:password@id.example.com"),
        ("GENAUTH_JWKS_URL", "http://id.example.com/jwks"),
        ("GENAUTH_ISSUER", "ftp://id.example.com"),
        ("GENAUTH_CA_BUNDLE", "/dev/null"),
        ("REDIS_URL", "rediss://redis.example:6379?ssl_cert_reqs=none"),
        ("REDIS_URL", "rediss://redis.example:6379?ssl_cert_reqs=optional"),
        ("REDIS_URL", "rediss://redis.example:6379?ssl_check_hostname=false"),
        ("REDIS_URL", "rediss+cluster://redis.example:6379?ssl_cert_reqs=none"),
        ("REDIS_URL", "rediss://redis.example:6379?verify=no"),
        ("REDIS_URL", "http://redis.example:6379"),
    ],
)
def test_a_setting_that_would_skip_verification_is_refused_at_start(environ, name, value):
    with pytest.raises(ConfigurationError, match=name):
        Settings.from_env(environ | {name: value})


def test_a_redirect_takes_the_token_nowhere(service, genauth):
    """A GenAuth, or a proxy before it, that sends us elsewhere: the token goes to GENAUTH_HOST and no further."""
    elsewhere = socket.create_server(("127.0.0.1", 0))
    elsewhere.settimeout(0.2)
    port = elsewhere.getsockname()[1]
    for status in (301, 302, 303, 307, 308):
        genauth.healthy()
        genauth.trouble(path="/api/v3/get-identities", status=status, location=f"http://127.0.0.1:{port}/")
        assert service.accounts_of(genauth.token("mei")).json["code"] in {"upstream_malformed", "upstream_unavailable"}

    with pytest.raises(TimeoutError):
        elsewhere.accept()
    elsewhere.close()


def test_discovery_cannot_lead_us_elsewhere(service, genauth):
    """Its answer comes over TLS from GENAUTH_HOST, and is held to the rules of a setting all the same."""
    document = b'{"issuer":"%b","jwks_uri":"http://169.254.169.254/latest/meta-data"}' % genauth.issuer.encode()
    genauth.answers_raw("/oidc/.well-known/openid-configuration", body=document)

    assert service.accounts_of(genauth.token("mei")).status in {502, 503}


def test_hsts_is_said_behind_tls_and_only_there(open_service, service, sign_in):
    headers = [*sign_in("mei").items(), ("X-Forwarded-Proto", "https")]

    assert "Strict-Transport-Security" in open_service.ask(headers=headers).headers
    assert "Strict-Transport-Security" not in service.ask(headers=headers).headers


@pytest.mark.parametrize("host", ["evil.example", "app.example.evil.example", "app.example:1@evil.example", "", "a b", "[::1"])
def test_another_host_is_not_answered_for_where_hosts_are_named(service_with, sign_in, host):
    service = service_with(ALLOWED_HOSTS="app.example")
    mine = [*sign_in("mei").items()]

    assert service.ask(headers=[*mine, ("Host", "app.example")]).status == 200
    assert service.ask(headers=[*mine, ("Host", host), ("Origin", PAGE)]).status == 400


def test_an_address_is_believed_only_as_many_proxies_back_as_there_are(service_with, genauth):
    """X-Forwarded-For is anybody's to write; the entries that our own proxies added are not."""
    service = service_with(RATE_LIMIT="2/minute", TRUSTED_PROXIES="1")
    forged = genauth.token("mei", key="foreign")

    def statuses(last):
        claims = [("X-Forwarded-For", f"10.0.0.{number}, {last}") for number in range(40)]
        return [service.accounts_of(forged, headers=[claim]).status for claim in claims]

    assert statuses("203.0.113.9")[-1] == 429
    assert statuses("203.0.113.10")[0] == 401
