"""Every trap of HTTP clients, one by one, met through real sockets."""

import gzip
import json
import socket
import struct
import threading
import time
import tracemalloc
import zlib

import pytest

from bff.errors import UpstreamMalformed, UpstreamTimeout, UpstreamUnavailable
from bff.genauth.envelope import UnreadableData
from bff.genauth.messages import Request
from bff.genauth.transport import ConnectError, ConnectionClosed, Transport
from bff.resilience.deadline import Deadline
from tests.genauth.conftest import CANARY, GET, OK, fails
from tests.timing import in_time


def dripping(data, pause=0.05):
    def behave(server, connection, _number):
        while server.read_head(connection) is not None:
            for at in range(len(data)):
                connection.sendall(data[at : at + 1])
                time.sleep(pause)

    return behave


def test_an_answer_comes_back_whole(serve, transport):
    server = serve(b"HTTP/1.1 418 Teapot\r\nRetry-After: 3\r\nX-Two: a\r\nX-Two: b\r\nContent-Length: 5\r\n\r\nhello")

    answer = transport.send(server.url, GET, Deadline.after(1))

    assert (answer.status, answer.body) == (418, b"hello")
    assert answer.headers["retry-after"] == "3"
    assert answer.headers["x-two"] == "a, b"


def test_the_request_is_sent_as_it_is(serve, transport):
    server = serve()

    transport.send(server.url + "api?x=1", Request("POST", "/", {"Content-Type": "text/plain"}, b"body"), Deadline.after(1))

    head = server.requests[0].decode()
    assert head.startswith("POST /api?x=1 HTTP/1.1\r\n")
    assert "Content-Type: text/plain\r\n" in head
    assert "Content-Length: 4\r\n" in head


class TestDeadline:
    @pytest.mark.parametrize("tls", [False, True], ids=["plain", "tls"])
    @pytest.mark.parametrize(
        "data",
        [
            b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n" + b"X: y\r\n" * 90,
            OK[:-2].replace(b": 2", b": 500") + b" " * 500,
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + b"1\r\nx\r\n" * 90,
            b"HTTP/1.1 200 OK\r\n\r\n" + b" " * 500,
            b"HTTP/1.1 100 Continue\r\n\r\n" * 50,
        ],
        ids=["headers", "body", "chunks", "body-without-length", "continue"],
    )
    def test_whatever_drips_ends_on_time(self, serve, certificates, data, tls):
        context, bundle = certificates["ours"]
        server = serve(dripping(data), context=context if tls else None)
        transport = Transport(ca_bundle=bundle)

        error, took = fails(transport, server.url, 0.5)

        assert type(error) is UpstreamTimeout
        assert took >= 0.45, "it was given its time"
        transport.close()

    def test_a_server_that_says_nothing_ends_on_time(self, serve, transport):
        server = serve(lambda _server, connection, _number: connection.recv(1 << 20) and time.sleep(3))

        assert type(fails(transport, server.url, 0.4)[0]) is UpstreamTimeout

    def test_a_tls_handshake_that_says_nothing_ends_with_the_connect_budget(self, serve):
        server = serve(lambda _server, _connection, _number: time.sleep(3))
        transport = Transport(connect_seconds=0.3)

        error, took = fails(transport, server.url.replace("http:", "https:"), 2)

        assert type(error) is ConnectError
        in_time(took, 1.2)
        transport.close()

    def test_a_connection_that_came_about_too_late_is_closed(self, serve, monkeypatch):
        made = []

        class Late(socket.socket):
            def connect(self, address):
                made.append(self)
                super().connect(address)
                time.sleep(0.3)

        server = serve()
        monkeypatch.setattr("bff.resilience.dns.socket.socket", Late)
        transport = Transport(connect_seconds=0.2)

        error, _ = fails(transport, server.url, 1)

        assert type(error) is ConnectError
        assert made
        assert not [late for late in made if late.fileno() != -1]
        transport.close()

    def test_a_dripping_tls_handshake_ends_with_the_connect_budget(self, serve):
        def behave(_server, connection, _number):
            connection.recv(4096)
            for byte in b"\x16\x03\x03\x40\x00" + b"\x02" * 200:
                connection.sendall(bytes([byte]))
                time.sleep(0.05)

        transport = Transport(connect_seconds=0.3)

        error, took = fails(transport, serve(behave).url.replace("http:", "https:"), 2)

        assert isinstance(error, UpstreamUnavailable)
        in_time(took, 1.2)
        transport.close()

    def test_no_time_left_means_not_to_ask(self, serve, transport):
        server = serve()

        assert type(fails(transport, server.url, 0)[0]) is UpstreamTimeout
        assert server.connections == 0

    def test_after_a_timeout_the_connection_is_not_used_again_and_the_pool_works(self, serve, transport):
        def behave(server, connection, number):
            while server.read_head(connection) is not None:
                if number == 1:
                    time.sleep(0.4)
                    connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\ntoo late!")
                else:
                    connection.sendall(OK)

        server = serve(behave)
        assert type(fails(transport, server.url, 0.2)[0]) is UpstreamTimeout
        time.sleep(0.4)

        for _ in range(3):
            assert transport.send(server.url, GET, Deadline.after(1)).body == b"{}"
        assert server.connections == 2

    def test_a_timeout_of_one_call_does_not_shorten_the_next_on_its_connection(self, serve, transport):
        def behave(server, connection, _number):
            for pause in (0.0, 0.6):
                server.read_head(connection)
                time.sleep(pause)
                connection.sendall(OK)

        server = serve(behave)
        transport.send(server.url, GET, Deadline.after(0.3))

        assert transport.send(server.url, GET, Deadline.after(2)).status == 200
        assert server.connections == 1

    def test_connecting_has_a_budget_of_its_own(self, dead):
        transport = Transport(connect_seconds=0.3)

        error, took = fails(transport, f"http://127.0.0.1:{dead[1]}/", 2)

        assert type(error) is ConnectError
        assert in_time(took, 1.2) > 0.25
        transport.close()


