"""``GET /me/linked-accounts``, the outside accounts that a person has linked."""

from flask import Response, request
from flask_smorest import Blueprint
from marshmallow import ValidationError

from bff.errors import InvalidRequest
from bff.resilience import memoised
from bff.web.context import LONGEST_FIELD, record, services, session
from bff.web.openapi import problem_responses
from bff.web.representation import language, represent
from schemas.linked_accounts import HEADERS, PARAMETERS, LinkedAccountsQuerySchema, LinkedAccountsSchema

me = Blueprint("me", __name__, description="What belongs to the person whose session token is sent.")

_QUERY = LinkedAccountsQuerySchema()
_PROBLEMS = problem_responses(400, 401, 403, 429, 500, 502, 503, 504)


@me.get("/me/linked-accounts")
@me.doc(parameters=PARAMETERS, security=[{"bearer": []}, {"cookie": []}], responses=_PROBLEMS)
@me.response(200, LinkedAccountsSchema, headers=HEADERS, description="The linked accounts, sorted by provider type and id.")
@me.alt_response(304, headers=HEADERS, description="Nothing has changed since the ETag in If-None-Match.")
def linked_accounts() -> Response:
    """The outside accounts that this person has linked."""
    if len(request.query_string) > LONGEST_FIELD:
        raise InvalidRequest(f"The query is longer than {LONGEST_FIELD} characters.", note="query too long")
    request_record, include = record(), _include(",".join(request.args.getlist("include")))
    representation = represent(
        services(),
        session(),
        request_record.deadline,
        language=language(request.headers.get("Accept-Language", "")),
        include=include,
        refresh=bool(request.cache_control.no_cache),
    )
    request_record.source = representation.source
    request_record.freshness = representation.freshness
    response = Response(representation.body, headers=representation.headers)
    # Not werkzeug's make_conditional, which would answer conditions that are none of ours: 412 to an If-Match.
    if request.if_none_match.contains_weak(representation.etag):
        response.status_code = 304
    return response


@memoised("includes")
def _include(names: str) -> frozenset[str]:
    try:
        return frozenset(map(str.strip, _QUERY.load({"include": names})["include"].split(",")))
    except ValidationError as exc:
        raise InvalidRequest(" ".join(exc.messages_dict["include"]), note="include") from None
