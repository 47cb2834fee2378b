import pytest

from bff.settings import Settings
from tests.conftest import PATIENT, clocked
from tests.web.contract import ContractClient


@pytest.fixture
def app_with(environ):
    """An application with some settings of its own, whose test client holds every answer to the contract."""

    def make(**changed):
        app = clocked(Settings.from_env({**environ, **changed}), **PATIENT)
        app.test_client_class = ContractClient
        return app

    return make


@pytest.fixture
def client_with(app_with):
    return lambda **changed: client_of(app_with(**changed))


@pytest.fixture
def client(app):
    return client_of(app)


def client_of(app):
    # Flask's client would replace the Cookie header of a test by what its own jar holds.
    return app.test_client(use_cookies=False)


@pytest.fixture
def asked(genauth):
    """How often GenAuth was asked for somebody's identities."""
    return lambda: genauth.calls("/api/v3/get-identities")
