"""Identities become accounts: `bff.accounts.linking`."""

import random
from itertools import permutations
from urllib.parse import urlsplit

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bff.accounts.linking import display_name, link, masked, safe_avatar
from bff.models import Identity, Profile


def identity(id_="i1", source="s1", provider="wechat", type_="openid", **profile):
    return Identity(id_, source, provider, type_, f"subject-{id_}", ("c1",), Profile(**profile))


def test_records_of_one_source_are_one_account_and_of_two_are_two():
    accounts = link([identity("a", "s1"), identity("b", "s1", type_="unionid"), identity("c", "s2")])

    assert [(account.id, account.source_id) for account in accounts] == [("s1", "s1"), ("s2", "s2")]
    assert accounts[0].identity_types == ("openid", "unionid")


def test_a_record_without_a_source_stands_for_itself():
    accounts = link([identity("a", None), identity("b", None)])

    assert [(account.id, account.source_id) for account in accounts] == [("a", None), ("b", None)]


def test_equal_records_in_any_order_give_equal_accounts():
    records = [
        identity("a", "s1", type_="openid", nickname="per application"),
        identity("b", "s1", type_="unionid", nickname="everywhere"),
        identity("c", "s2", provider="github", type_="primary", nickname="octo"),
    ]

    assert all(link(order) == link(records) for order in permutations(records))


@pytest.mark.parametrize(
    "types",
    [
        ("unionid", "openid"),
        ("union_id", "user_id"),
        ("primary", "openid"),
        ("primary", "userid"),
        ("user_id", "open_id"),
        ("userid", "openid"),
        ("userId", "openId"),
        ("openid", "whatever"),
        ("userid", "whatever"),
    ],
)
def test_the_record_that_speaks_best_for_the_account_names_it(types):
    first, second = types
    records = [identity("b", type_=first, nickname="speaks"), identity("a", type_=second, nickname="is silent")]
    random.shuffle(records)

    assert link(records)[0].display_name == "speaks"


def test_what_the_best_record_does_not_say_the_next_one_does():
    (account,) = link(
        [identity("a", type_="unionid", nickname="  "), identity("b", nickname="Mei", photo="https://x.example/a.png")]
    )

    assert (account.display_name, account.avatar_url) == ("Mei", "https://x.example/a.png")


def test_a_name_in_any_record_goes_before_the_beginning_of_a_mail_address():
    (account,) = link([identity("a", type_="unionid", email="mei@example.com"), identity("b", nickname="Mei")])

    assert (account.display_name, account.email) == ("Mei", "m•••@example.com")


@pytest.mark.parametrize(
    ("profile", "name"),
    [
        ({"nickname": "Nick", "name": "Name", "username": "user"}, "Nick"),
        ({"nickname": " ", "name": "Name", "username": "user"}, "Name"),
        ({"name": "", "username": "user", "email": "local@example.com"}, "user"),
        ({"email": "local@example.com"}, "l•••"),
        ({"email": "l@example.com"}, "l•••"),
        ({"email": "no address"}, None),
        ({"nickname": "local@example.com", "email": "local@example.com"}, "l•••@example.com"),
        ({"username": "other.local@mail.example.co"}, "o•••@mail.example.co"),
        ({"nickname": "小明@设计部"}, "小明@设计部"),
        ({"nickname": "mei @ example.com"}, "mei @ example.com"),
        ({"nickname": "Nuts <nuts@example.com>"}, "Nuts <n•••@example.com>"),
        ({"name": "nuts@example.com, nuts@mail.example."}, "n•••@example.com, n•••@mail.example."),
        ({"username": "Local@Corp", "email": "local@corp"}, "L•••@Corp"),
        ({"nickname": "\u200b\u3164", "name": "\u0301\u0302", "username": "Mei"}, "Mei"),
        ({"nickname": "\u200f\u202eMei\u202c"}, "Mei"),
        ({"nickname": "\ufeff", "email": "local@example.com"}, "l•••"),
        ({}, None),
    ],
)
def test_people_are_called_by_the_first_name_that_can_be_seen(profile, name):
    assert display_name(Profile(**profile)) == name


