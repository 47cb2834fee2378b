"""GenAuth's HTTP API as data: what to send, what a response means. `client` makes the calls, `transport` does the I/O.

`envelope` judges a response as a whole, `oidc` has the OpenID Connect endpoints. Sources: docs/genauth.md 1 to 3.
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from bff.errors import TokenInvalid
from bff.genauth.credentials import secrets_in
from bff.genauth.envelope import UnreadableData, json_object, note, opened
from bff.genauth.messages import Request, Response
from bff.models import Identity, Profile
from schemas.genauth import ExtIdpSchema, IdentitySchema, number

IDENTITIES_PATH = "/api/v3/get-identities"
EXT_IDPS_PATH = "/api/v3/get-application-enabled-extidps"
MOST_RECORDS = 1_000
_RECORD_IDS = frozenset({"identityId", "extIdpId"})

# What every request of ours carries.
COMMON_HEADERS = {
    "Accept": "application/json",
    "Accept-Encoding": "identity",  # a compressed bomb has nothing to unpack it
    "User-Agent": "linked-accounts-bff",
}
_SENDABLE = re.compile(r"[\x21-\x7e]+")
_IDENTITIES = IdentitySchema(many=True)
_EXT_IDPS = ExtIdpSchema(many=True)


@dataclass(frozen=True, slots=True)
class Identities:
    """A person's identity records, and the secrets that came with them, for the leak guard.

    ``size``: the response's bytes; ``left_out``: how many records among these could not be read.
    """

    rows: tuple[Identity, ...]
    secrets: frozenset[str] = field(repr=False)
    size: int = 0
    left_out: int = 0


@dataclass(frozen=True, slots=True)
class ExtIdp:
    """A connection to an identity source that the application offers; several may share one source.

    ``identifier`` is the connection's readable id, which linking takes.
    """

    ext_idp_id: str | None
    type: str
    category: str | None
    name: str | None
    name_en: str | None
    logo_url: str | None
    identifier: str | None = None


@dataclass(frozen=True, slots=True)
class ExtIdps:
    """The identity sources that the application offers, and the secrets that came with them, for the leak guard."""

    sources: tuple[ExtIdp, ...]
    secrets: frozenset[str] = field(repr=False)
    left_out: int = 0


def identities_request(app_id: str, token: str) -> Request:
    """The request for a person's identities (docs/genauth.md 1.1). TokenInvalid if no header can carry the token."""
    return Request("GET", IDENTITIES_PATH, personal_headers(app_id, token), credentials=(token,))


def ext_idps_request(app_id: str, token: str) -> Request:
    """The request for the application's identity sources (docs/genauth.md 3)."""
    return Request("GET", EXT_IDPS_PATH, personal_headers(app_id, token), credentials=(token,))


def personal_headers(app_id: str, token: str) -> dict[str, str]:
    """The headers of every request for a person (docs/genauth.md 1.1 to 1.3). TokenInvalid if none can carry the token."""
    # RFC 6750 2.1 allows fewer characters still; what a header cannot carry was issued by nobody.
    if not _SENDABLE.fullmatch(token):
        raise TokenInvalid(note="a token that no header can carry")
    return {
        **COMMON_HEADERS,
        "Authorization": f"Bearer {token}",
        # Clients of GenAuth and of Authing, its former name, send one each. Which one a server reads is not known
        # (docs/genauth.md 1.3).
        "x-authing-app-id": app_id,
        "x-genauth-app-id": app_id,
        "x-authing-lang": "en-US",
    }


def read_identities(response: Response) -> Identities:
    """The identity records of a success (docs/genauth.md 2); every other response raises the BffError that it is."""
    sent = _records(response)
    read = [_identity(row) for row in _IDENTITIES.load(_objects(sent))]
    rows = tuple([row for row in read if row.account_id])
    if sent and not rows:
        raise UnreadableData(note=note(response, "no record that can be read"))
    ids = frozenset([row.user_id_in_idp for row in rows if row.user_id_in_idp])
    return Identities(rows, _secrets(response, ids, _shown(rows)), len(response.body), len(sent) - len(rows))


def read_ext_idps(response: Response) -> ExtIdps:
    """The identity sources of a success (docs/genauth.md 3). That there are none only an empty list says."""
    sent = _records(response)
    read = [_ext_idp(row) for row in _EXT_IDPS.load(_objects(sent))]
    sources = tuple([each for each in read if each.ext_idp_id])
    if not sources and (sent or (json_object(response) or {}).get("data") is None):
        raise UnreadableData(note=note(response, "no record that can be read"))
    return ExtIdps(sources, _secrets(response), len(sent) - len(sources))


def _secrets(response: Response, ids: frozenset[str] = frozenset(), shown: frozenset[str] = frozenset()) -> frozenset[str]:
    """The secrets of the whole response, beside the rows too."""
    return secrets_in([response.json, dict(response.headers)], ids, shown)


def _shown(rows: Iterable[Identity]) -> frozenset[str]:
    """What the profiles say of the person, the parts of the e-mail address too."""
    profiles = [row.profile for row in rows]
    emails = [profile.email for profile in profiles if profile.email]
    parts = [part for email in emails for part in email.split("@")]
    names = [name for profile in profiles for name in (profile.nickname, profile.name, profile.username) if name]
    return frozenset([*names, *emails, *parts])


def _records(response: Response) -> list[Any]:
    """What a success has under ``data``, as a list, with whatever stands among the records."""
    data = opened(response)
    records = [] if data is None else _listed(data) if isinstance(data, dict) else data
    if not isinstance(records, list):
        raise UnreadableData(note=note(response, "data of another shape"))
    if len(records) > MOST_RECORDS:
        raise UnreadableData(note=note(response, f"more than {MOST_RECORDS} records"))
    return records


def _listed(data: dict[str, Any]) -> list[Any]:
    """The list in an object that is no record, as ``{"totalCount": 2, "list": […]}``, a null for an empty one; else the object.

    Every client expects an array; the "Sample result" on the same page is an object (docs/genauth.md 2.2).
    """
    if not _RECORD_IDS.isdisjoint(data):
        return [data]
    if isinstance(named := data.get("list"), list):
        return named
    if lists := [value for value in data.values() if isinstance(value, list)]:
        return max(lists, key=len)
    return [] if number(data.get("totalCount")) == 0 else [data]


def _objects(records: list[Any]) -> list[dict[str, Any]]:
    return [each for each in records if isinstance(each, dict)]


def _identity(row: dict[str, Any]) -> Identity:
    return Identity(**row | {"profile": Profile(**row["profile"])})


def _ext_idp(row: dict[str, Any]) -> ExtIdp:
    return ExtIdp(**row | {"category": row["category"] if row["category"] in {"social", "enterprise"} else None})
