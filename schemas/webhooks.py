"""What we keep of GenAuth's events: whom they are about, and what was linked (docs/genauth.md 6).

They come with password hashes, salts and fresh tokens, which have no field here and end here.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

from marshmallow import fields, post_load

from schemas.genauth import LONGEST_ID, LONGEST_NAME, AllowList, Text, json_value
from schemas.oidc import UnexpectedShape, is_identifier

MOST_USERS = 10_000
_MOST_PARTS = 1000  # events of our own, of which a stream keeps some ten thousand
# Any one will do: GenAuth's documents name each of them. The keys are what the contract calls them.
SECRET_HEADERS = {
    "webhookSecret": "X-Authing-Webhook-Secret",
    "webhookGenAuthToken": "X-GenAuth-Token",
    "webhookAuthingToken": "X-Authing-Token",
}
_TELLS_WHO = ("user", "users", "user_id", "primary_user", "secondary_user")


_USER = {
    "description": "A user with its `id` (or `userId`), or the id alone.",
    "oneOf": [{"type": "object"}, {"type": "string", "minLength": 1, "maxLength": LONGEST_ID}],
}
_DATA: dict[str, Any] = {
    "type": "object",
    "description": "Whom it is about. All else that it may have is not read.",
    "properties": {
        "user": _USER,
        "users": {"type": "array", "maxItems": MOST_USERS, "items": _USER},
        "userId": {"type": "string", "minLength": 1, "maxLength": LONGEST_ID},
        "primaryUser": {"type": "object", "description": "With `secondaryUser`: of a link, in its older form."},
        "secondaryUser": {"type": "object"},
        "extIdp": {"type": "object", "description": "Of a link: the identity source, `id` and `type`."},
        "identity": {"type": "object", "description": "Of a link: the identity, `extIdpId` and `provider`."},
    },
}
_NAME = {"type": "string", "description": "The event. A test has none.", "example": "user:updated"}
_TEST = {"type": "string", "description": "Of a test, which has nothing else."}
_EXAMPLES = {
    "linked": {
        "eventName": "user:link-account",
        "data": {
            "user": {"id": "6064925fb31803716a9df11f"},
            "extIdp": {"id": "62f209327ab3cc10d9016ee5", "type": "github"},
            "identity": {"extIdpId": "62f209327ab3cc10d9016ee5", "provider": "github"},
        },
    },
    "password": {"eventName": "user:password-changed", "data": {"userId": "6064925fb31803716a9df11f"}},
    "signedOut": {"eventName": "kick", "data": {"users": [{"id": "6064925fb31803716a9df11f"}]}},
    "test": {"description": "A test from GenAuth Webhook"},
}
EVENT: dict[str, Any] = {
    "required": True,
    "description": "At most 1 MiB.",
    "content": {
        "application/json": {
            "schema": {"type": "object", "properties": {"eventName": _NAME, "data": _DATA, "description": _TEST}},
            "examples": {name: {"value": value} for name, value in _EXAMPLES.items()},
        },
        "application/x-www-form-urlencoded": {
            "schema": {
                "type": "object",
                "required": ["eventName", "data"],
                "properties": {"eventName": _NAME, "data": {"type": "string", "description": "The same as JSON text."}},
            }
        },
    },
}


class NewLink(NamedTuple):
    """An account that GenAuth says was linked. ``provider_type`` is None where it does not say."""

    user_id: str
    source_id: str
    provider_type: str | None


@dataclass(frozen=True, slots=True)
class EventData:
    """Whom an event is about, each once, and what it says was linked. ``left_out``: so many more had no id that can be one."""

    user_ids: tuple[str, ...]
    left_out: int
    links: tuple[NewLink, ...]


class Person(fields.Field[str | None]):
    """A user object or a plain id, as the id; None where it is none."""

    def _deserialize(self, value: object, attr: str | None, data: Mapping[str, Any] | None, **_: object) -> str | None:  # noqa: ARG002
        return _id_of(value)


class People(fields.Field[list[str | None]]):
    """A list of what `Person` takes, one more than is taken at most. What is no list is one of them."""

    def _deserialize(self, value: object, attr: str | None, data: Mapping[str, Any] | None, **_: object) -> list[str | None]:  # noqa: ARG002
        return [_id_of(each) for each in value[: MOST_USERS + 1]] if isinstance(value, list) else [_id_of(value)]


class Part(fields.Nested):
    """An object, by its schema; any other shape is an empty one."""

    def _deserialize(self, value: object, *args: Any, **kwargs: Any) -> Any:  # noqa: ANN401 - marshmallow's own
        return super()._deserialize(value if isinstance(value, dict) else {}, *args, **kwargs)


class Parts(fields.Field[list[dict[str, Any]]]):
    """A list of objects, by their schema; what is none is left out, and what is more than anybody has."""

    def __init__(self, schema: AllowList, *, load_default: list[dict[str, Any]]) -> None:
        super().__init__(load_default=load_default)
        self._schema = schema

    def _deserialize(self, value: object, attr: str | None, data: Mapping[str, Any] | None, **_: object) -> list[dict[str, Any]]:  # noqa: ARG002
        parts = value[:_MOST_PARTS] if isinstance(value, list) else []
        return [self._schema.load(each) for each in parts if isinstance(each, dict)]


class SourceSchema(AllowList):
    """The identity source of a new link."""

    id = Text(LONGEST_ID)
    type = Text(LONGEST_ID)


class NewIdentitySchema(AllowList):
    """The identity of a new link."""

    ext_idp_id = Text(LONGEST_ID, data_key="extIdpId")
    provider = Text(LONGEST_ID)


class MergedUserSchema(AllowList):
    """A user whose identities became another user's."""

    identities = Parts(NewIdentitySchema(), load_default=[])


