"""A GenAuth to develop and test against: a real server on a real port, with people, tokens and faults.

The service and the sandbox import nothing of each other, so that no misunderstanding of GenAuth is shared by both.

    with Sandbox() as genauth:
        requests.get(f"{genauth.url}/api/v3/get-identities",
                     headers={"Authorization": f"Bearer {genauth.token('mei')}"})

One subject a file::

    messages   requests, answers, and GenAuth's envelopes
    people     people and what they have linked            personas     the named ones, each a case to test
    sources    the identity sources they link              tokens       keys, minting, verifying, revoking
    genauth    the /api/v3 endpoints                       oidc         the /oidc endpoints
    linking    those that link and unlink, with the page between
    events     what happens, sent to a webhook
    faults     what can go wrong, and when                 malformed    bodies no client should trust
    server     asyncio and h11: bytes in, bytes out        control      the sandbox's switches over HTTP
    sandbox    everything together, as Python sees it      application  what the endpoints answer from
"""

from bff.sandbox.events import Webhook
from bff.sandbox.messages import Request
from bff.sandbox.sandbox import Sandbox

__all__ = [
    "Request",
    "Sandbox",
    "Webhook",
]
