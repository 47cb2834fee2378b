"""Whatever lies in Redis under a user's keys: a miss, or what we stored there ourselves."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bff.accounts.providers import Providers
from bff.accounts.rendering import render
from bff.errors import UpstreamUnavailable
from bff.models import LinkedAccount
from bff.resilience import Deadline
from bff.web import services_of
from tests.security.effort import examples, tried
from tests.server.service import eventually
from tests.valkey import legible

SOURCE = "ext_idp_id type category name name_en logo_url"
SECRET = {"CACHE_SECRET": "a passphrase of more than thirty-two characters"}

json_values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(max_size=12)
    | st.sampled_from([1e308, -1e308, 10**40, 2**64, "accepted", "user_blocked", "javascript:alert(1)", "\ud800"]),
    lambda inner: st.lists(inner, max_size=8) | st.dictionaries(st.text(max_size=6), inner, max_size=3),
    max_leaves=12,
)
MADE = [
    b"\x80\x04\x95\x1a\x00\x00\x00\x00\x00\x00\x00\x8c\x05posix\x94\x8c\x06system\x94\x93\x94\x8c\x02id\x94\x85\x94R\x94.",
    b"!" + b"[" * 100_000,
    b"[" * 100_000,
    b'{"a":' * 50_000,
    b"[NaN,Infinity,[]]",
    b"[1e400,1e400,[]]",
    b"",
    b" ",
    b"null",
    b"\xff\xfe\x00",
]


@pytest.fixture(params=["plain", "sealed"])
def warm(request, service_with, sign_in, stored):
    """A service whose cache is warm with Mei's accounts, and her keys with their values."""
    service = service_with(**(SECRET if request.param == "sealed" else {}))
    headers = [*sign_in("mei").items()]
    right = service.ask(headers=headers, query="include=identities").accounts
    kept = {key: stored.get(key) for key in sorted(stored.keys("la:6:{*"))}
    kept = {key: value for key, value in kept.items() if key.endswith(b":accounts") or b":token:" in key}
    assert len(kept) == 2
    eventually(lambda: stored.keys("la:6:providers:*"), within=5)  # in the background
    return service, headers, right, kept


@examples(20, 1200)
@given(values=st.lists(st.binary(max_size=120) | st.sampled_from(MADE), min_size=2, max_size=2))
def test_any_bytes_are_a_miss(warm, stored, log, values):
    service, headers, right, kept = warm
    stored.mset(dict(zip(kept, values, strict=True)))

    answer = service.ask(headers=headers, query="include=identities")

    tried("values in Redis: any bytes", 2)
    assert (answer.status, answer.accounts) == (200, right)
    assert '"event":"defect"' not in log.read()


@examples(20, 1200)
@given(at=st.integers(0, 4000), replaced=st.binary(max_size=6), cut=st.integers(0, 4000), which=st.integers(0, 1))
def test_a_genuine_value_with_some_bytes_changed(warm, stored, log, at, replaced, cut, which):
    service, headers, right, kept = warm
    stored.mset(kept)
    key = list(kept)[which]
    at %= len(kept[key])
    bent = kept[key][:at] + replaced + kept[key][at + min(cut, len(replaced)) :]
    stored.set(key, bent)

    answer = service.ask(headers=headers, query="include=identities")

    tried("values in Redis: genuine ones, altered")
    assert answer.status in {200, 401, 403} if not sealed(service) else answer.status == 200
    assert answer.accounts == right or not sealed(service)
    assert '"event":"defect"' not in log.read()


@examples(25, 1500)
@given(accounts=json_values, verdict=json_values)
def test_any_json_in_the_right_wrapping(warm, stored, log, accounts, verdict):
    """What somebody who may write to Redis can forge while there is no CACHE_SECRET: still no 5xx, and with one, nothing."""
    service, headers, right, kept = warm
    for key, value in zip(sorted(kept), (accounts, verdict), strict=True):
        stored.set(key, b"%b %b" % (key, json.dumps(value).encode()))

    answer = service.ask(headers=headers, query="include=identities")

    tried("values in Redis: any JSON bound to the right key", 2)
    assert answer.status in {200, 401, 403}
    if sealed(service):
        assert (answer.status, answer.accounts) == (200, right)
    assert '"event":"defect"' not in log.read()


@examples(25, 1500)
@given(fields=st.lists(json_values, min_size=7, max_size=7), age=st.floats(-1000, 10_000), ttl=st.floats(-100, 100))
def test_any_account_in_an_entry_of_the_right_shape(warm, stored, log, fields, age, ttl):
    service, headers, _, kept = warm
    stored.mset(kept)
    key = next(key for key in kept if key.endswith(b":accounts"))
    if not sealed(service):
        header, *lines = legible(key, kept[key]).split(b"\n")
        at, fresh_until, total = json.loads(header)
        bent = [json.dumps([at - age, fresh_until + ttl, total])]
        for line in lines:
            first, *others = json.loads(line)
            replaced = [
                field if index % 2 else own for index, (own, field) in enumerate(zip(first.values(), fields, strict=False))
            ]
            bent.append(json.dumps([dict(zip(first, replaced, strict=False)), *others]))
        stored.set(key, b"%b %b" % (key, "\n".join(bent).encode()))

    for query in ("include=identities", "include=unlink,providers"):
        assert service.ask(headers=headers, query=query).status == 200

    tried("values in Redis: entries with any field")
    assert '"event":"defect"' not in log.read()


@examples(25, 1500)
@given(
    value=st.binary(max_size=60)
    | json_values.map(lambda value: json.dumps(value).encode())
    | st.lists(st.dictionaries(st.sampled_from(SOURCE.split()), json_values, max_size=7), max_size=3).map(
        lambda sources: json.dumps([{"ext_idp_id": None, "type": "x"} | dict.fromkeys(SOURCE.split()) | each for each in sources])
    ),
)
def test_any_list_of_identity_sources_in_the_snapshot(value):
    """It serves a process that starts while GenAuth's own list is away; names and logos then, never an error."""
    providers = Providers(Away(), 3.0, Holding(value if isinstance(value, bytes) else value.encode()))
    providers.freshen("token")
    catalogue = providers.catalogue(Deadline.after(5))

    rendered, _ = render([LinkedAccount("62f2", "wechat", None, None, None, (), ())], catalogue, ())

    tried("values in Redis: any list of identity sources")
    for language in ("en", "zh"):
        for account in json.loads(rendered.json(language, identities=False)):
            assert account["provider"]["name"]
            logo = account["provider"]["logoUrl"]
            assert logo is None or logo.startswith("https://")


class Away:
    def ext_idps(self, _token, _deadline):
        raise UpstreamUnavailable


class Holding:
    def __init__(self, value):
        self._value = value

    def get(self):
        return self._value


@pytest.mark.parametrize("kind", ["list", "hash", "set", "zset", "stream", "number"])
def test_another_type_under_every_key_is_a_miss(warm, stored, kind):
    service, headers, right, kept = warm
    make = {
        "list": lambda key: stored.lpush(key, "x"),
        "hash": lambda key: stored.hset(key, "x", "y"),
        "set": lambda key: stored.sadd(key, "x"),
        "zset": lambda key: stored.zadd(key, {"x": 1}),
        "stream": lambda key: stored.xadd(key, {"x": "y"}),
        "number": lambda key: stored.set(key, 7),
    }[kind]
    for key in kept:
        stored.delete(key)
        make(key)

    answer = service.ask(headers=headers, query="include=identities")

    assert (answer.status, answer.accounts) == (200, right)


def sealed(service):
    return bool(services_of(service.app).settings.cache_secret)
