"""A provider, or a person with a profile there, that would reach other people's screens, sessions or our memory."""

import json
import time
import unicodedata

import pytest

from tests.security.service import PATH, Service
from tests.timing import in_time

ROW = {"identityId": "i1", "extIdpId": "e1", "provider": "github", "type": "primary", "userIdInIdp": "1", "originConnIds": []}
BIDI = "\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069"


@pytest.fixture
def shown(service, genauth, stored):
    """What Nia's frontend gets when her provider says this of her."""

    def show(row=None, **profile):
        genauth.answers("nia", [ROW | {"userInfoInIdp": profile} | (row or {})])
        stored.flushall()
        return service.accounts_of(genauth.token("nia"), query="include=identities")

    return show


@pytest.mark.parametrize("field", ["nickname", "name", "username"])
def test_a_script_in_a_name_is_text(shown, field):
    for text in ("<script>alert(1)</script>", '"><img src=x onerror=alert(1)>', "{{7*7}}", "${7*7}", "=cmd|' /C calc'!A0"):
        answer = shown(**{field: text})

        assert answer.accounts[0]["displayName"] == text
        # JSON and nothing else: the frontend escapes it, and no browser takes the answer for a page.
        assert (answer.headers["Content-Type"], answer.headers["X-Content-Type-Options"]) == ("application/json", "nosniff")


@pytest.mark.parametrize(
    "photo",
    [
        "javascript:alert(1)",
        "JAVASCRIPT:alert(1)",
        " javascript:alert(1)",
        "java\tscript:alert(1)",
        "data:text/html,<script>alert(1)</script>",
        "vbscript:x",
        "http://avatars.example/a.png",
        "//avatars.example/a.png",
        "/a.png",
        "https:/a.png",
        "https://",
        "https:///a.png",
        "https://user:password@avatars.example/a.png",
        'https://avatars.example/a.png" onload="alert(1)',
        "https://avatars.example/<script>",
        "https://avatars.example/a\\..\\b",
        "https://avatars.example/a\nb",
        "https://[::1/a.png",
        "https://a b/",
        "file:///etc/passwd",
        "blob:https://app.example/x",
        "https://avatars.example/\u202egnp.a",
        "https://avatars.example/" + "a" * 5000,
    ],
)  # fmt: skip
def test_an_avatar_that_is_no_plain_https_address_is_null(shown, photo):
    avatar = shown(photo=photo, nickname="Nia").accounts[0]["avatarUrl"]

    # What is cleaned of controls may be harmless then; what is served is always https without anything to break out with.
    assert avatar is None or (avatar.startswith("https://avatars.example/") and avatar.isprintable() and '"' not in avatar)


@pytest.mark.parametrize("wrap", ["{}", "x{}", "{}&size=80", "https%3A%2F%2Fa%2F%3Ft%3D{}"])
def test_a_token_in_the_avatars_address_is_null(shown, genauth, wrap):
    token = "gho_canary16C7e42F292c6912E7710c838347Ae178B4a"
    row = {"accessToken": token}

    answer = shown(row, photo="https://avatars.example/a.png?access_token=" + wrap.format(token), nickname="Nia")

    assert answer.accounts[0]["avatarUrl"] is None
    assert answer.accounts[0]["displayName"] == "Nia"
    assert token not in answer.everything


def test_controls_and_reading_direction_are_taken_out_of_names(shown):
    for text in [f"a{control}b" for control in "\0\x07\x1b\x7f\x85\u2028\u2029"] + [f"{mark}evil" for mark in BIDI]:
        name = shown(nickname=text).accounts[0]["displayName"]

        assert name
        assert not invisible(name)


def invisible(text):
    return [c for c in text if unicodedata.category(c) in {"Cc", "Cs", "Zl", "Zp"} or c in BIDI]


@pytest.mark.parametrize("field", ["identityId", "extIdpId", "provider", "type", "userIdInIdp"])
def test_an_id_with_anything_in_it_stays_a_value(shown, field):
    for text in ("a\0b", "a\nb: c", "a\u202eb", "\x1b[31m", "x" * 10_000, "../../x", "a%0d%0aSet-Cookie: x=1"):
        answer = shown({field: text})

        assert answer.status == 200
        assert "Set-Cookie" not in answer.headers
        assert not invisible(answer.body.decode())


@pytest.mark.parametrize("profile", [None, "text", 7, [], [[]], True, {"nickname": {"a": []}}, '{"nickname":"Nia"}', "{" * 2000])
def test_a_profile_of_any_shape_costs_nobody_their_accounts(shown, profile):
    answer = shown({"userInfoInIdp": profile})

    assert (answer.status, len(answer.accounts)) == (200, 1)


