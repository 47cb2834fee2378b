"""What GenAuth may answer and what we make of it: the table of rules. Anything at all: test_any_answer.py."""

import json
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

import pytest

from bff.errors import (
    TokenInvalid,
    TokenRefused,
    UpstreamForbidden,
    UpstreamMalformed,
    UpstreamRejected,
    UpstreamThrottled,
    UpstreamUnavailable,
    UserBlocked,
)
from bff.genauth import oidc
from bff.genauth.envelope import TransientError, UnreadableData
from bff.genauth.messages import asked_to_wait
from bff.genauth.protocol import ext_idps_request, identities_request, read_ext_idps, read_identities
from bff.models import Identity, Profile
from schemas.genauth import clean
from tests.genauth.conftest import answer, refused

TOKEN = "eyJhbGciOiJSUzI1NiJ9.canary-session-token.c2lnbmF0dXJl"


def test_the_request_carries_the_token_and_both_names_of_the_app():
    request = identities_request("app-1", TOKEN)

    assert (request.method, request.path, request.body) == ("GET", "/api/v3/get-identities", None)
    assert request.headers == {
        "Authorization": f"Bearer {TOKEN}",
        "x-authing-app-id": "app-1",
        "x-genauth-app-id": "app-1",
        "x-authing-lang": "en-US",
        "Accept": "application/json",
        "Accept-Encoding": "identity",
        "User-Agent": "linked-accounts-bff",
    }
    assert ext_idps_request("app-1", TOKEN).path == "/api/v3/get-application-enabled-extidps"


def test_neither_request_nor_answer_shows_what_it_carries():
    request, back = identities_request("app-1", TOKEN), answer({"accessToken": TOKEN}, set_cookie=TOKEN)

    assert TOKEN not in f"{request!r} {request} {back!r} {back}"
    assert "s3cret" not in repr(oidc.introspection_request("https://g/i", "app", "s3cret", TOKEN))


@pytest.mark.parametrize("token", ["", "a b", "tok\r\nX-Evil: 1", "tok\x00", "tök", "小明", "a\x7f", "\ud83d"])
def test_a_token_that_no_header_can_carry_is_invalid_and_stays_unsaid(token):
    with pytest.raises(TokenInvalid) as error:
        identities_request("app-1", token)

    assert not token or token not in f"{error.value!r} {error.value.note}"


@pytest.mark.parametrize(
    ("status", "error"),
    [
        (101, UpstreamMalformed),
        (301, UpstreamMalformed),
        (302, UpstreamMalformed),
        (304, UpstreamMalformed),
        (308, UpstreamMalformed),
        (408, UpstreamUnavailable),
        (429, UpstreamThrottled),
        (500, UpstreamUnavailable),
        (501, UpstreamUnavailable),
        (502, TransientError),
        (503, TransientError),
        (504, TransientError),
        (520, UpstreamUnavailable),
    ],
)
@pytest.mark.parametrize("body", [b"", b"<html>", b'{"statusCode": 200, "data": []}'])
def test_the_http_status_alone(status, error, body):
    assert type(refused(body, status)) is error


@pytest.mark.parametrize("status", [400, 401, 403, 404, 407, 413, 451, 499])
@pytest.mark.parametrize("body", [b"", b"<html>", b"{}", b'{"error": "forbidden"}', b'{"message": "Unauthorized"}', b'["401"]'])
def test_a_firewalls_page_is_not_genauths_word_about_a_token(status, body):
    assert type(refused(body, status)) is UpstreamMalformed


