# ruff: noqa: RUF001  # Chinese has its own punctuation
"""Requests, answers and GenAuth's envelopes as data.

Nothing here knows people, tokens or sockets.
"""

import itertools
import secrets
from collections.abc import Mapping
from dataclasses import dataclass, replace
from urllib.parse import parse_qsl

import orjson

JSON = "application/json; charset=utf-8"
HTML = "text/html; charset=utf-8"

# A requestId has the shape of a UUID: a random head, and a count as its tail.
_request_ids = itertools.count(1)
_REQUEST_ID_HEAD = "-".join(secrets.token_hex(n) for n in (4, 2, 2, 2))


@dataclass(frozen=True, slots=True)
class Request:
    """One request as it arrived. Header names are lower case; a repeated header is joined with a comma."""

    method: str
    path: str
    query: str
    headers: Mapping[str, str]
    body: bytes = b""
    person: str | None = None

    @property
    def credential(self) -> str | None:
        """The token in ``Authorization``: raw, as most official SDKs send it, or behind ``Bearer``."""
        value = self.headers.get("authorization", "").strip()
        return (value[7:].strip() if value[:7].lower() == "bearer " else value) or None

    @property
    def arguments(self) -> dict[str, str]:
        """The query's parameters; of a repeated one, the last."""
        return dict(parse_qsl(self.query, keep_blank_values=True))

    @property
    def form(self) -> dict[str, str]:
        """The body's parameters, whatever content type they claim: the SDKs do not agree on one."""
        return dict(parse_qsl(self.body.decode("utf-8", "replace"), keep_blank_values=True))

    def json(self) -> dict[str, object]:
        """The body as a JSON object; anything else is an empty one."""
        try:
            value = orjson.loads(self.body)
        except orjson.JSONDecodeError:
            return {}
        return value if isinstance(value, dict) else {}


@dataclass(frozen=True, slots=True)
class Answer:
    """One answer, whole. ``headers`` come besides Content-Type and Content-Length."""

    status: int = 200
    body: bytes = b""
    content_type: str = JSON
    headers: tuple[tuple[str, str], ...] = ()

    def with_headers(self, *pairs: tuple[str, str]) -> "Answer":
        """The same answer with more headers."""
        return replace(self, headers=self.headers + pairs)


@dataclass(frozen=True, slots=True)
class Refusal:
    """How GenAuth refuses a request: the envelope's codes, and its message in two languages."""

    status_code: int
    api_code: int | None
    chinese: str
    english: str


class Refused(Exception):
    """GenAuth refuses the request."""

    def __init__(self, refusal: Refusal) -> None:
        super().__init__(refusal.english)
        self.refusal = refusal


NOT_LOGGED_IN = Refusal(401, 2020, "尚未登录，无权限访问此请求", "You are not logged in.")
NO_SUCH_APP = Refusal(499, 2011, "应用不存在", "The application does not exist.")
NO_SUCH_USER = Refusal(404, 2004, "用户不存在", "The user does not exist.")
# generate-link-extidp-url has no code of its own for it (docs/genauth.md 3).
NO_APP_TO_LINK_IN = Refusal(404, None, "应用不存在", "The application does not exist.")
NO_SUCH_CONNECTION = Refusal(404, None, "身份源连接不存在", "The identity source connection does not exist.")
# The codes of binding and unbinding are in the older of the two documented lists (docs/genauth.md 1.7).
ALREADY_BOUND = Refusal(499, 2213, "已绑定过该登录方式", "This login method is already bound.")
BOUND_ELSEWHERE = Refusal(499, 2215, "该账号已被其他用户绑定", "That account is bound to another user.")
CANCELLED = Refusal(499, None, "用户取消了授权", "The person cancelled.")
NOT_BOUND = Refusal(499, 2216, "未绑定该登录方式", "This login method is not bound.")
LAST_LOGIN_METHOD = Refusal(499, 2217, "当前仅剩一种登录方式，无法解绑", "Only one login method is left.")

BLOCKED = {
    code: Refusal(403, code, chinese, english)
    for code, chinese, english in (
        (2005, "用户已锁定", "The user is locked."),
        (2120008, "用户已停用或不属于该租户", "The user is deactivated or not a member of this tenant."),
        (2130010, "用户不允许登录该租户", "The user may not log in to this tenant."),
    )
} | {NO_SUCH_USER.api_code: NO_SUCH_USER}


def invalid_argument(name: str) -> Refusal:
    """A required argument is missing or of the wrong kind."""
    return Refusal(400, None, f"参数错误：{name}", f"Invalid argument: {name}")


def request_id() -> str:
    """A fresh id in the shape of GenAuth's."""
    return f"{_REQUEST_ID_HEAD}-{next(_request_ids):012x}"


def as_json(value: object, status: int = 200) -> Answer:
    """Any JSON value as an answer."""
    return Answer(status, orjson.dumps(value))


def success(data: object, request: Request) -> Answer:
    """HTTP 200, ``statusCode`` 200 and the data (docs/genauth.md 1.5)."""
    message = "Operation successful" if speaks_english(request) else "操作成功"
    return as_json({"statusCode": 200, "message": message, "requestId": request_id(), "data": data})


def refused(refusal: Refusal, request: Request) -> Answer:
    """The refusal in its envelope. HTTP says 200: the verdict is in the body (GenAuth error-code page)."""
    message = refusal.english if speaks_english(request) else refusal.chinese
    envelope: dict[str, object] = {"statusCode": refusal.status_code, "message": message, "requestId": request_id()}
    if refusal.api_code is not None:
        envelope["apiCode"] = refusal.api_code
    return as_json(envelope)


def oauth_error(status: int, error: str, description: str) -> Answer:
    """The /oidc endpoints are ordinary OAuth: a real status, ``error`` and ``error_description``."""
    answer = as_json({"error": error, "error_description": description}, status)
    if status != 401:
        return answer
    return answer.with_headers(("WWW-Authenticate", f'Bearer realm="genauth", error="{error}"'))


def not_found(request: Request) -> Answer:
    """No such method and path."""
    message = f"Cannot {request.method} {request.path}"
    return as_json({"statusCode": 404, "message": message, "error": "Not Found"}, 404)


def speaks_english(request: Request) -> bool:
    """GenAuth answers in Chinese unless asked otherwise, under either of its two header prefixes."""
    asked = request.headers.get("x-genauth-lang") or request.headers.get("x-authing-lang") or "zh-CN"
    return asked.lower().startswith("en")
