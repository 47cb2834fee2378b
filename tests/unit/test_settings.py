import base64
import dataclasses
import re

import pytest
from hypothesis import HealthCheck, example, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from bff.setting_addresses import may_return_to, without_secrets
from bff.settings import ConfigurationError, Settings, StorageSettings
from tests.certificates import certificate_and_key

REQUIRED = {"GENAUTH_HOST": "https://my-app.genauth.ai", "GENAUTH_APP_ID": "app-1", "REDIS_URL": "redis://localhost:6379/0"}
KEY = base64.b64encode(b"k" * 32).decode()


def read(**environ):
    return Settings.from_env(REQUIRED | environ)


def mistakes(**environ):
    with pytest.raises(ConfigurationError) as raised:
        read(**environ)
    return raised.value.mistakes


def mistaken(**environ):
    return [mistake.split()[0] for mistake in mistakes(**environ)]


@pytest.mark.parametrize(
    ("value", "secrets"),
    [("s3cret", ("s3cret",)), ("old-one, new=one,", ("old-one", "new=one")), ("same,same", ("same",))],
)
def test_a_webhook_has_one_secret_or_two(value, secrets):
    assert read(WEBHOOK_SECRET=value).webhook_secret == secrets


@pytest.mark.parametrize("value", [",", "a,b,c", "a b", "gl\u00fccklich", "a\tb"])
def test_what_cannot_be_a_webhooks_secret_is_refused(value):
    assert mistaken(WEBHOOK_SECRET=value) == ["WEBHOOK_SECRET"]


def test_the_three_required_settings_are_enough():
    settings = read()

    assert (settings.genauth_host, settings.genauth_app_id) == ("https://my-app.genauth.ai", "app-1")
    assert (settings.token_verification, settings.rate_limit, settings.port) == ("jwks", "120/minute", 8000)


def test_every_missing_setting_is_named_at_once():
    with pytest.raises(ConfigurationError) as raised:
        Settings.from_env({})

    assert [mistake.split()[0] for mistake in raised.value.mistakes] == ["GENAUTH_HOST", "GENAUTH_APP_ID", "REDIS_URL"]
    assert all("is missing" in mistake and mistake.endswith(".") for mistake in raised.value.mistakes)


def test_mistakes_of_every_kind_are_named_at_once():
    assert mistaken(
        GENAUTH_HOST="http://my-app.genauth.ai",
        PORT="eighty",
        CORS_ORIGINS="*",
        SESSION_COOKIE_NAME="session",
        TOKEN_VERIFICATION="introspection",
        UPSTREAM_CONNECT_SECONDS="9",
    ) == ["GENAUTH_HOST", "PORT", "UPSTREAM_CONNECT_SECONDS", "GENAUTH_APP_SECRET", "CORS_ORIGINS"]


def test_some_settings_are_read_whatever_is_wrong_with_the_others():
    broken = dict.fromkeys(Settings.kinds(), "\0") | REQUIRED | {"CACHE_SECRET": f"a:{KEY}"}
    storage = StorageSettings.from_env(broken | {"SESSION_COOKIE_NAME": "s", "CORS_ORIGINS": "*"})

    assert (storage.genauth_host, storage.genauth_app_id) == ("https://my-app.genauth.ai", "app-1")
    assert (storage.redis_url, storage.cache_secret) == ("redis://localhost:6379/0", (("a", b"k" * 32),))
    assert "localhost" not in repr(storage)


def test_every_mistake_among_some_settings_is_named_at_once():
    with pytest.raises(ConfigurationError) as raised:
        StorageSettings.from_env({"GENAUTH_APP_ID": " ", "REDIS_URL": "mysql://h", "CACHE_SECRET": "short", "PORT": "eighty"})

    named = [mistake.split()[0] for mistake in raised.value.mistakes]
    assert named == ["GENAUTH_HOST", "GENAUTH_APP_ID", "REDIS_URL", "CACHE_SECRET"]


def test_an_error_is_the_list_of_its_mistakes():
    with pytest.raises(ConfigurationError, match=r"^PORT is not a whole number: expected .+\.\nLOG_LEVEL is not one"):
        read(PORT="eighty", LOG_LEVEL="loud")


