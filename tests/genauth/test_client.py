"""The client against a GenAuth: what is asked, how often, how long, and what is recorded."""

import base64
import threading
import time
from dataclasses import replace
from urllib.parse import parse_qs

import pytest
import structlog

from bff.errors import (
    BffError,
    TokenInvalid,
    TokenRefused,
    UpstreamForbidden,
    UpstreamMalformed,
    UpstreamRejected,
    UpstreamThrottled,
    UpstreamTimeout,
    UpstreamUnavailable,
    UserBlocked,
)
from bff.genauth import calls
from bff.genauth.call_policy import CallBulkheadFull, CallCircuitOpen, CallPolicy, RetryBudget
from bff.genauth.calls import Call, Caller
from bff.genauth.client import GenAuthClient
from bff.genauth.envelope import UnreadableData
from bff.genauth.messages import Request
from bff.genauth.transport import ConnectError, ConnectionClosed, Transport
from bff.resilience.deadline import Deadline
from bff.sandbox import Sandbox
from tests.timing import in_time

IDENTITIES = "/api/v3/get-identities"
INTROSPECTION = "/oidc/token/introspection"
DISCOVERY = "/oidc/.well-known/openid-configuration"


class Recorded:
    def __init__(self):
        self.calls, self.retries, self.turns, self.used = [], [], [], []
        self.left_out = 0

    def upstream_called(self, operation, outcome, seconds):
        assert seconds >= 0
        self.calls.append((operation, outcome))

    def upstream_retried(self, operation):
        self.retries.append(operation)

    def records_left_out(self, records):
        self.left_out += records

    def breaker_changed(self, name, state):
        self.turns.append((name, state))

    def bulkhead_used(self, name, in_use):
        self.used.append((name, in_use))


@pytest.fixture(scope="module")
def _sandbox():
    with Sandbox() as sandbox:
        yield sandbox


@pytest.fixture
def genauth(_sandbox):
    _sandbox.reset()
    return _sandbox


@pytest.fixture
def recorded():
    return Recorded()


@pytest.fixture
def client_of(recorded):
    made = []

    def make(host, app_id="app", app_secret="s3cret", **options):  # noqa: S107 - made up
        client = GenAuthClient(host, app_id, app_secret, Transport(connect_seconds=0.5), recorder=recorded, **options)
        made.append(client)
        return client

    yield make
    for client in made:
        client.close()


@pytest.fixture
def client(genauth, client_of):
    return client_of(genauth.url, genauth.app_id, genauth.app_secret)


@pytest.fixture
def soon():
    return Deadline.after(3)


def fails(call, *args, seconds=2.0):
    started = time.monotonic()
    with pytest.raises(BffError) as error:
        call(*args, Deadline.after(seconds))
    in_time(time.monotonic() - started, seconds + 0.75)
    return error.value


