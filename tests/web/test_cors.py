"""What a page on another origin may ask and read, by what browsers do (Fetch standard, CORS protocol)."""

import pytest

PATH = "/me/linked-accounts"
PAGE, STRANGER = "https://app.example", "https://anybody.example"
# Each puts its fields on every call that a page makes.
TRACING = {
    "OpenTelemetry": ["traceparent", "tracestate", "baggage"],
    "Sentry": ["sentry-trace", "baggage"],
    "Datadog": [
        *("x-datadog-trace-id", "x-datadog-parent-id", "x-datadog-origin", "x-datadog-sampling-priority", "x-datadog-tags"),
        *("traceparent", "tracestate"),
    ],
    "Elastic": ["elastic-apm-traceparent", "traceparent", "tracestate"],
    "New Relic": ["newrelic", "traceparent", "tracestate"],
    "Zipkin": ["b3", "x-b3-traceid", "x-b3-spanid", "x-b3-parentspanid", "x-b3-sampled", "x-b3-flags"],
    "Jaeger": ["uber-trace-id"],
    "SkyWalking": ["sw8", "sw8-correlation"],
    "ARMS": ["eagleeye-traceid", "eagleeye-sessionid", "eagleeye-pappname"],
    "Application Insights": ["request-id", "request-context", "traceparent"],
    "X-Ray": ["x-amzn-trace-id"],
    "Dynatrace": ["x-dtpc", "x-dtreferer"],
}
OF_LIBRARIES = ["accept", "accept-language", "authorization", "cache-control", "content-type", "if-none-match", "pragma"]
CONTRACT = ["/openapi.json", "/docs", "/problems/token-expired"]


def preflight(client, path, fields, origin=PAGE):
    """The fields that a browser would send after this preflight, or None if the page may not ask."""
    asked = {"Origin": origin, "Access-Control-Request-Method": "GET", "Access-Control-Request-Headers": ",".join(fields)}
    response = client.options(path, headers=asked)
    if response.headers.get("Access-Control-Allow-Origin") not in {origin, "*"} or not 200 <= response.status_code < 300:
        return None
    return sorted(filter(None, response.headers.get("Access-Control-Allow-Headers", "").split(", ")))


@pytest.fixture(
    params=[{"CORS_ORIGINS": PAGE}, {"CORS_ORIGINS": PAGE, "SESSION_COOKIE_NAME": "sid"}, {"CORS_ORIGINS": "*"}], ids=str
)
def client(client_with, request):
    return client_with(**request.param)


@pytest.mark.parametrize("fields", TRACING.values(), ids=TRACING)
def test_a_page_that_is_traced_may_ask(client, fields):
    assert preflight(client, PATH, ["authorization", *fields]) == sorted(["authorization", *fields])


def test_a_page_may_send_what_http_libraries_do(client):
    assert preflight(client, PATH, OF_LIBRARIES) == OF_LIBRARIES


@pytest.mark.parametrize("field", ["x-evil", "cookie", "x-forwarded-for", "x-datadog", "xtraceparent", "traceparent2", "b", ".*"])
def test_a_page_may_send_nothing_else(client, field):
    assert preflight(client, PATH, ["authorization", field]) == ["authorization"]


def test_more_fields_can_be_allowed(client_with):
    client = client_with(CORS_ORIGINS=PAGE, CORS_ALLOW_HEADERS="X-Tenant, x_old")

    assert preflight(client, PATH, ["traceparent", "x-tenant", "X_OLD", "x-tenants", "xxold"]) == [
        "X_OLD",
        "traceparent",
        "x-tenant",
    ]


def test_a_page_may_read_every_field_that_the_contract_tells_of(client):
    document = client.get("/openapi.json").json
    answers = [*document["components"]["responses"].values(), *document["paths"][PATH]["get"]["responses"].values()]
    told = {name.lower() for answer in answers for name in answer.get("headers", {})} | {"allow"}  # of 405

    response = client.get(PATH, headers={"Origin": PAGE})

    exposed = set(response.headers["Access-Control-Expose-Headers"].lower().split(", "))
    safelisted = {"cache-control", "content-language", "content-length", "content-type", "expires", "last-modified", "pragma"}
    assert told - exposed - safelisted == {"vary"}  # it is for caches


