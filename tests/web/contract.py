"""A client that holds every answer to the document we serve, so that contract and code cannot part."""

import re

from flask.testing import FlaskClient
from jsonschema import Draft202012Validator, FormatChecker
from werkzeug.exceptions import HTTPException

PROBLEM = {"$ref": "#/components/responses/Problem"}


class ContractClient(FlaskClient):
    """Asks as Flask's own client does, and fails when an answer is not one that ``/openapi.json`` told of."""

    def open(self, *args, **kwargs):
        response = super().open(*args, **kwargs)
        hold(response, self.application)
        return response


def hold(response, app):
    """Fail unless the answer is as documented."""
    document = served(app)
    method, path = response.request.method.lower(), rule(response.request, app)
    operations = document["paths"].get(path, {})
    operation = operations.get(method) or (operations.get("get") if method == "head" else None)
    told = (operation or {"responses": {}})["responses"]
    if method == "options" and response.status_code == 200:
        told = told or {"200": {"description": "Flask's own"}}
    described = resolved(told.get(str(response.status_code)) or told.get("default") or PROBLEM, document)
    if told.get(str(response.status_code)) is None:
        assert response.status_code >= 400, f"{response.status_code} is not documented for {method} {path}"
    hold_headers(response, described, document)
    hold_body(response, described, document, method)
    hold_to_what_is_always_so(response)


def served(app):
    if "served-document" not in app.extensions:
        client = FlaskClient(app, app.response_class)
        app.extensions["served-document"] = closed(client.get("/openapi.json").json)
    return app.extensions["served-document"]


def closed(document):
    """The document without its leave to add anything: what we send is all in it."""
    for schema in document["components"]["schemas"].values():
        assert "additionalProperties" not in schema
        schema["additionalProperties"] = False
        for each in schema["properties"].values():
            if values := each.pop("x-extensible-enum", None):
                each["enum"] = [*values, None]
    return document


def rule(request, app):
    urls = app.url_map.bind("")
    method = request.method if request.method in urls.allowed_methods(request.path) else "GET"
    try:
        found, _ = urls.match(request.path, method=method, return_rule=True)
    except HTTPException:
        return None
    return re.sub(r"<(?:\w+:)?(\w+)>", r"{\1}", found.rule)


def resolved(part, document):
    while "$ref" in part:
        name = part["$ref"].removeprefix("#/")
        part = document
        for step in name.split("/"):
            part = part[step]
    return part


def hold_headers(response, described, document):
    for name, header in described.get("headers", {}).items():
        value = response.headers.get(name)
        assert value is not None or not header.get("required"), f"{name} is missing"
        if value is not None:
            kind = header["schema"]["type"]
            valid(int(value) if kind == "integer" else value, header["schema"], document)


def hold_body(response, described, document, method):
    content = described.get("content", {})
    if method in {"head", "options"} or not content:
        assert not response.data or method == "options"
        return
    assert response.mimetype in content, f"{response.mimetype} is not documented"
    schema = content[response.mimetype]["schema"]
    if "json" in response.mimetype:
        valid(response.get_json(force=True), schema, document)


def valid(value, schema, document):
    whole = {**schema, "components": document["components"]}
    Draft202012Validator(whole, format_checker=FormatChecker()).validate(value)


def hold_to_what_is_always_so(response):
    headers = response.headers
    assert headers["X-Content-Type-Options"] == "nosniff"
    assert re.fullmatch(r"[A-Za-z0-9._-]{8,128}", headers["X-Request-Id"])
    if response.request.path.startswith("/me/"):
        assert headers.getlist("Vary") == ["Authorization, Cookie, Origin, Accept-Language"]
        assert headers["Cache-Control"] == "private, no-store"
    if response.status_code >= 400 and response.data and response.mimetype == "application/problem+json":
        problem = response.get_json(force=True)
        assert problem["status"] == response.status_code
        assert problem["requestId"] == headers["X-Request-Id"]
        assert problem["type"] == f"/problems/{problem['code'].replace('_', '-')}"
    if response.status_code == 401:
        scheme = "Webhook-Secret" if response.request.path.startswith("/webhooks/") else "Bearer"
        assert headers["WWW-Authenticate"].startswith(scheme)
    if response.status_code in {429, 502, 503, 504} and response.mimetype == "application/problem+json":
        assert headers["Retry-After"].isdecimal()
        assert int(headers["Retry-After"]) >= 1
