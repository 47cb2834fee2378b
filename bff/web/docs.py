"""The contract for machines, ``/openapi.json``, and for people: ``/docs`` and a page for each problem.

The pages load nothing from elsewhere, and nothing runs in them.
"""

import re

from flask import Response, current_app, render_template, request
from flask_smorest import Blueprint, current_api
from markupsafe import Markup, escape
from orjson import OPT_INDENT_2, dumps

from bff.errors import NotFound
from bff.web.context import services
from bff.web.openapi import Document, document, problem_responses
from bff.web.problems import REMEDIES, errors_by_code, problem_type

docs = Blueprint("docs", __name__, description="The contract, for machines and people.", template_folder="pages")

_HTML = "text/html; charset=utf-8"
_POLICY = "default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
_PAGE = {"type": "string"}


@docs.get("/openapi.json")
@docs.doc(operationId="getOpenApiDocument")
@docs.response(200, {"type": "object"}, description="This document.")
def openapi_json() -> Response:
    """The contract as OpenAPI 3.1.

    Generated from the routes and shapes that run. A page of any origin may read it.
    """
    return Response(dumps(_document(), option=OPT_INDENT_2), content_type="application/json")


@docs.get("/docs")
@docs.doc(operationId="getDocumentation")
@docs.response(200, _PAGE, content_type="text/html", description="A page that loads nothing from elsewhere.")
def documentation() -> Response:
    """The contract as a page.

    The same as `/openapi.json`, for people.
    """
    return _as_page(_rendered_documentation(request.root_path))


@docs.get("/problems/<name>")
@docs.response(200, _PAGE, content_type="text/html", description="What the error is and what a frontend does about it.")
@docs.doc(operationId="getProblemPage", responses=problem_responses(404))
def problem_page(name: str) -> Response:
    """What a problem's `type` points at.

    One page for each code.
    """
    for problem in _problems():
        if problem["path"] == f"/problems/{name}":
            return _as_page(_rendered("problem.html", problem=problem))
    raise NotFound


def _problems() -> list[Document]:
    return [
        {"code": code, "path": problem_type(code), "status": kind.status, "title": kind.title, "remedy": REMEDIES[code]}
        for code, kind in errors_by_code().items()
    ]


def _document() -> Document:
    made: Document | None = current_app.extensions.get("openapi-document")
    if made is None:
        made = current_app.extensions["openapi-document"] = document(current_api, services().settings)
    return made


def _rendered_documentation(root: str) -> str:
    """The page for whoever mounted us at ``root``. Anybody may ask for it, again and again: it is rendered once."""
    made: tuple[str, str] | None = current_app.extensions.get("documentation")
    if made is None or made[0] != root:
        made = root, _rendered("docs.html", spec=_document(), problems=_problems())
        current_app.extensions["documentation"] = made
    return made[1]


def _rendered(template: str, **what: object) -> str:
    return render_template(template, **what, inline=_inline, root=request.root_path)


def _as_page(text: str) -> Response:
    response = Response(text, content_type=_HTML)
    response.headers["Content-Security-Policy"] = _POLICY
    response.headers["Referrer-Policy"] = "no-referrer"
    return response


def _inline(text: str | None) -> Markup:
    """Backticks become code, lines that begin with a dash a list; the rest is text."""
    lines = str(escape(text or "")).split("\n")
    html = "".join(f"<li>{line[2:]}</li>" if line.startswith("- ") else f"{line} " for line in lines)
    listed = re.sub(r"((?:<li>.*?</li>)+)", r"<ul>\1</ul>", html)
    return Markup(re.sub(r"`+([^`]+)`+", r"<code>\1</code>", listed))  # noqa: S704 - escaped above
