"""HTTP out: GenAuth's API. The only requests, and the only place that speaks of identities instead of linked accounts."""

from bff.genauth.call_policy import CallCircuitOpen, CallNotMade
from bff.genauth.changes import ChangeNotSent
from bff.genauth.client import NOBODYS_TOKEN, GenAuthClient
from bff.genauth.credentials import SHORTEST_SECRET, credential_parameters, echoes_credential, telling_part
from bff.genauth.oidc import Discovery, Introspection, issuer_of, permitted_url
from bff.genauth.protocol import ExtIdp, ExtIdps, Identities

__all__ = [
    "NOBODYS_TOKEN",
    "SHORTEST_SECRET",
    "CallCircuitOpen",
    "CallNotMade",
    "ChangeNotSent",
    "Discovery",
    "ExtIdp",
    "ExtIdps",
    "GenAuthClient",
    "Identities",
    "Introspection",
    "credential_parameters",
    "echoes_credential",
    "issuer_of",
    "permitted_url",
    "telling_part",
]
