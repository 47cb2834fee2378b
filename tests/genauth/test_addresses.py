"""Names and addresses: a host that has several, and name servers that hang, err or are away."""

import socket
import threading
import time

from bff.genauth.transport import ConnectError, Transport
from bff.resilience import Deadline, Resolver
from tests.genauth.conftest import CANARY, GET, fails
from tests.timing import in_time

HOST = "http://genauth.test/"


def found(*addresses):
    return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", address) for address in addresses]


def asks(lookup, connect_seconds=0.4):
    transport = Transport(resolver=Resolver(lookup), connect_seconds=connect_seconds)
    try:
        return transport.send(HOST, GET, Deadline.after(1))
    finally:
        transport.close()


def test_a_host_that_refuses_on_one_address_is_reached_on_the_next(serve):
    server = serve()
    with socket.create_server(("127.0.0.1", 0)) as gone:
        refusing = gone.getsockname()

    answer = asks(lambda *_, **__: found(refusing, ("127.0.0.1", server.port)))

    assert answer.status == 200


def test_a_dead_address_leaves_time_for_the_next(serve, dead):
    server = serve()

    answer = asks(lambda *_, **__: found(dead, ("127.0.0.1", server.port)), 0.6)

    assert answer.status == 200


def test_many_dead_addresses_stay_within_the_budget(dead):
    transport = Transport(resolver=Resolver(lambda *_, **__: found(*[dead] * 9)), connect_seconds=0.5)

    error, took = fails(transport, HOST, 2)

    assert type(error) is ConnectError
    in_time(took, 1.2)
    transport.close()


def test_localhost_is_reached_whatever_its_first_address_is(serve, transport):
    server = serve()

    assert transport.send(f"http://localhost:{server.port}/", GET, Deadline.after(1)).status == 200


def test_a_name_server_that_hangs_ends_with_the_connect_budget():
    release = threading.Event()
    transport = Transport(resolver=Resolver(lambda *_, **__: release.wait(5) and []), connect_seconds=0.3)

    error, took = fails(transport, HOST, 2)

    assert type(error) is ConnectError
    in_time(took, 1.2)
    release.set()
    transport.close()


def test_while_the_name_server_is_away_the_last_known_address_serves(serve):
    server, release = serve(), threading.Event()
    lookups = []

    def lookup(*_, **__):
        lookups.append(1)
        if len(lookups) == 2:
            release.wait(5)
        if len(lookups) > 2:
            raise socket.gaierror("away")
        return found(("127.0.0.1", server.port))

    resolver = Resolver(lookup)
    for _ in range(3):
        transport = Transport(resolver=resolver, connect_seconds=0.4)
        assert transport.send(HOST, GET, Deadline.after(1)).status == 200
        transport.close()
        release.set() if len(lookups) == 2 else None
        time.sleep(0.05)

    assert len(lookups) == 3


def test_an_unknown_name_is_unreachable():
    def lookup(*_, **__):
        raise socket.gaierror(-2, f"no such name {CANARY}")

    transport = Transport(resolver=Resolver(lookup))
    error, _ = fails(transport, HOST)

    assert type(error) is ConnectError
    assert error.note == "name lookup: gaierror"
    transport.close()


def test_while_a_lookup_hangs_everyone_waits_for_the_same_one():
    release, lookups = threading.Event(), []

    def lookup(*_, **__):
        lookups.append(1)
        release.wait(5)
        return []

    transport = Transport(resolver=Resolver(lookup), connect_seconds=0.3)
    callers = [threading.Thread(target=fails, args=(transport, HOST, 1)) for _ in range(10)]
    for caller in callers:
        caller.start()
    for caller in callers:
        caller.join()

    assert len(lookups) == 1
    release.set()
    transport.close()
