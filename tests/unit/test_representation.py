"""What goes out: as the schemas dump it, and kept in no more memory than it is long, since a worker keeps hundreds of answers."""

import json
import tracemalloc
from types import SimpleNamespace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bff.accounts import Answer, Part, Source
from bff.accounts.providers import Catalogue
from bff.accounts.rendering import render
from bff.cache import Entry
from bff.models import LinkedAccount, LinkedIdentity, RenderedAccounts, Session
from bff.observability import Recorder
from bff.web.representation import represent
from schemas.linked_accounts import LinkedAccountsSchema

TEXT = st.text(max_size=8)
MAYBE = st.none() | TEXT
TEXTS = st.lists(TEXT, max_size=3).map(tuple)
ACCOUNT = st.builds(
    LinkedAccount,
    id=TEXT,
    provider=TEXT,
    display_name=MAYBE,
    email=MAYBE,
    avatar_url=MAYBE,
    identity_types=TEXTS,
    identities=st.lists(st.builds(LinkedIdentity, MAYBE, MAYBE, MAYBE, TEXTS), max_size=3).map(tuple),
)
SESSION = Session("mei", 2e9, "token-of-mei", "digest")
NOTHING = RenderedAccounts((), dict.fromkeys(("en", "zh"), b"[]"), dict.fromkeys(("en", "zh"), b"[]"))


class Offering:
    """Includes what a test says, until when it says."""

    def __init__(self, offered):
        self._offered = Part(*offered)

    def linkable(self, *_):
        return self._offered


def represented(accounts, at=1_800_000_000.0, offered=(b"null", 0.0), **asked):
    """What goes out when the use case finds these accounts."""
    answer = Answer(Entry(at, at + 60, accounts), Source.CACHE, 60.0, 0.0, at + 60)
    services = SimpleNamespace(inclusions=Offering(offered), metrics=Recorder())
    return represent(services, SESSION, None, answer, **{"language": "en", "include": ()} | asked)


@given(st.lists(ACCOUNT, max_size=3))
def test_an_answer_is_what_its_schema_dumps(accounts):
    rendered, _ = render(accounts, Catalogue(), ())

    for language in ("en", "zh"):
        shown = [
            {name: getattr(account, name) for name in account.__slots__}
            | {"provider": Catalogue().provider_of(account, language)}
            for account in accounts
        ]
        whole = LinkedAccountsSchema().dump({"linked_accounts": shown})["linkedAccounts"]
        body = json.loads(represented(rendered, language=language, include={"identities"}).body)
        assert body["linkedAccounts"] == whole
        assert [list(account) for account in body["linkedAccounts"]] == [list(account) for account in whole], "in its order"
        for account in whole:
            del account["identities"]
        body = json.loads(represented(rendered, language=language).body)
        assert body == {
            "linkedAccounts": whole,
            "meta": {"total": len(accounts), "stale": False, "fetchedAt": "2027-01-15T08:00:00Z"},
        }


def test_what_is_rendered_takes_no_more_memory_than_it_is_long():
    account = LinkedAccount("62f2", "wechat", "Mei", None, None, ("openid",), ())
    render([account], Catalogue(), ())
    tracemalloc.start()
    try:
        kept = [render([account], Catalogue(), ())[0] for _ in range(200)]
        taken, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()

    assert len(kept) == 200
    assert taken < 200 * 2500


def test_what_is_kept_of_answers_takes_no_more_memory_than_it_is_long():
    tracemalloc.start()
    try:
        for second in range(200):
            represented(NOTHING, 1_800_000_000.0 + second)
        taken, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()

    assert taken < 200 * 800


@pytest.mark.parametrize(
    ("offered", "until"),
    [((b"[]", 1_800_000_020.0), 1_800_000_020.0), ((b"[]", 1_800_000_090.0), 1_800_000_060.0), ((b"null", 0.0), None)],
)
def test_the_part_that_ends_first_decides_until_when_an_answer_holds(offered, until):
    freshness = represented(NOTHING, offered=offered, include={"providers"}).freshness

    assert (freshness and freshness.good_until) == until


def test_no_source_that_could_be_linked_shows_the_callers_token():
    source = {"identifier": "one", "identifiers": ["one", "two"], "id": "a", "type": "wechat", "category": None}
    source |= {"name": "WeChat", "logoUrl": None}
    told = [
        source | {"name": f"with {SESSION.token}", "logoUrl": f"https://l.example/?{SESSION.token}"},
        source | {"identifier": SESSION.token, "identifiers": [SESSION.token, "two"]},
        source | {"type": SESSION.token},
        source | {"identifier": SESSION.token, "identifiers": [SESSION.token]},
        source | {"id": SESSION.token},
    ]

    body = represented(NOTHING, offered=(json.dumps(told).encode(), 9e9), include={"providers"}).body

    assert json.loads(body)["linkableProviders"] == [
        source | {"name": "wechat"},
        source | {"identifier": "two", "identifiers": ["two"]},
        source | {"type": "unknown"},
    ]
