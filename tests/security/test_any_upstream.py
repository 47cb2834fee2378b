"""Whatever GenAuth, or what pretends to be GenAuth, answers: one of our answers, without a token in it."""

import itertools
import json

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from tests.security.effort import examples, tried
from tests.valkey import legible

IDENTITIES = "/api/v3/get-identities"
SOURCES = "/api/v3/get-application-enabled-extidps"
CANARY = "canary-9f8e7d6c5b4a3f2e"
NUMBERS = itertools.count(1_000_000)

KEYS = """
    statusCode apiCode code requestId message data identityId extIdpId provider type userIdInIdp originConnIds userInfoInIdp
    customData nickname name username email photo picture avatar oauth giteeName identifier extIdpType logo name_en
"""
keys = st.sampled_from(KEYS.split()) | st.text(max_size=6)
hostile = st.sampled_from(
    [
        "javascript:alert(1)",
        "https://a.example/?access_token=" + CANARY,
        CANARY,
        f"x%22{CANARY}",
        "<script>alert(1)</script>",
        "\u202egnp.exe",
        "\ud800",
        "a\0b",
        "x" * 5000,
        "https://u:p@a.example/",
        "//a",
        "[]",
        "{}",
        f'{{"access_token":"{CANARY}"}}',
        "🙂" * 200,
        " ",
    ]
)
leaves = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.integers(-(10**60), 10**60)
    | st.floats()
    | st.text(max_size=20)
    | hostile
    | st.sampled_from([200, "200", 401, 2020])
)
anything = st.recursive(
    leaves, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(keys, inner, max_size=5), max_leaves=20
)
rows = st.lists(st.dictionaries(keys, anything, max_size=9), max_size=4)
token_names = st.sampled_from(
    [
        "accessToken",
        "refreshToken",
        "access_token",
        "refresh_token",
        "idToken",
        "oauth",
        "token",
        "oauth_token_secret",
        "session-key",
    ]
)
codes = st.sampled_from([200, 200, 200, 200, 201, 204, 301, 302, 304, 400, 401, 403, 404, 408, 418, 429, 500, 502, 503, 504, 999])
response_headers = st.dictionaries(
    st.sampled_from(["retry-after", "x-request-id", "location", "content-type", "set-cookie", "content-encoding"]),
    st.text(st.characters(max_codepoint=255, exclude_characters="\r\n"), max_size=20)
    | st.sampled_from(["5", "-1", "9" * 30, "Wed, 21 Oct 2015 07:28:00 GMT"]),
    max_size=3,
)


@pytest.fixture
def somebody(genauth):
    """A person nobody has met, and their token."""

    def meet():
        return genauth.token(f"user-{next(NUMBERS)}")

    return meet


def asked(service, token, **more):
    answer = service.accounts_of(token, query="include=identities", **more)
    assert answer.status in {200, 401, 403, 429, 502, 503, 504}
    assert token not in answer.everything
    return answer


def found_nowhere(text, *places):
    assert not [place for place in places if text in place]


@examples(30, 2000)
@given(status=codes, headers=response_headers, body=st.binary(max_size=300))
@example(200, {}, b"\xff\xfe{")
@example(200, {}, b'{"statusCode":200,"data":' + b"[" * 100_000)
@example(200, {}, b'{"statusCode":' + b"9" * 5000 + b"}")
def test_any_bytes(answered_with, somebody, log, status, headers, body):
    service = answered_with(IDENTITIES, status, headers, body)

    answer = asked(service, somebody())

    tried("answers of GenAuth: any bytes, status and headers")
    found_nowhere(CANARY, answer.everything, log.read())


@examples(40, 3000)
@given(status=st.sampled_from([200, 200, 200, 403]), envelope=st.dictionaries(keys, anything, max_size=5), data=rows | anything)
def test_any_json(answered_with, somebody, log, status, envelope, data):
    said = json.dumps({"statusCode": 200, "data": data} | envelope).encode()
    service = answered_with(IDENTITIES, status, {}, said)

    answer = asked(service, somebody())

    tried("answers of GenAuth: any JSON")
    assert '"event":"defect"' not in log.read()
    if answer.status == 200:
        avatars = [account["avatarUrl"] for account in answer.accounts if account["avatarUrl"]]
        assert all(url.startswith("https://") for url in avatars)
        assert all(account["displayName"] != "" for account in answer.accounts)


def planted(place, name, token, around):
    """Part of a record with the canary under a token's name, and again in fields that are shown."""
    return {
        "row": {name: CANARY, "userIdInIdp": CANARY},
        "profile": {"userInfoInIdp": {"photo": f"https://a.example/{CANARY}", "nickname": token, name: {"x": CANARY}}},
        "text": {"userInfoInIdp": json.dumps({name: [CANARY], "name": CANARY, "x": 1})},
        "nested": {"userInfoInIdp": {"x": [{"y": {name: CANARY}}, around], "username": f"a{CANARY}z", "email": f"{CANARY}@a.b"}},
        "cut": {name: CANARY * 12, "userInfoInIdp": {"nickname": "x" * 250 + CANARY * 12, "name": CANARY * 12}},
    }[place]


@examples(30, 2500)
@given(
    data=rows,
    plants=st.lists(
        st.tuples(st.integers(0, 3), st.sampled_from(["row", "profile", "text", "nested", "cut"]), token_names, anything),
        min_size=1,
        max_size=3,
    ),
)
def test_any_place_for_a_token(answered_with, somebody, stored, log, data, plants):
    """Planted under a token's name anywhere, and in any of the fields that are shown: it never leaves."""
    token = somebody()
    data = [{"identityId": f"i{number}", **row} for number, row in enumerate(data)] or [{"identityId": "i"}]
    for at, place, name, around in plants:
        data[at % len(data)] |= planted(place, name, token, around)
    service = answered_with(IDENTITIES, 200, {}, json.dumps({"statusCode": 200, "data": data}).encode())

    answer = asked(service, token)
    again = asked(service, token)

    tried("answers of GenAuth: tokens planted anywhere")
    kept = b"".join(legible(key, stored.get(key) or b"") for key in stored.keys("la:6:*:accounts")).decode("utf-8", "replace")
    stored.flushall()
    found_nowhere(CANARY, answer.everything, again.everything, kept, log.read())
    found_nowhere(token, kept)


@examples(20, 1000)
@given(status=codes, data=rows | anything)
def test_any_list_of_identity_sources(answered_with, somebody, log, status, data):
    service = answered_with(SOURCES, status, {}, json.dumps({"statusCode": 200, "data": data}).encode())

    answer = service.accounts_of(somebody())

    tried("answers of GenAuth: any list of identity sources")
    assert answer.status == 200  # names and logos are best effort: nobody is without their accounts for them
    logos = [account["provider"]["logoUrl"] for account in answer.accounts]
    assert all(logo is None or logo.startswith("https://") for logo in logos)
    assert all(account["provider"]["name"] for account in answer.accounts)
    assert '"event":"defect"' not in log.read()
