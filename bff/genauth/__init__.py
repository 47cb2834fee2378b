"""HTTP out: GenAuth's API. The only requests, and the only place that speaks of identities instead of linked accounts."""

from bff.genauth.client import GenAuthClient
from bff.genauth.protocol import ExtIdp, Identities

__all__ = [
    "ExtIdp",
    "GenAuthClient",
    "Identities",
]