class TestBrokenConnections:
    def test_nobody_listens(self, transport):
        with socket.create_server(("127.0.0.1", 0)) as listener:
            port = listener.getsockname()[1]

        error, _ = fails(transport, f"http://127.0.0.1:{port}/")

        assert type(error) is ConnectError
        assert error.note == "connect: ConnectionRefusedError"

    def test_closed_without_a_word(self, serve, transport):
        server = serve(lambda server, connection, _number: server.read_head(connection))

        assert type(fails(transport, server.url)[0]) is ConnectionClosed

    def test_reset_without_a_word(self, serve, transport):
        def behave(server, connection, _number):
            server.read_head(connection)
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))

        assert type(fails(transport, serve(behave).url)[0]) is ConnectionClosed

    def test_reset_in_the_middle_of_the_body(self, serve, transport):
        def behave(server, connection, _number):
            server.read_head(connection)
            connection.sendall(OK.replace(b": 2", b": 200"))
            time.sleep(0.05)
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))

        assert type(fails(transport, serve(behave).url)[0]) is UpstreamUnavailable

    @pytest.mark.parametrize(
        "data",
        [
            OK.replace(b": 2", b": 200"),
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nab",
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nab\r\n",
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\nab\r\n",
        ],
        ids=["length", "chunk", "no-last-chunk", "no-size"],
    )
    def test_cut_off_is_malformed(self, serve, transport, data):
        def behave(server, connection, _number):
            server.read_head(connection)
            connection.sendall(data)

        assert type(fails(transport, serve(behave).url)[0]) is UpstreamMalformed

    @pytest.mark.parametrize(
        "data",
        [
            b"SSH-2.0-OpenSSH_9.2\r\n\r\n",
            b"\x00" * 100,
            b"HTTP/1.1 two OK\r\n\r\n",
            b"HTTP/1.1 200 OK\r\nContent-Length: 2, 3\r\n\r\n{}",
        ],
        ids=["ssh", "zeros", "status", "lengths"],
    )
    def test_what_is_no_http_is_malformed(self, serve, transport, data):
        def behave(server, connection, _number):
            server.read_head(connection)
            connection.sendall(data)

        assert type(fails(transport, serve(behave).url)[0]) is UpstreamMalformed

    @pytest.mark.parametrize(
        "data",
        [
            f"{CANARY}\r\n\r\n",
            f"HTTP/1.1 {CANARY} OK\r\n\r\n",
            f"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n{CANARY}\r\n",
            f"HTTP/1.1 200 OK\r\nContent-Encoding: {CANARY}\r\nContent-Length: 2\r\n\r\n{{}}",
        ],
        ids=["line", "status", "chunk", "encoding"],
    )
    def test_a_token_that_the_library_quotes_is_not_quoted_by_us(self, serve, transport, data):
        def behave(server, connection, _number):
            server.read_head(connection)
            connection.sendall(data.encode())

        assert type(fails(transport, serve(behave).url)[0]) is UpstreamMalformed

    def test_a_connection_that_the_server_closed_between_two_calls_costs_nothing(self, serve, transport):
        def behave(server, connection, _number):
            server.read_head(connection)
            connection.sendall(OK)

        server = serve(behave)
        for _ in range(5):
            assert transport.send(server.url, GET, Deadline.after(1)).status == 200
            time.sleep(0.02)
        assert server.connections == 5

    def test_a_connection_that_was_quiet_for_long_is_not_trusted(self, serve, transport, monkeypatch):
        server = serve()
        transport.send(server.url, GET, Deadline.after(1))
        monkeypatch.setattr("bff.genauth.connection.QUIET_AT_MOST", 0.0)

        transport.send(server.url, GET, Deadline.after(1))

        assert server.connections == 2


