"""What a caller or GenAuth sends costs no more than its size, and a long header no more than a usual one. Work is counted."""

import json
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress

import pytest

from bff.errors import BffError
from bff.factory import PERMITS
from bff.genauth.envelope import UnreadableData
from bff.genauth.messages import Response
from bff.genauth.protocol import read_ext_idps, read_identities
from bff.resilience import Deadline, set_apart
from tests.security.conftest import COOKIE, PAGE
from tests.security.effort import calls_made

IDENTITIES = "/api/v3/get-identities"
SIZE = 60_000
FIELDS = {
    "Accept-Language": ("Accept-Language", "a,"),
    "Accept-Language with weights": ("Accept-Language", "zh;q=0.5,"),
    "Accept-Language with parameters": ("Accept-Language", ";"),
    "Cache-Control": ("Cache-Control", "a=b,"),
    "If-None-Match": ("If-None-Match", '"a",'),
    "If-None-Match without quotes": ("If-None-Match", "a,"),
    "Cookie": ("Cookie", ";"),
    "Cookie of others": ("Cookie", "a=b;"),
    "Cookie with nearly our name": ("Cookie", f"{COOKIE}s=b;"),
    "X-Forwarded-For": ("X-Forwarded-For", "192.0.2.7,"),
    "X-Forwarded-Proto": ("X-Forwarded-Proto", "a,"),
    "Access-Control-Request-Headers": ("Access-Control-Request-Headers", "authorization,"),
    "an unknown field": ("X-Unknown", "a,"),
}


