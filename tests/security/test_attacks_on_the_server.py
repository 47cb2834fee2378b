"""Bytes that are no honest request, to the real server from the Procfile: no request hides in another, and nothing falls over."""

import random
import re

import pytest

from bff.sandbox import Sandbox
from tests.security.effort import LONG, tried
from tests.security.served import serving

pytestmark = pytest.mark.server

HEAD = b" HTTP/1.1\r\nHost: app.example\r\n"
HIDDEN = b"GET /livez HTTP/1.1\r\nHost: app.example\r\n\r\n"
POST = b"POST /me/linked-accounts" + HEAD
GET = b"GET /me/linked-accounts" + HEAD


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    """A service at LOG_LEVEL=debug with everything guarded, and its GenAuth."""
    with Sandbox() as genauth:
        environ = {
            "GENAUTH_HOST": genauth.url,
            "GENAUTH_APP_ID": genauth.app_id,
            "REDIS_URL": "embedded",
            "LOG_LEVEL": "debug",
            "RATE_LIMIT": "off",
            "METRICS_TOKEN": "canary-metrics-token-5b1d",
        }
        with serving(environ, tmp_path_factory.mktemp("served")) as served:
            yield served, genauth


@pytest.fixture
def served(world):
    return world[0]


@pytest.fixture
def authorization(world):
    return b"Authorization: Bearer %b\r\n" % world[1].token("mei").encode()


