"""Kept connections to GenAuth that are dead without knowing: silent, or refused as soon as something is asked on them."""

import socket
import struct
import threading
from unittest.mock import Mock

import pytest

from bff.errors import UpstreamTimeout
from bff.genauth.call_policy import CallCircuitOpen, CallPolicy
from bff.genauth.calls import Call, Caller
from bff.genauth.messages import Request
from bff.genauth.transport import ConnectionSilent, Transport
from bff.resilience import Deadline
from tests.genauth.conftest import GET, OK, fails

KEPT = 7
LINGER = struct.pack("ii", 1, 0)


class Dead:
    """A server that forgets the connections of before when it is told to; later ones work."""

    def __init__(self, serve, *, reset=False):
        self._reset = reset
        self._forgotten = 0
        self._crowded = False
        self._over = threading.Event()
        self._together = threading.Barrier(KEPT)
        self.server = serve(self._behave)
        self.url = self.server.url

    def _behave(self, server, connection, number):
        while server.read_head(connection) is not None:
            if number <= self._forgotten:
                if self._reset:
                    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, LINGER)
                else:
                    self._over.wait(5)
                return
            if self._crowded:
                self._together.wait(2)
            connection.sendall(OK)

    def crowd(self, ask):
        """``KEPT`` of them at once, each with a connection of its own."""
        self._crowded = True
        callers = [threading.Thread(target=ask) for _ in range(KEPT)]
        for caller in callers:
            caller.start()
        for caller in callers:
            caller.join()
        self._crowded = False

    def keep_connections(self, ask):
        """Leave ``KEPT`` idle ones that lead to nothing."""
        self.crowd(ask)
        assert self.server.connections == KEPT
        self._forgotten = KEPT

    def over(self):
        self._over.set()


@pytest.fixture
def silent(serve):
    dead = Dead(serve)
    yield dead
    dead.over()


def test_silence_on_one_connection_closes_the_others_that_were_kept(silent, transport):
    silent.keep_connections(lambda: transport.send(silent.url, GET, Deadline.after(2)))

    error, _ = fails(transport, silent.url, 0.3)

    assert type(error) is ConnectionSilent
    answers = []
    silent.crowd(lambda: answers.append(transport.send(silent.url, GET, Deadline.after(1)).status))
    assert answers == [200] * KEPT


def test_a_new_connection_that_is_silent_closes_nothing_and_is_told_apart(serve, transport):
    asked, over = threading.Event(), threading.Event()

    def behave(server, connection, _number):
        while (request := server.read_head(connection)) is not None:
            if b"slow" in request:
                asked.set()
                over.wait(5)
            if b"/a" in request or b"/b" in request:
                pair.wait(5)
            connection.sendall(OK)

    pair = threading.Barrier(2)
    server, errors = serve(behave), []
    slow = threading.Thread(target=lambda: errors.append(fails(transport, f"{server.url}slow", 0.6)[0]))
    slow.start()
    asked.wait(5)
    transport.send(server.url, GET, Deadline.after(1))
    slow.join()

    assert [type(error) for error in errors] == [UpstreamTimeout]

    over.set()
    both = [threading.Thread(target=transport.send, args=(f"{server.url}{path}", GET, Deadline.after(1))) for path in "ab"]
    for each in both:
        each.start()
    for each in both:
        each.join()
    assert server.connections == 3


def test_half_an_answer_on_a_kept_connection_is_no_silence(serve, transport):
    over = threading.Event()

    def behave(server, connection, _number):
        server.read_head(connection)
        connection.sendall(OK)
        server.read_head(connection)
        connection.sendall(OK[:20])
        over.wait(5)

    server = serve(behave)
    transport.send(server.url, GET, Deadline.after(1))

    error, _ = fails(transport, server.url, 0.3)

    assert type(error) is UpstreamTimeout
    over.set()


def asks(caller, policy, url, seconds=0.4):
    call = Call("identities", Request("GET", "/", {}), lambda response: response.status)
    return caller.make(call, policy, Deadline.after(seconds))


def together(ask, count):
    """The errors of so many calls at once."""
    failed = []

    def fail():
        with pytest.raises(UpstreamTimeout) as error:
            ask()
        failed.append(error.type)

    callers = [threading.Thread(target=fail) for _ in range(count)]
    for caller in callers:
        caller.start()
    for caller in callers:
        caller.join()
    return failed


def test_callers_that_meet_dead_connections_together_shut_nobody_else_out(silent):
    transport, policy = Transport(), CallPolicy("identities", 24, Mock())
    caller = Caller(silent.url.rstrip("/"), transport, Mock(), upstream_seconds=3)
    silent.keep_connections(lambda: asks(caller, policy, silent.url, 2))

    failed = together(lambda: asks(caller, policy, silent.url), KEPT)

    assert failed == [ConnectionSilent] * KEPT
    assert asks(caller, policy, silent.url) == 200
    transport.close()


def test_a_genauth_that_hangs_on_new_connections_too_opens_the_circuit(serve):
    over = threading.Event()

    def behave(server, connection, _number):
        while server.read_head(connection) is not None:
            over.wait(10)

    server, transport, policy = serve(behave), Transport(), CallPolicy("identities", 24, Mock())
    caller = Caller(server.url.rstrip("/"), transport, Mock(), upstream_seconds=3)
    failed = together(lambda: asks(caller, policy, server.url, 0.6), 5)

    assert failed == [UpstreamTimeout] * 5
    with pytest.raises(CallCircuitOpen):
        asks(caller, policy, server.url, 0.6)
    over.set()
    transport.close()


@pytest.mark.parametrize("method", ["GET", "POST"])
def test_connections_that_are_refused_when_used_cost_nobody_an_answer(serve, method):
    dead = Dead(serve, reset=True)
    transport, policy, recorder = Transport(), CallPolicy("identities", 24, Mock()), Mock()
    caller = Caller(dead.url.rstrip("/"), transport, recorder, upstream_seconds=3)
    dead.keep_connections(lambda: asks(caller, policy, dead.url, 2))
    request = Request(method, "/", {}, body=b"token=1" if method == "POST" else None, only_reads=True)

    for _ in range(KEPT):
        assert caller.make(Call("identities", request, lambda response: response.status), policy, Deadline.after(1)) == 200

    assert recorder.upstream_retried.call_count == 1
    transport.close()
