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
from tests.timing import in_time
from tests.valkey import ValkeyServer

CODECS = {"plain": PlainCodec(), "secret": EncryptedCodec([("1", b"k" * 32)])}
KEY = "la:6:providers:app"
LIST = [ExtIdp("src", "wechat", "social", "微信登录", "Our WeChat", "https://logo.example/wechat.svg", "wechat-pc")]


def account(ext_idp="src", provider="wechat"):
    return LinkedAccount(ext_idp, provider, None, None, None, (), ())


class GenAuth:
    """Answers when it is let, and counts."""

    def __init__(self):
        self.calls = 0
        self.error = None
        self.found = LIST
        self.secrets = ()
        self.go = threading.Event()
        self.go.set()

    def ext_idps(self, _token, deadline):
        self.calls += 1
        self.go.wait(deadline.remaining())
        if self.error:
            raise self.error
        return ExtIdps(tuple(self.found), frozenset(self.secrets))


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


def connection(source, identifier, type_="wechat", **changed):
    return ExtIdp(
        **{"ext_idp_id": source, "type": type_, "category": None, "name": None, "name_en": None, "logo_url": None}
        | {"identifier": identifier}
        | changed
    )


def linkable(*connections, linked=(), language="en"):
    return Catalogue(connections).linkable(linked, language)


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
    assert in_time(time.monotonic() - started, 0.8) > 0.4
    started = time.monotonic()
    assert name(providers, wait=3) == "WeChat"
    in_time(time.monotonic() - started, 0.1)


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


# What people may link ---------------------------------------------------------------------------------------------------


def test_each_source_is_offered_once_with_all_its_connections_and_spoken_for_by_the_first():
    first = connection(
        "a", "wechat-pc", name="微信", name_en="Our WeChat", logo_url="https://logo.example/a.svg", category="social"
    )

    offered = linkable(
        first, connection("b", "my-qq", "qq"), connection("a", "wechat-mobile", name_en="Mobile"), first, language="zh"
    )

    assert [(each.id, each.identifier, each.identifiers) for each in offered] == [
        ("a", "wechat-pc", ("wechat-pc", "wechat-mobile")),
        ("b", "my-qq", ("my-qq",)),
    ]
    assert [(each.name, each.category, each.logo_url) for each in offered] == [
        ("微信", "social", "https://logo.example/a.svg"),
        ("QQ", "social", None),
    ]


def test_what_is_linked_is_not_offered_but_another_source_of_its_provider_is():
    two = [connection("a", "gitee-1", "gitee"), connection("b", "gitee-2", "gitee")]

    assert [each.id for each in linkable(*two, linked=("a", None))] == ["b"]
    assert linkable(*two, linked=("a", "b")) == []


@pytest.mark.parametrize("type_", ["ldap", "ad", "LDAP"])
def test_a_directory_has_no_page_to_sign_in_at_and_is_not_offered(type_):
    assert linkable(connection("a", "directory", type_)) == []


def test_what_could_not_be_linked_is_not_offered():
    assert linkable(connection(None, "no-source"), connection("a", None)) == []
    assert [each.identifiers for each in linkable(connection("a", None), connection("a", "second"))] == [("second",)]


@pytest.mark.parametrize("told", ["a-provider-token-0123456789", "the-token-that-asks"])
def test_no_secret_of_the_list_and_no_token_is_offered(providers, genauth, told):
    genauth.found = [
        connection("a", told, name=f"by {told}", logo_url=f"https://logo.example/?k={told}"),
        connection("a", "second"),
        connection("b", told),
        connection(told, "third"),
        connection("c", "fourth", told),
    ]
    genauth.secrets = {"a-provider-token-0123456789"}

    providers.freshen("the-token-that-asks")
    settled()

    offered = providers.catalogue(Deadline.after(1)).linkable((), "en")
    assert [(each.id, each.identifiers, each.type, each.name) for each in offered] == [
        ("a", ("second",), "wechat", "WeChat"),
        ("c", ("fourth",), "unknown", "unknown"),
    ]
    assert told not in repr(offered)


def test_a_list_that_is_not_to_be_had_is_none_and_not_empty(providers, genauth):
    genauth.error = UpstreamUnavailable()
    fetch(providers)

    assert providers.catalogue(Deadline.after(1)).linkable((), "en") is None
    assert linkable() == []


def test_the_list_of_an_earlier_process_is_one(genauth, clock, snapshot):
    fetch(Providers(genauth, 3.0, snapshot, clock))
    genauth.error = UpstreamUnavailable()
    later = Providers(genauth, 3.0, snapshot, clock)
    fetch(later)

    assert [each.identifier for each in later.catalogue(Deadline.after(1)).linkable((), "en")] == ["wechat-pc"]


def test_a_connection_is_found_by_its_identifier():
    catalogue = Catalogue([connection("a", "one"), connection("a", "two"), connection("b", "three")])

    assert [catalogue.source_of(identifier).ext_idp_id for identifier in ("one", "two", "three")] == ["a", "a", "b"]
    assert catalogue.source_of("four") is None
    assert (catalogue.is_known, Catalogue().is_known, Catalogue([]).is_known) == (True, False, True)


def test_how_long_the_list_is_fresh(providers, genauth, clock):
    assert providers.fresh_seconds == 0
    fetch(providers)
    clock.now += 200
    assert providers.fresh_seconds == 400
    clock.now += 500
    assert providers.fresh_seconds == 0


@pytest.mark.parametrize(
    ("catalogue", "type_", "expected"),
    [
        (Catalogue([connection("a", "x", "gitee", category="enterprise")]), "gitee", "enterprise"),
        (Catalogue([connection("a", "x", "gitee")]), "gitee", "social"),
        (Catalogue([connection("a", "x", "newcomer")]), "newcomer", None),
        (Catalogue([]), "gitee", "social"),
        (Catalogue([]), "newcomer", None),
        # The list is not to be had, and this gitee may be an enterprise's.
        (Catalogue(), "gitee", None),
        (Catalogue(), "lark", "enterprise"),
    ],
)
def test_a_category_is_said_where_it_is_sure(catalogue, type_, expected):
    assert catalogue.category_of("a", type_) == expected
