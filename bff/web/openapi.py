"""The contract as OpenAPI 3.1, generated from the routes and schemas that run, so that the two cannot part."""

from collections.abc import Iterator
from copy import deepcopy
from http import HTTPStatus
from typing import Any

from flask import Flask
from flask_smorest import Api

from bff import __version__
from bff.errors import InvalidRequest
from bff.settings import Settings
from bff.web.problems import CONTENT_TYPE, REMEDIES, codes_by_status, errors_by_code
from schemas.problem import ProblemSchema
from schemas.webhooks import SECRET_HEADERS

Document = dict[str, Any]

_DESCRIPTION = """\
Which outside accounts has this person linked? Errors are problem details (RFC 9457): branch on `code`, show `title`,
tell us `requestId`.
"""
_CONTACT = {"name": "Whoever runs this service"}
_REQUEST_ID = {"description": "The caller's, or one of ours.", "schema": {"type": "string"}}
_LANGUAGE = {"description": "The language of the title.", "required": True, "schema": {"type": "string"}}
_REFERENCE = "#/components/responses/{}"
_SECONDS = {"type": "integer", "minimum": 1}


def openapi(app: Flask) -> Api:
    """The API to register blueprints with. What it gathers, `document` finishes."""
    app.config.update(API_TITLE="Linked accounts", API_VERSION=__version__, OPENAPI_VERSION="3.1.0")
    api = Api(app)
    api.DEFAULT_ERROR_RESPONSE_NAME = None
    for status, codes in codes_by_status().items():
        api.spec.components.response(f"Problem{status}", _problem_response(status, codes), lazy=True)
    for status in (413, 415):  # whoever reads a body may say these
        api.spec.components.response(f"Problem{status}", _problem_response(status, [InvalidRequest.code]), lazy=True)
    rest = ", ".join(f"`{code}`" for code in codes_by_status()[404] + codes_by_status()[405])
    api.spec.components.response("Problem", _problem(f"Any other error: {rest}."), lazy=True)
    return api


def problem_responses(*statuses: int) -> dict[str, str]:
    """The problems that a view may answer with, for ``Blueprint.doc(responses=…)``."""
    return {str(status): f"Problem{status}" for status in statuses} | {"default": "Problem"}


def document(api: Api, settings: Settings) -> Document:
    """The finished document, with what flask-smorest cannot know: HEAD, OPTIONS, and what the settings switch on."""
    made: Document = deepcopy(api.spec.to_dict())
    schemes = dict(_security_schemes(settings))
    paths = {path: _path(operations, schemes) for path, operations in made["paths"].items()}
    components = made["components"]
    schemas = {name: schema for name, schema in components["schemas"].items() if name not in {"Error", "PaginationMetadata"}}
    schemas["Problem"]["properties"]["code"]["enum"] = list(errors_by_code())
    schemas = {name: _extensible(schema) for name, schema in schemas.items()}
    return {
        "openapi": made["openapi"],
        "info": {
            **made["info"],
            "description": _DESCRIPTION,
            "contact": _CONTACT,
            "license": {"name": "MIT", "identifier": "MIT"},
        },
        "servers": [{"url": "/"}],
        "tags": made["tags"],
        "paths": paths,
        "components": {**components, "schemas": schemas, "securitySchemes": schemes},
    }


def _security_schemes(settings: Settings) -> Iterator[tuple[str, Document]]:
    yield "bearer", {"type": "http", "scheme": "bearer", "description": "The person's GenAuth access token."}
    if settings.session_cookie_name:
        cookie = (
            "The same token in a cookie; `X-Requested-With` has to come along, and with what changes something an `Origin` that "
            "is listed or our own. An Authorization header goes before it."
        )
        yield "cookie", {"type": "apiKey", "in": "cookie", "name": settings.session_cookie_name, "description": cookie}
    if settings.metrics_token:
        yield "metrics", {"type": "http", "scheme": "bearer", "description": "METRICS_TOKEN."}
    if settings.webhook_secret:
        for scheme, header in SECRET_HEADERS.items():
            yield scheme, {"type": "apiKey", "in": "header", "name": header, "description": "WEBHOOK_SECRET, sent by GenAuth."}


def _extensible(schema: Document) -> Document:
    """The shape of an answer, to which fields and values may be added: no client is to break at one that it does not know."""
    properties = {name: {**each} for name, each in schema["properties"].items()}
    for each in properties.values():
        if values := each.pop("enum", None):
            each["x-extensible-enum"] = [value for value in values if value is not None]
    return {**{name: part for name, part in schema.items() if name != "additionalProperties"}, "properties": properties}


def _path(operations: Document, schemes: Document) -> Document:
    path = {name: each if name == "parameters" else _operation(each, schemes) for name, each in operations.items()}
    if "get" in path and path["get"]["security"]:
        path["head"] = _head(path["get"])
        path["options"] = _options(path)
    return path


def _operation(operation: Document, schemes: Document) -> Document:
    # Whatever is asked, the query may not be readable, or the body too long.
    answers = {"400": _REFERENCE.format("Problem400"), "default": _REFERENCE.format("Problem")}
    answers = {status: {"$ref": reference} for status, reference in answers.items()} | operation["responses"]
    responses = {str(status): answers[status] for status in sorted(answers, key=str)}
    security = [each for each in operation.get("security", []) if each.keys() <= schemes.keys()]
    return {**operation, "security": security, "responses": responses}


def _head(get: Document) -> Document:
    responses = {
        status: {name: each[name] for name in ("description", "headers") if name in each} if "$ref" not in each else each
        for status, each in get["responses"].items()
    }
    name = f"{get['operationId']}Head"
    return {**get, "operationId": name, "summary": "The same without a body.", "responses": responses}


def _options(path: Document) -> Document:
    methods = ", ".join(sorted({name.upper() for name in path} - {"PARAMETERS"} | {"OPTIONS"}))
    answer = {
        "description": "What may be asked for here; for pages on other origins, whether they may (CORS preflight).",
        "headers": {"Allow": {"description": f"`{methods}`.", "schema": {"type": "string"}}, "X-Request-Id": _REQUEST_ID},
    }
    operation = {
        "operationId": f"{path['get']['operationId']}Options",
        "summary": "Which methods there are.",
        "description": "Also what browsers ask before a page on another origin may (CORS preflight).",
        "tags": path["get"]["tags"],
        "security": [],
        "responses": {"200": answer},
    }
    return _operation(operation, {})


def _problem_response(status: int, codes: list[str]) -> Document:
    kinds = errors_by_code()
    explained = "\n".join(f"- `{code}`: {kinds[code].title} {REMEDIES[code]}" for code in codes)
    return _problem(f"{HTTPStatus(status).phrase}.\n\n{explained}", **_headers(status))


def _problem(description: str, **headers: Document) -> Document:
    return {
        "description": description,
        "headers": {"X-Request-Id": _REQUEST_ID, "Content-Language": _LANGUAGE, **headers},
        "content": {CONTENT_TYPE: {"schema": ProblemSchema}},
    }


def _headers(status: int) -> dict[str, Document]:
    if status == 401:
        return {"WWW-Authenticate": {"description": "RFC 6750 3.", "required": True, "schema": {"type": "string"}}}
    if status in {429, 502, 503, 504}:
        return {"Retry-After": {"description": "Seconds.", "required": True, "schema": _SECONDS}}
    return {}
