"""Calls that change something: sent once or not at all, and what each outcome means. And nothing shows what they carry."""

import gc
import json
import socket
import struct
import threading
import time
from unittest.mock import Mock
from urllib.parse import parse_qs, urlsplit

import pytest
import structlog

from bff.errors import (
    AlreadyLinked,
    BffError,
    ChangeUnconfirmed,
    LastLoginMethod,
    LinkedToAnotherPerson,
    NotFound,
    NotLinked,
    TokenInvalid,
    TokenRefused,
    UpstreamFailure,
    UpstreamForbidden,
    UpstreamMalformed,
    UpstreamRejected,
    UpstreamThrottled,
    UpstreamUnavailable,
    UserBlocked,
)
from bff.genauth import ChangeNotSent, GenAuthClient, calls
from bff.genauth.changes import link_url_request, read_link_url, read_security_info, read_unlinked, unlink_request
from bff.genauth.messages import Request
from bff.genauth.protocol import read_ext_idps, read_identities
from bff.genauth.transport import ConnectionClosed, Transport
from bff.models import SecurityInfo
from bff.observability import Recorder
from bff.resilience import Deadline, FairSemaphore, admitted
from bff.resilience.caches import MEMOISED
from bff.sandbox import Sandbox
from tests.genauth.conftest import CANARY, OK, answer, refused
from tests.timing import in_time

ID_TOKEN = "canary.id-token.9876543210"
SOURCE = "canary-source-id-001"
HTTPS = "https://shop.genauth.ai"
LINGER = struct.pack("ii", 1, 0)


@pytest.fixture(scope="module")
def genauth():
    with Sandbox() as sandbox:
        yield sandbox


@pytest.fixture(autouse=True)
def _as_new(genauth, monkeypatch):
    genauth.reset()
    # A logger that was used before keeps the configuration of that time, which cannot be captured.
    monkeypatch.setattr(calls, "log", structlog.get_logger())


@pytest.fixture(scope="module")
def shared():
    """One transport for all, since it takes long to make."""
    transport = Transport(connect_seconds=0.3)
    yield transport
    transport.close()


@pytest.fixture
def client_of(shared):
    def make(host, app_id="app", transport=shared, **options):
        return GenAuthClient(host.rstrip("/"), app_id, None, transport, recorder=Recorder(), **options)

    return make


@pytest.fixture
def client(genauth, client_of):
    return client_of(genauth.url, genauth.app_id)


@pytest.fixture
def soon():
    return Deadline.after(3)


def enveloped(status, code=None, http=200, **more):
    body = {"statusCode": status, "message": "canary-message", **({} if code is None else {"apiCode": code}), **more}
    return answer(body, http)


def served(body, status=200):
    raw = json.dumps(body).encode()
    return b"HTTP/1.1 %d X\r\nContent-Length: %d\r\n\r\n%s" % (status, len(raw), raw)


def unlink_fails(client, seconds=0.5, token=CANARY):
    """The error of an unlink, with everything that was logged; neither shows what the request carried."""
    started = time.monotonic()
    with structlog.testing.capture_logs() as lines, pytest.raises(BffError) as error:
        client.unlink(token, SOURCE, Deadline.after(seconds))
    in_time(time.monotonic() - started, seconds + 0.75)
    shown = f"{error.value!r} {error.value.note} {error.value.reason} {lines}"
    assert [word for word in (CANARY, SOURCE, "canary-message") if word in shown] == []
    assert error.value.__cause__ is None
    return error.value


# What a server does to the first request that it reads.


def times_out(server, connection, _number):
    server.read_head(connection)
    connection.recv(1)


def closes(server, connection, _number):
    server.read_head(connection)


def resets(server, connection, _number):
    server.read_head(connection)
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, LINGER)


def cuts_off(server, connection, _number):
    server.read_head(connection)
    connection.sendall(OK[:20])


def drips(server, connection, _number):
    server.read_head(connection)
    for byte in OK * 100:
        connection.sendall(bytes([byte]))
        time.sleep(0.05)


