"""A provider's token that would leave cut short, under another name, or beside the list of accounts (promise 1)."""

import json
from urllib.parse import quote

import pytest

from tests.valkey import legible

IDENTITIES = "/api/v3/get-identities"
SOURCES = "/api/v3/get-application-enabled-extidps"
TOKEN = "gho_canary16C7e42F292c6912E7710c838347Ae178B4a"
LONG = (TOKEN * 9)[:405]
ROW = {"identityId": "i1", "extIdpId": "e1", "provider": "github", "type": "primary", "userIdInIdp": "1", "originConnIds": []}


def shown_everywhere(token):
    """A record that would show the token in each field that has room for one."""
    profile = {
        "nickname": token,
        "name": token,
        "username": token,
        "email": f"{token}@a.example",
        "photo": f"https://a.example/{token}",
    }
    return ROW | {"userIdInIdp": token, "userInfoInIdp": profile}


def pieces(token, length=16):
    return {token[at : at + length] for at in range(len(token) - length + 1)}


def nothing_of(token, text):
    assert not [piece for piece in pieces(token, min(16, len(token))) if piece in text]


def with_escapes(token):
    return token.replace("_", "%5F")


@pytest.mark.parametrize("field", ["nickname", "name", "username"])
@pytest.mark.parametrize("spelt", [str, with_escapes])
def test_a_token_at_the_end_of_a_name_that_is_cut(leaves, field, spelt):
    for before in (0, 1, 100, 239, 240, 241, 250, 255):
        account, text = leaves(ROW | {"accessToken": LONG, "userInfoInIdp": {field: "-" * before + spelt(LONG)}})

        assert account["displayName"] is None
        nothing_of(LONG, text)


@pytest.mark.parametrize("length", [16, 30, 256, 404])
def test_a_token_that_arrives_cut_short(leaves, length):
    account, text = leaves(shown_everywhere(LONG[:length]) | {"accessToken": LONG})

    assert (account["displayName"], account["avatarUrl"]) == (None, None)
    nothing_of(LONG[:length], text)


def test_a_long_name_without_a_token_is_cut_and_shown(leaves):
    account, _ = leaves(ROW | {"accessToken": LONG, "userInfoInIdp": {"nickname": "n" * 250 + " " * 6 + "m" * 900}})

    assert account["displayName"] == "n" * 250


NAMES = [
    "token",
    "oauth_token",
    "oauth-token-secret",
    "tokenSecret",
    "session_key",
    "sessionKey",
    "tenant_access_token",
    "user_access_token",
    "appSecret",
    "client_secret",
    "password",
    "apiKey",
    "X-Auth-Token",
    "jwt",
    "Authorization",
]


@pytest.mark.parametrize("name", NAMES)
def test_a_token_by_any_name_of_one(leaves, name):
    for row in (
        {name: TOKEN},
        {name: f"Bearer {TOKEN}"},
        {name: [{"x": TOKEN}]},
        {"customData": {name: TOKEN}},
        {"extra": json.dumps({"a": [{name: TOKEN}]})},
        {"extra": [{"key": name, "value": TOKEN}]},
    ):
        _, text = leaves(shown_everywhere(TOKEN) | row)

        nothing_of(TOKEN, text)


def wrapped(token, times):
    """JSON in a string in a string …"""
    text = json.dumps({"accessToken": token})
    for _ in range(times):
        text = json.dumps({"raw": text})
    return text


BELOW_OAUTH = {
    "the whole": TOKEN,
    "an unknown name": {"x": TOKEN},
    "profile": {"profile": {"x": TOKEN}},
    "profile, as text": {"profile": json.dumps({"x": TOKEN})},
    "a profile's name": {"profile": {"nickname": TOKEN}},
    "login": {"login": TOKEN},
    "openid": {"unionid": TOKEN},
    "avatar": {"avatar_url": TOKEN},
    "a list": {"email": [TOKEN]},
    "deeper": {"data": {"user": [{"name": {"localized": TOKEN}}]}},
    "a form": f"access_token={TOKEN}&scope=repo&token_type=bearer",
    "a header": f"token {TOKEN}",
    "a key": {"grants": {TOKEN: {"scope": "repo"}}},
    "a URL": {"repos_url": f"https://api.example/repos?access_token={TOKEN}"},
    "text in text": wrapped(TOKEN, 5),
}


@pytest.mark.parametrize("oauth", BELOW_OAUTH.values(), ids=BELOW_OAUTH)
def test_a_token_anywhere_below_oauth(leaves, oauth):
    row = shown_everywhere(TOKEN) | {"userIdInIdp": "1"}

    for name in ("oauth", "OAuth2", "rawOauthProfile"):
        nothing_of(TOKEN, leaves(row | {name: oauth})[1])
    nothing_of(TOKEN, leaves(row | {"userInfoInIdp": row["userInfoInIdp"] | {"oauth": oauth}})[1])


