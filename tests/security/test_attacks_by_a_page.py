"""A page on another origin that a signed-in person opens: it would use their cookie, or read an answer."""

import pytest

from tests.security.conftest import COOKIE, PAGE

# What a browser takes for another origin, however much it looks like ours.
LOOKALIKES = (
    "https://evil.example",
    "null",
    "http://app.example",
    "https://app.example:444",
    "https://app.example.evil.example",
    "https://evilapp.example",
    "https://sub.app.example",
    "https://app.example@evil.example",
    "https://app.example/",
    "https://APP.example",
    "https://app-example",
    "https://appxexample",
    "https://app.example\xa0",
    "*",
    "",
)


@pytest.fixture
def cookie(genauth):
    return "Cookie", f"{COOKIE}={genauth.token('mei')}"


def may_read(answer):
    """Whether a browser would show the answer to the page."""
    return answer.headers.get("Access-Control-Allow-Origin")


def test_our_page_may(open_service, cookie):
    answer = open_service.ask(headers=[cookie, ("Origin", PAGE), ("X-Requested-With", "fetch")])

    assert (answer.status, may_read(answer)) == (200, PAGE)
    assert answer.headers["Access-Control-Allow-Credentials"] == "true"


@pytest.mark.parametrize("method", ["GET", "HEAD", "POST", "DELETE"])
def test_an_image_a_script_a_form_or_a_link_sends_the_cookie_and_gets_nothing(open_service, genauth, cookie, method):
    """Forms, images, scripts, links: no page can give those a header of its own (Fetch standard, CORS-safelisted)."""
    form = ("Content-Type", "application/x-www-form-urlencoded")

    answer = open_service.ask(method=method, headers=[cookie, form, ("Accept", "image/*")])

    assert answer.status in ({403} if method in {"GET", "HEAD"} else {403, 405})
    assert genauth.calls("/api/v3/get-identities") == 0


@pytest.mark.parametrize("blank", ["", " ", "\t"])
def test_a_blank_header_shows_nothing(open_service, cookie, blank):
    assert open_service.ask(headers=[cookie, ("X-Requested-With", blank)]).json["code"] == "csrf_header_missing"


@pytest.mark.parametrize("origin", [origin for origin in LOOKALIKES if origin])
def test_a_cookie_from_another_origin_is_refused_even_with_the_header(open_service, genauth, cookie, origin):
    answer = open_service.ask(headers=[cookie, ("Origin", origin), ("X-Requested-With", "fetch")])

    assert (answer.status, answer.json["code"]) == (403, "origin_not_allowed")
    assert may_read(answer) is None
    assert genauth.calls("/api/v3/get-identities") == 0


@pytest.mark.parametrize("origin", LOOKALIKES)
def test_another_origin_gets_no_leave_from_the_preflight(open_service, origin):
    asks = [("Origin", origin), ("Access-Control-Request-Method", "GET")]
    asks.append(("Access-Control-Request-Headers", "x-requested-with,authorization"))

    answer = open_service.ask(method="OPTIONS", headers=asks)

    assert may_read(answer) is None
    assert answer.status < 500


@pytest.mark.parametrize("origin", LOOKALIKES)
def test_another_origin_may_not_read_an_answer_it_has_a_token_for(open_service, sign_in, origin):
    answer = open_service.ask(headers=[*sign_in("mei").items(), ("Origin", origin)])

    assert may_read(answer) is None


@pytest.mark.parametrize("headers", [[], [("Authorization", "Bearer x")], [("X-Requested-With", "fetch")]])
def test_another_origin_may_not_read_an_error_either(open_service, headers):
    assert may_read(open_service.ask(headers=[*headers, ("Origin", "https://evil.example")])) is None


def test_without_cors_origins_nobody_may(service, sign_in):
    answer = service.ask(headers=[*sign_in("mei").items(), ("Origin", PAGE)])

    assert answer.status == 200
    assert may_read(answer) is None


def test_without_cookie_mode_a_cookie_is_nothing(service, cookie):
    answer = service.ask(headers=[cookie, ("X-Requested-With", "fetch")])

    assert answer.json["code"] == "token_missing"


def test_any_origin_goes_without_credentials(service_with, sign_in):
    service = service_with(CORS_ORIGINS="*")

    answer = service.ask(headers=[*sign_in("mei").items(), ("Origin", "https://anybody.example")])

    assert may_read(answer) in {"*", "https://anybody.example"}
    assert "Access-Control-Allow-Credentials" not in answer.headers


def test_two_cookies_of_one_name_are_nobodys(open_service, genauth):
    """A page on a sibling domain can set a second cookie of ours (cookie tossing); whose it is cannot be told."""
    both = "; ".join(f"{COOKIE}={genauth.token(person)}" for person in ("mei", "omar"))

    answer = open_service.ask(headers=[("Cookie", both), ("X-Requested-With", "fetch")])

    assert (answer.status, answer.json["code"]) == (400, "invalid_request")


def test_an_answer_is_taken_for_json_and_kept_by_nobody(open_service, cookie):
    """So it is no script, no page and no picture, and no cache between hands it to the next person."""
    answer = open_service.ask(headers=[cookie, ("Origin", PAGE), ("X-Requested-With", "fetch")])

    assert answer.headers["Content-Type"] == "application/json"
    assert answer.headers["X-Content-Type-Options"] == "nosniff"
    assert answer.headers["Cache-Control"] == "private, no-store"
    assert {"Authorization", "Cookie", "Origin"} <= {name.strip() for name in answer.headers["Vary"].split(",")}
