"""What GenAuth may answer and what we make of it: the table of rules, then anything at all."""

import contextlib
import json
import re
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from bff.accounts import Identity, Profile
from bff.errors import (
    BffError,
    GenAuthMalformed,
    GenAuthRejected,
    GenAuthThrottled,
    GenAuthUnavailable,
    TokenInvalid,
    TokenRefused,
    UserBlocked,
)
from bff.genauth import oidc
from bff.genauth.envelope import Momentary, UnreadableData
from bff.genauth.messages import asked_to_wait
from bff.genauth.wire import (
    Answer,
    Identities,
    Request,
    ext_idps_request,
    identities_request,
    read_ext_idps,
    read_identities,
)
from schemas.genauth import ExtIdpSchema, IdentitySchema, IntrospectionSchema, ProfileSchema, clean, parsed

TOKEN = "eyJhbGciOiJSUzI1NiJ9.canary-session-token.c2lnbmF0dXJl"


def answer(body, status=200, **headers):
    raw = body if isinstance(body, bytes) else json.dumps(body).encode()
    return Answer(status, {name.replace("_", "-"): value for name, value in headers.items()}, raw)


def refused(body, status=200, read=read_identities, **headers):
    with pytest.raises(BffError) as error:
        read(answer(body, status, **headers))
    assert error.value.__context__ is None or error.value.__suppress_context__
    return error.value


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
        (101, GenAuthMalformed),
        (301, GenAuthMalformed),
        (302, GenAuthMalformed),
        (304, GenAuthMalformed),
        (308, GenAuthMalformed),
        (401, TokenRefused),
        (408, GenAuthUnavailable),
        (429, GenAuthThrottled),
        (500, GenAuthUnavailable),
        (501, GenAuthUnavailable),
        (502, Momentary),
        (503, Momentary),
        (504, Momentary),
        (520, GenAuthUnavailable),
    ],
)
@pytest.mark.parametrize("body", [b"", b"<html>", b'{"statusCode": 200, "data": []}'])
def test_the_http_status_alone(status, error, body):
    assert type(refused(body, status)) is error


@pytest.mark.parametrize("status", [400, 403, 404, 413, 451, 499])
@pytest.mark.parametrize("body", [b"", b"<html>", b"{}", b'{"error": "forbidden"}'])
def test_a_firewalls_page_is_not_genauths_word_about_a_token(status, body):
    assert type(refused(body, status)) is GenAuthMalformed


@pytest.mark.parametrize(
    ("said", "error"),
    [
        ({"statusCode": 400}, GenAuthRejected),
        ({"statusCode": 401}, TokenRefused),
        ({"statusCode": "401"}, TokenRefused),
        ({"statusCode": 402}, GenAuthRejected),
        ({"statusCode": 403}, TokenRefused),
        ({"statusCode": 404}, GenAuthRejected),
        ({"statusCode": 404, "apiCode": 2004}, TokenRefused),
        ({"statusCode": 422, "apiCode": "2207"}, TokenRefused),
        ({"statusCode": 499, "apiCode": 2011}, GenAuthRejected),
        ({"statusCode": 499, "apiCode": 1000}, GenAuthUnavailable),
        ({"statusCode": 429}, GenAuthThrottled),
        ({"statusCode": 429, "apiCode": 2020}, TokenRefused),
        ({"statusCode": 500}, GenAuthUnavailable),
        ({"statusCode": 501}, GenAuthUnavailable),
        ({"statusCode": 502}, Momentary),
        ({"statusCode": 601}, GenAuthUnavailable),
        ({"statusCode": 699}, GenAuthUnavailable),
        ({"statusCode": 700}, GenAuthRejected),
        ({"statusCode": 0}, GenAuthRejected),
        ({"statusCode": -1}, GenAuthRejected),
        ({"statusCode": 302}, GenAuthRejected),
        ({"statusCode": 500, "apiCode": 2005}, UserBlocked),
        ({"statusCode": 200, "apiCode": 2005}, UserBlocked),
        ({"statusCode": 401, "apiCode": " 2120008 "}, UserBlocked),
        ({"statusCode": 403, "apiCode": 2130010.0}, UserBlocked),
        ({"statusCode": 400, "apiCode": "TOO_BAD"}, GenAuthRejected),
        ({"statusCode": 400, "apiCode": [2020]}, GenAuthRejected),
        ({"statusCode": 400, "apiCode": True}, GenAuthRejected),
        ({"statusCode": 403, "code": "2005"}, TokenRefused),
        ({"statusCode": None}, GenAuthMalformed),
        ({"statusCode": True}, GenAuthMalformed),
        ({"statusCode": "OK"}, GenAuthMalformed),
        ({"statusCode": ""}, GenAuthMalformed),
        ({"statusCode": [200]}, GenAuthMalformed),
        ({"statusCode": 10**40}, GenAuthMalformed),
        ({"statusCode": "٢٠٠"}, GenAuthMalformed),
        ({"statusCode": float("nan")}, GenAuthMalformed),
        ({}, GenAuthMalformed),
        ([], GenAuthMalformed),
        ("200", GenAuthMalformed),
        (200, GenAuthMalformed),
        (None, GenAuthMalformed),
    ],
)
def test_the_verdict_is_in_the_envelope(said, error):
    assert type(refused(said)) is error


