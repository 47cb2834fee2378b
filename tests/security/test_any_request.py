"""Whatever a caller sends: an answer of the contract, never a 5xx of our making, and nobody else's anything."""

import base64
import json
import random
from urllib.parse import urlencode

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from tests.security.conftest import COOKIE, PAGE
from tests.security.effort import LONG, examples, tried
from tests.security.service import PATH

PEOPLE = ("mei", "omar", "nia", "lin", "ada", "bo", "ivy")
METHODS = ("GET", "HEAD", "OPTIONS", "POST", "PUT", "PATCH", "DELETE", "TRACE", "CONNECT", "get", "PROPFIND")
PATHS = (PATH, f"{PATH}/", "/livez", "/readyz", "/openapi.json", "/docs", "/metrics", "/webhooks/genauth", "/", "//", "*")
NAMES = (
    "Accept-Language",
    "X-Request-Id",
    "X-Requested-With",
    "Origin",
    "If-None-Match",
    "If-Match",
    "If-Modified-Since",
    "Cache-Control",
    "Content-Type",
    "Content-Length",
    "Transfer-Encoding",
    "Host",
    "Range",
    "If-Range",
    "Accept",
    "Accept-Encoding",
    "Expect",
    "X-Forwarded-For",
    "X-Forwarded-Proto",
    "X-Forwarded-Host",
    "Forwarded",
    "X-HTTP-Method-Override",
    "Access-Control-Request-Method",
    "Access-Control-Request-Headers",
    "X-Authing-Webhook-Secret",
)

# What a server lets through: any byte as Latin-1 but those that end a header.
on_the_wire = st.text(st.characters(max_codepoint=255, exclude_characters="\r\n\0"), max_size=60)
words = st.sampled_from(
    [
        *("*", "en", "zh-CN;q=1", "zh;q=nan, en;q=-1", "en;q=1e400", 'W/"x"', '"', "no-cache", "no-cache=", "max-age=9" * 9),
        *("-1", "99999999999999999999", "chunked", "identity", "bytes=0-", "0-0", "null", PAGE, "https://evil.example", "https"),
        *("127.0.0.1", "::1", "[", "a b", "a" * 2000, ",".join("x" * 600), "application/json; charset=\xff", "1, 2, 3"),
    ]
)
values = on_the_wire | words | st.lists(words, max_size=4).map(",".join)
json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=12),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=6), inner, max_size=3),
    max_leaves=6,
)


def segment(value):
    raw = value if isinstance(value, bytes) else json.dumps(value).encode()
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()


jwt_shaped = st.lists(json_values.map(segment) | st.binary(max_size=30).map(segment) | on_the_wire, min_size=2, max_size=5).map(
    ".".join
)
# A person's good token stands as its name; so examples stay readable, and reproducible with other keys.
credentials = (
    st.sampled_from(PEOPLE).map(lambda person: ("good", person, 0))
    | st.tuples(st.just("bent"), st.sampled_from(PEOPLE), st.integers(0, 900))
    | st.tuples(st.just("any"), jwt_shaped | on_the_wire | st.just("a" * 9000) | st.just(""), st.just(0))
)
schemes = st.sampled_from(["Bearer ", "bearer ", "BEARER  ", "Bearer\t", "Bearer", "Basic ", "DPoP ", "", "Bearer a, Bearer "])
headers = st.lists(st.tuples(st.sampled_from(NAMES), values), max_size=5)
queries = st.sampled_from(
    [
        "",
        "refresh=true",
        "refresh=1",
        "include=identities",
        "include=unlink,providers",
        "include=",
        "include=,,",
        "include=friends",
        "include=identities&include=",
    ]
)
queries = queries | on_the_wire.map(lambda text: f"include={text}") | on_the_wire | st.just("include=" + "identities," * 900)
request_ids = st.text(st.characters(max_codepoint=255, exclude_characters="\r\n\0"), max_size=140)
requests = st.fixed_dictionaries(
    {
        "method": st.sampled_from(METHODS) | st.just("GET") | st.just("GET"),
        "path": st.sampled_from(PATHS) | st.just(PATH) | st.just(PATH) | st.text(max_size=30) | on_the_wire,
        "query": queries,
        "headers": headers,
        "body": st.binary(max_size=80),
    }
)


