"""Where a response ends, seen from its bytes, and whether its connection may carry the next one."""

import gzip
import itertools
import threading

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from bff.errors import UpstreamMalformed, UpstreamUnavailable
from bff.genauth.envelope import UnreadableData
from bff.genauth.transport import Transport
from bff.resilience.deadline import Deadline
from tests.genauth.conftest import GET, OK, RawServer, fails

CHUNKED = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\n{\r\n1;x=y\r\n}\r\n0\r\nTrailer: x\r\n\r\n"
INTERIM = b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: </x>\r\nX: early\r\n\r\n"


def once(*pieces):
    """A server that ends each connection after these bytes."""

    def behave(server, connection, _number):
        server.read_head(connection)
        for piece in pieces:
            connection.sendall(piece)

    return behave


@pytest.mark.parametrize(
    ("data", "body"),
    [
        (OK, b"{}"),
        (CHUNKED, b"{}"),
        (INTERIM + OK, b"{}"),
        (INTERIM + CHUNKED, b"{}"),
        (b"HTTP/1.1 204 No Content\r\n\r\n", b""),
        (b"HTTP/1.1 304 Not Modified\r\n\r\n", b""),
        (b"HTTP/1.1 200\r\nContent-Length: 0\r\n\r\n", b""),
        (b"HTTP/1.0 200 OK\r\nConnection: keep-alive\r\nContent-Length: 2\r\n\r\n{}", b"{}"),
    ],
)
def test_a_response_that_says_where_it_ends_leaves_its_connection_usable(serve, transport, data, body):
    server = serve(data)

    for _ in range(3):
        assert transport.send(server.url, GET, Deadline.after(1)).body == body
    assert server.connections == 1


@pytest.mark.parametrize(
    "data",
    [
        b"HTTP/1.1 200 OK\r\n\r\n{}",
        b"HTTP/1.0 200 OK\r\nContent-Type: application/json\r\n\r\n{}",
        b"HTTP/1.0 200 OK\r\nContent-Length: 2\r\n\r\n{}",
        b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 2\r\n\r\n{}",
    ],
)
def test_a_response_may_end_with_its_connection(serve, transport, data):
    server = serve(once(data))

    for _ in range(2):
        assert transport.send(server.url, GET, Deadline.after(1)).body == b"{}"
    assert server.connections == 2


def test_fields_are_joined_by_name_and_those_of_interim_responses_and_trailers_are_none(serve, transport):
    head = b"HTTP/1.1 200 OK\r\nX: a\r\nx:b \r\nY:\r\nTransfer-Encoding: chunked\r\n\r\n"
    server = serve(INTERIM + head + b"0\r\nX: trailer\r\n\r\n")

    response = transport.send(server.url, GET, Deadline.after(1))

    assert response.status == 200
    assert {name: value.strip() for name, value in response.headers.items()} == {
        "x": "a, b",
        "y": "",
        "transfer-encoding": "chunked",
    }