class TestAnswers:
    def test_identities(self, client, genauth, soon, recorded):
        found = client.identities(genauth.token("mei"), soon)

        assert {row.provider for row in found.rows} == {"wechat", "lark"}
        assert recorded.calls == [("identities", "ok")]
        assert genauth.requests[-1].path == IDENTITIES

    def test_every_providers_token_is_handed_to_the_leak_guard_and_has_no_field_of_its_own(self, client, genauth, soon):
        for person in genauth.people:
            try:
                found = client.identities(genauth.token(person), soon)
            except (TokenRefused, UserBlocked):
                continue
            assert genauth.canaries(person) <= found.secrets
            # One of them travels inside an avatar's address, which is the guard's to see.
            shown = repr([replace(row, profile=replace(row.profile, photo=None)) for row in found.rows])
            assert not [canary for canary in genauth.canaries(person) if canary in shown]

    def test_identity_sources(self, client, genauth, soon):
        sources = client.ext_idps(genauth.token("mei"), soon).sources

        assert {source.category for source in sources} >= {"social"}
        assert all(source.ext_idp_id and source.type for source in sources)
        assert [source.identifier for source in sources if source.type == "wechat"] == ["my-wechat-pc", "my-wechat-mobile"]

    def test_discovery_and_keys(self, client, genauth, soon):
        found = client.discovery(soon)

        assert found.issuer == genauth.issuer
        assert client.key_set(found.jwks_uri, soon)["keys"]

    def test_introspection(self, client, genauth, soon):
        found = client.introspect(genauth.token("mei"), soon)

        assert (found.active, found.sub, found.client_id) == (True, genauth.id_of("mei"), genauth.app_id)
        assert client.introspect("opaque-and-unknown", soon).active is False

    def test_introspection_counts_a_blocked_users_token_as_inactive(self, client, genauth, soon):
        genauth.block("mei")

        assert client.introspect(genauth.token("mei"), soon).active is False

    @pytest.mark.parametrize("shape", [list, lambda rows: {"list": rows, "totalCount": len(rows)}], ids=["list", "object"])
    @pytest.mark.parametrize("compress", [None, "gzip", "deflate"])
    def test_one_bad_record_costs_itself_alone_and_is_counted(self, client, genauth, soon, recorded, shape, compress):
        good = {"identityId": "i", "extIdpId": "e", "provider": "github", "type": "primary"}
        genauth.answers("mei", shape([None, good, "x"]))
        genauth.trouble(path=IDENTITIES, compress=compress)
        with structlog.testing.capture_logs() as lines:
            assert [row.ext_idp_id for row in client.identities(genauth.token("mei"), soon).rows] == ["e"]

        assert (recorded.calls, recorded.left_out) == ([("identities", "ok")], 2)
        assert [(line["event"], line["operation"], line["records"]) for line in lines] == [("records_left_out", "identities", 2)]

    def test_refused_and_blocked(self, client, genauth, recorded):
        token = genauth.token("mei")
        genauth.revoke(token)
        assert type(fails(client.identities, token)) is TokenRefused
        genauth.block("mei")
        assert type(fails(client.identities, genauth.token("mei"))) is UserBlocked
        assert recorded.calls == [("identities", "token_refused"), ("identities", "user_blocked")]

    def test_a_token_that_no_header_can_carry_is_not_sent(self, client, genauth):
        assert type(fails(client.identities, "to\r\nken")) is TokenInvalid
        assert genauth.calls() == 0


class TestPaths:
    @pytest.mark.parametrize(
        "host", ["http://127.0.0.1:{}", "http://127.0.0.1:{}/", "http://127.0.0.1:{}/APP_ID", "http://localhost:{}/a/b/"]
    )
    def test_the_host_may_end_in_a_path(self, serve, client_of, host):
        server = serve(b'HTTP/1.1 200 OK\r\nContent-Length: 18\r\n\r\n{"statusCode":200}')
        client = client_of(host.format(server.port))

        client.identities("token", Deadline.after(1))

        prefix = host.removesuffix("/").partition("}")[2]
        assert server.requests[0].startswith(f"GET {prefix}{IDENTITIES} HTTP/1.1\r\n".encode())