def test_an_empty_variable_counts_as_unset():
    unset = dict.fromkeys(Settings.kinds(), " ") | REQUIRED

    assert Settings.from_env(unset) == read()


def test_blanks_around_a_value_are_dropped():
    assert read(PORT=" 9000\n", GENAUTH_APP_ID="\tapp-1 ").port == 9000


def test_settings_are_frozen():
    with pytest.raises(dataclasses.FrozenInstanceError):
        read().port = 1


def test_a_host_keeps_its_path_and_loses_its_last_slash():
    assert read(GENAUTH_HOST="https://id.example.com/tenant/a/").genauth_host == "https://id.example.com/tenant/a"


@pytest.mark.parametrize("quotes", ['""', "''", "``", "\u201c\u201d"])
@pytest.mark.parametrize("name", Settings.kinds())
def test_quotes_around_a_value_are_named(name, quotes):
    """As ``docker run --env-file`` and Kubernetes pass them on from a file that a shell would have read without them."""
    (mistake,) = mistakes(**{name: f"{quotes[0]} {REQUIRED.get(name, 'canary')}{quotes[1]}"})

    assert mistake.startswith(f"{name} has quotes around it, which are part of the value: expected ")
    assert "canary" not in mistake


@pytest.mark.parametrize("value", ['"app-1', 'app-1"', "${APP_ID}", "$APP_ID", "<app id>", "<app-id>", "{{app_id}}", "app 1"])
def test_an_application_id_that_nobody_filled_in_is_refused(value):
    assert mistaken(GENAUTH_APP_ID=value) == ["GENAUTH_APP_ID"]


@pytest.mark.parametrize(
    "path",
    [
        *("/oidc", "/oidc/", "/OIDC", "/tenant/oidc", "/oauth", "/login", "/api/v3", "/api/v3/get-identities"),
        *("/.well-known/openid-configuration", "/oidc/.well-known/openid-configuration", "/oidc/.well-known/jwks.json"),
    ],
)
def test_an_endpoint_is_no_host(path):
    (mistake,) = mistakes(GENAUTH_HOST=f"https://my-app.genauth.ai{path}")

    assert re.match("GENAUTH_HOST (has the path of an endpoint|is the address of the discovery document): ", mistake)
    assert read(GENAUTH_HOST="https://my-app.genauth.ai/oidcs").genauth_host.endswith("/oidcs")


@pytest.mark.parametrize("name", ["GENAUTH_ISSUER", "GENAUTH_JWKS_URL"])
def test_the_address_of_the_discovery_document_is_neither_issuer_nor_key_set(name):
    address = "https://my-app.genauth.ai/oidc/.well-known/openid-configuration"

    assert mistaken(**{name: address}) == [name]


@pytest.mark.parametrize("host", ["http://localhost:3000", "http://127.0.0.1", "http://127.8.9.1:1", "http://[::1]:3000"])
def test_plain_http_is_fine_on_this_machine(host):
    assert read(GENAUTH_HOST=host, GENAUTH_ISSUER=host, GENAUTH_JWKS_URL=host).genauth_host == host


@pytest.mark.parametrize("name", ["GENAUTH_HOST", "GENAUTH_ISSUER", "GENAUTH_JWKS_URL"])
@pytest.mark.parametrize(
    "url",
    [
        "http://id.example.com",
        "http://localhost.example.com",
        "http://127.0.0.1.example.com",
        "http://192.168.1.1",
        "https://user:password@id.example.com",
        "https://@id.example.com",
        "https://id.example.com#",
        "https://id.example.com/#top",
        "https://",
        "https:///path",
        "https://id example.com",
        "https://id.example.com:0",
        "https://id.example.com:65536",
        "https://id.example.com:x",
        "https://[::1",
        "https://[::1]x",
        "https://[::1::]",
        "https:x://id.example.com",
        "https://id.example.com\\@evil.example",
        "https://bücher.example",
        "ftp://id.example.com",
        "id.example.com",
        "file:///etc/passwd",
    ],
)
def test_an_address_that_cannot_be_trusted_with_tokens_is_refused(name, url):
    assert mistaken(**{name: url}) == [name]


@pytest.mark.parametrize("name", ["GENAUTH_HOST", "GENAUTH_ISSUER"])
@pytest.mark.parametrize("url", ["https://id.example.com?tenant=a", "https://id.example.com/?"])
def test_a_host_or_issuer_has_no_query(name, url):
    assert mistaken(**{name: url}) == [name]