def test_an_origin_that_is_not_listed_may_ask_for_nobodys_accounts(client_with):
    for settings in ({}, {"CORS_ORIGINS": PAGE}):
        assert preflight(client_with(**settings), PATH, ["traceparent"], origin=STRANGER) is None


@pytest.mark.parametrize("path", ["/", "/api/me/linked-accounts", "/me/linked-accounts/", "/me/linked-account"])
def test_a_page_with_a_wrong_address_and_a_token_learns_that(client, path):
    """The browser asks whether the page may first, and where that fails the page sees no 404."""
    asked = ["authorization", "traceparent"]
    assert preflight(client, path, asked) == (asked if path.startswith("/me/") else ["*", "Authorization"])

    response = client.get(path, headers={"Origin": PAGE, "Authorization": "Bearer x"})
    assert (response.status_code, response.json["code"]) == (404, "not_found")
    assert response.headers.getlist("Access-Control-Allow-Origin") in ([PAGE], ["*"])


def test_what_no_browser_asks_before_a_call_is_answered_as_any_wrong_address(client):
    assert client.options("/nothing", headers={"Origin": PAGE}).status_code == 404
    assert client.options("/me/nothing").status_code == 404


@pytest.mark.parametrize("settings", [{}, {"CORS_ORIGINS": PAGE, "SESSION_COOKIE_NAME": "sid"}], ids=str)
@pytest.mark.parametrize("path", [*CONTRACT, "/problems/no-such-problem"])
@pytest.mark.parametrize("origin", [STRANGER, PAGE, "null", "http://localhost:5173"])
def test_any_page_may_read_the_contract(client_with, settings, path, origin):
    client = client_with(**settings)

    response = client.get(path, headers={"Origin": origin})

    assert response.headers.getlist("Access-Control-Allow-Origin") == ["*"]
    assert "Access-Control-Allow-Credentials" not in response.headers
    assert preflight(client, path, ["traceparent", "x-request-id"], origin=origin) == ["traceparent", "x-request-id"]


@pytest.mark.parametrize("origin", [PAGE, STRANGER])
def test_a_page_with_a_wrong_address_learns_that(client_with, origin):
    client = client_with(METRICS_TOKEN="watching", CORS_ORIGINS=PAGE, SESSION_COOKIE_NAME="sid")

    for path in ("/linked-accounts", "/me", "/docsx", "/openapi.json/x", "/metrics", "/"):
        response = client.get(path, headers={"Origin": origin})
        assert response.mimetype == "application/problem+json"
        assert response.headers.getlist("Access-Control-Allow-Origin") == ["*"]
        assert "Access-Control-Allow-Credentials" not in response.headers


def test_a_problem_with_somebodys_accounts_is_for_listed_pages(client_with):
    client = client_with(CORS_ORIGINS=PAGE)

    for path in (PATH, "/me/nothing"):
        assert client.get(path, headers={"Origin": PAGE}).headers.getlist("Access-Control-Allow-Origin") == [PAGE]
        assert "Access-Control-Allow-Origin" not in client.get(path, headers={"Origin": STRANGER}).headers


@pytest.mark.parametrize(("path", "token"), [("/livez", ""), ("/readyz", ""), ("/metrics", "watching")])
def test_what_operators_ask_for_is_for_no_other_page(client_with, path, token):
    client = client_with(METRICS_TOKEN="watching", CORS_ORIGINS=PAGE)
    response = client.get(path, headers={"Origin": STRANGER, "Authorization": f"Bearer {token}"})

    assert response.status_code == 200
    assert "Access-Control-Allow-Origin" not in response.headers
