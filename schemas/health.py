"""What the health routes answer."""

from marshmallow import Schema, fields
from marshmallow.validate import OneOf


class LivenessSchema(Schema):
    """The process answers."""

    status = fields.String(required=True, validate=OneOf(["alive"]))


class DependencySchema(Schema):
    """How a dependency was last seen."""

    status = fields.String(required=True, validate=OneOf(["up", "down"]))


class DependenciesSchema(Schema):
    """What the service leans on, and does without for a while."""

    redis = fields.Nested(DependencySchema, required=True)
    genauth = fields.Nested(DependencySchema, required=True)


class ReadinessSchema(Schema):
    """Whether to send requests, and what of our dependencies is away."""

    status = fields.String(required=True, validate=OneOf(["ready", "degraded", "draining"]))
    dependencies = fields.Nested(DependenciesSchema, required=True)