@pytest.mark.parametrize(
    "data",
    [
        b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{",
        b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 3\r\n\r\n{}",
        b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked\r\n\r\n2\r\n{}\r\n0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: -2\r\n\r\n{}",
        b"HTTP/1.1 200 OK\r\nContent-Length: +2\r\n\r\n{}",
        b"HTTP/1.1 200 OK\r\nContent-Length: 99999999999999999999999\r\n\r\n{}",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n-2\r\n{}\r\n0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nX: \x00\r\nContent-Length: 2\r\n\r\n{}",
        b"HTTP/1.1 200 OK\r\nX: a\r\n folded\r\nContent-Length: 2\r\n\r\n{}",
        b"HTTP/1.1 200 OK\r\nno field\r\nContent-Length: 2\r\n\r\n{}",
        b"HTTP/1.1 101 Switching\r\nConnection: upgrade\r\nUpgrade: x\r\n\r\nabc",
        b"HTTP/2 200 OK\r\nContent-Length: 2\r\n\r\n{}",
        CHUNKED[:-1],
        INTERIM,
        b"H",
    ],
)
def test_what_is_cut_off_or_no_http_is_malformed_and_its_connection_is_not_used_again(serve, transport, data):
    stay = threading.Event()

    def behave(server, connection, number):
        server.read_head(connection)
        if number > 1:
            connection.sendall(OK)
        else:
            connection.sendall(data)
            connection.shutdown(1)  # no more comes, and the connection stays
        stay.wait(2)

    server = serve(behave)

    assert type(fails(transport, server.url)[0]) is UpstreamMalformed
    assert transport.send(server.url, GET, Deadline.after(1)).body == b"{}"
    assert server.connections == 2
    stay.set()


def test_a_body_that_is_refused_is_not_read_to_its_end(serve, transport):
    sent = []

    def behave(server, connection, _number):
        server.read_head(connection)
        connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 900000000\r\n\r\n")
        while True:
            connection.sendall(b"x" * 65536)
            sent.append(65536)

    fails(transport, serve(behave).url, 5)

    assert sum(sent) < 16 * 1024 * 1024


def test_where_a_redirect_leads_is_not_looked_at(serve, transport):
    bomb = gzip.compress(b"\0" * 50_000_000)
    head = b"HTTP/1.1 302 Found\r\nLocation: http://elsewhere.test/\r\nContent-Encoding: gzip\r\nContent-Length: %d\r\n\r\n"

    error, _ = fails(transport, serve(head % len(bomb) + bomb).url, 2)

    assert type(error) is UnreadableData
    assert "compressed" in error.note


def test_ninety_fields_are_few_enough(serve, transport):
    server = serve(b"HTTP/1.1 200 OK\r\n" + b"X: y\r\n" * 90 + b"Content-Length: 2\r\n\r\n{}")

    assert transport.send(server.url, GET, Deadline.after(1)).body == b"{}"


class Saying:
    """A server that answers with the bytes it was given last, in pieces; ``whole`` ones leave the connection open."""

    def __init__(self):
        self._pieces, self._whole = (), True
        self._server = RawServer(self._behave)
        self._transport = Transport()

    def send(self, *pieces, whole=True):
        self._pieces, self._whole = pieces, whole
        return self._transport.send(self._server.url, GET, Deadline.after(2))

    def close(self):
        self._transport.close()
        self._server.close()

    def _behave(self, server, connection, _number):
        while server.read_head(connection) is not None:
            for piece in self._pieces:
                connection.sendall(piece)
            if not self._whole:
                return


@pytest.fixture(scope="module")
def saying():
    server = Saying()
    yield server
    server.close()


@settings(suppress_health_check=[HealthCheck.too_slow], deadline=None)
@given(data=st.sampled_from([OK, CHUNKED, INTERIM + CHUNKED, INTERIM + OK]), cuts=st.lists(st.integers(1, 150), max_size=8))
def test_a_response_is_the_same_in_whatever_pieces_it_comes(saying, data, cuts):
    bounds = sorted({0, len(data), *(cut for cut in cuts if cut < len(data))})
    pieces = [data[start:end] for start, end in itertools.pairwise(bounds)]

    response = saying.send(*pieces)

    assert (response.status, response.body) == (200, b"{}")
    assert "x" not in response.headers


@settings(suppress_health_check=[HealthCheck.too_slow], deadline=None)
@given(data=st.binary() | st.binary().map(lambda rest: OK[:-2] + rest) | st.binary().map(lambda rest: CHUNKED[:46] + rest))
@example(data=b"HTTP/1.1 200 OK\r\n\r\n")
def test_any_bytes_are_a_response_or_one_of_our_errors(saying, data):
    try:
        response = saying.send(data, whole=False)
    except (UpstreamMalformed, UpstreamUnavailable):
        pass
    else:
        assert response.status >= 200
        assert len(response.body) <= len(data)
        assert all(isinstance(text, str) for text in (*response.headers, *response.headers.values()))
