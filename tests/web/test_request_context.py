"""Every response has its id, its headers, a line and a metric, whatever made it; and no traceback gets out."""

import json
import time

import pytest
from structlog.contextvars import bind_contextvars

from bff.errors import UpstreamUnavailable
from bff.observability import Recorder
from bff.web import RequestContext, services_of
from bff.web.context import RECORD
from tests.web.contract import served

PATH = "/me/linked-accounts"
PAGE = "https://app.example.com"


class Counted(Recorder):
    def __init__(self):
        self.answers, self.codes = [], []

    def answered(self, route, status, source, seconds):
        self.answers.append((route, status, source))
        assert seconds >= 0

    def refused(self, code, _note):
        self.codes.append(code)


@pytest.fixture
def recorder():
    return Counted()


@pytest.fixture
def asked_of(app_with, recorder):
    """What is answered when ``inner`` stands where the response cache and admission control do, and the log's lines."""

    def ask(inner, *, path=PATH, method="GET", headers=(), **settings):
        app = app_with(**settings)
        served(app)
        services = services_of(app)
        flask = type(app).wsgi_app.__get__(app)  # without what stands in front of it
        app.wsgi_app = RequestContext(inner, flask, services.settings, recorder)
        return app.test_client().open(path, method=method, headers=dict(headers))

    return ask


def lines(written, event):
    found = [json.loads(line) for line in written().out.splitlines()]
    return [line for line in found if line["event"] == event]


def refuse(_environ, _start_response):
    raise UpstreamUnavailable(note="for this test", retry_after=7)


@pytest.mark.parametrize("method", ["GET", "HEAD"])
def test_an_error_of_a_middleware_is_a_problem(app_with, monkeypatch, method):
    app = app_with(CORS_ORIGINS=PAGE, METRICS_TOKEN="watching")
    served(app)
    monkeypatch.setattr("bff.web.middleware.AdmissionControl.__call__", lambda *_: refuse(None, None))

    response = app.test_client().open(PATH, method=method, headers={"Origin": PAGE, "X-Request-Id": "trace-1234"})

    assert response.status_code == 503
    assert response.mimetype == "application/problem+json"
    assert response.headers["Retry-After"] == "7"
    assert response.headers["X-Request-Id"] == "trace-1234"
    assert response.headers["Access-Control-Allow-Origin"] == PAGE, "the page can read it"
    assert method == "HEAD" or (response.json["code"], response.json["requestId"]) == ("upstream_unavailable", "trace-1234")
    monkeypatch.undo()
    text = app.test_client().get("/metrics", headers={"Authorization": "Bearer watching"}).text
    assert f'linked_accounts_answers_total{{route="{PATH}",source="none",status="503"}} 1.0' in text
    assert 'linked_accounts_refusals_total{code="upstream_unavailable",reason="upstream_unavailable"} 1.0' in text


def test_its_line_says_why(app, written, monkeypatch):
    served(app)
    monkeypatch.setattr("bff.web.middleware.AdmissionControl.__call__", lambda *_: refuse(None, None))
    app.test_client().get(PATH)

    line = next(line for line in lines(written, "request") if line["route"] == PATH)

    assert (line["status"], line["code"], line["note"]) == (503, "upstream_unavailable", "for this test")


def test_a_defect_of_a_middleware_is_a_problem_without_a_trace(asked_of, recorder, written):
    def break_(_environ, _start_response):
        raise RuntimeError("token is eyJhbGciOiJSUzI1NiJ9.canary")

    response = asked_of(break_)

    assert (response.status_code, response.json["code"]) == (500, "internal_error")
    assert recorder.codes == ["internal_error"]
    assert "canary" not in response.text + str(response.headers)
    logged = written().out
    assert b'"event":"defect"' in logged
    assert response.json["requestId"].encode() in logged
    assert b"canary" not in logged


def test_a_defect_behind_the_view_is_a_problem_too(app, sign_in, monkeypatch, written):
    def break_(*_args, **_kwargs):
        raise RuntimeError("canary")

    app.test_client().get("/livez")
    monkeypatch.setattr(app, "process_response", break_)

    response = app.test_client().get("/livez")

    assert (response.status_code, response.json["code"]) == (500, "internal_error")
    assert response.headers["X-Content-Type-Options"] == "nosniff"
    assert b"canary" not in written().out