def test_an_issuer_is_kept_to_the_letter():
    assert read(GENAUTH_ISSUER="https://id.example.com/oidc/").genauth_issuer == "https://id.example.com/oidc/"


@pytest.mark.parametrize(
    "url",
    [
        "embedded",
        "redis://cache",
        "redis://user:p%40ss@cache:6379/3",
        "redis://[::1]:6379",
        "rediss://cache:6380/0?ssl_cert_reqs=required&ssl_check_hostname=True",
        "unix:///run/valkey/valkey.sock?db=1",
        "unix://:password@/run/valkey.sock",
        "redis+sentinel://h1:26379,h2:26379/mymaster",
        "redis+sentinel://:password@h1,h2/mymaster/2",
        "rediss+sentinel://h1:26379/mymaster",
        "redis+sentinel://h1:26379,[::1]:26381/mymaster",
        "redis+cluster://h1:6379,h2:6379",
        "rediss+cluster://user:password@h1:6379,[::1]:6379/0",
    ],
)
def test_every_way_to_reach_a_redis_is_accepted(url):
    assert read(REDIS_URL=url).redis_url == url


@pytest.mark.parametrize(
    "url",
    [
        "cache:6379",
        "http://cache:6379",
        "memcached://cache",
        "redis://",
        "redis:///0",
        "redis:x://cache",
        "redis://[::1::]:6379",
        "redis://a,b",
        "redis://cache/main",
        "redis://cache:70000",
        "redis://cache#",
        "redis://cache?protocol=3",
        "redis://cache?socket_timeout=60",
        "redis://cache?db=main",
        "redis://cache?ssl_ca_certs=/etc/ssl/redis.pem",
        "unix://",
        "unix://host/path",
        "redis+sentinel://h1:26379",
        "redis+sentinel://h1:26379/",
        "redis+sentinel://,/mymaster",
        "redis+cluster://",
        "redis+cluster://h1/3",
        "embedded://",
    ],
)
def test_a_redis_url_that_cannot_work_is_refused(url):
    assert mistaken(REDIS_URL=url) == ["REDIS_URL"]


@pytest.mark.parametrize(
    "query",
    [
        "ssl_cert_reqs=none",
        "ssl_cert_reqs=optional",
        "ssl_cert_reqs=required&ssl_cert_reqs=none",
        "ssl%5Fcert_reqs=none",
        "ssl_cert_reqs=",
        "ssl_check_hostname=false",
        "ssl_check_hostname=0",
        "verify=false",
        "ssl_verify=0",
        "ssl_exclude_verify_flags=VERIFY_X509_STRICT",
    ],
)
@pytest.mark.parametrize("scheme", ["redis", "rediss", "rediss+sentinel", "rediss+cluster"])
def test_a_redis_url_that_asks_to_skip_verification_is_refused(scheme, query):
    path = "/mymaster" if scheme.endswith("sentinel") else ""

    assert "skip the verification" in mistakes(REDIS_URL=f"{scheme}://cache{path}?{query}")[0]


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """What the TLS options of Redis may name, and what they may not."""
    folder = tmp_path_factory.mktemp("tls")
    certificate, key = certificate_and_key("redis")
    (folder / "ca.pem").write_bytes(certificate)
    (folder / "key.pem").write_bytes(key)
    (folder / "both.pem").write_bytes(certificate + key)
    (folder / "another.pem").write_bytes(certificate_and_key("another")[1])
    (folder / "empty.pem").touch()
    return folder


@pytest.mark.parametrize(
    "query",
    [
        "ssl_ca_certs={}/ca.pem",
        "ssl_ca_path={}",
        "ssl_certfile={}/both.pem",
        "ssl_certfile={0}/ca.pem&ssl_keyfile={0}/key.pem&ssl_ca_certs={0}/ca.pem",
        "ssl_ca_certs=%2E%2E{}/ca.pem",
    ],
)
def test_files_of_a_redis_url_that_can_be_used_are_accepted(files, monkeypatch, query):
    monkeypatch.chdir("/usr")
    url = f"rediss://cache?{query.format(files)}"

    assert read(REDIS_URL=url).redis_url == url


