import pytest

from bff.sandbox import Sandbox


@pytest.fixture
def genauth():
    # The clients' offline check reads every published key as RSA, so here there are no others.
    with Sandbox(algorithms=("RS256",)) as sandbox:
        yield sandbox
