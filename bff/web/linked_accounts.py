"""``/me/linked-accounts``, the outside accounts that a person has linked: show them, unlink one."""

from typing import NamedTuple

from flask import Response, request
from flask_smorest import Blueprint
from marshmallow import ValidationError
from orjson import Fragment

from bff.accounts import NotLinkedHere
from bff.errors import InvalidRequest
from bff.resilience import memoised
from bff.web.authentication import require_recent_sign_in
from bff.web.context import LONGEST_FIELD, record, services, session
from bff.web.openapi import problem_responses
from bff.web.representation import language, listed, represent, unlinked
from schemas.linked_accounts import (
    HEADERS,
    PARAMETERS,
    UNLINK_PARAMETERS,
    AccountUnlinkedSchema,
    LinkedAccountsQuerySchema,
    LinkedAccountsSchema,
)

me = Blueprint("me", __name__, description="What belongs to the person whose session token is sent.")

_QUERY = LinkedAccountsQuerySchema()
_PROBLEMS = problem_responses(400, 401, 403, 429, 500, 502, 503, 504)


@me.get("/me/linked-accounts")
@me.doc(operationId="listLinkedAccounts", parameters=PARAMETERS, security=[{"bearer": []}, {"cookie": []}], responses=_PROBLEMS)
@me.response(200, LinkedAccountsSchema, headers=HEADERS, description="The linked accounts, sorted by provider type and id.")
@me.alt_response(304, headers=HEADERS, description="Nothing has changed since the ETag in If-None-Match.")
def linked_accounts() -> Response:
    """The outside accounts that this person has linked.

    From the cache where it is fresh, else from GenAuth. While GenAuth is away it is the last good answer, with `meta.stale`.
    """
    query, bff, request_record = _asked(), services(), record()
    answer = bff.linked_accounts.of(session(), request_record.deadline, refresh=query.refresh)
    representation = represent(
        bff,
        session(),
        request_record.deadline,
        answer,
        language=language(request.headers.get("Accept-Language", "")),
        include=query.include,
        refresh=query.refresh,
    )
    request_record.source = representation.source
    # What was asked to be fresh is no answer to the same request a moment later.
    request_record.freshness = None if query.refresh else representation.freshness
    response = Response(representation.body, headers=representation.headers)
    # Not werkzeug's make_conditional, which would answer conditions that are none of ours: 412 to an If-Match.
    if request.if_none_match.contains_weak(representation.etag):
        response.status_code = 304
    return response


@me.delete("/me/linked-accounts/<id>")
@me.doc(
    operationId="unlinkAccount",
    parameters=UNLINK_PARAMETERS,
    security=[{"bearer": []}, {"cookie": []}],
    responses=problem_responses(400, 401, 403, 404, 409, 429, 500, 502, 503, 504),
)
@me.response(200, AccountUnlinkedSchema, headers=HEADERS, description="The account is gone; what GenAuth lists now.")
def unlink(id: str) -> Response:  # noqa: A002 - as the contract calls it
    """Unlink an account.

    Answered by the list that GenAuth reports afterwards, not by what it says to the change. What the provider itself permits
    this application stays as it is: `unlinked.revokeUrl` is where a person withdraws that.
    """
    query, bff, spoken = _asked(), services(), language(request.headers.get("Accept-Language", ""))
    require_recent_sign_in("unlink")
    try:
        change = bff.unlinking.unlink(session(), id, record().deadline)
    except NotLinkedHere as error:
        if error.answer:
            error.members = {"linkedAccounts": Fragment(listed(bff, session(), error.answer, spoken))}
        raise
    record().source = change.after.source
    representation = represent(
        bff,
        session(),
        record().deadline,
        change.after,
        language=spoken,
        include=query.include,
        unlinked=unlinked(bff, session(), change, spoken),
    )
    return Response(representation.body, headers=representation.headers)


class _Query(NamedTuple):
    include: frozenset[str]
    refresh: bool


def _asked() -> _Query:
    if len(request.query_string) > LONGEST_FIELD:
        raise InvalidRequest(f"The query is longer than {LONGEST_FIELD} characters.", note="query too long")
    # Values that are repeated count once; of `refresh` two different ones are none.
    refresh = dict.fromkeys(request.args.getlist("refresh")) or ["false"]
    return _query(",".join(request.args.getlist("include")), ",".join(refresh))


@memoised("queries")
def _query(include: str, refresh: str) -> _Query:
    try:
        asked = _QUERY.load({"include": include, "refresh": refresh})
    except ValidationError as exc:
        mistakes = exc.messages_dict
        sentences = " ".join(sentence for field in mistakes.values() for sentence in field)
        raise InvalidRequest(sentences, note=", ".join(sorted(mistakes))) from None
    return _Query(frozenset(map(str.strip, asked["include"].split(","))), asked["refresh"] == "true")
