"""What is innocent is shown: providers' raw answers repeat the profile by names of their own, beside tokens in every shape."""

import json
from urllib.parse import quote

import pytest

from tests.security.test_tokens_in_disguise import ROW, TOKEN, nothing_of, shown_everywhere

NAME, LOGIN, MAIL = "Nia of the mountains", "nia.of.mountains1987", "christopher.johnson@gmail.example"
QQ = "https://thirdqq.qlogo.example/g?b=oidb&k=Ab3dEf9hIjK1&kti=ZyXwVuT&s=100&t=1583411204"
WEIBO = "https://tvax1.sinaimg.example/crop.0.0.512.180/6b1a2c3dly8g.jpg?KID=imgbed,tva&Expires=1700000000&ssig=Ab%2Bc9dEfG"
GOOGLE = "https://lh3.googleusercontent.example/a/ACg8ocJx9Kq2mW7vZ3yT5uP1nB4hD6fL8sR0=s96-c"
GITHUB = "https://avatars.githubusercontent.example/u/35067055?v=4"
GITEE = "https://portrait.gitee.example/uploads/avatars/user/2/7712_lin-opens_1578939999.png!avatar60"
FACEBOOK = "https://platform-lookaside.fbsbx.example/platform/profilepic/?asid=1&ext=1700000000&hash=AeQ1b2C3d4"
DOUYIN = "https://p3-sign.douyinpic.example/aweme/100x100.webp?x-expires=1700000000&x-signature=a1B2c3D4e5F6g7H8%3D"
ELEMENTS = {"elements": [{"identifiers": [{"identifier": GOOGLE}]}]}
PROVIDERS = {
    "qq": (QQ, {"nickname": NAME, "figureurl_1": QQ, "figureurl_qq_2": QQ, "figureurl_type": "1"}),
    "weibo": (WEIBO, {"screen_name": NAME, "description": f"{NAME}, a climber", "domain": LOGIN, "avatar_hd": WEIBO}),
    "dingtalk": (GOOGLE, {"nick": NAME, "avatarUrl": GOOGLE}),
    "wecom": (WEIBO, {"name": NAME, "thumb_avatar": WEIBO, "biz_mail": MAIL}),
    "twitter": (GITHUB, {"screen_name": LOGIN, "profile_image_url_https": GITHUB, "id_str": "35067055"}),
    "xiaomi": (GOOGLE, {"miliaoNick": NAME, "miliaoIcon_120": GOOGLE}),
    "linkedin": (GOOGLE, {"localizedFirstName": NAME, "profilePicture": {"displayImage~": ELEMENTS}}),
    "facebook": (FACEBOOK, {"name": NAME, "picture": {"data": {"url": FACEBOOK}}}),
    "douyin": (DOUYIN, {"nickname": NAME, "avatar_larger": DOUYIN}),
    "github": (GITHUB, {"login": LOGIN, "id": 35067055, "avatar_url": GITHUB, "notification_email": MAIL, "bio": NAME}),
    "gitee": (GITEE, {"login": LOGIN, "avatar_url": GITEE, "remark": NAME}),
    "slack": (GOOGLE, {"user": {"name": NAME, "image_192": GOOGLE}, "profile": {"real_name_normalized": NAME}}),
    "google": (GOOGLE, {"sub": "108204268033311374519", "picture": GOOGLE, "email": MAIL, "hd": "gmail.example"}),
    "azure-ad": (GOOGLE, {"displayName": NAME, "userPrincipalName": MAIL, "unique_name": MAIL}),
    "ldap": (GOOGLE, {"account": LOGIN, "title": NAME}),
}


@pytest.mark.parametrize("below", ["oauth", "tokenInfo"])
@pytest.mark.parametrize(("photo", "raw"), PROVIDERS.values(), ids=PROVIDERS)
def test_a_profile_in_a_providers_raw_answer_is_shown_and_the_token_beside_it_is_not(leaves, photo, raw, below):
    profile = {"nickname": NAME, "username": LOGIN, "email": MAIL, "photo": photo, "signature": NAME}
    profile |= {below: raw | {"access_token": TOKEN}}
    names = []
    for without in ({}, {"nickname": None}, {"nickname": None, "username": None}):
        account, text = leaves(ROW | {"userIdInIdp": "35067055", "accessToken": TOKEN, "userInfoInIdp": profile | without})
        names.append(account["displayName"])

        assert (account["avatarUrl"], account["email"]) == (photo, "c•••@gmail.example")
        assert account["identities"][0]["subject"] == "35067055"
        nothing_of(TOKEN, text)
    assert names == [NAME, LOGIN, "c•••"]


