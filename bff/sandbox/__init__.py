"""A GenAuth to develop and test against: a real server on a real port, with people, tokens and trouble.

It is the other side of the wire. Nothing of it is imported by the service and it imports nothing of the
service, so that a misunderstanding cannot hide by being shared.

    with Sandbox() as genauth:
        requests.get(f"{genauth.url}/api/v3/get-identities",
                     headers={"Authorization": f"Bearer {genauth.token('mei')}"})

One subject a file::

    messages   requests, answers, and GenAuth's envelopes
    people     who there is and what they have linked      sources   the identity sources they link
    tokens     keys, minting, verifying, revoking          realm     all of that, as one application
    genauth    the /api/v3 endpoints                       oidc      the /oidc endpoints
    trouble    what can go wrong, and when                 malformed bodies no client should trust
    server     asyncio and h11: bytes in, bytes out        control   the same switches over HTTP
    sandbox    everything together, as Python sees it
"""

from bff.sandbox.messages import Request
from bff.sandbox.sandbox import Sandbox

__all__ = [
    "Request",
    "Sandbox",
]