@pytest.mark.parametrize(
    ("query", "option"),
    [
        ("ssl_ca_certs={}/missing.pem", "ssl_ca_certs"),
        ("ssl_ca_certs={}/empty.pem", "ssl_ca_certs"),
        ("ssl_ca_certs={}", "ssl_ca_certs"),
        ("ssl_ca_path={}/missing", "ssl_ca_path"),
        ("ssl_ca_path={}/ca.pem", "ssl_ca_path"),
        ("ssl_certfile={}/missing.pem", "ssl_certfile"),
        ("ssl_certfile={}/ca.pem", "ssl_certfile"),
        ("ssl_certfile={0}/ca.pem&ssl_keyfile={0}/missing.pem", "ssl_certfile"),
        ("ssl_certfile={0}/ca.pem&ssl_keyfile={0}/another.pem", "ssl_certfile"),
        ("ssl_keyfile={}/key.pem", "ssl_keyfile"),
    ],
)
@pytest.mark.parametrize("scheme", ["rediss", "rediss+sentinel", "rediss+cluster"])
def test_files_of_a_redis_url_that_cannot_be_used_are_named_by_their_option(files, scheme, query, option):
    path = "/mymaster" if scheme.endswith("sentinel") else ""
    (mistake,) = mistakes(REDIS_URL=f"{scheme}://cache{path}?{query.format(files)}")

    assert mistake.startswith(f"REDIS_URL has an {option} that ")
    assert str(files) not in mistake


def test_a_cache_secret_is_a_list_of_named_keys():
    other = base64.urlsafe_b64encode(b"\xff" * 32).decode().rstrip("=")

    assert read(CACHE_SECRET=f"b:{KEY}, a:{other}").cache_secret == (("b", b"k" * 32), ("a", b"\xff" * 32))


def test_a_passphrase_gets_a_key_and_a_name_of_its_own():
    (one,), (again,), (another,) = (read(CACHE_SECRET=text * 32).cache_secret for text in "xxy")

    assert one == again != another
    assert len(one[1]) == 32
    assert one[0] != another[0]


@pytest.mark.parametrize(
    "secret",
    ["short", ",", "a:", f":{KEY}", f"a:{KEY[:-5]}=", "a:!!!!", f"a:{KEY},a:{KEY}", f"white space:{KEY}", "x" * 32 + "\0", "a:é"],
)
def test_a_cache_secret_that_is_no_key_is_refused(secret):
    assert mistaken(CACHE_SECRET=secret) == ["CACHE_SECRET"]


def test_origins_are_a_list():
    origins = read(CORS_ORIGINS="https://app.example.com, http://localhost:5173,,capacitor://localhost").cors_origins

    assert origins == ("https://app.example.com", "http://localhost:5173", "capacitor://localhost")


@pytest.mark.parametrize(
    "origin",
    [
        "null",
        "app.example.com",
        "https://app.example.com/",
        "https://app.example.com/path",
        "https://App.example.com",
        "HTTPS://app.example.com",
        "https://app.example.com:443",
        "http://app.example.com:80",
        "https://app.example.com:99999",
        "https://*.example.com",
        "https://user@app.example.com",
        "https://app.example.com?",
        "https://a.example https://b.example",
        "//app.example.com",
    ],
)
def test_an_origin_that_no_browser_sends_is_refused(origin):
    assert mistaken(CORS_ORIGINS=f"https://ok.example,{origin}") == ["CORS_ORIGINS"]


def test_any_origin_may_call_as_long_as_no_cookie_speaks_for_the_user():
    assert read(CORS_ORIGINS="*").cors_origins == ("*",)
    assert mistaken(CORS_ORIGINS="https://ok.example,*", SESSION_COOKIE_NAME="session") == ["CORS_ORIGINS"]


@pytest.mark.parametrize(
    "origin", ["http://app.example.com", "http://192.168.1.5:5173", "http://localhost.example.com", "http://[::2]"]
)
def test_a_page_that_the_network_can_rewrite_may_not_use_the_cookie(origin):
    assert read(CORS_ORIGINS=origin).cors_origins == (origin,)
    assert mistaken(CORS_ORIGINS=f"https://ok.example,{origin}", SESSION_COOKIE_NAME="__Host-session") == ["CORS_ORIGINS"]


