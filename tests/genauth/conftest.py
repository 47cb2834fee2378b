"""Answers as data, and a server of a few bytes: it does to a connection whatever the test writes down, on a loopback port."""

import contextlib
import json
import socket
import ssl
import threading
import time

import pytest

from bff.errors import BffError
from bff.genauth.messages import Request, Response
from bff.genauth.protocol import read_identities
from bff.genauth.transport import Transport
from bff.resilience.deadline import Deadline
from tests.timing import in_time

CANARY = "canary-session-token-0123456789"
GET = Request("GET", "/", {"Authorization": f"Bearer {CANARY}", "Accept-Encoding": "identity"})
OK = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 2\r\n\r\n{}"


def fails(transport, url, seconds=0.5, request=GET):
    """The error of a call, which must come by its deadline, and how long it took."""
    started = time.monotonic()
    with pytest.raises(BffError) as error:
        transport.send(url, request, Deadline.after(seconds))
    took = time.monotonic() - started
    in_time(took, seconds + 0.75)  # after the deadline
    assert error.value.__context__ is None
    assert error.value.__cause__ is None
    assert CANARY not in f"{error.value!r} {error.value} {error.value.note} {error.value.detail}"
    return error.value, took


def answer(body, status=200, **headers):
    raw = body if isinstance(body, bytes) else json.dumps(body).encode()
    return Response(status, {name.replace("_", "-"): value for name, value in headers.items()}, raw)


def refused(body, status=200, read=read_identities, **headers):
    with pytest.raises(BffError) as error:
        read(answer(body, status, **headers))
    assert error.value.__context__ is None or error.value.__suppress_context__
    return error.value


class RawServer:
    """``behave(connection, number)`` is called once per connection, on a thread of its own; ``requests`` are raw heads."""

    def __init__(self, behave, context=None, host="127.0.0.1"):
        self.behave = behave
        self.context = context
        self.requests = []
        self.connections = 0
        self._open = []
        self._listener = socket.create_server((host, 0), backlog=128)
        self.port = self._listener.getsockname()[1]
        self._thread = threading.Thread(target=self._accept, daemon=True)
        self._thread.start()

    @property
    def url(self):
        return f"{'https' if self.context else 'http'}://127.0.0.1:{self.port}/"

    def read_head(self, connection):
        """The next request, head and body, None when the client has gone."""
        request, length = b"", 0
        while b"\r\n\r\n" not in request or len(request.partition(b"\r\n\r\n")[2]) < length:
            part = connection.recv(65536)
            if not part:
                return None
            request += part
            length = int((request.lower().partition(b"content-length: ")[2].partition(b"\r\n")[0]) or 0)
        self.requests.append(request)
        return request

    def _accept(self):
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            self.connections += 1
            threading.Thread(target=self._serve, args=(connection, self.connections), daemon=True).start()

    def _serve(self, connection, number):
        with contextlib.suppress(OSError):
            if self.context:
                connection = self.context.wrap_socket(connection, server_side=True)
            self._open.append(connection)
            self.behave(self, connection, number)
        connection.close()

    def close(self):
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self._thread.join(5)
        for connection in self._open:
            with contextlib.suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)
            connection.close()


@pytest.fixture
def serve():
    """serve(behave) or serve(bytes): those bytes answer every request, connections are kept alive."""
    servers = []

    def start(behave=OK, **options):
        if isinstance(behave, bytes):
            reply = behave

            def behave(server, connection, _number):
                while server.read_head(connection) is not None:
                    connection.sendall(reply)

        server = RawServer(behave, **options)
        servers.append(server)
        return server

    yield start
    for server in servers:
        server.close()


@pytest.fixture
def dead():
    """An address that leaves connections unanswered, as the kernel does while a backlog is full."""
    with contextlib.ExitStack() as stack:
        listener = stack.enter_context(socket.create_server(("127.0.0.1", 0), backlog=0))
        for _ in range(8):
            waiting = stack.enter_context(socket.socket())
            waiting.setblocking(False)
            waiting.connect_ex(listener.getsockname())
        yield listener.getsockname()


@pytest.fixture
def transport():
    transport = Transport()
    yield transport
    transport.close()


@pytest.fixture(scope="session")
def certificates(tmp_path_factory):
    """(trusted, wrong_name): server contexts by name, and the PEM file of the authority that signed them."""
    from datetime import UTC, datetime, timedelta
    from ipaddress import ip_address

    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec
    from cryptography.x509.oid import NameOID

    folder = tmp_path_factory.mktemp("tls")

    def made(name, *alternatives):
        key = ec.generate_private_key(ec.SECP256R1())
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        now = datetime.now(UTC)
        certificate = (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(subject)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - timedelta(days=1))
            .not_valid_after(now + timedelta(days=1))
            .add_extension(x509.SubjectAlternativeName(alternatives), critical=False)
            .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
            .sign(key, hashes.SHA256())
        )
        pem = folder / f"{name}.pem"
        pem.write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
        secret = folder / f"{name}.key"
        secret.write_bytes(
            key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
        )
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(pem, secret)
        return context, str(pem)

    return {
        "ours": made("ours", x509.IPAddress(ip_address("127.0.0.1")), x509.DNSName("localhost")),
        "wrong-name": made("wrong-name", x509.DNSName("elsewhere.example")),
    }