class TestIntrospectionEndpoint:
    ACTIVE = b'{"active":true,"sub":"u"}'

    def served(self, serve, discovery):
        def behave(server, connection, _number):
            while (head := server.read_head(connection)) is not None:
                body = discovery(server) if b"openid-configuration" in head else self.ACTIVE
                connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s" % (len(body), body))

        return serve(behave)

    @staticmethod
    def document(server, path, methods):
        base = server.url.rstrip("/")
        return (
            f'{{"issuer":"{base}/oidc","jwks_uri":"{base}/k","introspection_endpoint":"{base}{path}",'
            f'"introspection_endpoint_auth_methods_supported":{methods}}}'
        ).encode()

    @pytest.mark.parametrize(
        ("methods", "basic"),
        [
            ('["client_secret_basic"]', True),
            ('["client_secret_basic","none"]', True),
            ('["client_secret_basic","client_secret_post"]', False),
            ('["client_secret_post"]', False),
            ("[]", False),
            ("null", False),
        ],
    )
    def test_discovery_tells_where_and_how(self, serve, client_of, methods, basic):
        server = self.served(serve, lambda server: self.document(server, "/elsewhere", methods))
        client = client_of(server.url)

        for _ in range(3):
            assert client.introspect("tok", Deadline.after(1)).active is True

        assert len(server.requests) == 4, "discovery is asked once"
        head, _, form = server.requests[1].partition(b"\r\n\r\n")
        assert head.startswith(b"POST /elsewhere ")
        credentials = base64.b64encode(b"app:s3cret")
        assert (b"Authorization: Basic " + credentials in head) is basic
        assert ("client_secret" in parse_qs(form.decode())) is not basic

    def test_our_secret_does_not_go_where_another_issuers_document_says(self, serve, client_of):
        elsewhere = self.served(serve, lambda _server: b"")
        document = b'{"issuer":"https://elsewhere.example/oidc","jwks_uri":"%b","introspection_endpoint":"%b"}'
        server = self.served(serve, lambda _server: document % (elsewhere.url.encode(), elsewhere.url.encode()))

        assert client_of(server.url).introspect("tok", Deadline.after(1)).active is True
        assert elsewhere.connections == 0

    def test_without_discovery_it_is_where_the_documents_say(self, serve, client_of):
        server = self.served(serve, lambda _server: b"<html>")
        client = client_of(server.url)

        for _ in range(3):
            assert client.introspect("tok", Deadline.after(1)).active is True

        assert [head.split(b" ")[1] for head in server.requests].count(INTROSPECTION.encode()) == 3
        assert len(server.requests) == 4, "discovery is not asked each time"

    def test_our_secret_does_not_travel_in_plain_from_an_https_host(self, serve, certificates, recorded):
        context, bundle = certificates["ours"]
        plain = serve()
        named = b'{"issuer":"https://127.0.0.1","jwks_uri":"https://127.0.0.1/k","introspection_endpoint":"%s"}'
        document = named % plain.url.encode()

        def behave(server, connection, _number):
            while (head := server.read_head(connection)) is not None:
                body = document if b"openid-configuration" in head else self.ACTIVE
                connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s" % (len(body), body))

        server = serve(behave, context=context)
        client = GenAuthClient(server.url, "app", "secret", Transport(ca_bundle=bundle), recorder=recorded)

        assert client.introspect("tok", Deadline.after(1)).active is True
        assert plain.connections == 0
        client.close()


class TestIssuer:
    """Which issuer's discovery document is used; which tokens are accepted asks tests/web/test_issuers.py."""

    @pytest.mark.parametrize(
        ("named", "expected"),
        [
            ("{url}/oidc/", "{url}/oidc"),
            ("{url}/app/oidc", "{url}/oidc"),
            ("http://LOCALHOST:1/oidc", "{url}/oidc"),
            ("https://id.example./oidc", "https://ID.example/oidc"),
        ],
    )
    def test_another_one_on_the_configured_host_is_used_and_named_once(self, genauth, client_of, soon, named, expected):
        named, expected = named.format(url=genauth.url), expected.format(url=genauth.url)
        client = client_of(genauth.url, genauth.app_id, issuer=None if expected.startswith(genauth.url) else expected)
        genauth.trouble(path=DISCOVERY, change={"issuer": named})
        with structlog.testing.capture_logs() as lines:
            assert {client.discovery(soon).issuer for _ in range(3)} == {named}

        assert lines == [
            {"event": "issuer_mismatch", "log_level": "warning", "expected": expected, "found": named, "refused": False}
        ]

    @pytest.mark.parametrize(
        "named",
        [
            "https://elsewhere.example/oidc",
            "https://127.0.0.1.elsewhere.example/oidc",
            "https://127.0.0.1@elsewhere.example/oidc",
            "https://[broken/oidc",
            "urn:genauth",
            "127.0.0.1/oidc",
        ],
    )
    def test_one_on_another_host_is_refused_and_named_once(self, genauth, client, named):
        genauth.trouble(path=DISCOVERY, change={"issuer": named})
        with structlog.testing.capture_logs() as lines:
            errors = [fails(client.discovery) for _ in range(3)]

        assert {type(error) for error in errors} == {UpstreamRejected}
        assert {error.reason for error in errors} == {"discovery_refused"}
        assert [(line["found"], line["refused"]) for line in lines if line["event"] == "issuer_mismatch"] == [(named, True)]
        assert client.oidc_policy.breaker.state == "closed"

    def test_the_one_that_was_expected_is_nothing_to_speak_of(self, client, soon):
        with structlog.testing.capture_logs() as lines:
            client.discovery(soon)

        assert lines == []


