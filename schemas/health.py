"""What the health routes answer."""

from marshmallow import Schema, fields
from marshmallow.validate import OneOf

from schemas.linked_accounts import Moment


class LivenessSchema(Schema):
    """The process answers."""

    status = fields.String(required=True, validate=OneOf(["alive"]))


class DependencySchema(Schema):
    """How a dependency was last seen."""

    status = fields.String(
        required=True,
        validate=OneOf(["up", "down", "misconfigured"]),
        metadata={"description": "`misconfigured`: it never did its work, or refuses us. `down`: it did, and is away."},
    )
    reason = fields.String(metadata={"description": "Why it is not up, in a fixed word.", "example": "key_set_rejected"})
    since = Moment(metadata={"description": "When it was first seen not to be up, UTC."})


class DependenciesSchema(Schema):
    """What the service leans on, and does without for a while."""

    redis = fields.Nested(DependencySchema, required=True)
    genauth = fields.Nested(DependencySchema, required=True)


class ReadinessSchema(Schema):
    """Whether to send requests, and what of our dependencies is away."""

    status = fields.String(required=True, validate=OneOf(["ready", "degraded", "not_ready", "draining"]))
    dependencies = fields.Nested(DependenciesSchema, required=True)