@pytest.mark.parametrize(
    ("email", "shown"),
    [
        ("nuts@example.com", "n•••@example.com"),
        ("n@example.com", "n•••@example.com"),
        ("@example.com", None),
        ("nuts@", None),
        ("a@b@example.com", None),
        ("nuts", None),
        ("", None),
        (None, None),
    ],
)
def test_an_email_shows_its_first_letter_and_its_domain(email, shown):
    assert masked(email) == shown


@pytest.mark.parametrize(
    "url",
    [
        "http://example.com/a.png",
        "javascript:alert(1)",
        "data:image/png;base64,AAAA",
        "//example.com/a.png",
        "https://",
        "https://user:password@example.com/a.png",
        "https://example.com/a b.png",
        "https://example.com/\u202ea.png",
        'https://example.com/"onerror="x',
        "https://[broken/a.png",
        "https://example.com/" + "a" * 2048,
        "",
        None,
    ],
)
def test_an_avatar_that_a_page_should_not_load_is_left_out(url):
    assert safe_avatar(url) is None


@pytest.mark.parametrize(
    "host",
    ["thirdwx.qlogo.cn", "wx.qlogo.cn", "thirdqq.qlogo.cn", "q.qlogo.cn", "p.qlogo.cn", "wework.qpic.cn", "ThirdWX.qlogo.cn"],
)
@pytest.mark.parametrize("scheme", ["http", "HTTP", "https"])
def test_an_http_avatar_of_a_host_that_serves_https_is_shown_as_https(scheme, host):
    shown = safe_avatar(f"{scheme}://{host}/mmopen/vi_32/Q0j4TwGTfTK/132?a=http://x")

    assert shown is not None
    assert shown.lower() == f"https://{host}/mmopen/vi_32/Q0j4TwGTfTK/132?a=http://x".lower()


@pytest.mark.parametrize(
    "url",
    [
        "http://thirdwx.qlogo.cn.evil.example/132",
        "http://evil.example/thirdwx.qlogo.cn",
        "http://someone@thirdwx.qlogo.cn/132",
        "http://thirdwx.qlogo.cn:80/132",
        "http://thirdwx.qlogo.cn/1 32",
        "ftp://thirdwx.qlogo.cn/132",
        "//thirdwx.qlogo.cn/132",
    ],
)
def test_what_only_looks_like_an_address_of_such_a_host_is_left_out(url):
    assert safe_avatar(url) is None


@given(st.from_regex(r"(https|HTTPS|http)://[a-zA-Z0-9.:@/?#\[\]é-]{0,30}", fullmatch=True))
def test_an_avatar_is_shown_if_it_is_https_from_a_host_and_without_credentials(url):
    try:
        parts = urlsplit(url)
        harmless = parts.scheme == "https" and parts.hostname and parts.username is None
    except ValueError:
        harmless = False

    assert safe_avatar(url) == (url if harmless else None)


texts = st.none() | st.text(max_size=40)
profiles = st.builds(Profile, texts, texts, texts, texts, texts)
ids = st.none() | st.sampled_from(["s1", "s2", "s3"])
own_ids = st.none() | st.text(min_size=1, max_size=4)
identities = st.builds(Identity, own_ids, ids, st.text(min_size=1, max_size=8), texts, texts, st.just(()), profiles)


@given(st.lists(identities, max_size=12))
def test_no_record_is_lost_and_none_is_counted_twice(records):
    accounts = link(records)

    assert sum(len(account.identities) for account in accounts) == sum(record.account_id is not None for record in records)
    assert len({account.id for account in accounts}) == len(accounts)
    assert accounts == sorted(accounts, key=lambda account: (account.provider, account.id))
    for account in accounts:
        assert account.display_name != ""
        assert account.avatar_url is None or account.avatar_url.startswith("https://")