@pytest.mark.parametrize("origin", ["http://localhost:5173", "http://127.0.0.1:5173", "http://[::1]", "capacitor://localhost"])
def test_a_page_of_this_machine_may_use_the_cookie(origin):
    assert read(CORS_ORIGINS=origin, SESSION_COOKIE_NAME="__Host-session").warnings == ()


@pytest.mark.parametrize("name", ["two words", "a=b", "a;b", "a,b", 'a"b', "naïve", "a/b", "a@b", "a\x7fb"])
def test_a_cookie_name_is_a_token(name):
    assert read(SESSION_COOKIE_NAME="__Host-session.1").session_cookie_name == "__Host-session.1"
    assert mistaken(SESSION_COOKIE_NAME=name) == ["SESSION_COOKIE_NAME"]


def test_introspection_needs_the_application_secret():
    assert read(TOKEN_VERIFICATION="Introspection", GENAUTH_APP_SECRET="s").token_verification == "introspection"
    assert mistaken(TOKEN_VERIFICATION="introspection") == ["GENAUTH_APP_SECRET"]


@pytest.mark.parametrize(
    "text", ["0", "0.0", "-1", "+1", "nan", "inf", "1e3", "1e999", "1_0", "٣", "1.", ".5", "3,5", "301", "1s"]
)
def test_a_budget_is_a_positive_finite_decimal(text):
    assert mistaken(REQUEST_DEADLINE_SECONDS=text) == ["REQUEST_DEADLINE_SECONDS"]


def test_budgets_fit_into_one_another():
    assert mistaken(UPSTREAM_CONNECT_SECONDS="3.1") == ["UPSTREAM_CONNECT_SECONDS"]
    assert mistaken(UPSTREAM_DEADLINE_SECONDS="4") == ["UPSTREAM_DEADLINE_SECONDS"]
    assert read(UPSTREAM_CONNECT_SECONDS="2", UPSTREAM_DEADLINE_SECONDS="2", REQUEST_DEADLINE_SECONDS="2")


@pytest.mark.parametrize(
    ("name", "fine", "wrong"),
    [
        ("PORT", ["1", "65535"], ["0", "65536", "-1", "8000.0", "٨", "1e3"]),
        ("WEB_CONCURRENCY", ["1", "256"], ["0", "257"]),
        ("CACHE_TTL_SECONDS", ["1", "86400"], ["0", "86401", "9" * 5000]),
        ("CACHE_STALE_SECONDS", ["0", "2592000"], ["2592001"]),
        ("TOKEN_ACCEPTED_SECONDS", ["1"], ["0", "1.5"]),
        ("TRUSTED_PROXIES", ["0", "2"], ["-1", "17", "true"]),
    ],
)
def test_a_whole_number_keeps_its_bounds(name, fine, wrong):
    assert [getattr(read(**{name: text}), name.lower()) for text in fine] == [int(text) for text in fine]
    assert [mistaken(**{name: text}) for text in wrong] == [[name]] * len(wrong)


def test_the_local_cache_may_be_off_or_last_some_minutes():
    assert [read(LOCAL_CACHE_SECONDS=text).local_cache_seconds for text in ("0", "0.5", "300")] == [0, 0.5, 300]
    assert [mistaken(LOCAL_CACHE_SECONDS=text) for text in ("300.1", "-1", "nan", "off")] == [["LOCAL_CACHE_SECONDS"]] * 4


def test_the_former_name_of_the_local_cache_is_read_while_the_new_one_is_not_set():
    assert read().local_cache_seconds == 30
    assert read(MICRO_CACHE_SECONDS="0").local_cache_seconds == 0
    assert read(MICRO_CACHE_SECONDS="1.5", LOCAL_CACHE_SECONDS=" ").local_cache_seconds == 1.5
    assert read(MICRO_CACHE_SECONDS="1.5", LOCAL_CACHE_SECONDS="30").local_cache_seconds == 30
    assert mistaken(MICRO_CACHE_SECONDS="3") == ["MICRO_CACHE_SECONDS"]


@pytest.mark.parametrize("text", ["120", "minute", "0/minute", "-1/minute", "1/fortnight", "10/second;100/minute", "1/0"])
def test_a_rate_limit_is_one_rate_or_off(text):
    assert (read(RATE_LIMIT="OFF").rate_limit, read(RATE_LIMIT="5 per 10 seconds").rate_limit) == (None, "5 per 10 seconds")
    assert mistaken(RATE_LIMIT=text) == ["RATE_LIMIT"]