@pytest.mark.parametrize(
    ("sent", "error"),
    [
        ({"statusCode": 400}, UpstreamRejected),
        ({"statusCode": 401}, TokenRefused),
        ({"statusCode": "401"}, TokenRefused),
        ({"statusCode": 402}, UpstreamRejected),
        ({"statusCode": 403}, UpstreamForbidden),
        ({"statusCode": 403, "apiCode": 1001}, UpstreamForbidden),
        ({"statusCode": 403, "apiCode": 2333}, UpstreamForbidden),
        ({"statusCode": 403, "apiCode": 2020}, TokenRefused),
        ({"statusCode": 499, "apiCode": "1001"}, UpstreamForbidden),
        ({"statusCode": 401, "apiCode": 1001}, TokenRefused),
        ({"statusCode": 503, "apiCode": 1001}, TransientError),
        ({"statusCode": 404}, UpstreamRejected),
        ({"statusCode": 404, "apiCode": 2004}, TokenRefused),
        ({"statusCode": 422, "apiCode": "2207"}, TokenRefused),
        ({"statusCode": 499, "apiCode": 2011}, UpstreamRejected),
        ({"statusCode": 499, "apiCode": 1000}, UpstreamUnavailable),
        ({"statusCode": 429}, UpstreamThrottled),
        ({"statusCode": 429, "apiCode": 2020}, TokenRefused),
        ({"statusCode": 500}, UpstreamUnavailable),
        ({"statusCode": 501}, UpstreamUnavailable),
        ({"statusCode": 502}, TransientError),
        ({"statusCode": 601}, UpstreamUnavailable),
        ({"statusCode": 699}, UpstreamUnavailable),
        ({"statusCode": 700}, UpstreamRejected),
        ({"statusCode": 0}, UpstreamRejected),
        ({"statusCode": -1}, UpstreamRejected),
        ({"statusCode": 302}, UpstreamRejected),
        ({"statusCode": 500, "apiCode": 2005}, UserBlocked),
        ({"statusCode": 200, "apiCode": 2005}, UserBlocked),
        ({"statusCode": 401, "apiCode": " 2120008 "}, UserBlocked),
        ({"statusCode": 403, "apiCode": 2130010.0}, UserBlocked),
        ({"statusCode": 400, "apiCode": "TOO_BAD"}, UpstreamRejected),
        ({"statusCode": 400, "apiCode": [2020]}, UpstreamRejected),
        ({"statusCode": 400, "apiCode": True}, UpstreamRejected),
        ({"statusCode": 403, "code": "2005"}, UpstreamForbidden),
        ({"statusCode": None}, UpstreamMalformed),
        ({"statusCode": True}, UpstreamMalformed),
        ({"statusCode": "OK"}, UpstreamMalformed),
        ({"statusCode": ""}, UpstreamMalformed),
        ({"statusCode": [200]}, UpstreamMalformed),
        ({"statusCode": 10**40}, UpstreamMalformed),
        ({"statusCode": "٢٠٠"}, UpstreamMalformed),
        ({"statusCode": float("nan")}, UpstreamMalformed),
        ({}, UpstreamMalformed),
        ([], UpstreamMalformed),
        ("200", UpstreamMalformed),
        (200, UpstreamMalformed),
        (None, UpstreamMalformed),
    ],
)
def test_the_envelope_decides(sent, error):
    assert type(refused(sent)) is error


@pytest.mark.parametrize("status", [400, 401, 403, 404])
def test_an_http_error_with_a_happy_envelope_is_no_success_and_no_word_about_a_token(status):
    assert type(refused({"statusCode": 200, "data": []}, status)) is UpstreamMalformed


@pytest.mark.parametrize(
    ("status", "sent", "error"),
    [
        (401, {"statusCode": 401, "apiCode": 2020}, TokenRefused),
        (403, {"statusCode": 401}, TokenRefused),
        (401, {"statusCode": 403, "apiCode": 2120008}, UserBlocked),
        (401, {"statusCode": 403, "apiCode": 1001}, UpstreamForbidden),
    ],
)
def test_an_envelope_is_genauths_word_whatever_the_http_status(status, sent, error):
    assert type(refused(sent, status)) is error


def test_an_http_403_with_the_code_of_a_blocked_user_is_a_blocked_user():
    assert type(refused({"statusCode": 403, "apiCode": 2005}, 403)) is UserBlocked


@pytest.mark.parametrize("data", [[], None, [{"identityId": "a"}], {"extIdpId": "a"}])
@pytest.mark.parametrize("code", [200, "200", 200.0, " 200 "])
def test_shapes_of_a_success(data, code):
    assert len(read_identities(answer({"statusCode": code, "data": data})).rows) == (1 if data else 0)


@pytest.mark.parametrize(
    "data",
    [
        "",
        "[]",
        0,
        1,
        True,
        False,
        [None],
        ["x"],
        [[]],
        [None, "x", 7, [], {}],
        {"list": [None]},
        {"list": None, "totalCount": 1},
        {},
        [{}],
        [{"identityId": ""}],
        [{"provider": "x"}],
        [{"extIdpId": "x" * 257}],
        [{"identityId": " \x00 "}],
    ],
)
def test_rows_that_cannot_be_read_are_one_persons_trouble(data):
    assert type(refused({"statusCode": 200, "data": data})) is UnreadableData


