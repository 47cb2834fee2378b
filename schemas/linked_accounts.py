"""The contract of ``GET /me/linked-accounts``: what is dumped is what `/openapi.json` documents."""

from datetime import UTC, datetime
from typing import Any

from marshmallow import ValidationError, fields
from marshmallow.validate import OneOf

from schemas.camel_case import CamelCaseSchema

INCLUDABLE = ("identities", "providers", "unlink")

_TEXT = {"type": "string"}

PARAMETERS: list[dict[str, Any]] = [
    {
        "in": "query",
        "name": "include",
        "description": (
            "What else to show, comma separated: `identities`, GenAuth's records behind each account; `providers`, what could be "
            "linked; `unlink`, whether each account may be unlinked."
        ),
        "schema": {"type": "array", "items": {"type": "string", "enum": list(INCLUDABLE)}},
        "style": "form",
        "explode": False,
    },
    {
        "in": "query",
        "name": "refresh",
        "description": "`true` asks for an answer no older than two seconds, as after linking an account elsewhere.",
        "schema": {"type": "boolean", "default": False},
    },
    {
        "in": "header",
        "name": "Accept-Language",
        "description": "The language of the providers' names and of problems' titles: Chinese for `zh` and `zh-…`, else English.",
        "schema": _TEXT,
        "example": "zh-CN,zh;q=0.9,en;q=0.8",
    },
    {
        "in": "header",
        "name": "If-None-Match",
        "description": "The `ETag` of an earlier answer: 304 if nothing has changed since.",
        "schema": _TEXT,
    },
    {
        "in": "header",
        "name": "X-Requested-With",
        "description": "Any value; needed with a session cookie, which a page on another site could send but not with this.",
        "schema": _TEXT,
    },
    {
        "in": "header",
        "name": "X-Request-Id",
        "description": "8 to 128 of `A-Z a-z 0-9 . _ -`; comes back, and is in our log. Anything else is replaced.",
        "schema": _TEXT,
    },
]

UNLINK_PARAMETERS = [
    {
        "in": "path",
        "name": "id",
        "required": True,
        "description": "The account's `id`, which is its identity source's.",
        "schema": _TEXT,
        "example": "62f209327ab3cc10d9016ee5",
    },
    *(each for each in PARAMETERS if each["name"] not in {"refresh", "If-None-Match"}),
    {
        "in": "header",
        "name": "X-Id-Token",
        "description": "The person's id_token, which says when they signed in: where a change needs a recent sign-in.",
        "schema": _TEXT,
    },
]

# What a request may carry whatever it asks for.
USUAL_PARAMETERS = [each for each in PARAMETERS if each["name"] in {"Accept-Language", "X-Requested-With", "X-Request-Id"}]

HEADERS = {
    "ETag": {"description": "Weak; over the linked accounts, not over `meta`.", "required": True, "schema": _TEXT},
    "Content-Language": {"description": "Of the providers' names: `zh` or `en`. Not with a 304.", "schema": _TEXT},
    "Cache-Status": {
        "description": "RFC 9211, as in `linked-accounts; hit; ttl=41`.",
        "required": True,
        "schema": _TEXT,
    },
    "Age": {"description": "Seconds since GenAuth was asked.", "required": True, "schema": {"type": "integer", "minimum": 0}},
    "Cache-Control": {"description": "Always `private, no-store`.", "required": True, "schema": _TEXT},
    "Vary": {
        "description": "Always `Authorization, Cookie, Origin, Accept-Language`.",
        "required": True,
        "schema": _TEXT,
    },
    "RateLimit": {"description": 'What is left of the limit, as in `"user";r=117;t=42`.', "schema": _TEXT},
    "RateLimit-Policy": {"description": 'The limit, as in `"user";q=120;w=60`.', "schema": _TEXT},
    "X-Request-Id": {"description": "The caller's, or one of ours.", "required": True, "schema": _TEXT},
}
USUAL_HEADERS = {name: HEADERS[name] for name in ("Cache-Control", "Vary", "RateLimit", "RateLimit-Policy", "X-Request-Id")}


def _known(names: str) -> None:
    for name in filter(None, map(str.strip, names.split(","))):
        if name not in INCLUDABLE:
            shown = name if len(name) <= 40 and name.isascii() and name.isprintable() else "this name"
            raise ValidationError(f"include does not know {shown!r}: expected {', '.join(INCLUDABLE)}.")


class LinkedAccountsQuerySchema(CamelCaseSchema):
    """What may be asked for beside the accounts, and whether they are to be fresh."""

    include = fields.String(load_default="", validate=_known)
    refresh = fields.String(load_default="false", validate=OneOf(["true", "false"], error="refresh is neither true nor false."))