@pytest.mark.parametrize("levels", [50, 5_000, 100_000])
def test_a_profile_nested_deeply_is_one_persons_trouble(service, genauth, sign_in, levels):
    deep = '{"a":' * levels + "1" + "}" * levels
    body = json.dumps({"statusCode": 200, "data": [ROW | {"userInfoInIdp": "DEEP"}]}).replace('"DEEP"', deep)
    genauth.answers_raw("/api/v3/get-identities", body=body.encode(), person="nia")

    assert service.ask(headers=[*sign_in("nia").items()]).status in {200, 502}
    for _ in range(8):
        service.ask(headers=[*sign_in("nia").items()])
    assert service.ask(headers=[*sign_in("mei").items()]).status == 200


@pytest.mark.parametrize(("records", "status", "total"), [(1_000, 200, 1_000), (5_000, 502, 0)])
def test_a_thousand_records_are_read_in_time_and_more_are_refused_in_time(service, genauth, records, status, total):
    rows = [ROW | {"identityId": f"i{number}", "extIdpId": f"e{number}"} for number in range(records)]
    genauth.answers("nia", rows)

    started = time.monotonic()
    answer = service.accounts_of(genauth.token("nia"))

    in_time(time.monotonic() - started, 3.5)
    assert (answer.status, len(answer.json.get("linkedAccounts", []))) == (status, total)


MANY_SECRETS = [ROW | {"userInfoInIdp": {"oauth": {"list": [f"secret-{number}" for number in range(1_001)]}}}]
MUCH_TEXT = [
    ROW | {"identityId": f"i{number}", "extIdpId": f"e{number}", "userInfoInIdp": {"photo": "https://a.example/" + "a" * 2000}}
    for number in range(140)
]


@pytest.mark.parametrize("rows", [MANY_SECRETS, MUCH_TEXT], ids=["secrets", "text"])
def test_more_than_can_be_guarded_is_one_persons_trouble(service, genauth, sign_in, rows):
    genauth.answers("nia", rows)

    answers = [service.accounts_of(genauth.token("nia")) for _ in range(12)]

    assert {(answer.status, answer.json["code"]) for answer in answers} == {(502, "upstream_malformed")}
    assert service.ask(headers=[*sign_in("mei").items()]).status == 200


def test_what_was_good_is_served_while_there_is_more_than_can_be_guarded(app, genauth):
    service, token = Service(app), genauth.token("nia")
    genauth.answers("nia", [ROW])
    good = service.accounts_of(token)
    genauth.answers("nia", MANY_SECRETS)
    app.extensions["clock"].by = 90

    answer = service.accounts_of(token)

    assert (answer.status, answer.accounts, answer.json["meta"]["stale"]) == (200, good.accounts, True)


@pytest.mark.parametrize("body", ["oversized", "gzip-bomb", "deep", "huge-number"])
def test_an_answer_made_to_fill_memory_is_refused(service, genauth, sign_in, body):
    genauth.trouble(path="/api/v3/get-identities", malformed=body, person="nia")

    assert service.ask(headers=[*sign_in("nia").items()]).status == 502


@pytest.mark.parametrize("text", ["%" * 3000, "%25" * 1000, "\\u" * 1500, "\\\\" * 1500, "%5Cu0025" * 300, "eyJ" * 1000])
def test_text_that_is_slow_to_read_is_read_in_time(shown, text):
    """The leak guard looks through layers of escapes: no text may keep it busy."""
    started = time.monotonic()
    answer = shown(
        {"accessToken": "canary-token-0123456789", "provider": text[:250], "userIdInIdp": text[:250]},
        photo=f"https://avatars.example/{text[:2000]}",
        nickname=text,
    )

    in_time(time.monotonic() - started, 2.0)
    assert answer.status == 200


def test_an_email_address_is_masked_or_null(shown):
    for email in ("a@b@c", "<script>@example.com", "x" * 400 + "@a.b", "@example.com", "a@", " ", "n\u202ex@example.com"):
        said = shown(email=email).accounts[0]["email"]

        assert said is None or said[1:4] == "•••"


def test_two_people_with_one_account_at_a_provider_are_two_people(service, genauth):
    """A provider that says the same id of two people merges nobody: what is cached goes by GenAuth's user id."""
    for person, nickname in (("nia", "Nia"), ("lin", "Lin")):
        genauth.answers(person, [ROW | {"userInfoInIdp": {"nickname": nickname}}])
    names = [service.accounts_of(genauth.token(person), path=PATH).accounts[0]["displayName"] for person in ("nia", "lin", "nia")]

    assert names == ["Nia", "Lin", "Nia"]
