"""``GET /me/linked-accounts``: the one question."""

from flask import Response, g, request
from flask_smorest import Blueprint
from marshmallow import ValidationError

from bff.cache import KEEP
from bff.errors import InvalidRequest
from bff.resilience import memoised
from bff.web.context import deadline, services, session
from bff.web.openapi import documents_problems
from bff.web.representation import answered, language
from schemas.linked_accounts import HEADERS, PARAMETERS, LinkedAccountsQuerySchema, LinkedAccountsSchema

me = Blueprint("me", __name__, description="What belongs to the person whose session token is sent.")

_QUERY = LinkedAccountsQuerySchema()


@me.get("/me/linked-accounts")
@me.doc(parameters=PARAMETERS, security=[{"bearer": []}, {"cookie": []}])
@me.response(200, LinkedAccountsSchema, headers=HEADERS, description="The linked accounts, sorted by provider type and id.")
@me.alt_response(304, headers=HEADERS, description="Nothing has changed since the ETag in If-None-Match.")
@documents_problems(400, 401, 403, 429, 500, 502, 503, 504)
def linked_accounts() -> Response:
    """The outside accounts that this person has linked."""
    include = _include(tuple(request.args.getlist("include")))
    said = answered(
        services(),
        session(),
        deadline(),
        spoken=language(request.headers.get("Accept-Language", "")),
        identities="identities" in include,
        refresh=bool(request.cache_control.no_cache),
    )
    g.source = said.source
    request.environ[KEEP] = said.keepsake
    response = Response(said.body, headers=said.headers)
    # Not werkzeug's make_conditional, which would answer conditions that are none of ours: 412 to an If-Match.
    if request.if_none_match.contains_weak(said.etag):
        response.status_code = 304
    return response


@memoised("includes")
def _include(values: tuple[str, ...]) -> frozenset[str]:
    try:
        return frozenset(map(str.strip, _QUERY.load({"include": ",".join(values)})["include"].split(",")))
    except ValidationError as exc:
        raise InvalidRequest(" ".join(exc.messages_dict["include"]), note="include") from None