class EventSchema(AllowList):
    """An event, as JSON or as a form. The one that the console sends for a try has a description and no name."""

    name = Text(LONGEST_NAME, data_key="eventName")
    description = Text(LONGEST_NAME, cut=True)
    data = fields.Raw(load_default=None)


class EventDataSchema(AllowList):
    """Loads an event's data as `EventData`; `UnexpectedShape` where it names nobody that can be somebody, or too many.

    GenAuth's documents have users as objects and as ids, by several names, and differ from one event to the next: every event
    may have any of them.
    """

    user = Person()
    users = People()
    user_id = Person(data_key="userId")
    id = Person()
    # Of a link: the user, or in its older form the two users that became one.
    primary_user = Person(data_key="primaryUser")
    secondary_user = Person(data_key="secondaryUser", load_only=True)
    merged = Part(MergedUserSchema, data_key="secondaryUser", load_only=True, load_default=dict)
    source = Part(SourceSchema, data_key="extIdp", load_default=dict)
    identity = Part(NewIdentitySchema, load_default=dict)

    @post_load
    def as_event_data(self, loaded: dict[str, Any], **_: object) -> EventData:
        """Every user that is named, by whichever name."""
        named = [*_named(loaded)]
        ids = [each for each in named if each is not None]
        if len(named) > MOST_USERS:
            raise UnexpectedShape("too many users")
        if not ids and (named or "users" not in loaded):
            raise UnexpectedShape("no users")
        return EventData(tuple(dict.fromkeys(ids)), len(named) - len(ids), tuple(dict.fromkeys(_links(loaded))))


def event_data(value: object) -> EventData:
    """The data of an event: an object, or a JSON string of one, as forms have it. Raises `UnexpectedShape`."""
    if isinstance(value, str):
        value = json_value(value)
    if not isinstance(value, dict):
        raise UnexpectedShape("no data")
    data: EventData = EventDataSchema().load(value)
    return data


def _id_of(value: object) -> str | None:
    candidates = (value.get("id"), value.get("userId")) if isinstance(value, dict) else (value,)
    return next(filter(is_identifier, candidates), None)


def _named(loaded: Mapping[str, Any]) -> Iterator[str | None]:
    tells = [name for name in _TELLS_WHO if name in loaded]
    # The documents' table has, for some events, data that is the user's.
    for name in tells or ["id"]:
        if name == "users":
            yield from loaded[name]
        elif name in loaded:
            yield loaded[name]


def _links(loaded: Mapping[str, Any]) -> Iterator[NewLink]:
    source, identity = loaded["source"], loaded["identity"]
    user_id, source_id = loaded.get("user") or loaded.get("user_id"), source.get("id") or identity.get("ext_idp_id")
    if user_id and source_id:
        yield NewLink(user_id, source_id, identity.get("provider") or source.get("type"))
    elif primary := loaded.get("primary_user"):
        for each in loaded["merged"].get("identities", []):
            if each["ext_idp_id"]:
                yield NewLink(primary, each["ext_idp_id"], each["provider"])
