import base64
import json
import random
import re
import string
import time
from contextlib import suppress
from urllib.parse import quote

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from bff.accounts.leak_guard import MOST_SECRETS, MOST_TEXT, LeakGuard, contains
from bff.errors import UpstreamMalformed
from tests.timing import in_time

SECRET = "ya29.a0Af/H6+SMBq_x-9?=="


def every_character(text):
    return "".join(f"%{byte:02x}" for byte in text.encode())


def escaped_to_the_last(text):
    return re.sub("....", r"\\u\g<0>", text.encode("utf-16-be").hex())


FORMS = {
    "as it is": str,
    "percent-encoded": lambda secret: quote(secret, safe=""),
    "percent-encoded in lower case": lambda secret: re.sub("%..", lambda code: code[0].lower(), quote(secret, safe="")),
    "percent-encoded to the last character": every_character,
    "percent-encoded twice": lambda secret: quote(quote(secret, safe=""), safe=""),
    "percent-encoded three times": lambda secret: quote(quote(quote(secret, safe=""), safe=""), safe=""),
    "percent-encoded to the last character, twice": lambda secret: every_character(every_character(secret)),
    "JSON-escaped": lambda secret: json.dumps(secret)[1:-1].replace("/", "\\/"),
    "JSON-escaped to the last character": escaped_to_the_last,
    "JSON-escaped in a URL in a URL": lambda secret: quote(quote(escaped_to_the_last(secret), safe=""), safe=""),
    "JSON-escaped, then percent-encoded": lambda secret: quote(json.dumps(secret)[1:-1], safe=""),
    "base64": lambda secret: base64.b64encode(secret.encode()).decode(),
    "base64url": lambda secret: base64.urlsafe_b64encode(secret.encode()).decode(),
    "base64 without padding": lambda secret: base64.b64encode(secret.encode()).decode().rstrip("="),
    "base64, percent-encoded": lambda secret: quote(base64.b64encode(secret.encode()), safe=""),
    "base64 of more": lambda secret: base64.b64encode(f"x:{secret}:yz".encode()).decode(),
    "base64url of more": lambda secret: base64.urlsafe_b64encode(f"?{secret}?".encode()).decode(),
}
in_every_form = pytest.mark.parametrize("form", FORMS.values(), ids=FORMS)


@in_every_form
def test_an_avatar_url_with_a_token_in_it_is_emptied_and_the_rest_is_served(form):
    account = {"id": "62f2", "avatarUrl": f"https://img.example/1?access_token={form(SECRET)}&s=64", "displayName": "Mei"}

    cleaned, stopped = LeakGuard([SECRET]).clean({"linkedAccounts": [account]})

    assert cleaned == {"linkedAccounts": [{"id": "62f2", "avatarUrl": None, "displayName": "Mei"}]}
    assert stopped == ("linkedAccounts[].avatarUrl",)


def test_a_field_is_told_once_however_many_accounts_have_it():
    accounts = [{"avatarUrl": f"https://img.example/{number}?t={SECRET}"} for number in range(3)]

    assert LeakGuard([SECRET]).clean({"linkedAccounts": accounts})[1] == ("linkedAccounts[].avatarUrl",)


def test_lists_and_tuples_keep_their_kind_and_their_length():
    cleaned, stopped = LeakGuard([SECRET]).clean([{"identityTypes": ("openid", SECRET)}, [SECRET, "x"]])

    assert cleaned == [{"identityTypes": ("openid", None)}, [None, "x"]]
    assert stopped == ("[].identityTypes[]", "[][]")


@in_every_form
def test_a_key_that_holds_a_secret_is_dropped_and_not_told(form):
    cleaned, stopped = LeakGuard([SECRET]).clean({"raw": {form(SECRET): 1, "kept": 2}, form(SECRET): 3})

    assert cleaned == {"raw": {"kept": 2}}
    assert stopped == ("raw.*", "*")


def test_a_number_that_is_a_secret_is_emptied():
    assert LeakGuard(["1234567890"]).clean({"id": 91234567890, "ok": True}) == ({"id": None, "ok": True}, ("id",))


def test_a_value_without_secrets_comes_back_itself():
    value = {"linkedAccounts": [{"avatarUrl": "https://img.example/100%25?x=\\n", "id": "62f2"}], "n": [None, True, 1, 1.5]}

    for guard in (LeakGuard([SECRET]), LeakGuard([])):
        cleaned, stopped = guard.clean(value)
        assert cleaned is value
        assert stopped == ()


