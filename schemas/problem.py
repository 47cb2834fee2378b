"""Problem details (RFC 9457), the shape of every error."""

from marshmallow import fields

from schemas.camel_case import CamelCaseSchema
from schemas.linked_accounts import LinkedAccountSchema


class ProblemSchema(CamelCaseSchema):
    """What went wrong: ``title`` for the person, ``code`` for the frontend, ``requestId`` for whoever asks us."""

    type = fields.String(required=True, metadata={"example": "/problems/token-expired", "format": "uri-reference"})
    title = fields.String(
        required=True, metadata={"description": "For the person, in their language.", "example": "Your session has expired."}
    )
    status = fields.Integer(required=True, metadata={"example": 401})
    code = fields.String(
        required=True,
        metadata={"description": "More may be added: judge one that you do not know by `status`.", "example": "token_expired"},
    )
    detail = fields.String(metadata={"description": "What to do about it, where there is more to say."})
    instance = fields.String(required=True, metadata={"example": "/me/linked-accounts"})
    request_id = fields.String(required=True)
    max_age_seconds = fields.Integer(
        metadata={"description": "How old the sign-in may be that a change needs (`reauthentication_required`).", "example": 300}
    )
    linked_accounts = fields.List(
        fields.Nested(LinkedAccountSchema),
        metadata={"description": "What is linked, where an account that was to be unlinked is not (404)."},
    )
