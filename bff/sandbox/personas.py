# ruff: noqa: RUF001  # Chinese has its own punctuation
"""The personas: named people, each of them a case of docs/genauth.md 2."""

from bff.sandbox import sources
from bff.sandbox.people import Person, Row, SignIn, github, provider_token, rows_of, wechat


def _mei() -> Person:
    lark = rows_of(
        "mei",
        sources.LARK,
        (
            ("open_id", "ou_8bae746eac07cd2564654140d2a9ac61"),
            ("union_id", "on_093ce5023288856aa0abe4099123b18b"),
            ("user_id", "23ded785"),
        ),
        {"name": "小明（设计部）", "photo": "https://s1-imfile.feishucdn.example/mei.png", "email": "mei@lark.example"},
    )
    about = "WeChat in two records, Lark in three; no password, so the last of them cannot be unlinked"
    return Person("mei", "62f1c0de0000000000000001", about, wechat("mei", "小明", "wqpoBKq_cc6M") + lark)


def _omar() -> Person:
    google = rows_of(
        "omar",
        sources.GOOGLE,
        [("openid", "108204268033311374519")],
        {
            "name": "Omar Haddad",
            "email": "omar.haddad@gmail.example",
            "photo": "https://lh3.googleusercontent.example/a/omar=s96-c",
            "givenName": "Omar",
            "familyName": "Haddad",
        },
    )
    rows = google + github("omar", "nutstest", "NT", 35067055)
    about = "Google and GitHub; GitHub's token also inside userInfoInIdp, as accessToken and in oauth"
    return Person("omar", "62f1c0de0000000000000002", about, rows, sign_in=SignIn(password=True, email=True))


def _lin() -> Person:
    community = rows_of(
        "lin",
        sources.GITEE,
        [("primary", "7712345")],
        {"customData": {"giteeName": "林", "giteeLogin": "lin-opens"}, "username": "lin-opens"},
    )
    company = rows_of(
        "lin",
        sources.GITEE_COMPANY,
        [("generic", "9954321")],
        {"customData": {"giteeName": "林工", "giteeLogin": "lin-works"}, "nickname": " "},
    )
    about = "two Gitee sources; the names are in customData"
    return Person("lin", "62f1c0de0000000000000006", about, community + company, sign_in=SignIn(password=True))


def _ada() -> Person:
    """A merged account has no third-party user info (docs/genauth.md 2.4); the rest is what production code had to guard."""
    merged: list[Row] = [dict(row) for row in github("ada", "countess", "Ada", 1815)]
    del merged[0]["userInfoInIdp"]
    merged[1]["userInfoInIdp"] = None
    stray = dict(rows_of("ada", sources.GOOGLE, [("openid", "101815")], {"email": "ada@analytical.example"})[0])
    del stray["extIdpId"]
    unknown: Row = {
        "identityId": "62f1ada00000000000000101",
        "extIdpId": "62f1ada00000000000000102",
        "provider": "hexagon-id",
        "type": "generic",
        "userIdInIdp": "hex-1815",
        "userInfoInIdp": {},
        "accessToken": provider_token("ada", "hexagon-access"),
        "refreshToken": "",
        "originConnIds": [],
    }
    about = "a merged account: userInfoInIdp missing and null, one record without extIdpId, an unknown provider"
    return Person("ada", "62f1c0de0000000000000007", about, (*merged, stray, unknown), sign_in=SignIn(password=True))


def _bo() -> Person:
    rows = wechat("bo", "阿波", "RRaqak0_YlML")[:1]
    about = "answered like the documentation's sample result: data an object, originConnIds a JSON string"
    return Person("bo", "62f1c0de0000000000000008", about, rows, sign_in=SignIn(password=True), as_documented=True)


def _ivy() -> Person:
    rows = rows_of("ivy", sources.GITHUB, [("primary", "4242")], {"nickname": "Ivy", "username": "ivy"})
    photo = f"https://avatars.example/ivy.png?access_token={rows[0]['accessToken']}"
    leaky = ({**rows[0], "userInfoInIdp": {**rows[0]["userInfoInIdp"], "photo": photo}},)
    return Person("ivy", "62f1c0de0000000000000009", "her avatar's address carries the provider's token", leaky)


def _yan() -> Person:
    """What providers send that is easily lost or shown wrongly (docs/genauth.md 2.4)."""
    invisible = {
        "nickname": "\u200b\u3164",
        "name": "\u202e彦\u202c",
        "photo": "http://thirdwx.qlogo.cn/mmopen/vi_32/yan/132",
    }
    login = rows_of("yan", sources.WECHAT, [("userid", "yan-wx-7"), ("openid", "oH_5k5SflrwjGvk7yan0")], invisible)
    community = rows_of(
        "yan", sources.GITEE, [("primary", "5512345")], {"nickname": "\u0301", "customData": '{"giteeLogin":"yan-opens"}'}
    )
    pairs = [{"key": "department", "value": None}, {"key": "giteeName", "value": "彦工"}]
    company = rows_of("yan", sources.GITEE_COMPANY, [("generic", "5554321")], {"name": "", "customData": pairs})
    lark = rows_of("yan", sources.LARK, [("user_id", "55ded785")], {"familyName": "彦", "middleName": None})
    google = rows_of("yan", sources.GOOGLE, [("openid", "105518")], {"email": "yan.li@gmail.example"})
    about = "names that cannot be seen, that are in familyName or in customData as text or pairs; an http avatar; a mail alone"
    return Person(
        "yan", "62f1c0de0000000000000010", about, login + community + company + lark + google, sign_in=SignIn(password=True)
    )


def _with_one_source() -> tuple[Person, ...]:
    """One linked account each; whether it can be unlinked depends on what else they can sign in with."""
    sol = rows_of("sol", sources.GOOGLE, [("openid", "101123")], {"name": "Sol Park", "email": "sol.park@gmail.example"})
    zoe = rows_of("zoe", sources.GOOGLE, [("openid", "101126")], {"name": "Zoe Lind", "email": "zoe.lind@gmail.example"})
    eli = rows_of("eli", sources.LARK, [("user_id", "77ded785")], {"name": "易立", "email": "eli@lark.example"})
    return (
        Person("sol", "62f1c0de0000000000000011", "Google alone and nothing else to sign in with", sol),
        Person(
            "kim",
            "62f1c0de0000000000000012",
            "GitHub alone, and a password",
            github("kim", "kim-codes", "Kim", 1012),
            sign_in=SignIn(password=True),
        ),
        Person("zoe", "62f1c0de0000000000000013", "Google alone, and a verified e-mail", zoe, sign_in=SignIn(email=True)),
        Person("eli", "62f1c0de0000000000000014", "Lark of the company alone, and a phone", eli, sign_in=SignIn(phone=True)),
    )


def personas() -> tuple[Person, ...]:
    """All of them, for `People`."""
    return (
        _mei(),
        _omar(),
        Person("nia", "62f1c0de0000000000000003", "has linked nothing", sign_in=SignIn(password=True)),
        Person(
            "max",
            "62f1c0de0000000000000004",
            "his tokens are expired when he gets them",
            wechat("max", "Max", "Y1minting_ex"),
            lifetime=-60,
        ),
        Person(
            "rui",
            "62f1c0de0000000000000005",
            "locked: refused with 403/2005",
            wechat("rui", "瑞", "locked_2005x"),
            blocked=2005,
        ),
        _lin(),
        _ada(),
        _bo(),
        _ivy(),
        _yan(),
        *_with_one_source(),
    )