def test_a_short_secret_is_ignored_for_it_would_be_found_everywhere():
    value = {"provider": "bearers"}

    assert LeakGuard(["bearer", "", "1234567"]).clean(value) == (value, ())


def test_one_of_a_thousand_secrets_is_found():
    secrets = [f"token-{number:04}-of-somebody" for number in range(1000)]
    value = {"linkedAccounts": [{"avatarUrl": f"https://img.example/{number}"} for number in range(500)]}
    value["linkedAccounts"][321]["avatarUrl"] = f"https://img.example/?t={secrets[777]}"

    cleaned, stopped = LeakGuard(secrets).clean(value)

    assert cleaned["linkedAccounts"][321] == {"avatarUrl": None}
    assert stopped == ("linkedAccounts[].avatarUrl",)


def test_a_finished_answer_is_searched_for_the_callers_token():
    assert contains(f'{{"avatarUrl": "https://img.example/?t={SECRET}"}}'.encode(), SECRET)
    assert contains(f"https://img.example/?t={quote(SECRET, safe='')}".encode(), SECRET)
    assert contains(quote("пароль小明").encode(), "пароль小明")
    assert not contains(b'{"avatarUrl": "https://img.example/\xff"}', SECRET)
    assert not contains(b"short", "short")


@settings(deadline=None)
@given(before=st.text(max_size=20), secret=st.text(min_size=8, max_size=40), after=st.text(max_size=20), escaped=st.booleans())
def test_whatever_the_callers_token_is_a_finished_answer_with_it_is_caught(before, secret, after, escaped):
    shown = quote(secret, safe="", errors="surrogatepass") if escaped else secret

    assert contains(f"{before}{shown}{after}".encode(errors="surrogatepass"), secret)


def test_a_finished_answer_with_the_beginning_of_the_callers_token_is_caught():
    assert contains(f"https://img.example/?t={SECRET[:16]}".encode(), SECRET)
    assert contains(f"https://img.example/?t={quote(SECRET[:16], safe='')}".encode(), SECRET)
    assert not contains(f"https://img.example/?t={SECRET[:15]}!".encode(), SECRET)


@in_every_form
@pytest.mark.parametrize("length", [16, 17, 23])
def test_a_secret_that_was_cut_short_is_found_in_every_form(form, length):
    value = {"displayName": f"x{form(SECRET[:length])}", "id": "62f2"}

    assert LeakGuard([SECRET]).clean(value) == ({"displayName": None, "id": "62f2"}, ("displayName",))


def test_fewer_characters_than_sixteen_of_a_longer_secret_are_found_by_chance():
    value = {"displayName": SECRET[:15]}

    assert LeakGuard([SECRET]).clean(value) == (value, ())


def test_what_many_texts_begin_with_is_no_part_of_a_secret():
    value = {"avatarUrl": "https://avatars.example/u/35067055", "subject": "1234567890123456789"}
    secrets = ["https://avatars.example/other", "1234567890123456789-gho_16C7e42F292c6912E7710c"]

    assert LeakGuard(secrets).clean(value) == (value, ())
    assert LeakGuard(secrets).clean([secrets[1][:20]]) == ([None], ("[]",))
    assert LeakGuard(["9" * 400]).clean(["9" * 256]) == ([None], ("[]",))


@pytest.mark.parametrize("name", ["access_token", "token", "oauth-token", "X-Session-Key", "client_secret", "%61ccess_token"])
@pytest.mark.parametrize("mark", ["?", "&", "#", ";", "?u=https%3A%2F%2Fb.example%3F"])
def test_a_parameter_named_like_a_credential_is_one_whatever_its_value(name, mark):
    value = {"avatarUrl": f"https://img.example/1{mark}{name}=zzz", "other": "https://img.example/1?v=4&name=token#x=1"}

    cleaned, stopped = LeakGuard([]).clean(value)

    assert cleaned == value | {"avatarUrl": None}
    assert stopped == ("avatarUrl",)


# Without what JSON itself is made of: its own brackets and quotes would spell such a secret.
SECRETS = st.text(st.characters(min_codepoint=33, max_codepoint=126, exclude_characters='"\\[]{}'), min_size=8, max_size=40)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=12,
)
thoroughly = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])