@pytest.mark.parametrize(
    ("name", "sent"),
    [
        ("two lengths", POST + b"Content-Length: 6\r\nContent-Length: 5\r\n\r\nabcdef" + HIDDEN),
        ("a length with a sign", POST + b"Content-Length: +6\r\n\r\nabcdef" + HIDDEN),
        ("a negative length", POST + b"Content-Length: -6\r\n\r\n" + HIDDEN),
        ("an endless length", POST + b"Content-Length: 99999999999999999999\r\n\r\n" + HIDDEN),
        ("a length of another kind", POST + b"Content-Length: 0x6\r\n\r\nabcdef" + HIDDEN),
        ("another coding than chunked", POST + b"Transfer-Encoding: xchunked\r\n\r\n0\r\n\r\n" + HIDDEN),
        ("a blank before the colon", POST + b"Transfer-Encoding : chunked\r\n\r\n0\r\n\r\n" + HIDDEN),
        ("a folded header", POST + b"Transfer-Encoding:\r\n chunked\r\n\r\n0\r\n\r\n" + HIDDEN),
        ("a bare CR in a header", GET + b"X-A: a\rTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n" + HIDDEN),
        ("a null in a header", GET + b"X-A: a\0b\r\n\r\n" + HIDDEN),
        ("a null in a name", GET + b"X\0A: b\r\n\r\n" + HIDDEN),
        ("a null in the path", b"GET /\0" + HEAD + b"\r\n" + HIDDEN),
        ("no version", b"GET /me/linked-accounts\r\n\r\n" + HIDDEN),
        ("another version", b"GET /me/linked-accounts HTTP/7.7\r\n\r\n" + HIDDEN),
        ("TLS", b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + b"\0" * 80 + HIDDEN),
        ("nothing but blanks", b" " * 3000 + b"\r\n\r\n" + HIDDEN),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_what_can_be_read_in_two_ways_is_refused_and_the_connection_ends(served, name, sent):
    assert served.statuses(sent) in ([400], []), name


@pytest.mark.parametrize(
    "sent",
    [
        POST + b"Content-Length: 6\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        POST + b"Transfer-Encoding: chunked\r\nContent-Length: 6\r\n\r\n0\r\n\r\n",
        POST + b"Transfer-Encoding: chunked, identity\r\n\r\n0\r\n\r\n",
        POST + b"Transfer-Encoding: chunked\r\nTransfer-Encoding: x\r\n\r\n0\r\n\r\n",
    ],
)
def test_a_length_beside_a_transfer_coding_hides_no_request(served, sent):
    """RFC 9112 6.1: such a message is answered as chunked or refused, and its connection is not used again."""
    statuses = served.statuses(sent + HIDDEN)

    assert len(statuses) == 1
    assert 400 <= statuses[0] < 500


def test_a_request_in_the_body_of_another_is_a_body(served, authorization):
    hidden = b"GET /readyz HTTP/1.1\r\nHost: x\r\n\r\n"
    sent = GET + authorization + b"Content-Length: %d\r\n\r\n" % len(hidden) + hidden + HIDDEN

    assert served.raw(sent).count(b'"alive"') == 1
    assert b"dependencies" not in served.raw(sent)


@pytest.mark.parametrize("doubled", [b"Authorization: Bearer a.b.c\r\n", b"authorization: Basic eDp5\r\n", b"AUTHORIZATION:\r\n"])
def test_doubled_credentials_are_refused(served, authorization, doubled):
    assert served.statuses(GET + authorization + doubled + b"\r\n") == [400]
    assert served.statuses(GET + doubled + authorization + b"\r\n") == [400]


@pytest.mark.parametrize(
    "sent",
    [
        GET + b"X-A: " + b"a" * 1_000_000 + b"\r\n\r\n",
        b"GET /" + b"a" * 1_000_000 + HEAD + b"\r\n",
        GET + b"".join(b"X-%d: a\r\n" % number for number in range(1000)) + b"\r\n",
        GET + b"Authorization: Bearer " + b"a" * 9000 + b"\r\n\r\n",
        GET + b"Cookie: " + b"a=b; " * 20_000 + b"\r\n\r\n",
    ],
    ids=["a header", "a path", "many headers", "a token", "cookies"],
)
def test_what_is_too_large_is_refused(served, sent):
    statuses = served.statuses(sent)

    assert statuses in ([400], [414], [431], [401], [])


def test_a_hundred_kilobytes_of_headers_cost_nothing_but_themselves(served, authorization):
    statuses = served.statuses(GET + authorization + b"X-A: " + b"a" * 100_000 + b"\r\n\r\n")

    assert statuses in ([200], [400], [431], [])
    assert served.statuses(HIDDEN) == [200]


def test_a_large_body_is_not_read(served, authorization):
    sent = POST + authorization + b"Content-Length: 1000000000\r\n\r\n" + b"x" * 200_000

    assert served.statuses(sent) in ([405], [413], [400])
    assert served.statuses(HIDDEN) == [200]


@pytest.mark.parametrize("method", [b"TRACE", b"CONNECT", b"PROPFIND", b"G" * 5000, b"DEBUG"])
def test_another_method_is_refused_and_repeats_nothing(served, authorization, method):
    """TRACE would read the cookie back to a script (cross-site tracing)."""
    said = served.raw(method + b" /me/linked-accounts" + HEAD + authorization + b"\r\n")

    assert re.match(rb"HTTP/1.1 (400|404|405|501) ", said)
    assert authorization.strip() not in said


def test_there_are_no_files(served):
    for path in (b"/../../etc/passwd", b"/%2e%2e/%2e%2e/etc/passwd", b"/static/../app.py", b"/.env", b"/.git/config"):
        assert served.statuses(b"GET " + path + HEAD + b"\r\n") == [404]


def test_bytes_at_random_never_make_a_5xx(served, authorization):
    seed = random.randrange(2**32)
    chance = random.Random(seed)
    honest = GET + authorization + b"Accept-Language: zh\r\nContent-Length: 3\r\n\r\nabc"
    for _ in range(1000 if LONG else 20):
        sent = bytearray(honest)
        for _ in range(chance.randrange(1, 6)):
            at = chance.randrange(len(sent))
            sent[at : at + chance.randrange(3)] = chance.randbytes(chance.randrange(3))
        statuses = served.statuses(bytes(sent) + b"\r\n\r\n", seconds=0.5, quiet=0.05)
        tried("bytes to the server's port")
        assert not [status for status in statuses if status >= 500], (seed, bytes(sent))


def test_afterwards_it_works_and_has_told_no_token(served, world, authorization):
    token = authorization.split()[2]

    said = served.raw(GET + authorization + b"Connection: close\r\n\r\n")

    assert said.startswith(b"HTTP/1.1 200")
    assert b"linkedAccounts" in said
    assert token not in said
    assert token.decode() not in served.said
    assert '"event":"defect"' not in served.said
