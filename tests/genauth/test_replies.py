"""Where an answer ends and what lies behind it, told from the bytes alone."""

import gc
import itertools
import socket

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from bff.genauth.replies import Garbled, Reply, TooMuch
from bff.resilience.deadline import Deadline

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}"
CHUNKED = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\n{\r\n1;x=y\r\n}\r\n0\r\nTrailer: x\r\n\r\n"
LATER = b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: </x>\r\nX: early\r\n\r\n"


class CachedResponse:
    """The connection and the pool of an answer: whether it comes back, and fit for use."""

    def __init__(self):
        self.closed, self.back = False, 0

    def close(self):
        self.closed = True

    def _put_conn(self, connection):
        assert connection is self
        self.back += 1


def read(*pieces, ends=True, at_most=1000):
    """Status, headers and body of what comes in these pieces, and whether the connection may be used again."""
    ours, theirs = socket.socketpair()
    with ours, theirs:
        reply = Reply(ours, Deadline.after(2))
        reply._connection = reply._pool = kept = CachedResponse()
        remaining = iter(filter(None, pieces))

        class Piecewise:
            settimeout = ours.settimeout

            @staticmethod
            def recv(size):
                if (piece := next(remaining, None)) is not None:
                    theirs.sendall(piece)
                elif ends:
                    theirs.shutdown(socket.SHUT_WR)
                return ours.recv(size)

        reply._sock = Piecewise
        try:
            reply.head()
            body = reply.body(at_most)
        finally:
            reply.release_conn()
            read.usable = not kept.closed
        assert kept.back == 1
        return reply.status, reply.headers, body, not kept.closed


@pytest.mark.parametrize(
    ("data", "body"),
    [
        (OK, b"{}"),
        (CHUNKED, b"{}"),
        (LATER + OK, b"{}"),
        (b"HTTP/1.1 204 No Content\r\n\r\n", b""),
        (b"HTTP/1.1 304 Not Modified\r\n\r\n", b""),
        (b"HTTP/1.1 200\r\nContent-Length: 0\r\n\r\n", b""),
        (b"HTTP/1.0 200 OK\r\nConnection: keep-alive\r\nContent-Length: 2\r\n\r\n{}", b"{}"),
    ],
)
def test_an_answer_that_says_where_it_ends_leaves_its_connection_usable(data, body):
    assert read(data, ends=False)[2:] == (body, True)


@pytest.mark.parametrize(
    "data",
    [
        b"HTTP/1.1 200 OK\r\n\r\n{}",
        b"HTTP/1.0 200 OK\r\nContent-Type: application/json\r\n\r\n{}",
        b"HTTP/1.0 200 OK\r\nContent-Length: 2\r\n\r\n{}",
        b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 2\r\n\r\n{}",
    ],
)
def test_an_answer_may_end_with_its_connection(data):
    assert read(data)[2:] == (b"{}", False)


@pytest.mark.parametrize("surplus", [b"\n", b"\r\n", b"x", b"HT", OK, CHUNKED, b"\x00" * 50])
@pytest.mark.parametrize("data", [OK, CHUNKED, b"HTTP/1.1 204 No Content\r\n\r\n"])
def test_what_lies_behind_an_answer_makes_its_connection_unusable_and_is_not_read(data, surplus):
    status, headers, body, usable = read(data + surplus, ends=False)

    assert (status, headers, body) == read(data, ends=False)[:3]
    assert not usable


def test_headers_are_joined_by_name_and_interim_ones_and_trailers_are_none():
    data = LATER + b"HTTP/1.1 200 OK\r\nX: a\r\nx:b \r\nY:\r\nTransfer-Encoding: chunked\r\n\r\n0\r\nX: trailer\r\n\r\n"

    assert read(data, ends=False)[:2] == (200, {"x": "a, b", "y": "", "transfer-encoding": "chunked"})


@pytest.mark.parametrize(
    "data",
    [
        b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{",
        b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 3\r\n\r\n{}",
        b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: -2\r\n\r\n{}",
        b"HTTP/1.1 200 OK\r\nContent-Length: 99999999999999999999999\r\n\r\n{}",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n-2\r\n{}\r\n0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nX: \x00\r\nContent-Length: 2\r\n\r\n{}",
        b"HTTP/1.1 101 Switching\r\nConnection: upgrade\r\nUpgrade: x\r\n\r\nabc",
        b"HTTP/2 200 OK\r\nContent-Length: 2\r\n\r\n{}",
        CHUNKED[:-1],
        LATER,
        b"H",
    ],
)
def test_what_is_cut_off_or_no_http_is_garbled_and_its_connection_unusable(data):
    with pytest.raises(Garbled):
        read(data)

    assert not read.usable


def test_a_connection_that_ends_before_the_first_byte_is_lost():
    with pytest.raises(ConnectionError):
        read()

    assert not read.usable


def test_a_body_that_is_too_long_is_not_read_to_its_end():
    *_, body, usable = read(b"HTTP/1.1 200 OK\r\nContent-Length: 90000\r\n\r\n", b"x" * 1001, b"y" * 80000, ends=False)

    assert body == b"x" * 1001
    assert not usable


@pytest.mark.parametrize("fields", [b"X: y\r\n" * 101, b"X: " + b"y" * 66000 + b"\r\n"])
def test_a_head_has_its_limits(fields):
    with pytest.raises(TooMuch):
        read(b"HTTP/1.1 200 OK\r\n" + fields + b"Content-Length: 2\r\n\r\n{}")

    assert not read.usable


def test_an_answer_that_was_read_does_not_wait_for_the_garbage_collector():
    gc.collect()
    gc.disable()
    try:
        for data in (OK, CHUNKED, OK + b"x"):
            read(data, ends=False)
        assert not [each for each in gc.get_objects() if isinstance(each, Reply)]
    finally:
        gc.enable()


def test_a_hundred_fields_are_few_enough():
    assert read(b"HTTP/1.1 200 OK\r\n" + b"X: y\r\n" * 99 + b"Content-Length: 2\r\n\r\n{}")[2] == b"{}"


@given(st.sampled_from([OK, CHUNKED, LATER + CHUNKED, LATER + OK]), st.lists(st.integers(1, 150)), st.binary(max_size=20))
def test_an_answer_is_the_same_in_whatever_pieces_it_comes(data, cuts, surplus):
    bounds = sorted({0, len(data + surplus), *(cut for cut in cuts if cut < len(data + surplus))})
    pieces = [(data + surplus)[start:end] for start, end in itertools.pairwise(bounds)]

    *answer, usable = read(*pieces, ends=False)

    assert answer == list(read(data, ends=False)[:3])
    # What comes in a piece of its own, later, is for the pool to see.
    assert usable is (not surplus or len(data) in bounds)


@given(st.binary() | st.binary().map(lambda rest: OK[:-2] + rest) | st.binary().map(lambda rest: CHUNKED[:46] + rest))
@example(b"HTTP/1.1 200 OK\r\n\r\n")
def test_any_bytes_are_an_answer_or_none(data):
    try:
        status, headers, body, _ = read(data)
    except (Garbled, ConnectionError):
        assert not read.usable
    else:
        assert status >= 200
        assert len(body) <= len(data)
        assert all(isinstance(text, str) for text in (*headers, *headers.values()))