@pytest.mark.parametrize(
    "stray", [None, "a", "", "{}", 7, True, 1.5, [], [{"identityId": "b"}], {}, {"identityId": None, "extIdpId": []}, {"x": {}}]
)
@pytest.mark.parametrize("place", [0, 1])
def test_what_cannot_be_read_among_records_is_left_out_and_counted(stray, place):
    records = [{"identityId": "a"}, {"extIdpId": "c"}]
    records.insert(place, stray)

    found = read_identities(answer({"statusCode": 200, "data": records}))

    assert ([row.account_id for row in found.rows], found.left_out) == (["a", "c"], 1)


def test_a_token_in_a_record_that_is_left_out_is_a_secret():
    records = [{"identityId": "a"}, {"accessToken": "canary-0123456789"}, [{"refreshToken": "canary-9876543210"}]]

    assert read_identities(answer({"statusCode": 200, "data": records})).secrets == {"canary-0123456789", "canary-9876543210"}


@pytest.mark.parametrize(
    "data",
    [
        {"list": [{"identityId": "a"}]},
        {"totalCount": 1, "list": [{"identityId": "a"}]},
        {"identities": [{"identityId": "a"}]},
        {"errors": [], "list": [{"identityId": "a"}]},
        {"errors": [], "identities": [{"identityId": "a"}]},
    ],
)
def test_records_in_a_list_in_an_object(data):
    found = read_identities(answer({"statusCode": 200, "data": data}))

    assert ([row.account_id for row in found.rows], found.left_out) == (["a"], 0)


def test_an_object_with_an_id_is_a_record_whatever_lists_it_has():
    record = {"identityId": "a", "list": [{"identityId": "b"}], "originConnIds": ["c"]}

    assert [row.account_id for row in read_identities(answer({"statusCode": 200, "data": record})).rows] == ["a"]


@pytest.mark.parametrize(
    "data",
    [
        {"list": [], "totalCount": 0},
        {"list": [], "columns": ["provider"]},
        {"list": None, "totalCount": 0},  # as Go and Java say it
        {"identities": None, "totalCount": "0"},
    ],
)
def test_an_empty_list_in_an_object_is_nothing_linked(data):
    assert read_identities(answer({"statusCode": 200, "data": data})).rows == ()


def test_what_cannot_be_read_among_sources_is_left_out_and_counted():
    found = read_ext_idps(answer({"statusCode": 200, "data": {"list": [None, {"extIdpId": "e1", "type": "github"}, "x"]}}))

    assert ([source.ext_idp_id for source in found.sources], found.left_out) == (["e1"], 2)
    assert type(refused({"statusCode": 200, "data": ["x"]}, read=read_ext_idps)) is UnreadableData


@pytest.mark.parametrize("said", [{}, {"data": None}, {"data": {}}, {"data": [{"identifier": "my-github", "type": "github"}]}])
def test_that_there_is_nothing_to_link_only_an_empty_list_says(said):
    assert type(refused({"statusCode": 200} | said, read=read_ext_idps)) is UnreadableData
    assert read_ext_idps(answer({"statusCode": 200, "data": []})).sources == ()


def test_more_records_than_a_thousand_are_one_persons_trouble():
    row = {"identityId": "a"}

    assert len(read_identities(answer({"statusCode": 200, "data": [row] * 1_000})).rows) == 1_000
    for data in ([row] * 1_001, [{}] * 100_000):
        assert type(refused({"statusCode": 200, "data": data})) is UnreadableData


def test_a_row_is_read_leniently():
    row = {
        "identityId": 62,
        "extIdpId": "e\x00x\nt",
        "provider": "",
        "type": ["primary"],
        "userIdInIdp": 10**24,
        "originConnIds": ["a", None, 7, {"b": 1}, "", "x" * 300],
        "userInfoInIdp": {
            "nickname": "  ",
            "name": "n" * 1000,
            "username": False,
            "preferred_username": "\u202emay",
            "email": "x" * 400,
            "photo": [],
            "picture": "https://p/1",
        },
        "accessToken": "never kept",
    }

    (identity,) = read_identities(answer({"statusCode": 200, "data": [row]})).rows

    assert identity == Identity(
        "62", "ext", "unknown", None, str(10**24), ("a", "7"), Profile(name="n" * 1000, username="may", photo="https://p/1")
    )


