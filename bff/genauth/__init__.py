"""GenAuth, from here to its HTTP API and back: the only place that speaks of identities and the only one with its network."""

from bff.genauth.client import ExtIdp, GenAuthClient
from bff.genauth.protocol import Identities

__all__ = [
    "ExtIdp",
    "GenAuthClient",
    "Identities",
]
