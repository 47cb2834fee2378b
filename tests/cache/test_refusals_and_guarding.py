"""Two small ones: refusals remembered in this process, and the leak guard over accounts."""

import json

import pytest

from bff.accounts.providers import Catalogue
from bff.accounts.refusals import Refusals
from bff.accounts.rendering import render
from bff.errors import TokenRefused, UserBlocked
from bff.genauth import ExtIdp
from bff.models import LinkedAccount, LinkedIdentity, Session
from bff.resilience.caches import DECLARED

A = Session("mei", 2e9, "token", "a")


def test_a_refusal_is_repeated_for_eight_seconds(clock):
    refusals = Refusals(8, clock)
    refusals.put(A, TokenRefused())

    clock.advance(7.9)
    with pytest.raises(TokenRefused):
        refusals.raise_if_refused("a")
    refusals.raise_if_refused("b")
    clock.advance(0.2)
    refusals.raise_if_refused("a")


def test_a_block_is_repeated_as_a_block(clock):
    refusals = Refusals(8, clock)
    refusals.put(A, UserBlocked())

    with pytest.raises(UserBlocked):
        refusals.raise_if_refused("a")


def test_a_refusal_outvotes_older_acceptances_when_it_is_no_longer_repeated(clock):
    refusals = Refusals(8, clock)
    refused_at = clock()
    refusals.put(A, TokenRefused())
    clock.advance(1000)

    assert refusals.refused_at("a") == refused_at
    assert refusals.refused_at("b") == float("-inf")


def test_a_refusal_of_who_was_forgotten_is_not_repeated_and_still_outvotes_older_acceptances(clock):
    refusals = Refusals(8, clock, person=str.upper)
    refusals.put(A, TokenRefused())
    refusals.forget("ALI")
    with pytest.raises(TokenRefused):
        refusals.raise_if_refused("a")

    refusals.forget("MEI")
    refusals.raise_if_refused("a")
    assert refusals.refused_at("a") == clock()
    refusals.put(A, TokenRefused())
    with pytest.raises(TokenRefused):
        refusals.raise_if_refused("a")


def test_a_refusal_that_was_on_its_way_when_its_person_was_forgotten_is_not_repeated(clock):
    refusals = Refusals(8, clock)
    begun = refusals.begun
    refusals.forget("mei")
    refusals.put(A, UserBlocked(), begun)

    refusals.raise_if_refused("a")
    assert refusals.refused_at("a") == clock()


def test_refusals_are_bounded(clock):
    refusals = Refusals(8, clock)
    more = DECLARED["refusals"].budget // 500  # none takes less
    for n in range(more):
        refusals.put(Session("mei", 2e9, "token", str(n)), TokenRefused())

    refusals.raise_if_refused("0")
    with pytest.raises(TokenRefused):
        refusals.raise_if_refused(str(more // 2))


SECRET = "provider-token-0123456789"


def account(**changed):
    identity = LinkedIdentity("identity", "openid", "subject", ("connection",))
    fields = {"id": "src", "provider": "wechat", "display_name": "Mei", "email": None, "avatar_url": None}
    return LinkedAccount(**fields | {"identity_types": ("openid",), "identities": (identity,)} | changed)


def rendered(account, *secrets, catalogue=None):
    """The account in English with its identities, and the names of the fields that were emptied in it."""
    result, emptied = render([account], catalogue or Catalogue(), secrets)
    for language in ("en", "zh"):
        texts = [result.json(language, identities=shown) for shown in (True, False)]
        assert not any(secret.encode() in text for text in texts for secret in secrets if secret != "wechat"), "in any form"
        with_identities, plain = [json.loads(text)[0] for text in texts]
        assert plain == {key: value for key, value in with_identities.items() if key != "identities"}
    return json.loads(result.json("en", identities=True))[0], emptied


def test_what_holds_no_secret_is_unchanged():
    shown, emptied = rendered(account(), SECRET)

    assert emptied == ()
    assert shown == {
        "id": "src",
        "provider": {"type": "wechat", "name": "WeChat", "category": "social", "logoUrl": None},
        "displayName": "Mei",
        "email": None,
        "avatarUrl": None,
        "identityTypes": ["openid"],
        "identities": [{"id": "identity", "type": "openid", "subject": "subject", "connectionIds": ["connection"]}],
    }


@pytest.mark.parametrize(
    ("field", "key"), [("id", "id"), ("display_name", "displayName"), ("email", "email"), ("avatar_url", "avatarUrl")]
)
def test_a_field_that_holds_a_secret_becomes_null_and_the_rest_stays(field, key):
    whole, _ = rendered(account())

    shown, emptied = rendered(account(**{field: f"https://a.example/?t={SECRET}"}), SECRET)

    assert shown == whole | {key: None}
    assert emptied == (f"[].{key}",)


def test_of_each_account_the_source_is_kept_unless_its_id_held_a_secret():
    result, _ = render(
        [account(source_id="src"), account(id="record"), account(id=SECRET, source_id=SECRET)], Catalogue(), [SECRET]
    )

    assert (result.sources, result.total) == (("src", None, None), 3)


def test_a_provider_that_is_a_secret_is_unknown():
    shown, _ = rendered(account(provider=SECRET), SECRET)

    assert (shown["provider"]["type"], shown["provider"]["name"]) == ("unknown", "unknown")


@pytest.mark.parametrize("word", ["provider", "identities", "identityTypes", "displayName", "connectionIds"])
def test_a_token_that_reads_like_a_name_of_ours_does_no_harm(word):
    result, emptied = render([account(display_name=word)], Catalogue(), [word])
    (shown,) = json.loads(result.json("en", identities=True))

    assert shown == rendered(account())[0] | {"displayName": None}
    assert emptied == ("[].displayName",)


def test_secrets_in_lists_go_and_the_lists_stay_lists_of_texts():
    identity = LinkedIdentity("identity", SECRET, SECRET, ("connection", SECRET))
    shown, emptied = rendered(account(identity_types=("openid", SECRET), identities=(identity,)), SECRET)

    assert shown["identityTypes"] == ["openid"]
    assert shown["identities"] == [{"id": "identity", "type": None, "subject": None, "connectionIds": ["connection"]}]
    assert len(emptied) == 4


def test_a_secret_in_what_the_application_calls_its_sources_goes_too():
    source = ExtIdp("src", "wechat", None, SECRET, SECRET, f"https://logo.example/?t={SECRET}")
    shown, emptied = rendered(account(), SECRET, catalogue=Catalogue([source]))

    assert shown["provider"] == {"type": "wechat", "name": "wechat", "category": "social", "logoUrl": None}
    assert set(emptied) == {"[].provider.name", "[].provider.logoUrl"}
