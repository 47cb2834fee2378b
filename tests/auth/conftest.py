import pytest

from tests.auth.world import Clock, GenAuth, House, Signer


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def signer():
    return Signer()


@pytest.fixture
def genauth(signer):
    return GenAuth(signer)


@pytest.fixture
def house(genauth, clock):
    return House(genauth, clock)
