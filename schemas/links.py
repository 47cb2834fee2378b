"""Linking another account: what is asked for, and what comes of it."""

from typing import Any

from marshmallow import RAISE, fields
from marshmallow.validate import Length, OneOf

from schemas.camel_case import CamelCaseSchema
from schemas.genauth import LONGEST_ID
from schemas.linked_accounts import LinkedAccountSchema

STATUSES = ("pending", "linked", "unchanged", "failed")


class BeginLinkSchema(CamelCaseSchema):
    """Loads what a page sends; ValidationError for anything beside it."""

    class Meta:
        """To the letter: a misspelt member would be one that was left out."""

        unknown = RAISE

    provider = fields.String(required=True, validate=Length(1, LONGEST_ID))
    return_to = fields.String(load_default=None, allow_none=False)
    id_token = fields.String(load_default=None, allow_none=False)


# Not from the schema: it is closed, as no answer is.
BEGIN_LINK: dict[str, Any] = {
    "required": True,
    "description": "At most 16 KiB.",
    "content": {
        "application/json": {
            "schema": {
                "type": "object",
                "required": ["provider"],
                "additionalProperties": False,
                "properties": {
                    "provider": {
                        "type": "string",
                        "minLength": 1,
                        "maxLength": LONGEST_ID,
                        "description": "An `identifier` of `linkableProviders` (`?include=providers`).",
                        "example": "my-github",
                    },
                    "returnTo": {
                        "type": "string",
                        "minLength": 1,
                        "maxLength": 2048,
                        "description": "Where the browser is sent afterwards: below an origin of RETURN_TO_ORIGINS, or an app's "
                        "address that is listed there in full. Left out for a popup.",
                        "example": "https://app.example.com/settings/accounts",
                    },
                    "idToken": {
                        "type": "string",
                        "minLength": 1,
                        "maxLength": 4096,
                        "description": "The person's id_token, where it is in no cookie.",
                    },
                },
            }
        }
    },
}


class LinkBegunSchema(CamelCaseSchema):
    """A link that has begun."""

    url = fields.String(required=True, metadata={"description": "Send the browser there, or open a popup. It is for once."})
    state = fields.String(required=True, metadata={"description": "Names this link: ask with it what came of it."})
    expires_in = fields.Integer(required=True, metadata={"description": "Seconds.", "example": 600})


class LinkOutcomeSchema(CamelCaseSchema):
    """What came of a link."""

    status = fields.String(
        required=True,
        validate=OneOf(STATUSES),
        metadata={
            "description": "`linked`: GenAuth's list has the account, which alone decides. Else `pending` until the browser is "
            "back, then `unchanged`, or `failed` where GenAuth said so. The list may show an account a little later."
        },
    )
    provider = fields.String(required=True, metadata={"description": "What was asked to be linked.", "example": "my-github"})
    linked_accounts = fields.List(fields.Nested(LinkedAccountSchema), required=True)