@pytest.mark.parametrize(
    ("method", "path", "seconds"),
    [
        *(("GET", PATH, 4), ("HEAD", PATH, 4), ("OPTIONS", PATH, 4), ("PUT", PATH, 4), ("POST", "/livez", 4), ("POST", "/me", 4)),
        *(("POST", f"{PATH}/links", 7), ("DELETE", f"{PATH}/62f20932", 7)),
    ],
)
def test_the_deadline_counts_from_the_arrival_and_is_longer_for_a_change(asked_of, method, path, seconds):
    seen = []

    def see(environ, start_response):
        seen.append((environ[RECORD], time.monotonic()))
        refuse(environ, start_response)

    before = time.monotonic()
    asked_of(see, path=path, method=method, REQUEST_DEADLINE_SECONDS="4", CHANGE_DEADLINE_SECONDS="7")

    record, during = seen[0]
    assert before <= record.arrived <= during
    assert record.deadline.at == pytest.approx(record.arrived + seconds)


@pytest.mark.parametrize(
    ("path", "overrides", "headers"),
    [
        ("/livez", {}, {"X-Content-Type-Options"}),
        (PATH, {}, {"X-Content-Type-Options", "Vary", "Cache-Control"}),
        ("/livez", {"wsgi.url_scheme": "https"}, {"X-Content-Type-Options", "Strict-Transport-Security"}),
    ],
)
def test_every_response_carries_its_headers_once(client, path, overrides, headers):
    response = client.get(path, environ_overrides=overrides)

    for name in headers | {"X-Request-Id"}:
        assert len(response.headers.getlist(name)) == 1
    assert ("Strict-Transport-Security" in response.headers) == ("Strict-Transport-Security" in headers)


def test_requests_do_not_share_what_is_bound_to_their_lines(client, written):
    client.get("/docs", headers={"X-Request-Id": "trace-one"})
    client.get("/docs", headers={"X-Request-Id": "trace-two"})

    assert [line["request_id"] for line in lines(written, "request") if line["route"] == "/docs"] == ["trace-one", "trace-two"]


def test_what_was_bound_before_is_not_on_the_next_requests_line(client, written):
    bind_contextvars(left_over="of another request")
    client.get("/docs", headers={"X-Request-Id": "trace-one"})

    (line,) = (line for line in lines(written, "request") if line["route"] == "/docs")
    assert "left_over" not in line


def lines_about_proxies(written):
    return [line for line in map(json.loads, written().out.splitlines()) if line["event"] == "forwarded_for_ignored"]


def test_a_proxy_that_no_setting_names_is_reported_once(client_with, written):
    client = client_with()
    for number in range(3):
        client.get("/livez", headers={"X-Forwarded-For": f"203.0.113.{number}"})

    (line,) = lines_about_proxies(written)
    assert (line["level"], line["setting"]) == ("warning", "TRUSTED_PROXIES")
    assert "203.0.113" not in json.dumps(line)


def test_more_proxies_than_add_to_the_header_are_reported_once(client_with, written):
    client = client_with(TRUSTED_PROXIES="2")
    for number in range(3):
        client.get("/livez", headers={"X-Forwarded-For": f"203.0.113.{number}"})

    (line,) = lines_about_proxies(written)
    assert (line["level"], line["setting"]) == ("warning", "TRUSTED_PROXIES")
    assert "203.0.113" not in json.dumps(line)


def test_a_proxy_that_is_expected_is_not_reported(client_with, written):
    client_with(TRUSTED_PROXIES="1").get("/livez", headers={"X-Forwarded-For": "203.0.113.7"})
    client_with(TRUSTED_PROXIES="1").get("/livez", headers={"X-Forwarded-For": "192.0.2.1, 203.0.113.7"})
    client_with(TRUSTED_PROXIES="2").get("/livez", headers={"X-Forwarded-For": "192.0.2.1, 203.0.113.7"})
    client_with(TRUSTED_PROXIES="2").get("/livez")
    client_with().get("/livez")

    assert not lines_about_proxies(written)
