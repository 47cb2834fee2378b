"""``/openapi.json``: valid, complete, and the pages made of it. Whether answers are as it says `contract` asks in every test."""

import json
import re

import pytest
from jsonschema import Draft202012Validator
from openapi_spec_validator import OpenAPIV31SpecValidator

from bff.web.problems import REMEDIES, errors_by_code

PATH = "/me/linked-accounts"
MOST = {"SESSION_COOKIE_NAME": "sid", "METRICS_TOKEN": "watching", "WEBHOOK_SECRET": "events"}
EVERY_CODE = {
    "invalid_request": 400,
    "token_missing": 401,
    "token_expired": 401,
    "token_invalid": 401,
    "reauthentication_required": 401,
    "webhook_secret_invalid": 401,
    "user_blocked": 403,
    "csrf_header_missing": 403,
    "origin_not_allowed": 403,
    "managed_by_organization": 403,
    "link_of_another_person": 403,
    "not_found": 404,
    "method_not_allowed": 405,
    "last_login_method": 409,
    "already_linked": 409,
    "linked_to_another_person": 409,
    "link_expired": 410,
    "rate_limited": 429,
    "internal_error": 500,
    "upstream_malformed": 502,
    "upstream_forbidden": 502,
    "upstream_unavailable": 503,
    "change_unconfirmed": 504,
    "upstream_timeout": 504,
}


@pytest.mark.parametrize("changed", [{}, MOST], ids=["least", "most"])
def test_the_document_is_valid_openapi(client_with, changed):
    document = client_with(**changed).get("/openapi.json").json

    assert document["openapi"].startswith("3.1")
    OpenAPIV31SpecValidator(document).validate()


def test_every_code_is_told_where_it_happens(client):
    document = client.get("/openapi.json").json
    used = [each for path in document["paths"].values() for method, each in path.items() if method != "parameters"]
    named = {
        status: each["$ref"].rpartition("/")[2] for one in used for status, each in one["responses"].items() if "$ref" in each
    }

    for code, status in EVERY_CODE.items():
        name = named.get(str(status), named["default"])
        assert f"`{code}`" in document["components"]["responses"][name]["description"]
    assert document["components"]["schemas"]["Problem"]["properties"]["code"]["x-extensible-enum"] == list(EVERY_CODE)


def test_every_operation_has_a_name_of_its_own(client_with):
    paths = client_with(**MOST).get("/openapi.json").json["paths"]

    operations = [each for path in paths.values() for method, each in path.items() if method != "parameters"]
    names = [each["operationId"] for each in operations]
    assert paths[PATH]["get"]["operationId"] == "listLinkedAccounts"
    assert len(names) == len(set(names)) >= 10
    assert all(re.fullmatch("[a-z][A-Za-z]+", name) for name in names)


def test_what_is_answered_may_grow(client):
    """A client that was generated from the document reads a field, a code or a status that was added later."""
    schemas = client.get("/openapi.json").json["components"]["schemas"]

    for schema in schemas.values():
        assert schema.get("additionalProperties", True) is True
        assert not any("enum" in each for each in schema["properties"].values())
    added = {"type": "/problems/new", "title": "", "status": 418, "code": "new", "instance": "/", "requestId": "x", "more": 1}
    Draft202012Validator(schemas["Problem"]).validate(added)


def test_an_address_that_browsers_load_breaks_no_client(client):
    """Where a document says `uri`, clients in Java and Kotlin refuse an answer with `…|imageView2/…` in it, the whole of it."""
    schemas = client.get("/openapi.json").json["components"]["schemas"]

    shapes = [(schemas["LinkedAccount"], "avatarUrl"), (schemas["Provider"], "logoUrl")]
    assert not any("format" in schema["properties"][name] for schema, name in shapes)


def test_there_is_advice_for_every_error_and_for_nothing_else():
    assert REMEDIES.keys() == errors_by_code().keys() == EVERY_CODE.keys()


def test_the_document_names_what_a_request_may_carry(client):
    parameters = {each["name"]: each for each in client.get("/openapi.json").json["paths"][PATH]["get"]["parameters"]}

    assert parameters["include"]["schema"]["items"]["enum"] == ["identities", "providers", "unlink"]
    assert parameters["refresh"]["schema"] == {"type": "boolean", "default": False}
    headers = {"Accept-Language", "If-None-Match", "X-Requested-With", "X-Request-Id"}
    assert {name for name, each in parameters.items() if each["in"] == "header"} == headers