class ProviderSchema(CamelCaseSchema):
    """Where an account lives. ``type`` is an open string, as GenAuth sends it."""

    type = fields.String(required=True, metadata={"example": "wechat"})
    name = fields.String(required=True, metadata={"description": "For people, in their language.", "example": "WeChat"})
    category = fields.String(required=True, allow_none=True, validate=OneOf(["social", "enterprise"]))
    # Not of the format uri, nor is the avatar's: browsers load addresses (`…|imageView2/…`) that no library of URIs reads.
    logo_url = fields.String(required=True, allow_none=True, metadata={"description": "Always https."})


class IdentitySchema(CamelCaseSchema):
    """One of GenAuth's identity records behind an account."""

    id = fields.String(required=True, allow_none=True)
    type = fields.String(required=True, allow_none=True, metadata={"example": "unionid"})
    subject = fields.String(required=True, allow_none=True, metadata={"description": "The person's id at the provider."})
    connection_ids = fields.List(fields.String(), required=True)


class UnlinkSchema(CamelCaseSchema):
    """Whether an account may be unlinked, before somebody tries."""

    allowed = fields.Boolean(required=True, allow_none=True, metadata={"description": "null where nobody can say."})
    reason = fields.String(
        required=True,
        allow_none=True,
        validate=OneOf(["last_login_method", "managed_by_organization", "unknown"]),
        metadata={
            "description": (
                "`last_login_method`: nothing else is left to sign in with. `managed_by_organization`: the operator does not let "
                "it be unlinked. `unknown`: nobody can say."
            )
        },
    )


class LinkedAccountSchema(CamelCaseSchema):
    """One outside account. Missing is null, never an empty string."""

    id = fields.String(
        required=True,
        allow_none=True,
        metadata={"description": "The identity source's id (extIdpId), which unlink takes; null only where it held a secret."},
    )
    provider = fields.Nested(ProviderSchema, required=True)
    display_name = fields.String(
        required=True,
        allow_none=True,
        metadata={"description": "The name at the provider; a mail address is masked, as in `email`."},
    )
    email = fields.String(required=True, allow_none=True, metadata={"description": "Masked.", "example": "n•••@example.com"})
    avatar_url = fields.String(required=True, allow_none=True, metadata={"description": "Always https."})
    identity_types = fields.List(fields.String(), required=True)
    identities = fields.List(fields.Nested(IdentitySchema), metadata={"description": "Only with include=identities."})
    unlink = fields.Nested(UnlinkSchema, metadata={"description": "Only with include=unlink."})


class LinkableProviderSchema(CamelCaseSchema):
    """An identity source that the person has not linked."""

    identifier = fields.String(
        required=True, metadata={"description": "The first of `identifiers`, to begin a link with.", "example": "my-wechat-pc"}
    )
    identifiers = fields.List(
        fields.String(),
        required=True,
        metadata={"description": "Of all its connections: WeChat has one for web pages and one for apps."},
    )
    id = fields.String(
        required=True, metadata={"description": "The identity source's id (extIdpId), an account's `id` once linked."}
    )
    type = fields.String(required=True, metadata={"example": "wechat"})
    category = fields.String(required=True, allow_none=True, validate=OneOf(["social", "enterprise"]))
    name = fields.String(required=True, metadata={"description": "For people, in their language.", "example": "WeChat"})
    logo_url = fields.String(required=True, allow_none=True, metadata={"description": "Always https."})


class Moment(fields.DateTime):
    """A moment to the second as RFC 3339 writes it, with a Z. Under a format of its own apispec could not document it."""

    def _serialize(self, value: datetime | None, attr: str | None, obj: object, **kwargs: object) -> str | None:  # noqa: ARG002
        return value.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ") if value else None


class MetaSchema(CamelCaseSchema):
    """How the answer came about."""

    total = fields.Integer(required=True)
    stale = fields.Boolean(required=True, metadata={"description": "GenAuth is away; this is its last good answer."})
    fetched_at = Moment(required=True, metadata={"description": "When GenAuth was asked, UTC."})


class LinkedAccountsSchema(CamelCaseSchema):
    """Everything a person has linked, one entry for each identity source, sorted by provider type and id."""

    linked_accounts = fields.List(fields.Nested(LinkedAccountSchema), required=True)
    linkable_providers = fields.List(
        fields.Nested(LinkableProviderSchema),
        allow_none=True,
        metadata={
            "description": (
                "Only with include=providers: what the person could link, in GenAuth's order. null while the list cannot be had, "
                "which is not to say that there is nothing left to link."
            )
        },
    )
    meta = fields.Nested(MetaSchema, required=True)


class UnlinkedSchema(CamelCaseSchema):
    """What was taken away."""

    id = fields.String(required=True, allow_none=True)
    provider = fields.Nested(ProviderSchema, required=True)
    revoke_url = fields.String(
        required=True,
        allow_none=True,
        metadata={
            "description": "The provider's own page where a person withdraws what they permitted; null where none is known. "
            "Unlinking here leaves it in place there.",
            "example": "https://github.com/settings/applications",
        },
    )


class AccountUnlinkedSchema(LinkedAccountsSchema):
    """Everything that is still linked, and what is not any more."""

    unlinked = fields.Nested(UnlinkedSchema, required=True)
