"""Anything at all that GenAuth may answer, and any token: data, or one of our errors."""

import contextlib
import json
import re

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from bff.errors import BffError, TokenInvalid
from bff.genauth import oidc
from bff.genauth.changes import link_url_request, read_link_url, read_security_info, read_unlinked, unlink_request
from bff.genauth.envelope import UnreadableData
from bff.genauth.messages import Request, Response
from bff.genauth.protocol import Identities, identities_request, read_ext_idps, read_identities
from bff.models import Identity
from schemas.genauth import ExtIdpSchema, IdentitySchema, ProfileSchema, SecurityInfoSchema, clean, parsed
from schemas.oidc import DiscoverySchema, IntrospectionSchema, UnexpectedShape

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
        result = read_identities(Response(status, {}, body))
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


LOADING = [IdentitySchema(), ExtIdpSchema(), ProfileSchema(), SecurityInfoSchema()]
LOADED = st.sampled_from(sorted({field.data_key or name for schema in LOADING for name, field in schema.fields.items()}))


@given(st.dictionaries(LOADED | KEYS, JSON))
def test_loading_raises_nothing_and_gives_every_field(row):
    for schema in LOADING:
        assert set(schema.load(row)) == set(schema.fields)


DECIDING = IntrospectionSchema()
IDS = st.text(max_size=6) | st.sampled_from(["mei", " mei", "mei\u202e"])


@given(IDS | JSON, st.dictionaries(st.sampled_from(["exp", "client_id", "aud", "nbf", "token_type"]), IDS | JSON))
def test_what_decides_is_loaded_to_the_letter_or_not_at_all(sub, others):
    row = {"sub": sub, **others}

    with contextlib.suppress(UnexpectedShape):
        loaded = DECIDING.load(row)
        sent = {name: row.get(field.data_key or name) for name, field in DECIDING.fields.items()}
        if isinstance(sent["audience"], str | list):
            sent["audience"] = tuple([sent["audience"]] if isinstance(sent["audience"], str) else sent["audience"])
        assert loaded == sent
        assert loaded["sub"].isprintable()


@given(st.dictionaries(st.sampled_from(sorted(field.data_key or name for name, field in DiscoverySchema().fields.items())), JSON))
def test_a_discovery_document_names_an_issuer_and_keys_to_the_letter_or_nothing(row):
    with contextlib.suppress(UnexpectedShape):
        loaded = DiscoverySchema().load(row)
        assert (loaded["issuer"], loaded["jwks_uri"]) == (row["issuer"], row["jwks_uri"])


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
            assert CANARY in read_identities(Response(200, {}, body)).secrets


@given(JSON, st.sampled_from([200, 401]))
def test_any_json_at_the_oauth_endpoints_is_an_answer_or_one_of_our_errors(value, status):
    back = Response(status, {}, json.dumps(value).encode())
    for read in (oidc.read_discovery, oidc.read_introspection, oidc.read_key_set, read_ext_idps):
        with contextlib.suppress(BffError):
            read(back)


@given(
    JSON | st.fixed_dictionaries({"statusCode": st.sampled_from([200, 403, "401"]), "data": JSON}), st.sampled_from([200, 403])
)
def test_any_json_about_a_change_is_an_answer_or_one_of_our_errors(value, status):
    back = Response(status, {}, json.dumps(value).encode())
    for read in (read_unlinked, read_security_info):
        with contextlib.suppress(BffError):
            read(back)
    with contextlib.suppress(BffError):
        assert read_link_url(back, "https://shop.genauth.ai").startswith("https://")


@given(st.text(), st.text(), st.text())
def test_any_id_can_be_asked_for_and_shows_nowhere(id_, id_token, return_to):
    unlink = unlink_request("app", "token", id_)
    link = link_url_request("app", "token", id_, id_token, return_to=return_to)

    assert json.loads(unlink.body) == {"extIdpId": id_}
    assert re.fullmatch(r"/api/v3/generate-link-extidp-url\?[!-~]+", link.path)
    assert [repr(unlink), repr(link)] == [
        "Request(POST /api/v3/unlink-extidp)",
        "Request(GET /api/v3/generate-link-extidp-url)",
    ]


@given(st.text())
def test_any_token_makes_a_request_or_is_invalid(token):
    try:
        request = identities_request("app", token)
    except TokenInvalid:
        return
    assert isinstance(request, Request)
    assert re.fullmatch(r"[\x21-\x7e]+", token)