SHAPES = {
    "JSON in JSON": json.dumps(json.dumps({"accessToken": TOKEN})),
    "a pair": [["access_token", TOKEN]],
    "k and v": [{"k": "accessToken", "v": TOKEN}],
    "type and content": {"type": "accessToken", "content": TOKEN},
    "JSONP": f'callback( {{"access_token":"{TOKEN}"}} );',
    "XML": f"<access_token>{TOKEN}</access_token>",
    "Python": str({"accessToken": TOKEN}),
    "YAML": f"access_token: {TOKEN}",
    "a header": f"Authorization: Bearer {TOKEN}",
    "a header's value": f"Bearer {TOKEN}",
    "a parameter after a comma": f"https://a.example/?x=1,access_token={TOKEN}",
    "a parameter in a parameter": f"https://a.example/?x=access_token={TOKEN}",
    "a parameter by an encoded name": f"https://a.example/?%61ccess_token={TOKEN}",
    "a parameter with two signs": f"https://a.example/?access_token=={TOKEN}",
    "names that may be innocent": {"session": TOKEN},
    "PHP": {"PHPSESSID": TOKEN},
    "an id that is named like a token": {"accessKeyId": TOKEN},
}


@pytest.mark.parametrize("extra", SHAPES.values(), ids=SHAPES)
def test_a_token_in_any_notation_of_names_and_values(leaves, extra):
    nothing_of(TOKEN, leaves(shown_everywhere(TOKEN) | {"extra": extra})[1])


@pytest.mark.parametrize("name", ["auth", "code", "key", "otp", "pass", "pwd", "sid", "sig", "signature", "ticket"])
def test_a_token_by_a_name_that_is_often_innocent(leaves, name):
    nothing_of(TOKEN, leaves(shown_everywhere(TOKEN) | {"userIdInIdp": "1", name: TOKEN})[1])
    assert leaves(ROW | {"userInfoInIdp": {"nickname": NAME, name: NAME}})[0]["displayName"] == NAME


def test_a_token_that_came_percent_encoded_and_is_shown_as_it_is(leaves):
    token = TOKEN.replace("4", "/4")

    nothing_of(token, leaves(shown_everywhere(token) | {"accessToken": quote(token, safe="")})[1])


@pytest.mark.parametrize(
    "rest",
    [
        "?X-Amz-Signature=Z",
        "?X-Goog-Signature=Z",
        "?q-signature=Z",
        "?sig=Z",
        "?key=Z",
        "?code=Z",
        "?auth=Z",
        "?ticket=Z",
        "?sid=Z",
        "?pwd=Z",
        "?PHPSESSID=Z",
        "?x=1,access_token=Z",
        "?x=access_token=Z",
        "?access_token==Z",
        "?SAMLResponse=Z",
        "?x=%7B%22access_token%22%3A%22Z%22%7D",
        "#access_token:Z",
        f"/{'p' * 80}/access_token=Z",
    ],
)
def test_an_address_with_a_credential_by_an_unusual_name_is_null(leaves, rest):
    photo = f"https://a.example/1{rest.replace('Z', 'zzz-arrives-nowhere-else-a1b2c3d4')}"

    assert leaves(ROW | {"userInfoInIdp": {"photo": photo}})[0]["avatarUrl"] is None


@pytest.mark.parametrize("photo", [QQ, WEIBO, GOOGLE, GITHUB, GITEE, FACEBOOK, DOUYIN, "https://a.example/?key=mei&code=86"])
def test_an_ordinary_avatar_is_shown(leaves, photo):
    assert leaves(ROW | {"userInfoInIdp": {"photo": photo}})[0]["avatarUrl"] == photo