def test_a_token_in_place_of_the_persons_id_below_oauth_by_another_name(leaves):
    nothing_of(TOKEN, leaves(shown_everywhere(TOKEN) | {"oauth": {"session": TOKEN}})[1])


def test_the_profile_that_is_below_oauth_too_is_shown(leaves):
    """The provider's raw answer has the token and the very profile that we show; only the token goes."""
    photo, unionid = "https://thirdwx.qlogo.example/mmopen/vi_32/Q0j4TwGTfTKbuL7a9cq2/132", "o9Nka5ibU-lUGQaeAHqu0nOZyJg0"
    raw = {"nickname": "Nia of the mountains", "login": "nia.of.mountains1987", "headimgurl": photo, "unionid": unionid}
    raw |= {"profile": "https://github.example/nia", "privilege": [], "access_token": TOKEN}
    profile = {"nickname": "Nia of the mountains", "username": "nia.of.mountains1987", "photo": photo, "oauth": json.dumps(raw)}

    account, text = leaves(ROW | {"type": "unionid", "userIdInIdp": unionid, "userInfoInIdp": profile})

    assert (account["displayName"], account["avatarUrl"]) == ("Nia of the mountains", photo)
    assert account["identities"][0]["subject"] == unionid
    nothing_of(TOKEN, text)
    assert leaves(ROW | {"userInfoInIdp": profile | {"nickname": None}})[0]["displayName"] == "nia.of.mountains1987"


@pytest.mark.parametrize("number", [12345678, 1234567890123456, 987654321098765432109876, 12345678.25])
def test_a_token_that_is_a_number(leaves, number):
    for row in ({"accessToken": number}, {"oauth": {"x": number}}, {"session_key": [number]}):
        _, text = leaves(shown_everywhere(str(number)) | row)

        assert str(number) not in text


def test_the_number_that_a_token_begins_with_is_the_persons_id_and_no_secret(leaves):
    account, text = leaves(ROW | {"userIdInIdp": "1234567890123456789", "oauth_token": f"1234567890123456789-{TOKEN}"})

    assert account["identities"][0]["subject"] == "1234567890123456789"
    nothing_of(TOKEN, text)


@pytest.mark.parametrize("beside", ["accessToken", "token", "oauth"])
def test_a_token_beside_the_list(leaves, beside):
    envelope = {"statusCode": 200, "message": "", "data": [shown_everywhere(TOKEN)]}

    nothing_of(TOKEN, leaves(body=envelope | {beside: {"x": TOKEN}})[1])
    nothing_of(TOKEN, leaves(body=envelope, headers={"Set-Cookie": f"sid={TOKEN}; Path=/"})[1])
    nothing_of(TOKEN, leaves(body=envelope, headers={f"X-{beside}-Token": TOKEN})[1])


@pytest.mark.parametrize(
    "photo",
    [
        "https://a.example/1?access_token=zzz-arrives-nowhere-else&s=64",
        "https://a.example/1?s=64&ACCESS-TOKEN=zzz-arrives-nowhere-else",
        "https://a.example/1#token=zzz-arrives-nowhere-else",
        "https://a.example/1;sessionid=zzz-arrives-nowhere-else",
        "https://a.example/1?u=https%3A%2F%2Fb.example%2F%3Fclient_secret%3Dzzz-arrives-nowhere-else",
        "https://a.example/1?%61ccess_token=zzz-arrives-nowhere-else",
    ],
)
def test_an_address_that_carries_a_credential_is_null(leaves, photo):
    account, text = leaves(ROW | {"userInfoInIdp": {"photo": photo, "nickname": "zzz-arrives-nowhere-else"}})

    assert account["avatarUrl"] is None
    assert "leak_stopped" in text
    assert "arrives-nowhere-else" not in text or "%" in photo


def test_an_address_with_other_parameters_stays(leaves):
    photo = "https://a.example/u/35067055?v=4&s=64&name=a=b#top"

    assert leaves(ROW | {"userInfoInIdp": {"photo": photo}})[0]["avatarUrl"] == photo