class TestSize:
    def test_a_mebibyte_is_read_and_a_byte_more_is_refused(self, serve, transport):
        size = 1024 * 1024

        def reply(size):
            return f"HTTP/1.1 200 OK\r\nContent-Length: {size}\r\n\r\n".encode() + b"x" * size

        assert len(transport.send(serve(reply(size)).url, GET, Deadline.after(2)).body) == size
        assert type(fails(transport, serve(reply(size + 1)).url, 2)[0]) is UnreadableData

    def test_an_endless_body_is_refused_long_before_the_deadline(self, serve, transport):
        def behave(server, connection, _number):
            server.read_head(connection)
            connection.sendall(b"HTTP/1.1 200 OK\r\n\r\n")
            while True:
                connection.sendall(b"x" * 65536)

        error, took = fails(transport, serve(behave).url, 5)

        assert type(error) is UnreadableData
        in_time(took, 3)

    def test_endless_framing_is_refused_too(self, serve, transport):
        def behave(server, connection, _number):
            server.read_head(connection)
            connection.sendall(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
            while True:
                connection.sendall(b"1;" + b"x" * 60000 + b"\r\nx\r\n")

        error, took = fails(transport, serve(behave).url, 5)

        assert type(error) is UnreadableData
        in_time(took, 3)

    @pytest.mark.parametrize(
        "headers",
        [b"X: y\r\n" * 101, b"X: " + b"y" * 60000 + b"\r\nY: " + b"z" * 60000 + b"\r\n", b"X: " + b"y" * 70000 + b"\r\n"],
        ids=["many", "large", "long"],
    )
    def test_too_many_and_too_large_headers_are_refused(self, serve, transport, headers):
        server = serve(b"HTTP/1.1 200 OK\r\n" + headers + b"Content-Length: 2\r\n\r\n{}")

        assert type(fails(transport, server.url, 1)[0]) is UpstreamMalformed

    def test_endless_headers_are_refused(self, serve, transport):
        def behave(server, connection, _number):
            server.read_head(connection)
            while True:
                connection.sendall(b"HTTP/1.1 100 Continue\r\n\r\n" * 1000)

        error, took = fails(transport, serve(behave).url, 5)

        assert type(error) is UpstreamMalformed
        in_time(took, 3)

    @pytest.mark.parametrize("encoding", ["gzip", "x-gzip", "deflate", "GZIP", "identity, gzip", "raw deflate"])
    def test_an_answer_that_is_compressed_unasked_is_inflated(self, serve, transport, encoding):
        data = json.dumps(list(range(1000))).encode()
        raw = zlib.compressobj(wbits=-15)
        packed = {"deflate": zlib.compress(data), "raw deflate": raw.compress(data) + raw.flush()}
        body = packed.get(encoding) or gzip.compress(data[:99]) + gzip.compress(data[99:])
        coding = encoding.removeprefix("raw ")
        head = f"HTTP/1.1 200 OK\r\nContent-Encoding: {coding}\r\nContent-Length: {len(body)}\r\n\r\n".encode()

        assert transport.send(serve(head + body).url, GET, Deadline.after(2)).body == data

    @pytest.mark.parametrize(("encoding", "pack"), [("gzip", gzip.compress), ("deflate", zlib.compress)])
    def test_a_bomb_is_inflated_no_further_than_any_answer_may_be_large(self, serve, transport, encoding, pack):
        bomb = pack(b"\0" * 50_000_000)
        head = f"HTTP/1.1 200 OK\r\nContent-Encoding: {encoding}\r\nContent-Length: {len(bomb)}\r\n\r\n".encode()
        url = serve(head + bomb).url
        tracemalloc.start()
        try:
            error, _ = fails(transport, url, 2)
            most = tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()

        assert type(error) is UnreadableData
        assert "compressed" in error.note
        assert most < 8 * 1024 * 1024

    @pytest.mark.parametrize("encoding", ["gzip", "deflate", "br", "zstd", "gzip, gzip", "gzip, deflate"])
    @pytest.mark.parametrize(
        "body", [gzip.compress(b"{}" * 99)[:-9], zlib.compress(b"{}" * 99)[:-5], b'{"statusCode":200}', b"x"]
    )
    def test_what_cannot_be_inflated_whole_is_malformed(self, serve, transport, encoding, body):
        head = f"HTTP/1.1 200 OK\r\nContent-Encoding: {encoding}\r\nContent-Length: {len(body)}\r\n\r\n".encode()

        error, _ = fails(transport, serve(head + body).url, 2)

        assert type(error) is UpstreamMalformed
        assert "compressed" in error.note

    @pytest.mark.parametrize("encoding", ["br", "gzip"])
    def test_a_failure_that_cannot_be_inflated_is_still_what_its_status_says(self, serve, transport, encoding):
        head = f"HTTP/1.1 429 Slow\r\nRetry-After: 7\r\nContent-Encoding: {encoding}\r\nContent-Length: 5\r\n\r\nhello".encode()

        response = transport.send(serve(head).url, GET, Deadline.after(2))

        assert (response.status, response.headers["retry-after"], response.body) == (429, "7", b"")

    def test_identity_is_no_compression(self, serve, transport):
        server = serve(OK.replace(b"\r\n\r\n", b"\r\nContent-Encoding: identity\r\n\r\n"))

        assert transport.send(server.url, GET, Deadline.after(1)).body == b"{}"

    def test_after_a_refused_body_the_pool_works(self, serve, transport):
        def behave(server, connection, number):
            while server.read_head(connection) is not None:
                connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 9999999\r\n\r\n" + b"x" * 9999999 if number == 1 else OK)

        server = serve(behave)
        fails(transport, server.url, 2)

        assert transport.send(server.url, GET, Deadline.after(1)).body == b"{}"


class TestReuse:
    @pytest.mark.parametrize(
        "reply",
        [
            OK,
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\n\r\n",
            b"HTTP/1.1 204 No\r\n\r\n",
            OK.replace(b"200", b"500"),
        ],
        ids=["length", "chunked", "empty", "error"],
    )
    @pytest.mark.parametrize("tls", [False, True], ids=["plain", "tls"])
    def test_fifty_requests_share_one_connection(self, serve, certificates, reply, tls):
        context, bundle = certificates["ours"]
        server = serve(reply, context=context if tls else None)
        transport = Transport(ca_bundle=bundle)

        for _ in range(50):
            transport.send(server.url, GET, Deadline.after(1))

        assert server.connections == 1
        assert len(server.requests) == 50
        transport.close()

    def test_eight_threads_need_eight_connections_for_four_hundred_requests(self, serve, transport):
        server = serve()

        def calls():
            for _ in range(50):
                transport.send(server.url, GET, Deadline.after(5))

        threads = [threading.Thread(target=calls) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

        assert len(server.requests) == 400
        assert server.connections <= 8

    def test_more_threads_than_the_pool_keeps_do_not_wait_for_one_another(self, serve):
        def behave(server, connection, _number):
            while server.read_head(connection) is not None:
                time.sleep(0.2)
                connection.sendall(OK)

        server, transport = serve(behave), Transport(pool_size=2)
        threads = [threading.Thread(target=transport.send, args=(server.url, GET, Deadline.after(2))) for _ in range(10)]
        started = time.monotonic()
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

        in_time(time.monotonic() - started, 1.6)
        transport.close()

    @pytest.mark.parametrize(
        "surplus",
        [b"HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\nomar's", b"\n", b"x"],
    )
    @pytest.mark.parametrize("chunked", [False, True])
    def test_bytes_beyond_the_end_of_an_answer_never_begin_the_next(self, serve, transport, surplus, chunked):
        reply = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\n\r\n" if chunked else OK

        def behave(server, connection, number):
            while server.read_head(connection) is not None:
                connection.sendall(reply + surplus if number == 1 else reply)

        server = serve(behave)
        for _ in range(3):
            assert transport.send(server.url, GET, Deadline.after(1)).body == b"{}"

        assert server.connections == 2

    def test_an_answer_that_nobody_asked_for_is_thrown_away_with_its_connection(self, serve, transport):
        def behave(server, connection, _number):
            while server.read_head(connection) is not None:
                connection.sendall(OK)
                time.sleep(0.1)
                connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\nomar's")

        server = serve(behave)
        for _ in range(3):
            assert transport.send(server.url, GET, Deadline.after(1)).body == b"{}"
            time.sleep(0.2)
        assert server.connections == 3
