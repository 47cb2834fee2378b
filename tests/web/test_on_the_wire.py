"""The same contract through the real server: what becomes of headers on their way from the socket to us."""

import json
import re
import socket
from contextlib import suppress

import pytest

from tests.server.service import Service, eventually

pytestmark = pytest.mark.server

PAGE = "https://app.example"
SECRET = "secret-of-the-webhook-5c1d"
NAMES = (
    "Authorization",
    "Cookie",
    "Origin",
    "Host",
    "Accept-Language",
    "Cache-Control",
    "If-None-Match",
    "X-Request-Id",
    "X-Requested-With",
    "X-Forwarded-For",
    "X-Forwarded-Proto",
    "Content-Type",
    "Access-Control-Request-Headers",
)
# A server may hand on bytes as Latin-1, as UTF-8, or not at all; each of these breaks some assumption.
TEXTS = ("中文", "sid=中文", "en;q=中", "é", "\U0001f600", "\x80", "a\tb", '"', "=;,", "%00%ff")
VALUES = (*map(str.encode, TEXTS), b"\xff\xfe", b"sid=\xff", b"\xc3")


class Wire:
    def __init__(self, service):
        self.service = service

    def ask(self, *headers, target="/me/linked-accounts", method="GET", body=b"", again=b""):
        """The answers to a request of exactly these headers: (status, headers, body) of each."""
        lines = [f"{method} {target} HTTP/1.1", *([] if any(n == "Host" for n, _ in headers) else ["Host: api.example"])]
        head = "\r\n".join(lines).encode() + b"\r\n"
        for name, value in headers:
            head += name.encode() + b": " + (value if isinstance(value, bytes) else value.encode()) + b"\r\n"
        got = b""
        with socket.create_connection(("127.0.0.1", self.service.port), timeout=5) as connection:
            connection.sendall(head + (b"" if again else b"Connection: close\r\n") + b"\r\n" + body + again)
            with suppress(ConnectionError):
                while part := connection.recv(65536):
                    got += part
        answers = []
        while got:
            told, _, got = got.partition(b"\r\n\r\n")
            status, *fields = told.decode("latin-1").split("\r\n")
            sent = {name.lower(): value for name, _, value in (field.partition(": ") for field in fields)}
            length = 0 if method == "HEAD" else int(sent.get("content-length", 0))
            answers.append((int(status.split()[1]), sent, got[:length]))
            got = got[length:]
        return answers

    def one(self, *headers, **request):
        (answer,) = self.ask(*headers, **request)
        return answer


@pytest.fixture
def wire(environ, tmp_path):
    changed = {
        "SESSION_COOKIE_NAME": "sid",
        "CORS_ORIGINS": PAGE,
        "TRUSTED_PROXIES": "1",
        "ALLOWED_HOSTS": "api.example",
        "WEB_CONCURRENCY": "1",
        "WEBHOOK_SECRET": SECRET,
    }
    service = Service({**environ, **changed}, tmp_path / "output")
    try:
        eventually(lambda: listening(service), within=20)
        yield Wire(service)
    finally:
        service.clear_away()


def listening(service):
    assert service.process.poll() is None, service.printed()
    with suppress(ConnectionError), socket.create_connection(("127.0.0.1", service.port), timeout=1):
        return True
    return False