def spelled(credential, tokens):
    kind, what, at = credential
    if kind == "any":
        return what
    token = tokens[what]
    return token if kind == "good" else token[:at] + "x" + token[at + 1 :]


def held(answer, who, everybody):
    """No 5xx, and of the canaries none: provider tokens, session tokens, our secrets."""
    assert answer.status < 500 or names_an_unknown_key(who), answer
    for canary in everybody:
        assert canary not in answer.everything


def names_an_unknown_key(credential):
    # The one 503 that a caller can bring about: a token of a key that may have been published since GenAuth was last asked,
    # while GenAuth was asked too often lately. To call such a token invalid would sign people out after a rotation.
    return credential is not None and credential[0] != "good"


@pytest.fixture
def tokens(genauth):
    return {person: genauth.token(person) for person in PEOPLE}


@pytest.fixture
def canaries(genauth, tokens):
    ours = {genauth.app_secret, "canary-metrics-token-5b1d", "canary-webhook-secret-77aa"}
    return ours.union(tokens.values(), *map(genauth.canaries, PEOPLE))


def unsaid(log, canaries):
    text = log.read()
    assert not [canary for canary in canaries if canary in text]
    assert '"event":"defect"' not in text


@examples(20, 1200)
@given(asked=st.lists(st.tuples(requests, schemes, st.none() | credentials), min_size=6, max_size=6))
def test_any_request_with_any_authorization(open_service, tokens, canaries, log, asked):
    for request, scheme, credential in asked:
        sent = [] if credential is None else [("Authorization", scheme + spelled(credential, tokens))]
        held(open_service.ask(**request | {"headers": [*sent, *request["headers"]]}), credential, canaries)
    tried("requests with any Authorization, path, query, body and headers", len(asked))
    unsaid(log, canaries)


@examples(20, 1200)
@given(asked=st.lists(st.tuples(headers, on_the_wire | st.just(COOKIE), credentials), min_size=6, max_size=6))
def test_any_cookie(open_service, tokens, canaries, log, asked):
    for sent, name, credential in asked:
        cookie = ("Cookie", f"{name}={spelled(credential, tokens)}; other=1; {COOKIE}")
        held(open_service.ask(headers=[cookie, *sent]), credential, canaries)
    tried("requests with any cookie", len(asked))
    unsaid(log, canaries)


@examples(30, 1500)
@given(
    person=st.sampled_from(PEOPLE),
    include=queries,
    sent=st.fixed_dictionaries({"Accept-Language": values, "X-Request-Id": request_ids, "If-None-Match": values}),
)
@example(person="mei", include="include=%ff%00", sent={"Accept-Language": "en;q=", "If-None-Match": 'W/"\xff"'})
@example(person="mei", include="include=\xff", sent={})
def test_any_language_include_and_request_id_of_somebody_who_may(service, tokens, canaries, log, person, include, sent):
    answer = service.ask(query=include, headers=[("Authorization", f"Bearer {tokens[person]}"), *sent.items()])

    tried("requests with any language, include, request id and condition")
    assert answer.status in {200, 304, 400}
    assert not [canary for canary in canaries if canary in answer.everything]
    unsaid(log, canaries)


# An event as GenAuth would send it, but for any part of it. Its people are nobody's canary.
people = (
    st.sampled_from(["user-1", "\0", "x" * 257, ""])
    | json_values
    | st.fixed_dictionaries({"id": st.just("user-2") | json_values})
)
parts = st.fixed_dictionaries(
    {},
    optional={
        **dict.fromkeys(("user", "userId", "id", "primaryUser", "secondaryUser"), people),
        "users": st.lists(people, max_size=3) | people,
        **dict.fromkeys(("extIdp", "identity"), json_values | st.fixed_dictionaries({}, optional={"id": json_values})),
    },
)
events = st.fixed_dictionaries(
    {},
    optional={
        "eventName": st.sampled_from(["user:link-account", "user:updated", "kick", "login"]) | json_values,
        "data": parts | json_values,
        "description": json_values,
    },
)
form_events = events.map(lambda event: urlencode({name: json.dumps(value) for name, value in event.items()}).encode())
event_bodies = st.binary(max_size=80) | (events | json_values).map(lambda event: json.dumps(event).encode()) | form_events