UNCLEAR = {
    "timeout": times_out,
    "closed": closes,
    "reset": resets,
    "cut off": cuts_off,
    "drip": drips,
    "not HTTP": b"nonsense\r\n\r\n",
    "no envelope": OK,
    "page": b"HTTP/1.1 401 No\r\nContent-Length: 6\r\n\r\n<html>",
    "redirect": b"HTTP/1.1 307 Go\r\nLocation: /\r\nContent-Length: 0\r\n\r\n",
    **{str(status): b"HTTP/1.1 %d No\r\nContent-Length: 0\r\n\r\n" % status for status in (408, 500, 502, 503, 504)},
    "later": b"HTTP/1.1 503 No\r\nRetry-After: 1\r\nContent-Length: 0\r\n\r\n",
    **{f"envelope {status}": served({"statusCode": status}) for status in (400, 404, 422, 499, 500, 502, 503, 603)},
    "busy": served({"statusCode": 499, "apiCode": 1000}),
    "of another call": served({"statusCode": 403, "apiCode": 2215}),
    "contradiction": served({"statusCode": 200}, 403),
}
CLEAR = [
    (served({"statusCode": 499, "apiCode": "2216"}), NotLinked),
    (served({"statusCode": 403, "apiCode": 2216}, 403), NotLinked),
    (served({"statusCode": 403, "apiCode": 2217}), LastLoginMethod),
    (served({"statusCode": 401, "apiCode": 2217}, 401), LastLoginMethod),
    (served({"statusCode": 200, "apiCode": 2217}), LastLoginMethod),
    (served({"statusCode": 401, "apiCode": 2020}), TokenRefused),
    (served({"statusCode": 403, "apiCode": 2005}), UserBlocked),
    (served({"statusCode": 403}), UpstreamForbidden),
    (served({"statusCode": 429}), UpstreamThrottled),
]


