"""Somebody signed in who would see what another person has linked. (Swapped cache values: `test_attacks_by_a_redis_writer`.)"""

import json
from concurrent.futures import ThreadPoolExecutor

import pytest
import requests

from tests.security.service import PATH

IDENTITIES = "/api/v3/get-identities"
SOURCES = "/api/v3/get-application-enabled-extidps"
INTROSPECTION = "/oidc/token/introspection"


def subjects(answer):
    return {identity["subject"] for account in answer.accounts for identity in account["identities"]}


@pytest.mark.parametrize(
    ("query", "header"),
    [
        ("userId={omar}", ("X-User-Id", "{omar}")),
        ("sub={omar}", ("X-Authing-Userpool-Id", "{omar}")),
        ("access_token={token}", ("X-Forwarded-User", "{omar}")),
        ("token={token}&user={omar}", ("X-Access-Token", "{token}")),
        ("", ("Proxy-Authorization", "Bearer {token}")),
        ("", ("X-Original-URL", "/me/linked-accounts?user={omar}")),
    ],
)
def test_naming_somebody_else_beside_ones_own_token(service, genauth, query, header):
    omar, token = genauth.id_of("omar"), genauth.token("omar")
    mine = [("Authorization", f"Bearer {genauth.token('mei')}")]
    own = service.ask(headers=mine, query="include=identities").accounts
    name, value = header
    query = f"include=identities&{query.format(omar=omar, token=token)}"

    answer = service.ask(query=query, headers=[*mine, (name, value.format(omar=omar, token=token))])

    assert answer.accounts == own
    assert genauth.calls("/api/v3/get-identities", person="omar") == 0


def test_somebody_elses_etag_brings_no_answer_of_theirs(service, genauth):
    omars = service.accounts_of(genauth.token("omar"))
    etag = omars.headers["Etag"]

    answer = service.ask(headers=[("Authorization", f"Bearer {genauth.token('mei')}"), ("If-None-Match", etag)])

    assert answer.status == 200
    assert answer.accounts != omars.accounts


def test_two_tokens_at_once_are_nobodys(service, genauth):
    both = [("Authorization", f"Bearer {genauth.token(person)}") for person in ("mei", "omar")]

    answer = service.ask(headers=both)

    assert (answer.status, answer.json["code"]) == (400, "invalid_request")
    assert genauth.calls("/api/v3/get-identities") == 0


def test_many_people_at_once_each_see_their_own(service, genauth):
    people = [f"user-{number}" for number in range(40)]
    expected = {person: subject_of(genauth, person) for person in people}
    tokens = {person: genauth.token(person) for person in people}

    def ask(person):
        return person, service.accounts_of(tokens[person], query="include=identities")

    with ThreadPoolExecutor(16) as threads:
        answers = [*threads.map(ask, people * 4)]

    for person, answer in answers:
        assert (answer.status, subjects(answer)) == (200, expected[person])


def subject_of(genauth, person):
    """As GenAuth itself says, asked without the service."""
    headers = {"Authorization": genauth.token(person), "x-authing-app-id": genauth.app_id}
    rows = requests.get(f"{genauth.url}{IDENTITIES}", headers=headers, timeout=5).json()["data"]
    return {row["userIdInIdp"] for row in rows}


def test_the_list_of_identity_sources_tells_nothing_of_whose_token_it_was_asked_with(answered_with, genauth):
    """It is fetched with one person's token and shown to everybody."""
    token = genauth.token("omar")
    sources = [
        {"extIdpId": "62f209327ab3cc10d9016ee5", "type": "wechat", "name": f"WeChat {token}", "name_en": token}
        | {"logo": f"https://cdn.example/wechat.svg?access_token={token}", "extIdpType": "social"}
    ]
    service = answered_with(SOURCES, 200, {}, json.dumps({"statusCode": 200, "data": sources}).encode())
    service.accounts_of(token)

    answer = service.accounts_of(genauth.token("mei"))

    assert {account["provider"]["type"] for account in answer.accounts} == {"wechat", "lark"}
    assert token not in answer.everything


@pytest.mark.parametrize(
    "said",
    [
        b'"sub":"MEI\\u202e"',
        b'"sub":" MEI"',
        b'"sub":"MEI\\u0000"',
        b'"sub":"\\ufeffMEI"',
        b'"sub":"MEI\xff"',
        b'"sub":["MEI"]',
        b'"sub":"omar","sub":"MEI"',
        b'"username":"MEI"',
    ],
)
def test_a_user_id_that_cleaning_would_turn_into_anothers_is_nobodys(service_with, genauth, said):
    """Two texts that differ are two people, so the text that introspection names is taken to the letter or not at all."""
    service = service_with(TOKEN_VERIFICATION="introspection")
    assert service.accounts_of(genauth.token("mei", kind="opaque")).status == 200  # hers are in the cache
    said = said.replace(b"MEI", genauth.id_of("mei").encode())
    genauth.answers_raw(INTROSPECTION, body=b'{"active":true,"token_type":"Bearer",%b}' % said)

    answer = service.accounts_of(genauth.token("omar", kind="opaque"))

    assert (answer.status, answer.json["code"]) == (502, "upstream_malformed")


def test_a_user_id_in_other_letters_is_somebody_else(service_with, genauth):
    """One that is no other spelling of mei's: it is served what GenAuth says of its own token."""
    service = service_with(TOKEN_VERIFICATION="introspection")
    meis = service.accounts_of(genauth.token("mei", kind="opaque")).accounts
    sub = genauth.id_of("mei").upper()
    genauth.answers_raw(INTROSPECTION, body=json.dumps({"active": True, "sub": sub}).encode())

    answer = service.accounts_of(genauth.token("omar", kind="opaque"))

    assert answer.status == 200
    assert answer.accounts != meis


def test_a_user_id_that_reads_like_another_key_is_nobody_else(service, genauth, stored):
    """Keys are made of digests: no id of a token can be written so that it names another person's key."""
    for subject in ("62f1c0de0000000000000001}:accounts", "*", "..", "62f1c0de0000000000000001\\0", "a b", "{x}"):
        assert service.accounts_of(genauth.token("mei", claims={"sub": subject})).status in {401, 403}

    assert stored.keys("*62f1c0de*") == []
    assert service.ask(PATH + "/62f1c0de0000000000000001").status == 405  # unlinking alone is there
