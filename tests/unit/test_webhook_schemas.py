"""Whom GenAuth's events are about, as recorded and as documented (docs/genauth.md 6), and in every other shape."""

import json

import pytest

from schemas.genauth import parsed
from schemas.oidc import UnexpectedShape
from schemas.webhooks import MOST_USERS, EventSchema, NewLink, event_data
from tests.webhooks import EVENTS, recorded

LIN, MAX = "6064925fb31803716a9df11f", "60b44b916d92a4f5fc6ffdce"
PRIMARY, SECONDARY = "6130d1cb9c8c812c8ab8fee6", "6130d1760ce53236578c621a"
SOURCE = "62f209327xxxxcc10d966ee5"
WHOSE = {
    "user-updated": (LIN,),
    "user-udv-changed": (LIN,),
    "user-password-changed": ("5f702fcc913544c358cb2123",),
    "user-password-changed-with-the-user": (LIN,),
    "user-email-verified": ("xxxxx",),
    "user-blocked": (LIN,),
    "user-deleted": (LIN, MAX),
    "user-deleted-of-a-custom-database": (LIN, MAX),
    "kick": (LIN,),
    "link-account": (LIN,),
    "link-account-of-two-users": (PRIMARY, SECONDARY),
}
# Everything that an event has beside ids, names of events and types.
SECRETS = ("password", "salt", "token", "xxxxx-", "gho_", "secret", "eyJ", "0a7051ab1ecb0693e171936f8abe366a", "65ddnbh89fi3")


@pytest.mark.parametrize("case", WHOSE)
def test_an_event_says_whose_it_is(case):
    assert event_data(recorded(case)["data"]).user_ids == WHOSE[case]


@pytest.mark.parametrize("case", WHOSE)
def test_nothing_secret_has_a_field(case):
    kept = repr(event_data(recorded(case)["data"]))

    assert not [secret for secret in SECRETS if secret in kept]


def test_a_new_link_says_of_which_source():
    assert event_data(recorded("link-account")["data"]).links == (NewLink(LIN, SOURCE, "github"),)


def test_a_merge_whose_identities_name_no_source_says_of_none():
    assert event_data(recorded("link-account-of-two-users")["data"]).links == ()


def test_a_merge_whose_identities_name_sources_is_a_link_of_the_primary_user_for_each_source():
    identities = [{"extIdpId": "s1", "provider": "github"}, {"extIdpId": "s1", "provider": "github"}, {"extIdpId": "s2"}, 7, {}]
    data = {"primaryUser": {"id": PRIMARY}, "secondaryUser": {"id": SECONDARY, "identities": identities}}

    assert event_data(data).links == (NewLink(PRIMARY, "s1", "github"), NewLink(PRIMARY, "s2", None))


def test_one_event_does_not_fill_the_stream_of_ours():
    identities = [{"extIdpId": f"s{number}"} for number in range(20_000)]
    found = event_data({"primaryUser": {"id": PRIMARY}, "secondaryUser": {"id": SECONDARY, "identities": identities}})

    assert found.user_ids == (PRIMARY, SECONDARY)
    assert len(found.links) == 1000


@pytest.mark.parametrize(
    ("parts", "link"),
    [
        ({"extIdp": {"id": "s1", "type": "wechat"}}, NewLink(LIN, "s1", "wechat")),
        ({"identity": {"extIdpId": "s1", "provider": "qq"}}, NewLink(LIN, "s1", "qq")),
        ({"extIdp": {"id": "s1", "type": "oidc"}, "identity": {"extIdpId": "s2", "provider": "qq"}}, NewLink(LIN, "s1", "qq")),
        ({"extIdp": {"id": None}, "identity": {"extIdpId": "s2"}}, NewLink(LIN, "s2", None)),
        ({"extIdp": "s1", "identity": ["s1"]}, None),
        ({"extIdp": {"id": ["s1"]}, "identity": {}}, None),
        ({}, None),
    ],
)
def test_the_source_of_a_link_is_where_it_can_be_read(parts, link):
    assert event_data({"user": {"id": LIN}} | parts).links == ((link,) if link else ())


@pytest.mark.parametrize(
    "data",
    [
        *({"user": "a"}, {"user": {"id": "a"}}, {"user": {"userId": "a"}}, {"user": {"id": None, "userId": "a"}}),
        *({"users": ["a"]}, {"users": [{"id": "a"}]}, {"users": [{"userId": "a"}, "a"]}, {"users": {"id": "a"}}, {"users": "a"}),
        *({"userId": "a"}, {"id": "a", "email": "a@b.example"}, {"user": None, "userId": "a"}, '{"user": {"id": "a"}}'),
    ],
)
def test_a_user_is_taken_by_every_spelling(data):
    found = event_data(data)

    assert (found.user_ids, found.left_out) == (("a",), 0)


def test_what_is_not_the_users_own_id_is_not_taken():
    assert event_data({"id": "of-the-event", "user": {"id": "a"}, "users": ["b", "a"]}).user_ids == ("a", "b")


@pytest.mark.parametrize("odd", [7, True, None, [], {}, {"id": 7}, {"id": []}, "", " ", " a", "a\0", "a\n", "\ud83d", "x" * 257])
def test_an_id_that_can_be_none_is_left_out_and_the_others_count(odd):
    found = event_data({"users": ["a", odd, "b"]})

    assert (found.user_ids, found.left_out) == (("a", "b"), 1)


@pytest.mark.parametrize(
    "data",
    [
        *(None, 7, "", "a", "{", "[]", [], [{"id": "a"}], {}, {"users": [7]}, {"users": [{}] * 3}, {"users": 7}, {"users": {}}),
        *({"user": {}}, {"user": ["a"]}, {"userId": ""}, {"userId": 7}, {"userId": "x" * 257}, {"application": {"id": "a"}}),
        *({"id": 7}, {"users": None}, {"users": [*range(100_000)]}, {"users": [{}] * 100_000}, {"users": [], "user": {}}),
    ],
    ids=lambda data: repr(data)[:40],
)
def test_data_that_names_nobody_is_none(data):
    with pytest.raises(UnexpectedShape):
        event_data(data)


def test_nobody_at_all_is_nobody():
    assert event_data({"users": []}).user_ids == ()


def test_so_many_are_taken_and_no_more():
    assert len(event_data({"users": [f"user-{number}" for number in range(MOST_USERS)]}).user_ids) == MOST_USERS
    with pytest.raises(UnexpectedShape, match="too many users"):
        event_data({"users": ["a"] * (MOST_USERS + 1)})


@pytest.mark.parametrize(
    ("sent", "name"),
    [
        ({"eventName": "kick"}, "kick"),
        ({"eventName": None}, None),
        ({"eventName": ["kick"]}, None),
        ({"eventName": "x" * 257}, None),
        ({}, None),
    ],
)
def test_an_event_has_the_name_that_can_be_read(sent, name):
    assert EventSchema().load(sent)["name"] == name


def test_every_recorded_event_is_an_object():
    for file in EVENTS.iterdir():
        assert isinstance(parsed(file.read_bytes()), dict)
        assert json.loads(file.read_bytes()) == recorded(file.stem)