@pytest.mark.parametrize("name", ["accessToken", "clientSecret", "fields", "logo"])
def test_a_source_s_own_token_is_shown_to_nobody(answered_with, genauth, stored, log, name):
    """The list of identity sources is the application's: what is in it is served to everybody."""
    genauth.answers("mei", [ROW | {"extIdpId": "e1"}])
    source = {"extIdpId": "e1", "type": "github", "extIdpType": "social", "name": "-" * 250 + TOKEN, "name_en": f"a {TOKEN}"}
    source |= {"logo": f"https://cdn.example/l.svg?t={TOKEN}", "fields": {"logo_url_token": "logo_url", "category": "category"}}
    source |= {"logo": f"https://cdn.example/l.svg?token={TOKEN}"} if name == "logo" else {name: {"secret": TOKEN}}
    service = answered_with(SOURCES, 200, {}, json.dumps({"statusCode": 200, "data": [source]}).encode())
    service.accounts_of(genauth.token("mei"))
    stored.delete(*[key for key in stored.keys("*") if key.endswith(b":accounts")])

    answer = service.accounts_of(genauth.token("mei"))

    kept = b"".join(legible(key, stored.get(key) or b"") for key in stored.keys("*") if stored.type(key) == b"string")
    assert answer.accounts[0]["provider"] == {"type": "github", "name": "GitHub", "category": "social", "logoUrl": None}
    said = log.read()
    nothing_of(TOKEN, answer.everything + kept.decode("utf-8", "replace") + said)
    assert "thread_died" not in said


def failing(genauth, request_id, **data):
    body = json.dumps({"statusCode": 500, "message": "", "requestId": request_id, "data": data}).encode()
    genauth.answers_raw(IDENTITIES, headers={"X-Request-Id": request_id}, body=body)


@pytest.mark.parametrize("before", ["", "req-"])
@pytest.mark.parametrize("cut", [slice(None), slice(0, 30), slice(5, 25)], ids=["whole", "beginning", "middle"])
def test_genauths_request_id_that_is_a_token_is_not_logged(service_with, genauth, log, cut, before):
    service = service_with(TOKEN_VERIFICATION="introspection")
    tokens = [genauth.token("mei", kind="opaque") for _ in range(2)]
    for token, secret, data in ((tokens[0], tokens[0], {}), (tokens[1], TOKEN, {"accessToken": TOKEN})):
        failing(genauth, before + secret[cut], **data)
        service.accounts_of(token)

        said = log.read()
        assert "genauth_call_failed" in said
        assert secret[cut] not in said


def test_an_innocent_request_id_of_genauths_is_logged(service, genauth, sign_in, log):
    failing(genauth, "934108e5-9fbf-4d24-8da1-c330328abd6c", accessToken=TOKEN)
    service.ask(headers=[*sign_in("mei").items()])

    assert {line["genauth_request_id"] for line in log.lines("genauth_call_failed")} == {"934108e5-9fbf-4d24-8da1-c330328abd6c"}


@pytest.mark.parametrize("code", ["statusCode", "apiCode"])
def test_a_code_of_genauths_that_is_a_token_is_not_logged(service, genauth, sign_in, log, code):
    body = {"statusCode": 400, "data": [{"accessToken": 987654321012345}]} | {code: 987654321012345}
    genauth.answers_raw(IDENTITIES, body=json.dumps(body).encode())
    service.ask(headers=[*sign_in("mei").items()])

    assert "987654321012345" not in log.read()


def test_the_callers_token_in_the_query_is_not_sent_back(service_with, genauth):
    service = service_with(TOKEN_VERIFICATION="introspection")
    token = genauth.token("mei", kind="opaque")
    for named in (token, token[:40], token[:20], token[4:16], quote(token), f"x-{token[5:25]}"):
        answer = service.accounts_of(token, query=f"include={named}")

        assert (answer.status, answer.json["code"]) == (400, "invalid_request")
        assert named not in answer.everything
    assert "'friends'" in service.accounts_of(token, query="include=friends").json["detail"]


def test_a_path_with_a_piece_of_the_callers_token_is_not_sent_back(service_with, genauth):
    service = service_with(TOKEN_VERIFICATION="introspection")
    token = genauth.token("mei", kind="opaque")
    for piece in (token, token[:20], token[4:16], f"x-{token[5:25]}.y"):
        assert piece not in service.accounts_of(token, path=f"/me/{piece}/x").everything


def test_a_signed_token_as_the_request_id_is_not_sent_back(service, genauth, log):
    token = genauth.token("mei")[:128].replace(".", "-")

    assert service.ask("/livez", headers=[("X-Request-Id", token)]).headers["X-Request-Id"] != token
    assert token not in log.read()


def test_an_opaque_token_as_a_part_of_the_request_id_is_not_sent_back(service_with, genauth, log):
    service = service_with(TOKEN_VERIFICATION="introspection")
    token = genauth.token("mei", kind="opaque")
    for piece in (token, token[:20], token[5:25]):
        answer = service.accounts_of(token, headers=[("X-Request-Id", f"req-{piece}")])

        assert (answer.status, piece in answer.everything + log.read()) == (200, False)
    assert (
        service.accounts_of(token, headers=[("X-Request-Id", "req-934108e5-9fbf")]).headers["X-Request-Id"] == "req-934108e5-9fbf"
    )