@pytest.mark.parametrize(("name", "item"), FIELDS.values(), ids=FIELDS)
@pytest.mark.parametrize("who", ["somebody", "nobody", "preflight"])
def test_a_field_of_sixty_kilobytes_is_no_more_work_than_one_of_three(open_service, genauth, name, item, who):
    headers = {"Origin": PAGE}
    if who == "somebody":
        headers["Authorization"] = f"Bearer {genauth.token('mei')}"
    if who == "preflight":
        headers["Access-Control-Request-Method"] = "GET"

    def ask(characters):
        sent = headers | {name: item * (characters // len(item))}
        method = "OPTIONS" if who == "preflight" else "GET"
        return lambda: open_service.ask(method=method, headers=[*sent.items()])

    ask(100)()
    usual = calls_made(ask(3_000))

    # A part of the work is a split in C, whose parts are looked at.
    assert calls_made(ask(SIZE)) < usual * 1.3 + 100


@pytest.mark.parametrize("item", ["Bearer ", "aaaaaaaa,", "a b ", "Basic eDp5 "])
def test_an_authorization_of_sixty_kilobytes_is_refused_with_little_work(open_service, item):
    def ask(characters):
        return lambda: open_service.ask(headers=[("Authorization", item * (characters // len(item))), ("X-Request-Id", "a" * 32)])

    ask(100)()

    assert calls_made(ask(SIZE)) < calls_made(ask(3_000)) * 1.3 + 100


@pytest.mark.parametrize("item", ["&", "a&", "include=&", "include=identities&", ";", "%25"])
def test_a_query_of_sixty_kilobytes_is_refused_unread(service, genauth, item):
    token = genauth.token("mei")
    service.accounts_of(token)
    usual = calls_made(lambda: service.accounts_of(token, query="include=identities"))

    answers = []
    work = calls_made(lambda: answers.append(service.accounts_of(token, query=item * (SIZE // len(item)))))

    assert (answers[0].status, answers[0].json["code"]) == (400, "invalid_request")
    assert work < usual * 1.3 + 100


def test_the_address_that_our_own_proxy_added_counts_however_long_the_rest_is(service_with):
    service = service_with(TRUSTED_PROXIES="1", RATE_LIMIT="2/minute")

    def ask(real):
        sent = [("Authorization", "Bearer a.b.c"), ("X-Forwarded-For", "203.0.113.5," * 5_000 + f" {real}")]
        return service.ask(headers=sent, address="10.0.0.1").status

    assert [ask("198.51.100.7") for _ in range(3)] == [401, 401, 429]
    assert ask("198.51.100.8") == 401


def test_the_session_cookie_is_found_among_any_number_of_others(open_service, genauth):
    token = genauth.token("mei")
    others = "a=b; " * 10_000

    def ask(cookie):
        sent = [("Cookie", cookie), ("X-Requested-With", "x"), ("Origin", PAGE)]
        return open_service.ask(headers=sent).status

    for cookie in (f"{others}{COOKIE}={token}; {others}", f'x{COOKIE}=1; {COOKIE} = "{token}" ;{COOKIE}x=2', f"{COOKIE}={token}"):
        assert ask(cookie) == 200
    assert ask(f"{COOKIE}={token}; {others}{COOKIE}=other") == 400
    assert ask(f"{others}; {COOKIE}s={token}") == 401
    assert ask(f'a="; {COOKIE}={token}') == 200


# Answers of GenAuth -----------------------------------------------------------------------------


def envelope(data):
    return Response(200, {}, json.dumps({"statusCode": 200, "requestId": "934108e5-9fbf", "data": data}).encode())


@pytest.mark.parametrize("read", [read_identities, read_ext_idps])
@pytest.mark.parametrize("row", [{}, [], None, "x", {"a": "b"}], ids=json.dumps)
def test_more_rows_than_anybody_has_are_refused_by_their_number(read, row):
    response = envelope([row] * 240_000)

    def act():
        with pytest.raises(BffError) as error:
            read(response)
        nested = isinstance(row, dict | list)
        assert error.value.note == f"HTTP 200, {'nested too deeply or too often' if nested else 'more than 1000 records'}"

    assert calls_made(act) < 100_000  # the garbage collector of a test run calls, too


@pytest.mark.parametrize(
    "shape",
    ["[" * 100 + "]" * 100, "[]", '{"a": {}}', r'"[[[[[[[[]]]]]]]]"', r'"{\"a\": [[\"{}\"]]}"', "[1]"],
)
def test_what_is_nested_more_often_than_anybodys_data_is_refused_unread(shape):
    oauth = ",".join([shape] * (900_000 // (len(shape) + 1)))
    row = f'{{"identityId": "1", "extIdpId": "1", "userInfoInIdp": {{"oauth": [{oauth}]}}}}'
    response = Response(200, {}, f'{{"statusCode": 200, "data": [{row}]}}'.encode())

    def act():
        with pytest.raises(UnreadableData):
            read_identities(response)

    assert calls_made(act) < 10_000


def test_what_is_nested_as_often_as_a_thousand_records_can_be_is_read():
    oauth = {"raw": {"groups": [[], [], {}]}, "text": '{"groups": [[], [], {}]}'}
    rows = [
        {"identityId": f"{n}", "extIdpId": f"{n}", "originConnIds": ["x"], "userInfoInIdp": {"oauth": oauth}} for n in range(1000)
    ]

    assert len(read_identities(envelope(rows)).rows) == 1000


def test_one_persons_large_answers_are_worked_on_without_a_permit_that_others_need(service, genauth):
    genauth.answers("nia", [row(0, userInfoInIdp={"nickname": "Nia", "bio": "x" * 100_000})])
    tokens = [genauth.token("nia", claims={"jti": str(number)}) for number in range(2 * PERMITS)]

    with ThreadPoolExecutor(len(tokens)) as threads:
        with set_apart(1024 * 1024, Deadline.after(10)):  # large work that does not end
            waiting = [threads.submit(service.accounts_of, token) for token in tokens]
            while genauth.calls(IDENTITIES, person="nia") < len(tokens):
                time.sleep(0.01)
            assert service.accounts_of(genauth.token("mei")).status == 200
            assert not [each for each in waiting if each.done()]
        assert {each.result().status for each in waiting} == {200}


def row(number, **more):
    return {"identityId": f"i{number}", "extIdpId": f"e{number % 7}", "provider": "github", "type": "primary"} | more


# What is one call of a regular expression's is large enough that a test would not end, if it took the square of the time.
SHAPES = {
    "rows": lambda n: [row(each, userInfoInIdp={"nickname": "n" * 50}) for each in range(n)],
    "rows of one account": lambda n: [row(0, originConnIds=["c"] * 50) for _ in range(n)],
    "connections": lambda n: [row(0, originConnIds=["connection"] * n * 10)],
    "connections as text": lambda n: [row(0, originConnIds=json.dumps(["connection"] * n * 10))],
    "texts below oauth": lambda n: [row(0, oauth={"list": [f"secret-{each}" for each in range(n * 10)]})],
    "one long text below oauth": lambda n: [row(0, oauth="a1 b2 " * n * 10)],
    "words below oauth": lambda n: [row(0, oauth="bearer a1b2c3d4e5f6a1b2c3d4e5f6 " * n)],
    "blanks below oauth": lambda n: [row(0, oauth="bearer" + " " * n * 1_000)],
    "names": lambda n: [row(0, userInfoInIdp={f"name{each}": "a value" for each in range(n * 10)})],
    "one long name": lambda n: [row(0, **{"token" * n * 100: "a value of it"})],
    "text in text": lambda n: [row(0, extra=json.dumps([json.dumps({"token": "x" * 20})] * n))],
    "brackets that are no JSON": lambda n: [row(0, extra=["{" * 40] * n)],
    "parameters": lambda n: [row(0, userInfoInIdp={"photo": "https://a.example/?" + "token=abcdefgh&" * n})],
    "question marks": lambda n: [row(0, userInfoInIdp={"x": "?" * n * 1_000 + "="})],
    "equals signs": lambda n: [row(0, userInfoInIdp={"x": "a=" * n * 500})],
    "depth": lambda n: [row(0, extra=json.loads("[" * 300 + "]" * 300))] * n,
    "numbers": lambda n: [row(0, token=[int("9" * 300)] * n)],
}


@pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES)
def test_twice_as_much_of_anything_is_twice_the_work(shape):
    def work(n):
        response = envelope(shape(n))

        def act():
            with suppress(BffError):
                read_identities(response)

        return calls_made(act)

    work(10)

    assert work(400) < work(200) * 2.2 + 500