@pytest.mark.parametrize(
    ("info", "profile"),
    [
        ({"name": " ", "customData": {"giteeName": "Mei"}}, Profile(name="Mei")),
        ({"name": "Mei", "customData": {"giteeName": "other"}}, Profile(name="Mei")),
        ({"customData": {"giteeLogin": "mei"}, "preferred_username": "other"}, Profile(username="mei")),
        ({"customData": "mei", "preferred_username": [], "preferredUsername": "mei"}, Profile(username="mei")),
        ({"customData": '{"giteeName":"Mei","giteeLogin":"mei"}'}, Profile(name="Mei", username="mei")),
        ({"customData": [{"key": "giteeLogin", "value": "mei"}, None, {"value": 1}, {"key": []}]}, Profile(username="mei")),
        ({"customData": '[{"key":"giteeName","value":"Mei"},{"key":"giteeLogin"}]'}, Profile(name="Mei")),
        ({"customData": '["giteeName"]', "name": "Mei"}, Profile(name="Mei")),
        ({"middleName": "mei-dev"}, Profile(username="mei-dev")),
        ({"familyName": "Mei"}, Profile(username="Mei")),
        ({"middleName": "\u3164", "familyName": "Mei"}, Profile(username="Mei")),
        ({"username": "mei", "middleName": "M.", "familyName": "Mei"}, Profile(username="mei")),
        ({"nickname": "\u200b", "name": "\u00ad\u2060", "customData": {"giteeName": "Mei"}}, Profile(name="Mei")),
        ({"photo": None, "picture": "\x00", "avatar": "https://p/1"}, Profile(photo="https://p/1")),
        ({"photo": "x" * 3000, "picture": "https://p/1"}, Profile()),
    ],
)
def test_providers_send_a_thing_under_several_names_and_the_first_readable_one_counts(info, profile):
    row = {"identityId": "a", "userInfoInIdp": info}

    assert read_identities(answer({"statusCode": 200, "data": row})).rows[0].profile == profile


def test_no_control_and_no_half_of_an_emoji_is_kept():
    controls = [
        *(*range(0x20), *range(0x7F, 0xA0), 0x61C, 0x200E, 0x200F, *range(0x2028, 0x202F), *range(0x2066, 0x2070)),
        *range(0xFFF9, 0xFFFC),
    ]

    assert {clean(f"a{chr(point)}b") for point in controls} == {"ab"}
    assert {clean(f"a{chr(point)}b") for point in range(0xD800, 0xE000)} == {"a\ufffdb"}


UNSEEN = [
    *("\u200b", "\u200c\u200d", "\u00ad", "\ufeff", "\u2060", "\u180e", "\u034f", "\u3164", "\u115f\u1160", "\uffa0", "\u2800"),
    *("\u3000", "\u00a0", "\u0301\u0302", "\ufe0f", "\u20dd", "\u0903", "\u2065", "\ufff0", "\uffff", "\U0001d159", "\U000e0001"),
    *("\U000e0020\U000e007f", "\U000e0100", "\U000e0fff", " \u200b \u3164\u0301\t", "\u200b" * 5000),
]


@pytest.mark.parametrize("text", UNSEEN, ids=ascii)
def test_text_with_nothing_to_see_is_none_and_what_can_be_seen_begins_the_rest(text):
    assert clean(text) is None
    if len(text) < 1024:
        assert clean(text + "Mei") == "Mei"
    assert clean(f"Mei{text}!") == f"Mei{text}!".replace("\t", "")


@pytest.mark.parametrize(
    "text",
    [
        *(
            "M",
            "李",
            "ب",
            "ア",
            "한",
            "नि",
            "👩\u200d👩\u200d👧",
            "❤\ufe0f",
            "🏴\U000e0067\U000e007f",
            "e\u0301",
            "می\u200cشود",
            "\ufffd",
        ),
        *(".", "_", "٣", "\U0001fae8", "\ue000", "\U000323af"),
    ],
    ids=ascii,
)
def test_text_in_any_script_is_left_as_it_is(text):
    assert clean(text) == text


