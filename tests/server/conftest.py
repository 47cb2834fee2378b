import pytest

from tests.server.service import Service, eventually


@pytest.fixture
def start(environ, tmp_path):
    """Start the service as the Procfile does, some settings changed, and wait until it is ready."""
    started = []

    def starting(*, ready=True, **changed):
        service = Service({**environ, **changed}, tmp_path / f"output-{len(started)}")
        started.append(service)
        if ready:
            eventually(service.is_ready, within=20)  # the first worker is
            workers = int(changed.get("WEB_CONCURRENCY", 2))
            eventually(lambda: len(service.workers()) == workers, within=5)
            service.family()
        return service

    yield starting
    for service in started:
        service.clear_away()


@pytest.fixture
def service(start):
    return start()


@pytest.fixture
def mei(genauth):
    return genauth.token("mei")
