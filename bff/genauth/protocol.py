"""GenAuth's HTTP API as data: what to send, what an answer means. `client` does the calling, `transport` the I/O.

`envelope` has the verdict on an answer, `oidc` the OpenID Connect endpoints. Sources: genauth-api.md 1 to 3.
"""

import re
from typing import Any

from msgspec import Struct

from bff.errors import TokenInvalid
from bff.genauth.envelope import UnreadableData, note, opened
from bff.genauth.messages import Request, Response
from bff.genauth.token_fields import secrets_in
from bff.models import Identity, Profile
from schemas.genauth import ExtIdpSchema, IdentitySchema

__all__ = [
    "ExtIdp",
    "Identities",
    "Request",
    "Response",
    "ext_idps_request",
    "identities_request",
    "read_ext_idps",
    "read_identities",
]

IDENTITIES_PATH = "/api/v3/get-identities"
EXT_IDPS_PATH = "/api/v3/get-application-enabled-extidps"

# What every request of ours carries.
PLAIN = {
    "Accept": "application/json",
    "Accept-Encoding": "identity",  # a compressed bomb has nothing to unpack it
    "User-Agent": "linked-accounts-bff",
}
_SENDABLE = re.compile(r"[\x21-\x7e]+")
_IDENTITY, _EXT_IDP = IdentitySchema(), ExtIdpSchema()


class Identities(Struct, frozen=True):
    """A person's identity records, and the secrets that came with them, for the leak guard."""

    rows: tuple[Identity, ...]
    secrets: frozenset[str]
    request_id: str | None = None

    def __repr__(self) -> str:
        """Without the secrets."""
        return f"Identities({self.rows}, {self.request_id})"


class ExtIdp(Struct, frozen=True):
    """An identity source that the application offers; ``identifier`` is its connection's, which linking takes."""

    ext_idp_id: str | None
    type: str
    category: str | None
    name: str | None
    name_en: str | None
    logo_url: str | None
    identifier: str | None = None


def identities_request(app_id: str, token: str) -> Request:
    """What the person's identities are asked with (genauth-api.md 1.1). TokenInvalid if no header can carry the token."""
    return Request("GET", IDENTITIES_PATH, _as_person(app_id, token))


def ext_idps_request(app_id: str, token: str) -> Request:
    """What the application's identity sources are asked with (genauth-api.md 3)."""
    return Request("GET", EXT_IDPS_PATH, _as_person(app_id, token))


def _as_person(app_id: str, token: str) -> dict[str, str]:
    # RFC 6750 2.1 allows fewer characters still; what a header cannot carry was issued by nobody.
    if not _SENDABLE.fullmatch(token):
        raise TokenInvalid(note="a token that no header can carry")
    return {
        **PLAIN,
        "Authorization": f"Bearer {token}",
        # Clients of GenAuth and of Authing, its former name, send one each; which one a server reads is not known (1.3).
        "x-authing-app-id": app_id,
        "x-genauth-app-id": app_id,
        "x-authing-lang": "en-US",
    }


def read_identities(answer: Response) -> Identities:
    """The identity records of a success (genauth-api.md 2); every other answer raises the BffError that it is."""
    envelope = opened(answer)
    raw = _rows(answer, envelope.data)
    rows = tuple([_identity(_IDENTITY.read(row)) for row in raw])
    if None in [row.account_id for row in rows]:
        raise UnreadableData(note=note(answer, "a row without an id"))
    return Identities(rows, secrets_in(raw), envelope.request_id)


def read_ext_idps(answer: Response) -> list[ExtIdp]:
    """The identity sources of a success (genauth-api.md 3)."""
    return [_presentable(ExtIdp(**_EXT_IDP.read(row))) for row in _rows(answer, opened(answer).data)]


def _rows(answer: Response, data: object) -> list[dict[str, Any]]:
    # An array says every client; an object says the "Sample result" on the same page (genauth-api.md 2.2).
    rows = [] if data is None else [data] if isinstance(data, dict) else data
    if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
        raise UnreadableData(note=note(answer, "data of another shape"))
    return rows


def _identity(row: dict[str, Any]) -> Identity:
    return Identity(**row | {"profile": Profile(**row["profile"])})


def _presentable(source: ExtIdp) -> ExtIdp:
    category = source.category if source.category in {"social", "enterprise"} else None
    return ExtIdp(source.ext_idp_id, source.type, category, source.name, source.name_en, source.logo_url, source.identifier)
