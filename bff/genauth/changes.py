"""GenAuth's calls that unlink, begin to link, and say how else somebody can sign in, as data (docs/genauth.md 3).

A change is never like a read: whoever asked for one has to know whether it was sent, and GenAuth's success proves nothing.
"""

import json
from types import MappingProxyType
from urllib.parse import urlencode

from bff.errors import (
    AlreadyLinked,
    BffError,
    ChangeUnconfirmed,
    LastLoginMethod,
    LinkedToAnotherPerson,
    NotFound,
    NotLinked,
    TokenRefused,
    UpstreamFailure,
    UpstreamForbidden,
    UpstreamThrottled,
    UpstreamUnavailable,
    UserBlocked,
)
from bff.genauth.envelope import UnreadableData, note, opened
from bff.genauth.messages import Request, Response
from bff.genauth.protocol import personal_headers
from bff.models import SecurityInfo
from bff.setting_addresses import is_permitted_url
from schemas.genauth import SecurityInfoSchema

SECURITY_INFO_PATH = "/api/v3/get-security-info"
UNLINK_PATH = "/api/v3/unlink-extidp"
LINK_URL_PATH = "/api/v3/generate-link-extidp-url"

_LONGEST_LINK = 32 * 1024  # an id_token and a return address are in it, perhaps encoded twice
# What GenAuth's numbers mean to a call, by apiCode or else by statusCode (docs/genauth.md 1.7).
_UNLINK_REFUSALS = MappingProxyType({2216: NotLinked, 2217: LastLoginMethod})
_LINK_REFUSALS = MappingProxyType(
    {2213: AlreadyLinked, 2215: LinkedToAnotherPerson, 2216: NotLinked, 2011: NotFound, 404: NotFound}
)
# GenAuth's own word that it changed nothing.
_NOTHING_CHANGED = (LastLoginMethod, NotLinked, TokenRefused, UserBlocked, UpstreamForbidden, UpstreamThrottled)
_SECURITY_INFO = SecurityInfoSchema()


class ChangeNotSent(UpstreamUnavailable):
    """The change never left us: the circuit is open, too many calls are waiting, or no connection came about in time."""


def security_info_request(app_id: str, token: str) -> Request:
    """The request for a person's ways to sign in. TokenInvalid if no header can carry the token."""
    return Request("GET", SECURITY_INFO_PATH, personal_headers(app_id, token), credentials=(token,))


def unlink_request(app_id: str, token: str, source_id: str) -> Request:
    """The request that unlinks the account of one identity *source*, to be sent once. TokenInvalid as above."""
    headers = {**personal_headers(app_id, token), "Content-Type": "application/json"}
    body = json.dumps({"extIdpId": source_id}).encode()
    return Request("POST", UNLINK_PATH, headers, body, once=True, credentials=(token,))


def link_url_request(
    app_id: str, token: str, connection: str, id_token: str, *, return_to: str | None = None, form_post: bool = False
) -> Request:
    """The request for the address at which a browser links an account. The id_token travels in its query. TokenInvalid as above.

    ``return_to`` is where GenAuth sends the browser afterwards, by ``form_post`` or in that address's query.
    """
    query = {"ext_idp_conn_identifier": connection, "app_id": app_id, "id_token": id_token}
    if return_to is not None:
        query |= {"need_url_redirect": "true", "target_url": return_to}
        if form_post:
            query["need_form_post"] = "true"
    path = f"{LINK_URL_PATH}?{urlencode(query, errors='replace')}"
    return Request("GET", path, personal_headers(app_id, token), credentials=(token, id_token))


def read_security_info(response: Response) -> SecurityInfo:
    """The ways to sign in of a success; every other response raises the BffError that it is."""
    data = opened(response)
    if not isinstance(data, dict):
        raise UnreadableData(note=note(response, "data of another shape"))
    return SecurityInfo(**_SECURITY_INFO.load(data))


def read_unlinked(response: Response) -> None:
    """Nothing for a success, which GenAuth also says of what was not linked. NotLinked, LastLoginMethod, or another BffError."""
    opened(response, _UNLINK_REFUSALS)


def read_link_url(response: Response, host: str) -> str:
    """The address of a success: https, or plain http on this machine if GENAUTH_HOST, ``host``, is such an address too.

    AlreadyLinked, LinkedToAnotherPerson, NotLinked, NotFound (no such connection or application), or another BffError.
    """
    data = opened(response, _LINK_REFUSALS)
    url = data.get("url") if isinstance(data, dict) else None
    if not isinstance(url, str) or len(url) > _LONGEST_LINK or not _is_link(url, host):
        raise UnreadableData(note=note(response, "no address that may be opened"))
    return url


def _is_link(url: str, host: str) -> bool:
    # Some providers' addresses end in a fragment, as WeChat's do.
    return is_permitted_url(url.partition("#")[0]) and (url.startswith("https:") or host.startswith("http:"))


def outcome(error: BffError, *, sent: bool) -> BffError:
    """What the error of a call means for the change it was to make; ``sent``: GenAuth may have received it.

    GenAuth's word that it changed nothing stays what it is, as does a defect of ours before anything was sent.
    """
    if isinstance(error, _NOTHING_CHANGED) or not (sent or isinstance(error, UpstreamFailure)):
        return error
    kind = ChangeUnconfirmed if sent else ChangeNotSent
    found = kind(note=error.note, retry_after=error.retry_after)
    found.reason = error.reason
    return found
