"""HTTP out: GenAuth's API. The only requests, and the only place that speaks of identities instead of linked accounts."""

from bff.genauth.call_policy import CallCircuitOpen, CallNotMade
from bff.genauth.client import GenAuthClient
from bff.genauth.oidc import Discovery, Introspection, permitted_url
from bff.genauth.protocol import ExtIdp, Identities

__all__ = [
    "CallCircuitOpen",
    "CallNotMade",
    "Discovery",
    "ExtIdp",
    "GenAuthClient",
    "Identities",
    "Introspection",
    "permitted_url",
]