def test_a_log_level_is_a_word_in_any_case():
    assert read(LOG_LEVEL="WARNING").log_level == "warning"
    assert mistaken(LOG_LEVEL="verbose") == ["LOG_LEVEL"]


def test_hosts_are_kept_in_lower_case():
    hosts = read(ALLOWED_HOSTS="BFF.example.com,.example.org,localhost:8000,[::1]").allowed_hosts

    assert hosts == ("bff.example.com", ".example.org", "localhost:8000", "[::1]")
    assert mistaken(ALLOWED_HOSTS="https://bff.example.com") == ["ALLOWED_HOSTS"]
    assert mistaken(ALLOWED_HOSTS="*.example.com") == ["ALLOWED_HOSTS"]


def test_a_ca_bundle_is_a_file_of_certificates(tmp_path):
    import certifi

    empty = tmp_path / "empty.pem"
    empty.touch()

    assert read(GENAUTH_CA_BUNDLE=certifi.where()).genauth_ca_bundle == certifi.where()
    for wrong in (empty, tmp_path, tmp_path / "missing.pem", "a\0b", "x" * 5000):
        assert mistaken(GENAUTH_CA_BUNDLE=str(wrong)) == ["GENAUTH_CA_BUNDLE"]


def test_short_secrets_are_the_operators_choice():
    """They are warned about: tests/security/test_careless_settings.py."""
    settings = read(METRICS_TOKEN="metrics", GENAUTH_APP_SECRET="app")

    assert (settings.metrics_token, settings.genauth_app_secret) == ("metrics", "app")


@pytest.mark.parametrize(
    ("name", "text"), [("METRICS_TOKEN", "two words"), ("METRICS_TOKEN", "tökén"), ("GENAUTH_APP_SECRET", "a\x00b")]
)
def test_a_secret_that_cannot_be_sent_is_refused(name, text):
    assert mistaken(**{name: text}) == [name]


# Building the strategies takes seconds on a busy machine; that says nothing of the code.
unhurried = hypothesis_settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
SECRETS = ("GENAUTH_APP_SECRET", "CACHE_SECRET", "METRICS_TOKEN", "REDIS_URL")


def test_no_secret_is_in_the_repr():
    settings = read(
        GENAUTH_APP_SECRET="canary-1",
        CACHE_SECRET=f"a:{KEY},{'canary-2' * 4}",
        METRICS_TOKEN="canary-4",
        REDIS_URL="redis://:canary-5@cache",
    )

    assert "canary" not in repr(settings)
    assert KEY not in repr(settings)
    assert "kkkk" not in repr(settings)


@pytest.mark.parametrize("name", Settings.kinds())
def test_no_mistake_shows_the_value_it_complains_about(name):
    canary = "canary\x01://canary:canary@canary/,*"

    assert "canary" not in "".join(mistakes(**{name: canary}))


# Texts that nearly are a value, whole or in pieces, find more than chance alone.
PIECES = [*"0123456789abcz:/@?#,.*[]=%&;-_ \\\0é\ud800", "http", "https", "redis", "+sentinel", "://", "localhost", "::1", "nan"]
TEXTS = st.lists(st.sampled_from(PIECES), max_size=14).map("".join) | st.text(max_size=40) | st.sampled_from(["*", KEY])
ENVIRONS = st.fixed_dictionaries({}, optional=dict.fromkeys(Settings.kinds(), TEXTS) | {"UNRELATED": TEXTS})


@unhurried
@given(ENVIRONS, st.booleans())
@example({"GENAUTH_HOST": "https://[", "REDIS_URL": "redis://[", "CORS_ORIGINS": "https://[", "ALLOWED_HOSTS": "["}, False)
def test_any_environment_gives_settings_or_sentences(environ, fill_in):
    try:
        told = Settings.from_env(environ | REQUIRED if fill_in else environ)
    except ConfigurationError as error:
        told = error

    match told:
        case ConfigurationError(mistakes=mistakes):
            assert mistakes
            assert all(mistake.split()[0] in Settings.kinds() for mistake in mistakes)
        case Settings(upstream_connect_seconds=connect, upstream_deadline_seconds=upstream, request_deadline_seconds=whole):
            assert connect <= upstream <= whole