def planted(tree, leaks):
    """The tree with the next leak written into each text and key, as long as there are any."""
    match tree:
        case str():
            return tree + next(leaks, "")
        case list():
            return [planted(item, leaks) for item in tree]
        case dict():
            return {key + next(leaks, ""): planted(item, leaks) for key, item in tree.items()}
    return tree


@thoroughly
@given(SECRETS, st.lists(st.sampled_from(list(FORMS.values())), min_size=1), JSON, st.text(max_size=5))
def test_whatever_the_value_no_secret_is_left_in_it(secret, forms, tree, behind):
    value = [secret, planted(tree, iter([form(secret) + behind for form in forms]))]

    cleaned, stopped = LeakGuard([secret]).clean(value)

    left = json.dumps(cleaned)
    assert not [
        name for name, form in FORMS.items() if name not in ("base64 of more", "base64url of more") and form(secret) in left
    ]
    assert not [path for path in stopped if secret in path]
    assert LeakGuard([secret]).clean(cleaned) == (cleaned, ())


@thoroughly
@given(st.text(min_size=8, max_size=20), st.sampled_from(sorted(FORMS)), st.text(max_size=5), st.text(max_size=5))
def test_whatever_the_secret_its_field_is_emptied(secret, form, before, behind):
    text = before + FORMS[form](secret) + behind

    assert LeakGuard([secret]).clean({"field": text, "other": 1}) == ({"field": None, "other": 1}, ("field",))


def letters(chance, count):
    return "".join(chance.choices(string.ascii_letters, k=count))


def mixed(chance, count):
    return "".join(chance.choices(["%25", "%5C", "\\\\", "\\u0025", "%41", "a", "b", "-"], k=count))[:count]


# Of the longest secrets and texts, what comes nearest to finding something everywhere, and what has most readings.
HARD = {
    "plain": (lambda chance, _: letters(chance, 20), lambda chance: letters(chance, 2000)),
    "many readings": (lambda chance, _: letters(chance, 1000), lambda chance: mixed(chance, 2000)),
    "percent signs alone": (lambda chance, _: letters(chance, 8), lambda _: "%25" * 666),
    "backslashes alone": (lambda chance, _: letters(chance, 8), lambda _: "\\" * 2000),
    "one ending and many beginnings": (lambda _, number: f"{number:04}-callback", lambda _: "/callback" * 220),
    "one beginning and many endings": (lambda _, number: f"callback-of-many-{number:04}", lambda _: "/callback-of-man" * 125),
    "parameters": (lambda chance, _: letters(chance, 20), lambda _: "?a=b" * 500),
}


@pytest.mark.parametrize(("secret", "text"), HARD.values(), ids=HARD)
def test_the_most_secrets_and_the_most_text_are_looked_through_in_time(secret, text):
    chance = random.Random(1)
    secrets = [secret(chance, number) for number in range(MOST_SECRETS)]
    value = [text(chance) for _ in range(MOST_TEXT // 2000)]

    def seconds():
        started = time.process_time()
        with suppress(UpstreamMalformed):
            LeakGuard(secrets).clean(value)
        return time.process_time() - started

    in_time(min(seconds() for _ in range(3)), 0.3)  # of the processor; what else the machine does counts a little, too


def test_more_secrets_than_anybody_has_are_not_looked_for():
    LeakGuard(f"secret-{number}" for number in range(MOST_SECRETS))

    with pytest.raises(UpstreamMalformed):
        LeakGuard(f"secret-{number}" for number in range(MOST_SECRETS + 1))


def test_more_text_than_anybody_has_is_not_looked_through():
    whole = ["x" * 1024] * (MOST_TEXT // 1024)

    assert LeakGuard([SECRET]).clean(whole) == (whole, ())
    with pytest.raises(UpstreamMalformed):
        LeakGuard([SECRET]).clean([*whole, "y"])


def test_the_text_of_one_answer_counts_together():
    guard = LeakGuard([SECRET])
    guard.clean(["x" * MOST_TEXT])

    with pytest.raises(UpstreamMalformed):
        guard.clean("y")


def test_text_that_looks_like_secrets_everywhere_is_not_compared_without_end():
    secrets = ["b" + "a" * length for length in range(8, 900)]

    with pytest.raises(UpstreamMalformed):
        LeakGuard(secrets).clean(["a" * 2000] * 100)
