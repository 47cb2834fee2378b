"""Names and logos of providers: the application's own list, fetched for everybody at once and never in anybody's way."""

import threading
import time

import pytest

from bff.accounts.providers import Catalogue, Providers
from bff.cache.codec import EncryptedCodec, PlainCodec
from bff.cache.snapshot import Snapshot
from bff.errors import TokenRefused, UpstreamUnavailable
from bff.genauth import ExtIdp, ExtIdps
from bff.models import LinkedAccount
from bff.resilience.deadline import Deadline
from tests.valkey import ValkeyServer

CODECS = {"plain": PlainCodec(), "secret": EncryptedCodec([("1", b"k" * 32)])}
KEY = "la:5:providers:app"
LIST = [ExtIdp("src", "wechat", "social", "微信登录", "Our WeChat", "https://logo.example/wechat.svg")]


def account(ext_idp="src", provider="wechat"):
    return LinkedAccount(ext_idp, provider, None, None, None, (), ())


class GenAuth:
    """Answers when it is let, and counts."""

    def __init__(self):
        self.calls = 0
        self.error = None
        self.go = threading.Event()
        self.go.set()

    def ext_idps(self, _token, deadline):
        self.calls += 1
        self.go.wait(deadline.remaining())
        if self.error:
            raise self.error
        return ExtIdps(tuple(LIST), frozenset())


class Clock:
    now = 1000.0

    def __call__(self):
        return self.now


@pytest.fixture
def genauth():
    fake = GenAuth()
    yield fake
    fake.go.set()


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def providers(genauth, clock):
    return Providers(genauth, 3.0, clock=clock)


@pytest.fixture(params=CODECS)
def codec(request):
    return CODECS[request.param]


@pytest.fixture
def snapshot(store, codec, witness):
    return Snapshot(store, codec, KEY, witness)


def name(providers, wait=1.0):
    return providers.catalogue(Deadline.after(wait)).provider_of(account(), "en").name


def settled():
    for thread in threading.enumerate():
        if thread.name == "providers":
            thread.join(5)


def fetch(providers):
    providers.freshen("token")
    settled()


def test_the_list_is_fetched_once_for_many_people(providers, genauth):
    threads = [threading.Thread(target=providers.freshen, args=(f"token-{n}",)) for n in range(50)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    settled()

    assert genauth.calls == 1
    assert name(providers) == "Our WeChat"


def test_the_list_is_fetched_again_after_ten_minutes(providers, genauth, clock):
    fetch(providers)
    clock.now += 599
    fetch(providers)
    assert genauth.calls == 1

    clock.now += 2
    fetch(providers)
    assert genauth.calls == 2


def test_a_list_that_fails_leaves_the_brands_names_and_is_asked_for_again_after_half_a_minute(providers, genauth, clock):
    genauth.error = UpstreamUnavailable()
    for _ in range(20):
        fetch(providers)
    assert genauth.calls == 1
    assert name(providers) == "WeChat"

    genauth.error = None
    clock.now += 31
    fetch(providers)
    assert name(providers) == "Our WeChat"


def test_a_list_that_fails_later_leaves_the_one_there_was(providers, genauth, clock):
    fetch(providers)
    genauth.error = UpstreamUnavailable()
    clock.now += 700

    fetch(providers)

    assert name(providers) == "Our WeChat"


def test_one_token_that_is_refused_does_not_keep_the_list_from_the_next(providers, genauth, clock):
    genauth.error = TokenRefused()
    fetch(providers)
    genauth.error = None
    clock.now += 1.1

    fetch(providers)

    assert name(providers) == "Our WeChat"


def test_the_first_request_waits_half_a_second_at_most_and_the_next_not_at_all(genauth):
    providers = Providers(genauth, 3.0)
    genauth.go.clear()
    providers.freshen("token")
    started = time.monotonic()

    assert name(providers, wait=3) == "WeChat"
    assert 0.4 < time.monotonic() - started < 0.8
    started = time.monotonic()
    assert name(providers, wait=3) == "WeChat"
    assert time.monotonic() - started < 0.1


def test_a_hanging_list_piles_up_no_threads(genauth, clock):
    providers = Providers(genauth, 3.0, clock=clock)
    genauth.go.clear()
    for _ in range(100):
        providers.freshen("token")

    assert [thread.name for thread in threading.enumerate()].count("providers") == 1
    genauth.go.set()
    settled()


def test_a_process_that_starts_while_genauth_is_away_knows_the_names_of_the_last_one(genauth, clock, snapshot):
    fetch(Providers(genauth, 3.0, snapshot, clock))
    genauth.error = UpstreamUnavailable()
    later = Providers(genauth, 3.0, snapshot, clock)

    fetch(later)

    assert name(later) == "Our WeChat"


@pytest.mark.parametrize("poison", [b"", b"\x80\x04pickle", b'[{"ext_idp_id": 1}]', b"[" * 100_000, b"null", b"\xff"])
def test_a_snapshot_of_something_else_is_none(genauth, clock, snapshot, codec, stored, poison):
    genauth.error = UpstreamUnavailable()
    for held in (poison, codec.encode(KEY, poison)):
        stored.set(KEY, held)
        providers = Providers(genauth, 3.0, snapshot, clock)
        fetch(providers)
        assert name(providers) == "WeChat"


def test_a_snapshot_that_is_away_is_none(genauth, clock, store_at, witness):
    with ValkeyServer() as own:
        snapshot = Snapshot(store_at(own.url), PlainCodec(), "key", witness)
        own.kill()
        fetch(Providers(genauth, 3.0, snapshot, clock))
        genauth.error = UpstreamUnavailable()
        providers = Providers(genauth, 3.0, snapshot, clock)
        fetch(providers)

    assert name(providers) == "WeChat"


def test_a_logo_that_a_page_should_not_load_is_none():
    for logo in ("http://plain.example/a.svg", "javascript:alert(1)", "https://user:pw@host/a.svg", "data:image/png;base64,AA"):
        source = ExtIdp("src", "wechat", None, "WeChat", None, logo)
        assert Catalogue([source]).provider_of(account(), "en").logo_url is None


def test_an_unknown_provider_is_called_by_its_type():
    assert Catalogue().provider_of(account(provider="newcomer"), "zh").name == "newcomer"
