"""Whoever waits for GenAuth lets others compute (docs/adr/0013), for whichever part of an answer it waits."""

import socket
import threading
import time
from contextlib import suppress

import pytest

from bff.errors import BffError
from bff.genauth.messages import Request
from bff.genauth.transport import Transport
from bff.resilience import Deadline, FairSemaphore, NotAdmittedAgain, admitted
from tests.admission import admitting
from tests.genauth.conftest import OK

SLOW = 0.2
HEAD, BODY = OK[:-2], OK[-2:]


def turns(ask, come):
    """In which order are done: whoever asks GenAuth, and somebody who comes for the one permit when ``come`` is set."""
    order = []

    def application(environ):
        if environ["who"] == "asks":
            with suppress(BffError):
                ask()
        order.append(environ["who"])

    def comes():
        come.wait(5)
        admit({"who": "other"})

    admit = admitting(application, 1)
    other = threading.Thread(target=comes)
    other.start()
    admit({"who": "asks"})
    other.join()
    return order


@pytest.mark.parametrize("parts", [(b"", OK), (HEAD[:20], OK[20:])], ids=["first byte", "rest"])
def test_for_a_head(serve, transport, parts):
    come = threading.Event()

    def behave(server, connection, _number):
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for late in (False, True):
            server.read_head(connection)
            connection.sendall(parts[0])
            if late:
                time.sleep(SLOW / 2)  # the first part has been read by now
                come.set()
                time.sleep(SLOW)
            connection.sendall(parts[1])

    server = serve(behave)
    request = Request("GET", "/", {})
    transport.send(server.url, request, Deadline.after(2))  # the connection is there
    answers = []

    order = turns(lambda: answers.append(transport.send(server.url, request, Deadline.after(2))), come)

    assert order == ["other", "asks"]
    assert [answer.body for answer in answers] == [b"{}"]
    assert server.connections == 1


def test_for_a_body(serve, transport):
    come = threading.Event()

    def behave(server, connection, number):
        server.read_head(connection)
        if number == 1:
            connection.sendall(HEAD)
            time.sleep(SLOW / 2)  # it has been read by now
            come.set()
            time.sleep(SLOW)
            connection.sendall(BODY)
        else:
            connection.sendall(OK)

    server, order = serve(behave), []

    def application(environ):
        transport.send(server.url, Request("GET", "/", {}), Deadline.after(2))
        order.append(environ["who"])

    admit = admitting(application, 1)
    slow = threading.Thread(target=admit, args=({"who": "slow"},))
    slow.start()
    come.wait(5)
    admit({"who": "quick"})
    slow.join()

    assert order == ["quick", "slow"]


def test_for_a_connection(serve):
    come = threading.Event()

    def behave(_server, _connection, _number):
        come.set()
        time.sleep(2)  # and says nothing to a TLS handshake

    server = serve(behave)
    transport = Transport(connect_seconds=2 * SLOW)
    url = server.url.replace("http:", "https:")

    assert turns(lambda: transport.send(url, Request("GET", "/", {}), Deadline.after(2)), come) == ["other", "asks"]
    transport.close()


def test_who_is_not_admitted_again_ends_by_the_deadline_and_leaves_no_broken_connection(serve, transport):
    def behave(server, connection, _number):
        while server.read_head(connection) is not None:
            time.sleep(SLOW)
            connection.sendall(OK)

    server, semaphore, request = serve(behave), FairSemaphore(1), Request("GET", "/", {})

    def busy():
        with admitted(semaphore, Deadline.after(2)):
            time.sleep(4 * SLOW)

    other = threading.Thread(target=busy)
    with admitted(semaphore, Deadline.after(2 * SLOW)):
        other.start()
        with pytest.raises(NotAdmittedAgain) as error:
            transport.send(server.url, request, Deadline.after(2))
    other.join()

    assert error.value.__context__ is None
    assert semaphore.acquire(0), "the permit was given back once"
    assert transport.send(server.url, request, Deadline.after(2)).body == b"{}"
    assert server.connections == 2