class TestTrouble:
    @pytest.mark.parametrize(
        ("how", "error", "outcome"),
        [
            ({"status": 500}, UpstreamUnavailable, "unavailable"),
            ({"status": 503, "retry_after": 3}, UpstreamUnavailable, "unavailable"),
            ({"status": 429, "retry_after": 9}, UpstreamThrottled, "throttled"),
            ({"status": 302}, UpstreamMalformed, "malformed"),
            ({"envelope": 429}, UpstreamThrottled, "throttled"),
            ({"envelope": 500}, UpstreamUnavailable, "unavailable"),
            ({"status": 401}, UpstreamMalformed, "malformed"),
            ({"envelope": 403}, UpstreamForbidden, "forbidden"),
            ({"envelope": 404}, UpstreamRejected, "rejected"),
            ({"malformed": "gzip-bomb"}, UpstreamMalformed, "malformed"),
            ({"ending": "hang"}, UpstreamTimeout, "timeout"),
            ({"ending": "hang-after-headers"}, UpstreamTimeout, "timeout"),
            ({"drip_headers": 0.1}, UpstreamTimeout, "timeout"),
            ({"drip_body": 0.1}, UpstreamTimeout, "timeout"),
            ({"latency": 2}, UpstreamTimeout, "timeout"),
            ({"ending": "close"}, UpstreamUnavailable, "unavailable"),
            ({"ending": "reset"}, UpstreamUnavailable, "unavailable"),
            ({"ending": "truncate"}, UpstreamMalformed, "malformed"),
        ],
        ids=str,
    )
    def test_each_trouble_is_one_of_our_errors_by_the_deadline(self, client, genauth, recorded, how, error, outcome):
        genauth.trouble(path=IDENTITIES, **how)

        assert isinstance(fails(client.identities, genauth.token("mei"), seconds=0.6), error)
        assert recorded.calls == [("identities", outcome)]
        if "retry_after" not in how:
            genauth.healthy()
            assert client.identities(genauth.token("mei"), Deadline.after(1)).rows

    def test_the_upstream_budget_ends_a_call_before_the_request_does(self, genauth, client_of):
        client = client_of(genauth.url, genauth.app_id, upstream_seconds=0.3)
        genauth.trouble(ending="hang")
        started = time.monotonic()

        assert type(fails(client.identities, genauth.token("mei"), seconds=5)) is UpstreamTimeout
        in_time(time.monotonic() - started, 1.5)

    def test_a_cookie_of_one_person_is_not_sent_with_anothers_question(self, client, genauth, soon):
        genauth.trouble(set_cookie="session=mei; Path=/")
        client.identities(genauth.token("mei"), soon)
        client.identities(genauth.token("omar"), soon)

        assert not [request for request in genauth.requests if "cookie" in {name.lower() for name in request.headers}]

    def test_a_deadline_that_has_passed_asks_nobody(self, client, genauth):
        assert type(fails(client.identities, genauth.token("mei"), seconds=0)) is UpstreamTimeout
        assert genauth.calls() == 0


