"""GenAuth's events: what changed elsewhere is asked for again, at once.

They come doubled, late and in any order, and some are sent for what was tried in vain: an event means "look again" and nothing
else. Its body has password hashes and fresh tokens in it; nothing of it is logged or kept but whom it is about.
"""

from collections.abc import Collection
from hmac import compare_digest
from typing import Any, NamedTuple
from urllib.parse import parse_qsl

from flask import Response, request
from flask_smorest import Blueprint

from bff.cache import CacheUnavailable
from bff.errors import InvalidRequest, UpstreamUnavailable, WebhookSecretInvalid
from bff.models import LINKED, AccountEvent
from bff.web.authentication import counted_address
from bff.web.context import Environ, sent_body, services
from bff.web.openapi import problem_responses
from schemas.genauth import json_value
from schemas.oidc import UnexpectedShape
from schemas.webhooks import EVENT, SECRET_HEADERS, EventData, EventSchema, event_data

webhooks = Blueprint("webhooks", __name__, description="What changed elsewhere, as GenAuth says.")

_PATH = "/webhooks/genauth"
_SECRET_VARIABLES = [f"HTTP_{name.upper().replace('-', '_')}" for name in SECRET_HEADERS.values()]
_LARGEST_EVENT = 1024 * 1024  # those of an organisation have everybody in it
_MOST_FIELDS = 100
_FORM = "application/x-www-form-urlencoded"
_SCHEMA = EventSchema()


class _Void(NamedTuple):
    """What no longer holds, beside the accounts and the ways to sign in: what GenAuth refused, and that it accepted tokens."""

    refusals: bool
    acceptances: bool


_CHANGED, _SIGNED_OUT = _Void(refusals=True, acceptances=False), _Void(refusals=True, acceptances=True)
_VOIDS = {
    "user:link-account": _Void(refusals=False, acceptances=False),
    **dict.fromkeys(
        (
            *("user:updated", "user:udv-changed", "user:email-verified", "user:password-changed"),
            *("user:unblocked", "user:unarchived"),
        ),
        _CHANGED,
    ),
    **dict.fromkeys(("user:blocked", "user:archived", "user:deleted", "kick"), _SIGNED_OUT),
}


def requires_webhook_secret() -> None:
    """Let in who shows WEBHOOK_SECRET, before anything else of the request is read.

    How long the comparison takes says nothing about how much was right. An address that shows none too often gets 429; whoever
    shows the secret is let in from there all the same.
    """
    if request.method == "OPTIONS":
        return
    bff = services()
    if shows_secret(bff.settings.webhook_secret, request.environ):
        return
    if bff.webhook_limit:
        bff.webhook_limit.hit(counted_address(request.remote_addr)[0])
    raise WebhookSecretInvalid(note="webhook secret")


def shows_secret(secrets: Collection[str], environ: Environ) -> bool:
    """Whether a request comes to this address with one of the secrets, in whichever of the headers."""
    if environ["PATH_INFO"] != _PATH:
        return False
    # Every one is compared with every one, whichever is right.
    return bool(sum(compare_digest(one, secret.encode()) for one in _shown(environ) for secret in secrets))


@webhooks.post(_PATH)
@webhooks.doc(
    operationId="receiveEvent",
    requestBody=EVENT,
    security=[{scheme: []} for scheme in SECRET_HEADERS],
    responses=problem_responses(400, 401, 413, 429, 500, 503),
)
@webhooks.response(204, description="Nothing from before the event is served of the people that it names.")
@webhooks.alt_response(202, description="It is not about anybody's accounts or sessions.")
def receive_event() -> Response:
    """Take an event of GenAuth's.

    Doubled and in any order. Whatever an event names besides people is neither read nor kept. 503 asks to send it again.
    """
    event = _event()
    name = event["name"]
    if name is None and event["description"]:
        return _answer(204, "test", "nobody")
    if name not in _VOIDS:
        return _answer(202, name or "", "ignored")
    data = _data_of(name, event["data"])
    if not data.user_ids:
        return _answer(204, name, "nobody")
    _forget(name, data)
    return _answer(204, name, "forgotten")


def _forget(name: str, data: EventData) -> None:
    bff, void = services(), _VOIDS[name]
    links = data.links if name == "user:link-account" else ()
    try:
        bff.changes.forget(
            *data.user_ids,
            cause="webhook",
            refusals=void.refusals,
            acceptances=void.acceptances,
            events=[AccountEvent(LINKED, *link) for link in links],
        )
    except CacheUnavailable:
        # Others would go on serving what changed: GenAuth is to send it again.
        bff.metrics.webhook_received(name, "unavailable")
        raise UpstreamUnavailable(note="Redis is away") from None


def _data_of(name: str, sent: object) -> EventData:
    bff = services()
    try:
        data = event_data(sent)
    except UnexpectedShape as shape:
        bff.metrics.webhook_received(name, "unreadable")
        raise InvalidRequest(
            "The event names nobody, too many, or nobody whose id can be read.", note=f"event, {shape}"
        ) from None
    if data.left_out:
        bff.metrics.records_left_out(data.left_out)
    return data


def _event() -> dict[str, Any]:
    """The event that was sent, by its schema. InvalidRequest where there is none, which says nothing of what there is."""
    body = sent_body(_LARGEST_EVENT)
    members = json_value(body)
    if not isinstance(members, dict) and request.mimetype == _FORM:
        members = _form(body)
    if not isinstance(members, dict):
        services().metrics.webhook_received("", "unreadable")
        raise InvalidRequest("The body is no event, as JSON or as a form.", note="event")
    event: dict[str, Any] = _SCHEMA.load(members)
    return event


def _form(body: bytes) -> dict[str, str] | None:
    """The fields of a form; None where there are too many, or a name without data."""
    try:
        fields = dict(parse_qsl(body.decode(errors="replace"), keep_blank_values=True, max_num_fields=_MOST_FIELDS))
    except ValueError:
        return None
    return None if not fields or (fields.get("eventName") and not fields.get("data")) else fields


def _shown(environ: Environ) -> list[bytes]:
    """What the headers show that may carry the secret. The server joins two of a name by a comma, which no secret has."""
    shown = [environ.get(name, "").split(",")[:2] for name in _SECRET_VARIABLES]
    return [each.strip().encode("latin-1", errors="replace") for values in shown for each in values]


def _answer(status: int, name: str, result: str) -> Response:
    services().metrics.webhook_received(name, result)
    response = Response(status=status, headers={"Cache-Control": "private, no-store"})
    del response.headers["Content-Type"]  # there is no content
    return response