@pytest.mark.parametrize(("status", "error"), [(400, GenAuthRejected), (403, TokenRefused), (404, GenAuthRejected)])
def test_an_http_error_with_a_happy_envelope_is_no_success(status, error):
    assert type(refused({"statusCode": 200, "data": []}, status)) is error


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
        {},
        [{}],
        [{"identityId": ""}],
        [{"provider": "x"}],
        [{"identityId": "a"}, {"identityId": None, "extIdpId": []}],
        [{"extIdpId": "x" * 257}],
        [{"identityId": " \x00 "}],
    ],
)
def test_rows_that_cannot_be_read_are_one_persons_trouble(data):
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
        "62", "ext", "unknown", None, str(10**24), ("a", "7"), Profile(name="n" * 256, username="may", photo="https://p/1")
    )


@pytest.mark.parametrize(
    ("info", "profile"),
    [
        ({"name": " ", "customData": {"giteeName": "Mei"}}, Profile(name="Mei")),
        ({"name": "Mei", "customData": {"giteeName": "other"}}, Profile(name="Mei")),
        ({"customData": {"giteeLogin": "mei"}, "preferred_username": "other"}, Profile(username="mei")),
        ({"customData": "mei", "preferred_username": [], "preferredUsername": "mei"}, Profile(username="mei")),
        ({"photo": None, "picture": "\x00", "avatar": "https://p/1"}, Profile(photo="https://p/1")),
        ({"photo": "x" * 3000, "picture": "https://p/1"}, Profile()),
    ],
)
def test_providers_send_a_thing_under_several_names_and_the_first_readable_one_counts(info, profile):
    row = {"identityId": "a", "userInfoInIdp": info}

    assert read_identities(answer({"statusCode": 200, "data": row})).rows[0].profile == profile


def test_no_control_and_no_half_of_an_emoji_is_kept():
    controls = [*range(0x20), *range(0x7F, 0xA0), 0x2028, 0x2029, *range(0x202A, 0x202F), *range(0x2066, 0x206A)]

    assert {clean(f"a{chr(point)}b") for point in controls} == {"ab"}
    assert {clean(f"a{chr(point)}b") for point in range(0xD800, 0xE000)} == {"a\ufffdb"}


@pytest.mark.parametrize("info", [None, "", "null", "[]", "{", "[" * 100_000, [], 7, True, "not json", '{"a":' * 5000])
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
    ("said", "seconds"),
    [("7", 7), (" 0 ", 0), ("1.5", 1.5), ("999999", 3600), ("-3", None), ("soon", None), ("", None), ("1e3", None), ("٣", None)],
)
def test_how_long_genauth_asks_to_wait(said, seconds):
    assert asked_to_wait(answer({}, retry_after=said)) == seconds


def test_an_http_date_is_a_time_to_wait_too():
    now = datetime(2026, 1, 1, 12, tzinfo=UTC)

    def wait(then, **form):
        return asked_to_wait(answer({}, retry_after=format_datetime(then, **form)), now)

    assert wait(now + timedelta(seconds=40), usegmt=True) == 40
    assert wait(now - timedelta(days=400), usegmt=True) == 0
    assert wait(now + timedelta(days=400), usegmt=True) == 3600
    assert wait(datetime(2026, 1, 1, 12, 0, 9)) == 9  # noqa: DTZ001 - "-0000", a zone of its own kind


@pytest.mark.parametrize("body", [b"", {"statusCode": 429}])
def test_throttling_carries_the_wait_and_five_seconds_without_one(body):
    status = 200 if body else 429
    assert refused(body, status, retry_after="33").retry_after == 33
    assert refused(body, status).retry_after == 5


def test_a_busy_server_that_says_when_is_not_worth_a_second_try():
    assert type(refused(b"", 503, retry_after="3")) is GenAuthUnavailable
    assert refused(b"", 503, retry_after="3").retry_after == 3
    assert type(refused(b"", 503)) is Momentary


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
    assert secrets({"accessToken": "1234567", "refreshToken": None, "oauth": 12345678}) == frozenset()