def test_the_contract_holds_on_the_wire(wire, genauth):
    mei, omar = (f"Bearer {genauth.token(person)}" for person in ("mei", "omar"))
    cookies = [f"sid={genauth.token(person)}" for person in ("mei", "omar")]
    asked = ("X-Requested-With", "fetch")

    def code(*headers, **request):
        status, sent, body = wire.one(*headers, **request)
        assert sent["x-content-type-options"] == "nosniff"
        assert not re.search(r"\d", sent.get("server", ""))
        return (status, json.loads(body)["code"]) if body and status >= 400 else status

    # The server joins doubled headers: that is how we see them.
    assert code(("Authorization", mei)) == 200
    assert code(("Authorization", mei), ("Authorization", omar)) == (400, "invalid_request")
    assert code(("Authorization", "Basic eA=="), ("authorization", mei)) == (400, "invalid_request")
    assert code(("Cookie", cookies[0]), asked) == 200
    assert code(("Cookie", f"{cookies[0]}; {cookies[0]}"), asked) == 200
    assert code(("Cookie", f"nick=小明; {cookies[0]}"), asked) == (400, "invalid_request")
    assert code(("Cookie", "nick=小明"), asked) == (400, "invalid_request")
    assert code(("Cookie", cookies[0]), ("Cookie", "nick=小明"), asked) == 200
    assert code(("Cookie", cookies[0]), ("Cookie", cookies[1]), asked) == (400, "invalid_request")
    assert code(("Cookie", cookies[0]), asked, ("Origin", PAGE), ("Origin", "https://evil.example")) == (
        403,
        "origin_not_allowed",
    )
    assert code(("Authorization", mei), ("Host", "evil.example")) == (400, "invalid_request")
    assert code(("Authorization", mei), ("Host", "api.example"), ("Host", "evil.example")) == (400, "invalid_request")
    assert "strict-transport-security" in wire.one(("X-Forwarded-Proto", "https"), target="/livez")[1]

    # A preflight for what is not there passes: whatever leads to somebody's accounts must be there for it, too.
    evil = ("Origin", "https://evil.example")
    preflight = (evil, ("Access-Control-Request-Method", "GET"), ("Access-Control-Request-Headers", "authorization"))
    for spelling in (
        "//me/linked-accounts",
        "/%6De/linked-accounts",
        "/me%2Flinked-accounts",
        "http://api.example/me/linked-accounts",
    ):
        assert code(evil, ("Authorization", mei), target=spelling) == 200
        assert "access-control-allow-origin" not in wire.one(*preflight, method="OPTIONS", target=spelling)[1]
    for spelling in ("/./me/linked-accounts", "/ME/linked-accounts", "/docs/../me/linked-accounts"):
        assert code(evil, ("Authorization", mei), target=spelling) == (404, "not_found")
        assert wire.one(*preflight, method="OPTIONS", target=spelling)[1]["access-control-allow-origin"] == "*"

    # A probe knows an address and no name, or speaks HTTP/1.0, which has none.
    assert code(("Host", "10.0.0.7:8000"), target="/livez") == 200
    for line in (b"GET /livez HTTP/1.0", b"GET /readyz HTTP/1.0\r\nHost:", b"GET /livez HTTP/1.1\r\nConnection: close"):
        with socket.create_connection(("127.0.0.1", wire.service.port), timeout=5) as connection:
            connection.sendall(line + b"\r\n\r\n")
            assert connection.recv(65536).split()[1] == b"200"
    with socket.create_connection(("127.0.0.1", wire.service.port), timeout=5) as connection:
        connection.sendall(b"GET /me/linked-accounts HTTP/1.0\r\n\r\n")
        assert connection.recv(65536).split()[1] == b"400"

    status, sent, body = wire.one(method="HEAD")
    assert (status, sent["www-authenticate"], body) == (401, "Bearer", b"")
    status, sent, body = wire.one(("Authorization", mei), method="HEAD")
    assert (status, body) == (200, b"")
    assert int(sent["content-length"]) > 100

    # A body that nobody reads does not become the next request.
    follow = b"GET /livez HTTP/1.1\r\nHost: api.example\r\nConnection: close\r\n\r\n"
    first, second = wire.ask(("Content-Length", str(len(follow))), body=follow, again=follow)
    assert (first[0], second[0], second[2]) == (401, 200, b'{"status":"alive"}\n')
    assert code(("Content-Length", "1000000")) == (413, "invalid_request")

    # The server alone knows where a body in chunks ends.
    body = b'{"provider": "my-github"}'
    for size, expected in ((16 * 1024, 400), (16 * 1024 + 1, 413), (100_000, 413)):
        chunk = b"%x\r\n%b\r\n0\r\n\r\n" % (size, body.ljust(size))
        headers = ("Authorization", mei), ("Content-Type", "application/json"), ("Transfer-Encoding", "chunked")
        assert code(*headers, method="POST", target="/me/linked-accounts/links", body=chunk) == (expected, "invalid_request")


def test_an_events_secret_is_looked_at_before_its_body_which_may_be_longer(wire):
    def status(*headers, **request):
        return wire.one(*headers, method="POST", target="/webhooks/genauth", **request)[0]

    right, wrong = ("X-GenAuth-Token", SECRET), ("X-GenAuth-Token", "中文")
    longest = 1024 * 1024
    for headers in ((right, wrong), (wrong, right)):
        assert status(*headers, ("Content-Length", "2"), body=b"{}") == 202
    for size, expected in ((longest, 202), (longest + 1, 413)):
        body = b"{}".ljust(size)
        assert status(right, ("Content-Length", str(size)), body=body) == expected
        assert status(right, ("Transfer-Encoding", "chunked"), body=b"%x\r\n%b\r\n0\r\n\r\n" % (size, body)) == expected
    assert status(wrong, ("Content-Length", str(longest + 1))) == 401


def test_no_bytes_in_a_header_are_a_defect_of_ours(wire, genauth):
    token = f"Bearer {genauth.token('mei')}"

    for name in NAMES:
        for value in VALUES:
            for other in ([], [("Authorization", token)], [("Cookie", "sid=x"), ("X-Requested-With", "x")]):
                for answer in wire.ask((name, value), *(each for each in other if each[0] != name)):
                    assert answer[0] < 500, (name, value, other)
    for target in ("/me/linked-accounts?include=%E4%B8%AD", "/me/linked-accounts?%ff=%00", "/%ff%00%0d%0a", "*", "//x//"):
        for answer in wire.ask(target=target):
            assert answer[0] in {400, 401, 404}
    assert '"event":"defect"' not in wire.service.printed()