def test_the_document_names_what_a_change_may_carry_and_what_it_is_answered_with(client):
    """A client that was generated from it can send what cookie mode and step-up need, and reads every status and header."""
    paths = client.get("/openapi.json").json["paths"]
    unlink, begin = paths[f"{PATH}/{{id}}"]["delete"], paths[f"{PATH}/links"]["post"]
    outcome, back = paths[f"{PATH}/links/{{state}}"]["get"], paths[f"{PATH}/links/{{state}}/return"]["post"]

    usual = {"Accept-Language", "X-Requested-With", "X-Request-Id"}
    assert names_of(unlink) == usual | {"id", "include", "X-Id-Token"}
    assert names_of(begin) == usual
    assert names_of(outcome) == usual | {"state"}
    assert {"413", "415"} <= begin["responses"].keys()
    assert "413" in back["responses"]
    assert "application/x-www-form-urlencoded" in back["requestBody"]["content"]
    for told in (unlink["responses"]["200"], begin["responses"]["201"], outcome["responses"]["200"]):
        assert {"Cache-Control", "RateLimit", "X-Request-Id"} <= told["headers"].keys()


def names_of(operation):
    return {each["name"] for each in operation["parameters"]}


def test_the_document_names_the_ways_to_sign_in_that_are_switched_on(client_with):
    def ways(**changed):
        document = client_with(**changed).get("/openapi.json").json
        return set(document["components"]["securitySchemes"]), document["paths"][PATH]["get"]["security"]

    assert ways() == ({"bearer"}, [{"bearer": []}])
    assert ways(SESSION_COOKIE_NAME="sid") == ({"bearer", "cookie"}, [{"bearer": []}, {"cookie": []}])


def test_the_document_tells_of_metrics_only_where_there_are_any(client_with):
    assert "/metrics" not in client_with().get("/openapi.json").json["paths"]
    assert "/metrics" in client_with(METRICS_TOKEN="watching").get("/openapi.json").json["paths"]


def test_every_route_is_documented_with_its_methods(app_with):
    app = app_with(METRICS_TOKEN="watching")
    document = app.test_client().get("/openapi.json").json

    for rule in app.url_map.iter_rules():
        operations = document["paths"][re.sub("<(.*)>", r"{\1}", rule.rule)].keys()
        assert {method.lower() for method in rule.methods - {"HEAD", "OPTIONS"}} <= operations
    assert {"get", "head", "options"} <= document["paths"][PATH].keys()


def test_the_document_has_no_shapes_that_nothing_uses(client):
    document = client.get("/openapi.json").json

    text = json.dumps(document)
    for name in document["components"]["schemas"]:
        assert f"#/components/schemas/{name}" in text


def test_the_page_for_people_loads_nothing_and_tells_every_code(client):
    response = client.get("/docs")

    assert response.mimetype == "text/html"
    assert "default-src 'none'" in response.headers["Content-Security-Policy"]
    assert not re.search(r"<script|<link|<img|<iframe|url\(|@import|src=", response.text)
    for code in EVERY_CODE:
        assert f"<code>{code}</code>" in response.text


def test_the_page_for_people_tells_what_to_send_once_each(client):
    page = client.get("/docs").text
    unlink, begin = (page.partition(f'id="{path}"')[2].partition("<h2")[0] for path in (f"{PATH}/{{id}}", f"{PATH}/links"))

    assert unlink.count("<td><code>id</code></td>") == 1
    for name in ("application/json", "provider", "returnTo", "idToken"):
        assert f"<td><code>{name}</code></td><td>body" in begin


@pytest.mark.parametrize(("code", "status"), EVERY_CODE.items())
def test_a_problems_type_leads_to_a_page_about_it(client, code, status):
    response = client.get(f"/problems/{code.replace('_', '-')}")

    assert response.status_code == 200
    assert code in response.text
    assert str(status) in response.text


@pytest.mark.parametrize("name", ["no-such-problem", "token_expired", "<script>"])
def test_there_is_no_page_about_other_problems(client, name):
    assert client.get(f"/problems/{name}").json["code"] == "not_found"