def test_the_profile_inside_oauth_is_no_secret_and_its_token_is_one():
    raw = {
        "login": "nutstest-login",
        "avatar_url": "https://avatars.example/u/1",
        "followers_url": "https://api.example/f",
        "unionid": "o9Nka5ibU-lUGQaeAHqu0nOZyJg0",
        "profile": {"headline": "a headline", "access_token": "canary-deep-inside"},
        "ticket": "canary-by-another-name",
    }

    assert secrets({"oauth": raw}) == {"canary-deep-inside", "canary-by-another-name"}
    assert secrets({"userInfoInIdp": {"oauth": json.dumps(raw)}}) == {
        "canary-deep-inside",
        "canary-by-another-name",
        json.dumps(raw),
    }


def test_ext_idps_are_read():
    rows = [
        {
            "identifier": "gh",
            "extIdpId": "e1",
            "type": "github",
            "extIdpType": "social",
            "name": "极狐",
            "name_en": "GitHub",
            "logo": "https://l/g.svg",
        },
        {"extIdpId": None, "extIdpType": "strange", "logo": "http://l/g.svg", "clientSecret": "never kept"},
    ]

    github, other = read_ext_idps(answer({"statusCode": 200, "data": rows}))

    assert (github.ext_idp_id, github.type, github.category) == ("e1", "github", "social")
    assert (github.name, github.name_en, github.logo_url) == ("极狐", "GitHub", "https://l/g.svg")
    assert (other.type, other.category, other.name, other.logo_url) == ("unknown", None, None, None)


KEYS = st.sampled_from(
    [
        "statusCode",
        "apiCode",
        "requestId",
        "message",
        "data",
        "identityId",
        "extIdpId",
        "provider",
        "type",
        "userIdInIdp",
        "originConnIds",
        "userInfoInIdp",
        "customData",
        "nickname",
        "photo",
        "oauth",
    ]
) | st.text(max_size=6)
LEAVES = (
    st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.sampled_from([200, "200", 401, 2020, "[]", "{}"])
)
JSON = st.recursive(LEAVES, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(KEYS, inner, max_size=5), max_leaves=25)
CANARY = "canary-9f8e7d6c5b4a"
TOKEN_KEYS = st.sampled_from(["accessToken", "refreshToken", "access_token", "id_token", "RefreshToken"])


def read_safely(body, status=200):
    try:
        result = read_identities(Answer(status, {}, body))
    except BffError as error:
        return f"{error!r} {error} {error.note} {error.detail} {error.__cause__} {error.__context__}"
    assert isinstance(result, Identities)
    assert all(isinstance(row, Identity) and row.account_id for row in result.rows)
    return f"{result!r} {result}"


@given(st.binary(), st.integers(100, 599))
@example(b"\x00", 200)
def test_any_bytes_are_identities_or_one_of_our_errors(body, status):
    read_safely(body, status)


@given(JSON, st.sampled_from([200, 200, 200, 201, 403, 404]))
def test_any_json_is_identities_or_one_of_our_errors(value, status):
    read_safely(json.dumps(value).encode(), status)


WHOLE = st.recursive(
    st.none() | st.booleans() | st.integers(-(10**24), 10**24) | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
)


@given(WHOLE, st.booleans())
def test_any_json_is_read_as_it_was_written(value, escaped):
    text = json.dumps(value, ensure_ascii=escaped)

    assert parsed(text) == parsed(text.encode()) == value


@given(WHOLE, st.sampled_from([r'"\ud83d"', "NaN", "-Infinity", "1e999", "9" * 5000, '"\xff"', '"\xed\xa0\x80"']))
@example(-(10**24), "NaN")
def test_one_value_that_is_no_good_json_does_not_cost_the_others(value, bad):
    body = b'{"good":%b,"bad":%b}' % (json.dumps(value).encode(), bad.encode("latin-1"))

    read = parsed(body)

    assert read["good"] == value
    assert clean(read["bad"]) in {None, "\ufffd", "\ufffd" * 3}


@pytest.mark.parametrize("digits", [1, 19, 20, 25, 26, 400, 5000])
@pytest.mark.parametrize("sign", ["", "-"])
def test_a_number_is_text_of_25_digits_at_most(digits, sign):
    text = sign + "7" * digits

    assert clean(parsed(text)) == (text if digits <= 25 else None)


READING = [IdentitySchema(), ExtIdpSchema(), ProfileSchema()]
READ = st.sampled_from(sorted({field.data_key or name for schema in READING for name, field in schema.fields.items()}))


def test_a_schema_that_may_refuse_is_loaded_and_never_just_read():
    assert not hasattr(IntrospectionSchema(), "read")


@given(st.dictionaries(READ | KEYS, JSON))
def test_a_schema_reads_what_it_loads(row):
    for schema in READING:
        assert schema.read(row) == schema.load(row)