class TestUnlink:
    def test_it_is_sent_by_the_source_over_a_connection_of_its_own(self, serve, client_of, soon):
        server = serve(served({"statusCode": 200}))
        client = client_of(server.url)
        for _ in range(2):
            client.identities(CANARY, soon)
            client.unlink(CANARY, SOURCE, soon)

        assert server.connections == 3, "identities share one"
        head, _, body = server.requests[1].partition(b"\r\n\r\n")
        assert head.startswith(b"POST /api/v3/unlink-extidp HTTP/1.1\r\n")
        assert f"Authorization: Bearer {CANARY}".encode() in head
        assert b"Content-Type: application/json" in head
        assert b"Connection: close" in head
        assert json.loads(body) == {"extIdpId": SOURCE}

    @pytest.mark.parametrize("fault", UNCLEAR.values(), ids=UNCLEAR)
    def test_what_is_not_clear_is_unconfirmed_and_was_sent_once(self, serve, client_of, fault):
        server = serve(fault)

        error = unlink_fails(client_of(server.url), 0.4)

        assert type(error) is ChangeUnconfirmed
        assert error.reason.startswith("unlink_")
        assert len(server.requests) == server.connections == 1

    @pytest.mark.parametrize(("said", "expected"), CLEAR, ids=str)
    def test_genauths_clear_word_is_passed_on_and_was_sent_for_once(self, serve, client_of, said, expected):
        server = serve(said)

        assert type(unlink_fails(client_of(server.url))) is expected
        assert len(server.requests) == 1

    def test_kept_connections_that_are_dead_cost_nothing(self, serve, client_of):
        def behave(server, connection, number):
            server.read_head(connection)
            connection.sendall(served({"statusCode": 200}))
            if number == 1:
                server.read_head(connection)  # forgets what it kept

        server = serve(behave)
        client = client_of(server.url)
        client.identities(CANARY, Deadline.after(1))

        client.unlink(CANARY, SOURCE, Deadline.after(1))

        assert len(server.requests) == 2

    def test_without_a_connection_it_was_not_sent_and_is_not_tried_again(self, client_of, shared, dead):
        with socket.create_server(("127.0.0.1", 0)) as listener:
            port = listener.getsockname()[1]
        retried = Mock()
        refusing = unlink_fails(GenAuthClient(f"http://127.0.0.1:{port}", "app", None, shared, recorder=retried))
        silent = unlink_fails(client_of(f"http://127.0.0.1:{dead[1]}"))
        too_slow = unlink_fails(client_of(f"http://127.0.0.1:{dead[1]}"), seconds=0.2)

        assert [type(error) for error in (refusing, silent, too_slow)] == [ChangeNotSent] * 3
        assert isinstance(refusing, UpstreamUnavailable)
        assert (refusing.status, refusing.reason) == (503, "unlink_unavailable")
        assert retried.upstream_retried.call_count == 0

    def test_a_server_that_is_not_who_it_should_be_gets_nothing(self, serve, client_of, certificates):
        server = serve(served({"statusCode": 200}), context=certificates["ours"][0])

        assert type(unlink_fails(client_of(server.url))) is ChangeNotSent
        assert server.requests == []

    def test_over_tls_it_is_sent_once_too(self, serve, client_of, certificates):
        context, bundle = certificates["ours"]
        server, transport = serve(resets, context=context), Transport(ca_bundle=bundle)

        assert type(unlink_fails(client_of(server.url, transport=transport))) is ChangeUnconfirmed
        assert len(server.requests) == server.connections == 1
        transport.close()

    def test_no_time_left_is_not_sent(self, serve, client_of):
        server = serve(served({"statusCode": 200}))

        assert type(unlink_fails(client_of(server.url), seconds=0)) is ChangeNotSent
        assert server.connections == 0

    def test_an_open_circuit_and_a_full_bulkhead_send_nothing(self, serve, client_of):
        server = serve(UNCLEAR["500"])
        client = client_of(server.url)
        for _ in range(5):
            unlink_fails(client)

        error = unlink_fails(client)

        assert (type(error), error.retry_after, error.reason) == (ChangeNotSent, 2, "unlink_circuit_open")
        assert len(server.requests) == 5
        assert client.identities_policy.breaker.state == client.link_url_policy.breaker.state == "closed"

        hanging = serve(times_out)
        client = client_of(hanging.url, at_once=1)
        first = threading.Thread(target=unlink_fails, args=(client, 0.8))
        first.start()
        while not hanging.requests:
            time.sleep(0.001)
        assert unlink_fails(client).reason == "unlink_bulkhead_full"
        first.join()
        assert len(hanging.requests) == 1

    def test_who_is_not_admitted_again_before_it_was_sent_sent_nothing(self, serve, client_of):
        """A busy process may give a waiting thread no permit again; what it waited for says whether anything was sent."""
        connecting, server = threading.Event(), serve(served({"statusCode": 200}))
        client, semaphore = client_of(server.url), FairSemaphore(1)

        def busy():
            with admitted(semaphore, Deadline.after(2)):
                connecting.set()
                time.sleep(0.4)

        other = threading.Thread(target=busy)
        with admitted(semaphore, Deadline.after(0.15)):
            other.start()
            error = unlink_fails(client)
        other.join()

        assert type(error) is ChangeNotSent
        assert server.requests == []

    def test_a_token_that_no_header_can_carry_is_not_sent(self, client, genauth):
        with pytest.raises(TokenInvalid):
            client.unlink("to\r\nken", SOURCE, Deadline.after(1))
        assert genauth.calls() == 0


class Frozen(Deadline):
    """A deadline that comes no nearer, as TCP's own patience may end before ours."""

    def remaining(self):
        return 0.2


def test_a_timeout_before_the_deadline_of_what_was_sent_is_no_failed_connection(serve, transport):
    server = serve(times_out)

    with pytest.raises(ConnectionClosed) as error:
        transport.send(server.url, Request("POST", "/", {}, b"{}"), Frozen.after(1))

    assert error.value.unsent is False
    assert len(server.requests) == 1


