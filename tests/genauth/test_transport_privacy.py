"""What a request shows and to whom: its own host, and nobody and nothing else."""

import logging
import threading
import time

import pytest

from bff.errors import InternalError, UpstreamMalformed
from bff.genauth.messages import Request
from bff.genauth.transport import Transport
from bff.resilience.deadline import Deadline
from tests.genauth.conftest import CANARY, GET, fails
from tests.timing import in_time


def test_cookies_and_tokens_of_one_person_never_reach_another(serve, transport):
    def behave(server, connection, _number):
        while (head := server.read_head(connection)) is not None:
            who = head.partition(b"Bearer ")[2].partition(b"\r\n")[0]
            body = b'"' + who + b'"'
            connection.sendall(
                b"HTTP/1.1 200 OK\r\nSet-Cookie: session=%s; Path=/\r\nContent-Length: %d\r\n\r\n%s" % (who, len(body), body)
            )

    server = serve(behave)
    wrong = []

    def calls(who):
        for _ in range(50):
            request = Request("GET", "/", {"Authorization": f"Bearer {who}"})
            if transport.send(server.url, request, Deadline.after(5)).body != f'"{who}"'.encode():
                wrong.append(who)

    threads = [threading.Thread(target=calls, args=(who,)) for who in ("mei", "omar")]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert wrong == []
    assert len(server.requests) == 100
    assert not [head for head in server.requests if b"cookie" in head.lower()]


def test_neither_proxy_nor_netrc_of_the_environment_sees_the_token(serve, tmp_path, monkeypatch):
    server, proxy = serve(), serve()
    netrc = tmp_path / ".netrc"
    netrc.write_text("default login thief password thief\nmachine 127.0.0.1 login thief password thief\n")
    netrc.chmod(0o600)
    monkeypatch.setenv("NETRC", str(netrc))
    monkeypatch.setenv("HOME", str(tmp_path))
    for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy", "HTTPS_PROXY", "https_proxy"):
        monkeypatch.setenv(name, proxy.url)
    for name in ("NO_PROXY", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
    transport = Transport()

    transport.send(server.url, GET, Deadline.after(1))

    assert proxy.connections == 0
    assert f"Authorization: Bearer {CANARY}\r\n".encode() in server.requests[0]
    transport.close()


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_redirects_are_not_followed(serve, transport, status):
    elsewhere = serve()
    server = serve(f"HTTP/1.1 {status} Go\r\nLocation: {elsewhere.url}\r\nContent-Length: 0\r\n\r\n".encode())

    assert transport.send(server.url, GET, Deadline.after(1)).status == status
    assert elsewhere.connections == 0


@pytest.mark.parametrize(
    "reply",
    [
        b"HTTP/1.1 503 Busy\r\nRetry-After: 60\r\nContent-Length: 0\r\n\r\n",
        b"HTTP/1.1 429 Slow\r\nRetry-After: 60\r\nContent-Length: 0\r\n\r\n",
    ],
)
def test_retry_after_makes_nobody_sleep_here(serve, transport, reply):
    server = serve(reply)
    started = time.monotonic()

    transport.send(server.url, GET, Deadline.after(5))

    in_time(time.monotonic() - started, 0.5)
    assert len(server.requests) == 1


@pytest.mark.parametrize("value", ["a\r\nX-Evil: 1", "a\nb", "a\x00b", "tök", "小明", "a\x7f", "\ud83d"])
def test_a_header_that_cannot_be_sent_is_our_defect_and_stays_unsaid(serve, transport, value):
    server = serve()

    error, _ = fails(transport, server.url, request=Request("GET", "/", {"Authorization": f"{CANARY}{value}"}))

    assert type(error) is InternalError
    assert server.connections == 0


def test_the_libraries_log_nothing(serve, transport, caplog):
    caplog.set_level(logging.DEBUG)
    server = serve(f"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nnot a header {CANARY}\r\n\r\n{{}}".encode())

    transport.send(f"{serve().url}?id_token={CANARY}", GET, Deadline.after(1))
    error, _ = fails(transport, f"{server.url}?id_token={CANARY}")

    assert type(error) is UpstreamMalformed
    assert caplog.text == ""


@pytest.mark.parametrize("url", ["a b", "a\r\nX-Evil: 1", "a\tb", "ä"])
def test_an_address_that_cannot_be_sent_is_our_defect_and_stays_unsaid(serve, transport, url):
    server = serve()

    error, _ = fails(transport, f"{server.url}{CANARY}{url}")

    assert type(error) is InternalError
    assert server.connections == 0


@pytest.mark.parametrize(
    "url", ["ftp://x/", "http://", "nonsense", "http://[::1", "http://a b/", "http://x:99999/", f"http://{'a' * 300}.test/"]
)
def test_an_address_that_is_none_is_one_of_our_errors(transport, url):
    fails(transport, url)


@pytest.mark.parametrize("url", ["ftp://x/", "nonsense", "http://x:99999/"])
def test_an_address_that_leads_nowhere_is_not_a_host_that_is_away(transport, url):
    error, _ = fails(transport, url)

    assert type(error) is UpstreamMalformed
