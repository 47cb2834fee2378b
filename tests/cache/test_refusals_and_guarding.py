"""Two small ones: refusals remembered in this process, and the leak guard over accounts."""

import pytest

from bff.accounts.redaction import guarded
from bff.accounts.refusals import Refusals
from bff.errors import TokenRefused, UserBlocked
from bff.models import LinkedAccount, LinkedIdentity


def test_a_refusal_is_repeated_for_eight_seconds(clock):
    refusals = Refusals(8, clock)
    refusals.remember("a", TokenRefused())

    clock.advance(7.9)
    with pytest.raises(TokenRefused):
        refusals.check("a")
    refusals.check("b")
    clock.advance(0.2)
    refusals.check("a")


def test_a_block_is_repeated_as_a_block(clock):
    refusals = Refusals(8, clock)
    refusals.remember("a", UserBlocked())

    with pytest.raises(UserBlocked):
        refusals.check("a")


def test_a_refusal_outvotes_older_acceptances_when_it_is_no_longer_repeated(clock):
    refusals = Refusals(8, clock)
    refused_at = clock()
    refusals.remember("a", TokenRefused())
    clock.advance(1000)

    assert refusals.last("a") == refused_at
    assert refusals.last("b") == float("-inf")


def test_refusals_are_bounded(clock):
    refusals = Refusals(8, clock)
    for n in range(10_100):
        refusals.remember(str(n), TokenRefused())

    assert len(refusals._refused) == 10_000
    refusals.check("0")
    with pytest.raises(TokenRefused):
        refusals.check("10099")


SECRET = "provider-token-0123456789"


def account(**changed):
    identity = LinkedIdentity("identity", "openid", "subject", ("connection",))
    fields = {"id": "src", "provider": "wechat", "display_name": "Mei", "email": None, "avatar_url": None}
    return LinkedAccount(**fields | {"identity_types": ("openid",), "identities": (identity,)} | changed)


def test_what_holds_no_secret_is_unchanged():
    assert guarded([account()], [SECRET]) == ([account()], ())


@pytest.mark.parametrize("field", ["id", "display_name", "email", "avatar_url"])
def test_a_field_that_holds_a_secret_becomes_none_and_the_rest_stays(field):
    (cleaned,), stopped = guarded([account(**{field: f"https://a.example/?t={SECRET}"})], [SECRET])

    assert cleaned == account(**{field: None})
    assert stopped == (f"[].{field}",)


def test_a_provider_that_is_a_secret_is_unknown():
    (cleaned,), _ = guarded([account(provider=SECRET)], [SECRET])

    assert cleaned.provider == "unknown"


@pytest.mark.parametrize("word", ["provider", "identities", "identity_types", "display_name", "connection_ids"])
def test_a_token_that_reads_like_a_name_of_ours_does_no_harm(word):
    (cleaned,), stopped = guarded([account(display_name=word)], [word])

    assert cleaned.display_name is None
    assert cleaned.identities == account().identities
    assert stopped == ("[].display_name",)


def test_secrets_in_lists_go_and_the_lists_stay_lists_of_texts():
    identity = LinkedIdentity("identity", SECRET, SECRET, ("connection", SECRET))
    (cleaned,), stopped = guarded([account(identity_types=("openid", SECRET), identities=(identity,))], [SECRET])

    assert cleaned.identity_types == ("openid",)
    assert cleaned.identities == (LinkedIdentity("identity", None, None, ("connection",)),)
    assert len(stopped) == 4