@unhurried
@given(
    st.sampled_from(SECRETS), st.text("0123456789abcdef", min_size=12), st.sampled_from(["{}", "redis://:{}@h", "a:{}", "{}\0"])
)
def test_no_secret_comes_out_of_a_mistake_or_a_repr(name, secret, form):
    try:
        shown = repr(read(**{name: form.format(secret)}))
    except ConfigurationError as error:
        shown = f"{error}{error!r}{error.mistakes}"
    assert secret not in shown


@pytest.mark.parametrize(("text", "host"), [("127.0.0.1", "127.0.0.1"), ("::", "::"), ("[::1]", "::1"), ("10.0.0.7", "10.0.0.7")])
def test_a_host_to_listen_on_is_an_address(text, host):
    assert read(HOST=text).host == host


@pytest.mark.parametrize("text", ["localhost", "a.example", "127.0.0.1:80", "[::]:80", "fe80::1%eth0", "1.2.3"])
def test_what_is_no_address_is_no_host_to_listen_on(text):
    assert mistaken(HOST=text) == ["HOST"]


def test_header_fields_that_pages_may_send_are_a_list():
    assert read(CORS_ALLOW_HEADERS="X-Tenant, x_old,,").cors_allow_headers == ("X-Tenant", "x_old")


@pytest.mark.parametrize(
    "name", ["*", "x tenant", "x:y", "X-Forwarded-For", "x-forwarded-proto", "Forwarded", "名", "x" * 65, "a;b"]
)
def test_what_is_no_header_field_for_pages_is_refused(name):
    assert mistaken(CORS_ALLOW_HEADERS=f"X-Tenant,{name}") == ["CORS_ALLOW_HEADERS"]


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("embedded", "embedded"),
        ("redis://cache:6379/3", "redis://cache:6379/3"),
        ("rediss://mei:p4ss%40canary@cache.example:6380/0?ssl_ca_certs=x", "rediss://cache.example:6380/0"),
        ("redis://:p4ss-canary@cache", "redis://cache"),
        ("unix:///run/redis.sock?password=p4ss-canary", "unix:///run/redis.sock"),
        ("redis+sentinel://u:p4ss-canary@a:26379,[::1]:26379/main/1", "redis+sentinel://a:26379,[::1]:26379/main/1"),
    ],
)
def test_a_redis_url_is_shown_without_its_secrets(url, shown):
    assert without_secrets(url) == shown


def test_browsers_return_to_exact_origins_and_to_the_addresses_of_apps():
    text = "https://app.example.com, http://localhost:5173,com.example.app:/linked,com.example.app://linked/back"

    targets = read(RETURN_TO_ORIGINS=text).return_to_origins

    assert targets == tuple(each.strip() for each in text.split(","))


@pytest.mark.parametrize(
    "target",
    [
        "*",
        "https://*.example.com",
        "https://app.example.com/",
        "https://app.example.com/linked",
        "https://App.example.com",
        "https://app.example.com:443",
        "https://user@app.example.com",
        "http://app.example.com",
        "app.example.com",
        "myapp:/linked",
        "javascript:alert(1)",
        "com.example.app:",
        "com.example.app:linked",
        "com.example.app:/linked?next=a",
        "com.example.app:/linked#here",
        "com.example.app:/user@linked",
        "com.example.app:/\\linked",
    ],
)
def test_a_target_that_is_open_to_others_is_refused(target):
    assert mistaken(RETURN_TO_ORIGINS=f"https://fine.example,{target}") == ["RETURN_TO_ORIGINS"]


TARGETS = ("https://app.example.com", "http://localhost:5173", "https://[::1]:8443", "com.example.app:/linked")


@pytest.mark.parametrize(
    "address",
    [
        "https://app.example.com",
        "https://app.example.com/",
        "https://app.example.com/settings/accounts?tab=1&next=https://evil.example/",
        "https://app.example.com?tab=1",
        "https://app.example.com//evil.example",
        "https://app.example.com/@evil.example",
        "https://[::1]:8443/x",
        "http://localhost:5173/x",
        "com.example.app:/linked",
        "https://app.example.com/" + "x" * 2024,
    ],
)
def test_a_browser_may_return_below_an_origin_or_to_an_app_in_full(address):
    assert may_return_to(address, TARGETS)
    assert not may_return_to(address, ())