class TestLinkUrl:
    def test_the_query_says_who_links_what_and_where_to_return(self, serve, client_of, soon):
        url = f"{HTTPS}/api/v3/link-extidp?id_token=x#wechat_redirect"
        server = serve(served({"statusCode": 200, "data": {"url": url}}))
        client = client_of(server.url)

        found = [
            client.link_url(CANARY, "wechat pc&app", ID_TOKEN, soon),
            client.link_url(CANARY, "gh", ID_TOKEN, soon, return_to="https://app.example/r?a=1&b=é"),
            client.link_url(CANARY, "gh", ID_TOKEN, soon, return_to="https://app.example/r", form_post=True),
            client.link_url(CANARY, "gh", ID_TOKEN, soon, form_post=True),
        ]

        assert found == [url] * 4
        sent = [parse_qs(urlsplit(request.split(b" ")[1].decode()).query, strict_parsing=True) for request in server.requests]
        who = {"app_id": ["app"], "id_token": [ID_TOKEN]}
        back = {"need_url_redirect": ["true"]}
        assert sent == [
            who | {"ext_idp_conn_identifier": ["wechat pc&app"]},
            who | back | {"ext_idp_conn_identifier": ["gh"], "target_url": ["https://app.example/r?a=1&b=é"]},
            who | back | {"ext_idp_conn_identifier": ["gh"], "target_url": ["https://app.example/r"], "need_form_post": ["true"]},
            who | {"ext_idp_conn_identifier": ["gh"]},
        ]

    @pytest.mark.parametrize(
        ("said", "expected"),
        [
            (enveloped(499, 2213), AlreadyLinked),
            (enveloped(403, 2213, http=403), AlreadyLinked),
            (enveloped(401, "2215", http=401), LinkedToAnotherPerson),
            (enveloped(499, 2216), NotLinked),
            (enveloped(404), NotFound),
            (enveloped(404, 2011, http=404), NotFound),
            (enveloped(499, "2011"), NotFound),
            (enveloped(403, 2011, http=403), NotFound),
            (enveloped(401, 2011), NotFound),
            (enveloped(200, 2213), AlreadyLinked),
            (enveloped(403, 2217), UpstreamRejected),
            (enveloped(401, 2020), TokenRefused),
            (enveloped(404, 2004), TokenRefused),
            (enveloped(403, 2005), UserBlocked),
            (enveloped(403), UpstreamForbidden),
            (enveloped(422), UpstreamRejected),
        ],
        ids=str,
    )
    def test_refusals(self, said, expected):
        error = refused(json.loads(said.body), said.status, read=lambda response: read_link_url(response, HTTPS))

        assert type(error) is expected
        assert "canary-message" not in f"{error!r} {error.note}"

    @pytest.mark.parametrize("url", ["https://a.example/x?y=%20|<", "https://a.example:8443", "https://[::1]/"])
    def test_addresses_that_may_be_opened(self, url):
        assert read_link_url(enveloped(200, data={"url": url}), HTTPS) == url

    def test_plain_http_is_for_this_machine_where_genauth_is_there_too(self):
        here = enveloped(200, data={"url": "http://127.0.0.1:9000/link?x=1"})

        assert read_link_url(here, "http://localhost:9000").startswith("http:")
        assert isinstance(refused(json.loads(here.body), read=lambda r: read_link_url(r, HTTPS)), UpstreamMalformed)

    @pytest.mark.parametrize("host", [HTTPS, "http://127.0.0.1:9000"])
    @pytest.mark.parametrize(
        "data",
        [
            None, {}, [], "https://a.example/", {"url": None}, {"url": 7}, {"url": ["https://a.example/"]}, {"url": ""},
            *({"url": url} for url in (
                "/api/v3/link-extidp", "//a.example/", "http://a.example/", "javascript:alert(1)//https://a.example",
                "https:", "https://", "https:///x", "https://me@a.example/", "https://a.example\\@b.example/", "https://a.example/\n",
                " https://a.example/", "https://a.example/ x", "data:text/html,x", "com.example.app:/x", "https://a.example/é",
                "https://a.example/" + "x" * 40_000,
            )),
        ],
        ids=lambda value: str(value)[:50],
    )  # fmt: skip
    def test_anything_else_cannot_be_read(self, data, host):
        error = refused({"statusCode": 200, "data": data}, read=lambda response: read_link_url(response, host))

        assert isinstance(error, UpstreamMalformed)

    def test_a_failure_before_an_answer_is_tried_again_as_a_read_is(self, genauth, client, soon):
        connection = client.ext_idps(genauth.token("nia"), soon).sources[0].identifier
        genauth.trouble(path="/api/v3/generate-link-extidp-url", times=1, status=502)

        assert client.link_url(genauth.token("nia"), connection, genauth.token("nia", kind="id"), soon).startswith(genauth.url)


