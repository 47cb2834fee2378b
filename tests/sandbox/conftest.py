import contextlib
import socket

import pytest
import requests

from bff.sandbox import Sandbox

IDENTITIES = "/api/v3/get-identities"


@pytest.fixture
def genauth():
    with Sandbox() as sandbox:
        yield sandbox


@pytest.fixture
def http():
    """A session with a patience, so that no test hangs."""
    with requests.Session() as session:
        session.trust_env = False
        yield session


@pytest.fixture
def ask(genauth, http):
    """GET a path of GenAuth's as that person, or as nobody."""

    def asking(person=None, path=IDENTITIES, token=None, timeout=5, **more):
        token = token or (genauth.token(person) if person else None)
        headers = {"Authorization": f"Bearer {token}"} if token else {}
        headers |= more.pop("headers", {})
        return http.get(genauth.url + path, headers=headers, timeout=timeout, allow_redirects=False, **more)

    return asking


@pytest.fixture
def raw(genauth):
    """A bare connection to the sandbox."""
    with contextlib.ExitStack() as stack:

        def connect():
            address = ("127.0.0.1", int(genauth.url.rpartition(":")[2]))
            return stack.enter_context(socket.create_connection(address, timeout=5))

        yield connect