class TestSecondTries:
    @pytest.mark.parametrize(
        "how",
        [{"ending": "close"}, {"ending": "reset"}, {"status": 502}, {"status": 503}, {"status": 504}, {"envelope": 502}],
        ids=str,
    )
    def test_a_momentary_failure_is_tried_again_once(self, client, genauth, recorded, soon, how):
        genauth.trouble(path=IDENTITIES, times=1, **how)

        assert client.identities(genauth.token("mei"), soon).rows
        assert genauth.calls(IDENTITIES) == 2
        assert recorded.retries == ["identities"]
        assert recorded.calls == [("identities", "ok")]

    @pytest.mark.parametrize(
        "how",
        [
            {"status": 500},
            {"status": 429},
            {"status": 503, "retry_after": 1},
            {"status": 400},
            {"envelope": 401},
            {"envelope": 429},
            {"ending": "truncate"},
            {"status": 302},
        ],
        ids=str,
    )
    def test_anything_else_is_not(self, client, genauth, recorded, how):
        genauth.trouble(path=IDENTITIES, **how)

        fails(client.identities, genauth.token("mei"))

        assert genauth.calls(IDENTITIES) == 1
        assert recorded.retries == []

    def test_there_is_no_third_try(self, client, genauth):
        genauth.trouble(path=IDENTITIES, status=502)

        fails(client.identities, genauth.token("mei"))

        assert genauth.calls(IDENTITIES) == 2

    def test_a_refused_connection_is_tried_again(self, client_of, recorded):
        client = client_of("http://127.0.0.1:1")

        assert isinstance(fails(client.identities, "token"), UpstreamUnavailable)
        assert recorded.retries == ["identities"]

    def test_a_try_that_took_most_of_the_time_is_the_last(self, client, genauth):
        genauth.trouble(path=IDENTITIES, status=502, latency=0.6)

        fails(client.identities, genauth.token("mei"), seconds=1)

        assert genauth.calls(IDENTITIES) == 1

    def test_introspection_is_tried_again_only_if_it_was_not_answered(self, client, genauth, soon):
        client.introspect("warm", soon)
        genauth.forget_calls()
        genauth.trouble(path=INTROSPECTION, times=1, ending="close")
        assert client.introspect(genauth.token("mei"), soon).active
        assert genauth.calls(INTROSPECTION) == 2

        genauth.forget_calls()
        genauth.trouble(path=INTROSPECTION, status=502)
        fails(client.introspect, genauth.token("mei"))
        assert genauth.calls(INTROSPECTION) == 1

    @pytest.mark.parametrize(("only_reads", "sent"), [(True, 2), (False, 1)])
    def test_a_post_that_may_change_something_is_never_sent_twice(self, serve, recorded, only_reads, sent):
        server = serve(lambda server, connection, _number: server.read_head(connection))
        caller = Caller(server.url, Transport(), recorded, upstream_seconds=2)
        request = Request("POST", server.url, {}, b"{}", only_reads=only_reads)

        error = fails(lambda deadline: caller.make(Call("unlink", request, bool), CallPolicy("linking", 1, recorded), deadline))

        assert type(error) is ConnectionClosed
        assert len(server.requests) == sent

    def test_a_post_that_never_left_us_is_sent_again(self, recorded):
        caller = Caller("http://127.0.0.1:1", Transport(), recorded, upstream_seconds=2)
        request = Request("POST", "/api/v3/unlink-extidp", {}, b"{}")

        error = fails(lambda deadline: caller.make(Call("unlink", request, bool), CallPolicy("linking", 1, recorded), deadline))

        assert type(error) is ConnectError
        assert recorded.retries == ["unlink"]

    def test_while_everything_fails_a_tenth_is_tried_again_and_a_small_reserve(self, genauth, client_of):
        class NoBreaker:
            def enter(self, _whose):
                return self

            probe = False

            def failed(self, _wait=None):
                pass

        client = client_of(genauth.url, genauth.app_id)
        client.identities_policy.breaker = NoBreaker()
        genauth.trouble(path=IDENTITIES, ending="close")

        for _ in range(200):
            fails(client.identities, genauth.token("mei"))

        assert genauth.calls(IDENTITIES) <= 200 * 1.1 + 5
        assert genauth.calls(IDENTITIES) >= 200 * 1.1, "it is a tenth, not none"

    def test_the_budget_holds_over_threads(self):
        budget, paid = RetryBudget(share=0.1, reserve=3), []

        def calls():
            for _ in range(1000):
                budget.deposit()
                if budget.withdraw():
                    paid.append(1)

        threads = [threading.Thread(target=calls) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

        assert 800 - 1 <= len(paid) <= 803


class TestCallPolicy:
    def test_five_failures_leave_genauth_alone(self, client, genauth, recorded):
        genauth.trouble(path=IDENTITIES, status=500)
        for _ in range(5):
            fails(client.identities, genauth.token("mei"))

        error = fails(client.identities, genauth.token("mei"))

        assert type(error) is CallCircuitOpen
        assert isinstance(error, UpstreamUnavailable)
        assert error.retry_after == 2
        assert genauth.calls(IDENTITIES) == 5
        assert recorded.turns == [("genauth-identities", "open")]
        assert recorded.calls[-1] == ("identities", "circuit_open")

    def test_the_probe_is_not_tried_twice(self, client, genauth):
        genauth.trouble(path=IDENTITIES, status=500)
        for _ in range(5):
            fails(client.identities, genauth.token("mei"))
        genauth.healthy()
        genauth.trouble(path=IDENTITIES, status=502)
        genauth.forget_calls()
        time.sleep(2.05)

        fails(client.identities, genauth.token("mei"))

        assert genauth.calls(IDENTITIES) == 1
        assert client.identities_policy.breaker.state == "open"

    @pytest.mark.parametrize("how", [{"status": 503, "retry_after": 7}, {"status": 429, "retry_after": 7}], ids=str)
    def test_three_tokens_that_are_to_come_back_later_leave_genauth_alone(self, client, genauth, soon, how):
        genauth.trouble(path=IDENTITIES, **how)
        for whose in ("one", "one", "one", "two", "three"):
            with pytest.raises(BffError) as error:
                client.identities(genauth.token("mei"), soon, whose=whose)
            assert error.value.retry_after == 7

        error = fails(client.identities, genauth.token("omar"))

        assert type(error) is CallCircuitOpen
        assert error.retry_after == 2
        assert genauth.calls(IDENTITIES) == 5

    @pytest.mark.parametrize("operation", ["identities", "introspect"])
    @pytest.mark.parametrize("how", [{"status": 500}, {"status": 429, "retry_after": 60}], ids=str)
    def test_one_tokens_failures_leave_it_open_to_all_others(self, client, genauth, soon, operation, how):
        genauth.trouble(path={"identities": IDENTITIES, "introspect": INTROSPECTION}[operation], **how)
        for _ in range(30):
            with pytest.raises(BffError):
                getattr(client, operation)(genauth.token("mei"), soon, whose="mei's")
        genauth.healthy()

        assert getattr(client, operation)(genauth.token("omar"), soon, whose="omar's")

    @pytest.mark.parametrize("how", [{"envelope": 401}, {"envelope": 403}, {"envelope": 404}], ids=str)
    def test_refusals_are_genauth_at_work(self, client, genauth, how):
        genauth.trouble(path=IDENTITIES, **how)

        for _ in range(30):
            fails(client.identities, genauth.token("mei"))

        assert client.identities_policy.breaker.state == "closed"

    @pytest.mark.parametrize(
        "body",
        [
            b'{"statusCode":200,"data":[{}]}',
            b'{"statusCode":200,"data":' + b"[" * 9999,
            b" " * 1_100_000,
            b'{"statusCode":200,"data":7}',
        ],
        ids=["no-id", "deep", "large", "number"],
    )
    def test_one_persons_unreadable_data_does_not_open_the_circuit_for_everyone(self, client, genauth, soon, body):
        genauth.trouble(path=IDENTITIES, person="omar", body=body)

        for _ in range(30):
            assert type(fails(client.identities, genauth.token("omar"))) is UnreadableData

        assert client.identities(genauth.token("mei"), soon).rows

    def test_a_call_that_had_hardly_any_time_says_nothing_about_genauth(self, client, genauth):
        genauth.trouble(path=IDENTITIES, latency=0.5)

        for _ in range(10):
            assert type(fails(client.identities, genauth.token("mei"), seconds=0.02)) is UpstreamTimeout

        assert client.identities_policy.breaker.state == "closed"

    def test_timeouts_open_it(self, client, genauth):
        genauth.trouble(path=IDENTITIES, ending="hang")

        for _ in range(5):
            fails(client.identities, genauth.token("mei"), seconds=0.26)

        assert client.identities_policy.breaker.state == "open"

    def test_while_identities_hang_the_rest_is_turned_away_and_tokens_are_verified(self, genauth, client_of, recorded):
        client = client_of(genauth.url, genauth.app_id, genauth.app_secret, at_once=4)
        client.introspect("warm", Deadline.after(1))
        genauth.trouble(path=IDENTITIES, ending="hang")
        hanging = [threading.Thread(target=fails, args=(client.identities, genauth.token("mei"))) for _ in range(4)]
        for thread in hanging:
            thread.start()
        time.sleep(0.3)
        started = time.monotonic()

        turned_away = fails(client.identities, genauth.token("omar"))
        assert type(turned_away) is CallBulkheadFull
        assert (turned_away.status, turned_away.retry_after) == (503, 1)
        assert client.introspect(genauth.token("mei"), Deadline.after(1)).active
        assert client.discovery(Deadline.after(1))

        in_time(time.monotonic() - started, 1.5)
        for thread in hanging:
            thread.join()
        assert ("identities", "bulkhead_full") in recorded.calls
        assert recorded.used[-1][1] == 0

    def test_a_broken_catalogue_does_not_open_the_circuit_of_identities(self, client, genauth, soon):
        genauth.trouble(path="/api/v3/get-application-enabled-extidps", status=500)
        for _ in range(6):
            fails(client.ext_idps, genauth.token("mei"))

        assert client.identities(genauth.token("mei"), soon).rows


class TestLog:
    @pytest.fixture(autouse=True)
    def _fresh_logger(self, monkeypatch):
        # A logger that was used before keeps the configuration of that time, which cannot be captured.
        monkeypatch.setattr(calls, "log", structlog.get_logger())

    def test_a_failed_call_is_one_line_without_token_or_message(self, client, genauth):
        token = genauth.token("mei")
        genauth.trouble(path=IDENTITIES, envelope={"statusCode": 500, "message": "canary message", "requestId": "req-1"})

        with structlog.testing.capture_logs() as lines:
            fails(client.identities, token)

        (line,) = lines
        assert line["event"] == "genauth_call_failed"
        assert (line["operation"], line["outcome"], line["genauth_request_id"]) == ("identities", "unavailable", "req-1")
        assert line["seconds"] > 0
        assert token not in str(line)
        assert "canary message" not in str(line)

    def test_a_call_that_was_not_made_is_no_line(self, client, genauth):
        genauth.trouble(path=IDENTITIES, status=503, retry_after=9)
        for _ in range(3):
            fails(client.identities, genauth.token("mei"))

        with structlog.testing.capture_logs() as lines:
            fails(client.identities, genauth.token("mei"))

        assert lines == []
