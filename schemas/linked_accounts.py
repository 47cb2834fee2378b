"""The contract of ``GET /me/linked-accounts``: what is dumped is what `/openapi.json` documents."""

from marshmallow import ValidationError, fields
from marshmallow.validate import OneOf

from schemas.camel_case import CamelCaseSchema

INCLUDABLE = ("identities",)

RESPONSE_HEADERS = {
    "ETag": {"description": "Weak; over the linked accounts, not over meta.", "schema": {"type": "string"}},
    "Cache-Status": {"description": "RFC 9211, as in `linked-accounts; hit; ttl=41`.", "schema": {"type": "string"}},
    "Age": {"description": "Seconds since GenAuth was asked.", "schema": {"type": "integer", "minimum": 0}},
    "X-Request-Id": {"description": "The caller's, or one of ours.", "schema": {"type": "string"}},
}


def _known(names: str) -> None:
    for name in filter(None, map(str.strip, names.split(","))):
        if name not in INCLUDABLE:
            shown = name if len(name) <= 40 and name.isascii() and name.isprintable() else "this name"
            raise ValidationError(f"include does not know {shown!r}: expected {', '.join(INCLUDABLE)}.")


class LinkedAccountsQuerySchema(CamelCaseSchema):
    """What may be asked for beside the accounts."""

    include = fields.String(
        load_default="",
        validate=_known,
        metadata={"description": f"Comma separated: {', '.join(INCLUDABLE)}.", "example": "identities"},
    )


class ProviderSchema(CamelCaseSchema):
    """Where an account lives. ``type`` is an open string, as GenAuth sends it."""

    type = fields.String(required=True, metadata={"example": "wechat"})
    name = fields.String(required=True, metadata={"description": "For people, in their language.", "example": "WeChat"})
    category = fields.String(required=True, allow_none=True, validate=OneOf(["social", "enterprise"]))
    logo_url = fields.String(required=True, allow_none=True, metadata={"format": "uri"})


class IdentitySchema(CamelCaseSchema):
    """One of GenAuth's identity records behind an account."""

    id = fields.String(required=True, allow_none=True)
    type = fields.String(required=True, allow_none=True, metadata={"example": "unionid"})
    subject = fields.String(required=True, allow_none=True, metadata={"description": "The person's id at the provider."})
    connection_ids = fields.List(fields.String(), required=True)


class LinkedAccountSchema(CamelCaseSchema):
    """One outside account. Missing is null, never an empty string."""

    id = fields.String(
        required=True,
        allow_none=True,
        metadata={
            "description": "The identity source's id (extIdpId), which unlink takes; null only where the leak guard struck."
        },
    )
    provider = fields.Nested(ProviderSchema, required=True)
    display_name = fields.String(required=True, allow_none=True)
    email = fields.String(required=True, allow_none=True, metadata={"description": "Masked.", "example": "n•••@example.com"})
    avatar_url = fields.String(required=True, allow_none=True, metadata={"description": "Always https."})
    identity_types = fields.List(fields.String(), required=True)
    identities = fields.List(fields.Nested(IdentitySchema), metadata={"description": "Only with include=identities."})


class MetaSchema(CamelCaseSchema):
    """How the answer came about."""

    total = fields.Integer(required=True)
    stale = fields.Boolean(required=True, metadata={"description": "GenAuth is away; this is its last good answer."})
    fetched_at = fields.DateTime(
        format="%Y-%m-%dT%H:%M:%SZ", required=True, metadata={"description": "When GenAuth was asked, UTC."}
    )


class LinkedAccountsSchema(CamelCaseSchema):
    """Everything a person has linked, one entry for each identity source, sorted by provider type and id."""

    linked_accounts = fields.List(fields.Nested(LinkedAccountSchema), required=True)
    meta = fields.Nested(MetaSchema, required=True)