class TestSecurityInfo:
    @pytest.mark.parametrize(
        ("data", "expected"),
        [
            ({"passwordSet": True, "emailBinded": False, "phoneBinded": True, "securityScore": 60}, (True, False, True)),
            ({"passwordSet": None, "emailBinded": "true", "phoneBinded": 1}, (None, None, None)),
            ({}, (None, None, None)),
        ],
    )
    def test_only_a_boolean_says_anything(self, data, expected):
        assert read_security_info(enveloped(200, data=data)) == SecurityInfo(*expected)

    @pytest.mark.parametrize("data", [None, [], [{"passwordSet": True}], "{}", 7], ids=str)
    def test_data_of_another_shape_cannot_be_read(self, data):
        assert isinstance(refused({"statusCode": 200, "data": data}, read=read_security_info), UpstreamMalformed)

    def test_from_genauth(self, client, genauth, soon):
        found = client.security_info(genauth.token("mei"), soon)

        assert {type(fact) for fact in (found.password_set, found.email_bound, found.phone_bound)} == {bool}
        genauth.revoke(token := genauth.token("mei"))
        with pytest.raises(TokenRefused):
            client.security_info(token, soon)


@pytest.mark.parametrize("http", [200, 401, 403])
@pytest.mark.parametrize("status", [401, 403, 499])
@pytest.mark.parametrize("code", [2213, 2215, 2216, 2217])
def test_no_refusal_about_links_signs_anybody_out(code, status, http):
    reads = [read_unlinked, lambda response: read_link_url(response, HTTPS), read_security_info, read_identities, read_ext_idps]
    for read in reads:
        error = refused({"statusCode": status, "apiCode": code}, http, read=read)
        assert not isinstance(error, (TokenInvalid, UserBlocked))
        assert not isinstance(error, UpstreamFailure), "nothing stale stands in for it"


def test_each_connection_has_its_identifier():
    rows = [{"extIdpId": "e", "type": "wechat", "identifier": name} for name in ("wechat-pc", "wechat-app", None, "x" * 300)]

    found = read_ext_idps(enveloped(200, data=rows)).sources

    assert [source.identifier for source in found] == ["wechat-pc", "wechat-app", None, None]


class TestNothingShows:
    def test_a_request(self):
        requests = [unlink_request("app", CANARY, SOURCE), link_url_request("app", CANARY, "gh", ID_TOKEN, return_to=CANARY)]

        assert [repr(request) for request in requests] == [
            "Request(POST /api/v3/unlink-extidp)",
            "Request(GET /api/v3/generate-link-extidp-url)",
        ]
        assert requests[1].credentials == (CANARY, ID_TOKEN)

    @pytest.mark.parametrize(
        "fault",
        [
            times_out, resets, b"nonsense %s\r\n\r\n" % ID_TOKEN.encode(), UNCLEAR["502"],
            served({"statusCode": 404, "requestId": ID_TOKEN}), served({"statusCode": 403, "requestId": ID_TOKEN[:20]}),
            served({"statusCode": 200, "requestId": ID_TOKEN, "data": {"url": f"javascript:{ID_TOKEN}"}}),
        ],
        ids=str,
    )  # fmt: skip
    def test_an_error_or_a_log_line(self, serve, client_of, fault, caplog):
        server = serve(fault)
        with structlog.testing.capture_logs() as lines, pytest.raises(BffError) as error:
            client_of(server.url).link_url(CANARY, "gh", ID_TOKEN, Deadline.after(0.3), return_to="https://app.example/secret")

        shown = f"{error.value!r} {error.value.note} {error.value.detail} {error.value.reason} {lines} {caplog.text}"
        assert [word for word in (CANARY, ID_TOKEN[:15], "app.example") if word in shown] == []
        assert len(lines) == 1
        assert error.value.__context__ is None or error.value.__suppress_context__

    def test_no_address_with_a_query_is_kept_in_memory(self, serve, client_of, soon):
        server = serve(served({"statusCode": 200, "data": {"url": HTTPS}}))
        client = client_of(server.url)
        most = MEMOISED["prepared_requests"].entries
        for number in range(most + 1):
            client.link_url(CANARY, f"gh-{number}", ID_TOKEN, soon)

        gc.collect()
        kept = [each for each in gc.get_objects() if type(each).__name__ == "PreparedRequest" and ID_TOKEN in (each.url or "")]
        assert kept == []


def test_against_the_sandbox(genauth, client, soon):
    token = genauth.token("mei")
    source = client.identities(token, soon).rows[0].ext_idp_id

    client.unlink(token, source, soon)

    assert source not in [row.ext_idp_id for row in client.identities(token, soon).rows]