@pytest.mark.parametrize(
    "address",
    [
        "",
        "/",
        "//app.example.com/",
        "app.example.com",
        "http://app.example.com/",
        "https://app.example.com:443/",
        "https://app.example.com:8443/",
        "https://app.example.com./",
        "https://App.example.com/",
        "HTTPS://app.example.com/",
        "https:app.example.com/",
        "https:/app.example.com/",
        "https:///app.example.com/",
        "https://app.example.com@evil.example/",
        "https://app.example.com:pass@evil.example/",
        "https://user@app.example.com/",
        "https://app.example.com.evil.example/",
        "https://evil-app.example.com/",
        "https://app.example.co",
        "https://app.example.com%2fevil.example/",
        "https://app.example.com\\@evil.example/",
        "https://app.example.com/\\evil.example",
        "https://app.example.com/#here",
        "https://app.example.com/ x",
        "https://app.example.com/\tx",
        "https://app.example.com/\r\nSet-Cookie: a=b",
        "https://app.example.com\n",
        " https://app.example.com/",
        "https://app.example.com/\u00e9",
        "https://\uff41pp.example.com/",
        "https://app.example.com/\ud800",
        "https://app.example.com/" + "x" * 2025,
        "javascript:alert(1)",
        "javascript://app.example.com/%0aalert(1)",
        "data:text/html,x",
        "com.example.app:/linked/more",
        "com.example.app:/linked?a=b",
        "com.example.app:/linke",
        "com.example.app://linked",
        "com.example.application:/linked",
    ],
)
def test_a_browser_returns_nowhere_else(address):
    assert not may_return_to(address, TARGETS)


def test_our_own_address_may_have_a_path():
    assert read(PUBLIC_URL="https://accounts.example.com/api/").public_url == "https://accounts.example.com/api"
    assert mistaken(PUBLIC_URL="http://accounts.example.com") == ["PUBLIC_URL"]
    assert mistaken(PUBLIC_URL="https://accounts.example.com?a=b") == ["PUBLIC_URL"]


def test_sources_are_denied_by_id_by_type_or_all_that_are_of_an_organization():
    assert read(UNLINK_DENIED_SOURCES="62f209327f0a, saml,enterprise,saml").unlink_denied_sources == (
        "62f209327f0a",
        "saml",
        "enterprise",
    )
    assert mistaken(UNLINK_DENIED_SOURCES="two words") == ["UNLINK_DENIED_SOURCES"]
    assert mistaken(UNLINK_DENIED_SOURCES="*") == mistaken(UNLINK_DENIED_SOURCES="saml,oidc*") == ["UNLINK_DENIED_SOURCES"]


def test_ways_to_sign_in_are_some_of_three_or_none():
    assert read().sign_in_methods == ("password", "email", "phone")
    assert read(SIGN_IN_METHODS="Phone,password").sign_in_methods == ("password", "phone")
    assert read(SIGN_IN_METHODS="none").sign_in_methods == ()
    assert [mistaken(SIGN_IN_METHODS=text) for text in ("sms", "none,email", ",")] == [["SIGN_IN_METHODS"]] * 3


def test_the_id_token_has_a_cookie_of_its_own():
    assert read(SESSION_COOKIE_NAME="__Host-session", ID_TOKEN_COOKIE_NAME="__Host-id").id_token_cookie_name == "__Host-id"
    assert mistaken(SESSION_COOKIE_NAME="__Host-session", ID_TOKEN_COOKIE_NAME="__Host-session") == ["ID_TOKEN_COOKIE_NAME"]


def test_a_change_has_time_for_a_call_and_an_end():
    assert read(CHANGE_DEADLINE_SECONDS="45", UPSTREAM_DEADLINE_SECONDS="3").change_deadline_seconds == 45
    assert mistaken(CHANGE_DEADLINE_SECONDS="2") == ["UPSTREAM_DEADLINE_SECONDS"]
    assert mistaken(CHANGE_DEADLINE_SECONDS="45.1") == ["CHANGE_DEADLINE_SECONDS"]