@given(st.lists(st.dictionaries(KEYS, JSON, max_size=5), max_size=3), TOKEN_KEYS, JSON)
def test_a_planted_token_is_never_shown(rows, key, around):
    planted = [
        {"identityId": f"i{n}", **row, key: CANARY, "userInfoInIdp": {"x": around, key: [CANARY]}} for n, row in enumerate(rows)
    ]
    for row in planted:
        row["identityId"] = row["identityId"] or "i"
    body = json.dumps({"statusCode": 200, "data": planted}).encode()

    assert CANARY not in read_safely(body)
    if planted:
        with contextlib.suppress(UnreadableData):
            assert CANARY in read_identities(Answer(200, {}, body)).secrets


@given(JSON, st.sampled_from([200, 401]))
def test_any_json_at_the_oauth_endpoints_is_an_answer_or_one_of_our_errors(value, status):
    back = Answer(status, {}, json.dumps(value).encode())
    for read in (oidc.read_discovery, oidc.read_introspection, oidc.read_key_set, read_ext_idps):
        with contextlib.suppress(BffError):
            read(back)


@given(st.text())
def test_any_token_makes_a_request_or_is_invalid(token):
    try:
        request = identities_request("app", token)
    except TokenInvalid:
        return
    assert isinstance(request, Request)
    assert re.fullmatch(r"[\x21-\x7e]+", token)


ACTIVE = {
    "active": True,
    "sub": "5f623f30d85f84c58f141777",
    "client_id": "5d01e389985f81c6c1dd31de",
    "exp": 1600634105,
    "iat": 1600274405,
    "iss": "https://oidc1.genauth.ai",
    "jti": "hoV44FPNR-_EfxTP7s7vw",
    "scope": "openid profile",
}


class TestOidc:
    def test_discovery(self):
        said = {
            "issuer": "https://a/oidc",
            "jwks_uri": "https://a/jwks",
            "introspection_endpoint_auth_methods_supported": ["client_secret_basic"],
        }

        found = oidc.read_discovery(answer(said))

        assert found == oidc.Discovery("https://a/oidc", "https://a/jwks", None, ("client_secret_basic",))

    def test_key_set(self):
        assert oidc.read_key_set(answer({"keys": [{"kid": "1"}]})) == {"keys": [{"kid": "1"}]}

    @pytest.mark.parametrize("said", [{}, {"keys": {}}, {"keys": ["x"]}, [], b"<html>"])
    def test_no_key_set(self, said):
        assert type(refused(said, read=oidc.read_key_set)) is GenAuthMalformed

    def test_an_active_token(self):
        assert oidc.read_introspection(answer(ACTIVE)) == oidc.Introspection(
            True, "5f623f30d85f84c58f141777", 1600634105, "5d01e389985f81c6c1dd31de", "openid profile", "https://oidc1.genauth.ai"
        )

    def test_an_inactive_token(self):
        assert oidc.read_introspection(answer({"active": False})) == oidc.Introspection(active=False)

    @pytest.mark.parametrize("active", [1, "true", None, "false", [True]])
    def test_anything_but_true_and_false_is_unreadable(self, active):
        assert type(refused({**ACTIVE, "active": active}, read=oidc.read_introspection)) is GenAuthMalformed

    @pytest.mark.parametrize(
        ("said", "status", "error"),
        [
            ({"error": "invalid_client"}, 401, GenAuthRejected),
            ({"error": "invalid_request"}, 400, GenAuthRejected),
            ({}, 429, GenAuthThrottled),
            ({}, 500, GenAuthUnavailable),
            ({}, 302, GenAuthMalformed),
            (b"<html>", 200, GenAuthMalformed),
            ({"statusCode": 429}, 200, GenAuthThrottled),
            ({"statusCode": 503}, 200, GenAuthUnavailable),
            ({"statusCode": 404}, 200, GenAuthRejected),
            ({"statusCode": 200}, 200, GenAuthMalformed),
        ],
    )
    def test_a_refusal_is_about_us_and_never_about_the_token(self, said, status, error):
        assert type(refused(said, status, read=oidc.read_introspection)) is error

    def test_the_secret_goes_into_the_form_or_encoded_into_the_header(self):
        post = oidc.introspection_request("https://a/i", "app", "s&c:ret", "to+ken")
        basic = oidc.introspection_request("https://a/i", "app", "s&c:ret", "to+ken", basic=True, strict=False)

        assert post.body == b"token=to%2Bken&token_type_hint=access_token&client_id=app&client_secret=s%26c%3Aret&strict=true"
        assert "Authorization" not in post.headers
        assert basic.body == b"token=to%2Bken&token_type_hint=access_token"
        assert basic.headers["Authorization"] == "Basic YXBwOnMlMjZjJTNBcmV0"