@pytest.mark.parametrize("info", [None, "", "null", "[]", "{", "[" * 20_000, [], 7, True, "not json", '{"a":' * 5000])
def test_a_profile_of_any_other_shape_is_empty(info):
    row = {"identityId": "a", "userInfoInIdp": info}

    assert read_identities(answer({"statusCode": 200, "data": row})).rows[0].profile == Profile()


@pytest.mark.parametrize("body", [b'{"statusCode":200,"data":' + b"[" * 50_000, b"[" * 50_000, b'{"a":' * 50_000])
def test_deep_nesting_is_one_persons_trouble(body):
    assert type(refused(body)) is UnreadableData


def test_broken_utf8_costs_a_letter_and_not_the_answer():
    raw = b'{"statusCode":200,"data":[{"identityId":"a","userInfoInIdp":{"nickname":"M?i"}}]}'.replace(b"?", b"\xff")

    assert read_identities(answer(raw)).rows[0].profile.nickname == "M\ufffdi"


def test_numbers_that_python_refuses_and_constants_that_are_no_json_are_nothing():
    raw = b'{"statusCode":200,"data":[{"identityId":"a","userIdInIdp":' + b"9" * 9999 + b',"type":NaN,"extIdpId":-Infinity}]}'

    assert read_identities(answer(raw)).rows == (Identity("a", None, "unknown"),)


def test_a_byte_order_mark_is_no_trouble():
    assert read_identities(answer(b'\xef\xbb\xbf{"statusCode":200}')).rows == ()


@pytest.mark.parametrize(
    ("sent", "seconds"),
    [("7", 7), (" 0 ", 0), ("1.5", 1.5), ("999999", 3600), ("-3", None), ("soon", None), ("", None), ("1e3", None), ("٣", None)],
)
def test_how_long_genauth_asks_to_wait(sent, seconds):
    assert asked_to_wait(answer({}, retry_after=sent)) == seconds


def test_an_http_date_is_a_time_to_wait_too():
    now = datetime(2026, 1, 1, 12, tzinfo=UTC)

    def wait(then, **form):
        return asked_to_wait(answer({}, retry_after=format_datetime(then, **form)), now)

    assert wait(now + timedelta(seconds=40), usegmt=True) == 40
    assert wait(now - timedelta(days=400), usegmt=True) == 0
    assert wait(now + timedelta(days=400), usegmt=True) == 3600
    assert wait(datetime(2026, 1, 1, 12, 0, 9)) == 9  # noqa: DTZ001 - "-0000", a zone of its own kind


@pytest.mark.parametrize("body", [b"", {"statusCode": 429}])
def test_throttling_carries_the_wait_if_it_names_one(body):
    status = 200 if body else 429
    assert refused(body, status, retry_after="33").retry_after == 33
    assert refused(body, status).retry_after is None


def test_a_busy_server_that_says_when_is_not_worth_a_second_try():
    assert type(refused(b"", 503, retry_after="3")) is UpstreamUnavailable
    assert refused(b"", 503, retry_after="3").retry_after == 3
    assert type(refused(b"", 503)) is TransientError


@pytest.mark.parametrize("id_", ["x" * 200, "a b", "tok\nen", 7, None, {"a": 1}, "<script>"])
def test_a_request_id_that_is_none_stays_out_of_the_log(id_):
    assert refused({"statusCode": 401, "requestId": id_}).note == "HTTP 200, statusCode 401"


def test_the_header_names_the_request_where_the_body_does_not():
    assert refused(b"<html>", 500, x_request_id="r-1").note == "HTTP 500, request r-1"


def secrets(*rows):
    return read_identities(answer({"statusCode": 200, "data": [{"identityId": "a", **row} for row in rows]})).secrets


@pytest.mark.parametrize(
    "key",
    ["accessToken", "refreshToken", "ACCESSTOKEN", "access_token", "refresh-token", "idToken", "id_token", "oauth", "OAuth"],
)
def test_secrets_are_found_under_every_spelling_at_every_depth(key):
    canary = "canary-0123456789"
    places = [
        {key: canary},
        {"userInfoInIdp": {key: canary}},
        {"userInfoInIdp": {"a": [{"b": {key: [{"c": canary}]}}]}},
        {"userInfoInIdp": json.dumps({key: canary})},
        {"userInfoInIdp": json.dumps({"customData": json.dumps({key: canary})})},
        {key: json.dumps({"token": canary})},
        {key: f"{canary}\x00"},
    ]

    for place in places:
        assert canary in secrets(place), place


