"""The contract as OpenAPI 3.1, generated from the routes and schemas that run, so that the two cannot part."""

from collections import defaultdict
from collections.abc import Callable
from typing import Any, TypeVar

from flask import Flask, Response, render_template_string, url_for
from flask_smorest import Api, Blueprint, current_api

from bff import errors
from bff.errors import BffError
from bff.web.problems import CONTENT_TYPE
from schemas.problem import ProblemSchema

View = TypeVar("View", bound=Callable[..., Any])


def codes_by_status() -> dict[int, list[type[BffError]]]:
    """Every error there is, by HTTP status."""
    found: defaultdict[int, list[type[BffError]]] = defaultdict(list)
    for error in vars(errors).values():
        if isinstance(error, type) and issubclass(error, BffError) and "code" in vars(error):
            found[error.status].append(error)
    return found


def documents_problems(*statuses: int) -> Callable[[View], View]:
    """Say of a view which problems it may answer with, every code by name."""

    def document(view: View) -> View:
        for status in reversed(statuses):
            kinds = {kind.code: kind.title for kind in codes_by_status()[status]}
            view = Blueprint.alt_response(
                Blueprint("_", __name__),
                status,
                schema=ProblemSchema,
                content_type=CONTENT_TYPE,
                description="; ".join(f"`{code}`: {title}" for code, title in kinds.items()),
                headers=_headers(status),
            )(view)
        return view

    return document


def _headers(status: int) -> dict[str, Any]:
    headers: dict[str, Any] = {"X-Request-Id": {"schema": {"type": "string"}}}
    if status == 401:
        headers["WWW-Authenticate"] = {"description": "RFC 6750 3.", "schema": {"type": "string"}}
    if status in {429, 503}:
        headers["Retry-After"] = {"description": "Seconds.", "schema": {"type": "integer", "minimum": 1}}
    return headers


def openapi(app: Flask) -> Api:
    """The API to register blueprints with; serves ``/openapi.json`` and ``/docs``."""
    app.config.update(
        API_TITLE="Linked accounts",
        API_VERSION="1",
        OPENAPI_VERSION="3.1.0",
        OPENAPI_URL_PREFIX="/",
        OPENAPI_JSON_PATH="openapi.json",
    )
    api = Api(app)
    api.DEFAULT_ERROR_RESPONSE_NAME = None
    api.spec.options["info"] = {"description": "Which outside accounts has this person linked?"}
    api.spec.components.security_scheme("bearer", {"type": "http", "scheme": "bearer", "bearerFormat": "JWT"})
    return api


docs = Blueprint("docs", __name__, description="The contract, for people.")


@docs.get("/docs")
@docs.response(200, content_type="text/html", description="A page that loads nothing from elsewhere.")
def documentation() -> Response:
    """The contract as a page."""
    html = render_template_string(_PAGE, spec=current_api.spec.to_dict(), document=url_for("api-docs.openapi_json"))
    response = Response(html, content_type="text/html; charset=utf-8")
    response.headers["Content-Security-Policy"] = "default-src 'none'; style-src 'unsafe-inline'"
    return response


_PAGE = """<!doctype html>
<html lang="en">
<meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">
<title>{{ spec.info.title }}</title>
<style>
  body { font: 16px/1.5 system-ui, sans-serif; max-width: 60rem; margin: 2rem auto; padding: 0 1rem; color: #1c1c1c }
  h2 { margin-top: 2.5rem; border-top: 1px solid #ddd; padding-top: 1rem } code { background: #f4f4f4; padding: .1em .3em }
  table { border-collapse: collapse; width: 100% } td, th { text-align: left; vertical-align: top; padding: .3rem .8rem .3rem 0 }
</style>
<h1>{{ spec.info.title }}</h1>
<p>{{ spec.info.description }} As OpenAPI: <a href="{{ document }}">{{ document }}</a>.</p>
{% for path, operations in spec.paths.items() %}{% for method, operation in operations.items() if operation.responses %}
<h2><code>{{ method|upper }} {{ path }}</code></h2>
<p>{{ operation.summary }} {{ operation.description }}</p>
{% for parameter in operation.parameters or [] %}
<p><code>{{ parameter.name }}</code> ({{ parameter.in }}) {{ parameter.description }}</p>
{% endfor %}
<table><tr><th>Status</th><th>Meaning</th></tr>
{% for status, response in operation.responses.items() %}
<tr><td><code>{{ status }}</code></td><td>{{ response.description }}</td></tr>
{% endfor %}</table>
{% endfor %}{% endfor %}
<h2>Shapes</h2>
{% for name, schema in spec.components.schemas.items() %}
<h3>{{ name }}</h3>
<table>{% for field, property in schema.properties.items() %}
<tr><td><code>{{ field }}</code></td><td>{{ property.type|join(" or ") if property.type is not string else property.type }}
{{ property.description }}</td></tr>
{% endfor %}</table>
{% endfor %}
</html>
"""