@examples(40, 1500)
@given(body=event_bodies, kind=st.sampled_from(["application/json", "application/x-www-form-urlencoded"]) | on_the_wire)
def test_any_event_that_shows_the_secret(open_service, canaries, log, body, kind):
    headers = [("X-GenAuth-Token", "canary-webhook-secret-77aa"), ("Content-Type", kind), ("Content-Length", str(len(body)))]
    answer = open_service.ask("/webhooks/genauth", method="POST", headers=headers, body=body)

    tried("events that show the secret, as JSON, as a form and as anything")
    assert answer.status in {202, 204, 400}
    assert not [canary for canary in canaries if canary in answer.everything]
    unsaid(log, canaries)


def bent(chance, text):
    """The text with a few of its characters changed, taken out, doubled or put elsewhere."""
    characters = list(text)
    for _ in range(chance.randrange(1, 4)):
        at = chance.randrange(len(characters) + 1)
        match chance.randrange(5):
            case 0:
                characters[at:at] = [chr(chance.choice([1, 9, 32, 34, 37, 44, 59, 61, 127, 160, 255, *range(33, 127)]))]
            case 1:
                del characters[at : at + chance.randrange(1, 9)]
            case 2:
                characters[at:at] = characters[: chance.randrange(40)]
            case 3:
                characters[at : at + 1] = [chr(chance.randrange(1, 256))]
            case _:
                characters[at:at] = chance.choice(["%00", "%ff", "..", "//", ",", "; ", "Bearer ", "\t", "=", "%25", "eyJ"])
    return "".join(characters).replace("\r", "").replace("\n", "").replace("\0", "")


def made_up(chance, tokens):
    """A request that is nearly right: what a person or a page would send, bent in one to three places."""
    token = chance.choice([*tokens.values()])
    request = {
        "method": chance.choice(["GET", "GET", "GET", "HEAD", "OPTIONS", "POST", "DELETE"]),
        "path": chance.choice([PATH, PATH, *PATHS]),
        "query": chance.choice(["", "", "refresh=true", "include=identities,unlink", "include=providers%2Cidentities&x=1"]),
    }
    sent = {
        "Authorization": f"Bearer {token}",
        "Accept-Language": "zh-CN,zh;q=0.9,en;q=0.8",
        "X-Request-Id": "0af7651916cd43dd8448eb211c80319c",
        "If-None-Match": 'W/"P7uqQkWoVMTdsZhW", "x"',
        "Cookie": f"{COOKIE}={token}; theme=dark",
        "Origin": PAGE,
        "X-Requested-With": "fetch",
        "Cache-Control": "no-cache, max-age=0",
        "X-Forwarded-For": "198.51.100.7, 10.0.0.1",
        "X-Forwarded-Proto": "https",
        "Content-Type": "application/json",
        "Content-Length": "12",
        "Host": "app.example:443",
        "Range": "bytes=0-10",
    }
    headers = chance.sample([*sent.items()], chance.randrange(1, 8))
    for _ in range(chance.randrange(1, 4)):
        if chance.random() < 0.3:
            part = chance.choice(["path", "query"])
            request[part] = bent(chance, request[part])
        else:
            at = chance.randrange(len(headers))
            headers[at] = (headers[at][0], bent(chance, headers[at][1]))
    return request | {"headers": headers, "body": chance.randbytes(chance.randrange(20))}


@pytest.mark.timeout(600)
def test_requests_that_are_nearly_right(open_service, tokens, canaries, log):
    seed = random.randrange(2**32)
    chance = random.Random(seed)
    for number in range(80_000 if LONG else 300):
        request = made_up(chance, tokens)
        answer = open_service.ask(**request)
        key_unknown = answer.status == 503 and answer.json["code"] == "upstream_unavailable"
        assert answer.status < 500 or key_unknown, (seed, number, request, answer)
        assert not [canary for canary in canaries if canary in answer.everything], (seed, number, request, answer)
        if number % 1000 == 0:
            unsaid(log, canaries)
    tried("requests that are nearly right", number + 1)
    unsaid(log, canaries)