def test_what_is_short_is_no_secret():
    assert secrets({"accessToken": "1234567", "refreshToken": None, "oauth": 1234567, "token": True}) == frozenset()


def test_a_number_is_a_secret_by_its_digits():
    assert secrets({"accessToken": 12345678, "oauth": {"x": [1234567890.5], "id": 123456789}}) == {"12345678", "1234567890.5"}


def test_a_name_that_is_cut_is_read_to_where_no_token_could_reach_into_what_is_shown():
    row = {"identityId": "a", "userInfoInIdp": {"nickname": "n" * 5_000}}

    assert len(read_identities(answer({"statusCode": 200, "data": row})).rows[0].profile.nickname) == 1024


def test_the_profile_inside_oauth_is_no_secret_and_its_token_is_one():
    raw = {
        "login": "nutstest-login",
        "avatar_url": "https://avatars.example/u/1",
        "followers_url": "https://api.example/f",
        "unionid": "o9Nka5ibU-lUGQaeAHqu0nOZyJg0",
        "profile": {"headline": "a headline", "name": "Nia of the mountains", "access_token": "canary-deep-inside"},
        "ticket": "canary-by-another-name",
    }
    found = {"canary-deep-inside", "canary-by-another-name"}
    row = {"userIdInIdp": raw["unionid"]}

    assert secrets(row | {"oauth": raw}) == found
    assert secrets(row | {"userInfoInIdp": {"oauth": json.dumps(raw)}}) == found | {json.dumps(raw)}


def test_what_looks_like_a_token_inside_oauth_is_one_whatever_it_is_called():
    random = [
        "o9Nka5ibU-lUGQaeAHqu0nOZyJg0",
        "canary-9f8e7d6c5b4a3f2e",
        "gho_canary16C7e42F292c6912E7710c838347Ae178B4a",
        "canary-token-0123456789",
        "62f209327ab3cc10d9016ee5",
    ]
    names = [
        "nutstest-login",
        "Nia of the mountains 1987",
        "nia.of.the.mountains1987",
        "microsoft-azure-2023-team",
        "user_13812345678",
        "TheGreatOctocatFrom",
        "nia@mountains-2023.example",
        "https://a.example/Q0j4TwGTfTKbuL7a9cq2/132",
        "2021-09-02T13:28:22.496Z",
        "1234567890123456789",
    ]
    for name in ("login", "name", "openid", "email", "avatar_url"):
        assert secrets({"oauth": {name: random}}) == set(random)
        assert secrets({"oauth": {name: names}}) == frozenset()


def test_the_persons_own_id_inside_oauth_is_none_where_it_is_called_one():
    unionid = "o9Nka5ibU-lUGQaeAHqu0nOZyJg0"

    assert secrets({"userIdInIdp": unionid, "oauth": {"unionid": unionid, "idstr": unionid, "raw": {"userId": unionid}}}) == set()
    for name in ("session", "login", "access_token", "ticket"):
        assert secrets({"userIdInIdp": unionid, "oauth": {name: unionid}}) == {unionid}


def test_ext_idps_are_read():
    rows = [
        {
            "identifier": "my-github",
            "extIdpId": "e1",
            "type": "github",
            "extIdpType": "social",
            "name": "极狐",
            "name_en": "GitHub",
            "logo": "https://l/g.svg",
        },
        {
            "extIdpId": "e2",
            "identifier": {"of": "another kind"},
            "extIdpType": "strange",
            "logo": "http://l/g.svg",
            "clientSecret": "never kept",
        },
    ]

    found = read_ext_idps(answer({"statusCode": 200, "data": rows}))
    github, other = found.sources

    assert (github.ext_idp_id, github.identifier, github.type, github.category) == ("e1", "my-github", "github", "social")
    assert (github.name, github.name_en, github.logo_url) == ("极狐", "GitHub", "https://l/g.svg")
    # Whether a page may load a logo is for `bff.accounts` to say.
    assert (other.type, other.identifier, other.category, other.name) == ("unknown", None, None, None)
    assert other.logo_url == "http://l/g.svg"
    assert found.secrets == {"never kept"}
    assert "never kept" not in repr(found)
