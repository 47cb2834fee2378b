"""Everything that can go wrong, named for what the person met.

    BffError
    ├── InvalidRequest            400 invalid_request
    │   └── InvalidTokenRequest              … carries a challenge
    ├── Unauthenticated           401, carries the challenge
    │   ├── TokenMissing              token_missing
    │   ├── SessionExpired            token_expired
    │   └── TokenInvalid              token_invalid
    │       └── TokenRefused              … refused by GenAuth itself
    ├── UserBlocked               403 user_blocked
    ├── CsrfHeaderMissing         403 csrf_header_missing
    ├── OriginNotAllowed          403 origin_not_allowed
    ├── NotFound                  404 not_found
    ├── MethodNotAllowed          405 method_not_allowed
    ├── RateLimited               429 rate_limited
    ├── InternalError             500 internal_error
    ├── UpstreamRejected           502 upstream_malformed: it says our request is wrong
    │   └── UpstreamForbidden          502 upstream_forbidden: … that the application may not ask this
    └── UpstreamFailure            what a stale answer may stand in for
        ├── UpstreamMalformed          502 upstream_malformed
        ├── UpstreamUnavailable        503 upstream_unavailable
        ├── UpstreamTimeout            504 upstream_timeout
        └── UpstreamThrottled          429 rate_limited

An error carries a title for the person, in English and Chinese, a code for the frontend and a note for our log. A note never
holds a token, nor the text of a library's exception, which may hold one.
"""

from collections.abc import Mapping
from types import MappingProxyType
from typing import ClassVar

from bff.models import Language


class BffError(Exception):
    """An answer other than success. ``retry_after`` is in seconds, ``headers`` go out with the answer.

    ``counted``: whether it counts against the address that the request came from. ``reason``: the call to GenAuth that caused it
    and how that ended, as ``discovery_timeout``.
    """

    status: ClassVar[int]
    code: ClassVar[str]
    title: ClassVar[str]
    title_zh: ClassVar[str]
    counted = False
    reason = ""

    def __init__(
        self,
        detail: str | None = None,
        *,
        note: str = "",
        retry_after: float | None = None,
        headers: Mapping[str, str] = MappingProxyType({}),
    ) -> None:
        super().__init__(note or self.code)
        self.detail = detail
        self.note = note
        self.retry_after = retry_after
        self.headers = headers

    @classmethod
    def title_in(cls, language: Language) -> str:
        """The title in that language."""
        return cls.title_zh if language == "zh" else cls.title


class InvalidRequest(BffError):
    """The request cannot be understood; ``detail`` says what to fix."""

    status, code = 400, "invalid_request"
    title = "The request is not valid."
    title_zh = "请求无效。"


class InvalidTokenRequest(InvalidRequest):
    """The way in which a token was sent is wrong, as opposed to the token."""

    challenge = 'Bearer error="invalid_request"'  # RFC 6750 3.1


class Unauthenticated(BffError):
    """No session token that we can accept came with the request."""

    challenge: ClassVar[str]


class TokenMissing(Unauthenticated):
    """No session token was sent."""

    status, code = 401, "token_missing"
    title = "Sign in to see your linked accounts."
    title_zh = "请登录以查看已绑定的账号。"
    # RFC 6750 3.1: a request without credentials gets a bare challenge, no error code.
    challenge = "Bearer"


class SessionExpired(Unauthenticated):
    """The session token's ``exp`` has passed."""

    status, code = 401, "token_expired"
    title = "Your session has expired."
    title_zh = "登录已过期。"
    challenge = 'Bearer error="invalid_token", error_description="The access token expired"'


class TokenInvalid(Unauthenticated):
    """The session token is malformed, forged, not for us, or not an access token."""

    status, code = 401, "token_invalid"
    title = "Your session is not valid."
    title_zh = "登录状态无效。"
    counted = True
    challenge = 'Bearer error="invalid_token", error_description="The access token is invalid"'


class TokenRefused(TokenInvalid):
    """GenAuth itself no longer accepts the session token."""


class UserBlocked(BffError):
    """GenAuth locked or deactivated the user, or the user is not in this tenant."""

    status, code = 403, "user_blocked"
    title = "This user account is blocked."
    title_zh = "该用户账号已被停用。"


class CsrfHeaderMissing(BffError):
    """A cookie came without the header that a page on another site cannot send."""

    status, code = 403, "csrf_header_missing"
    title = "Requests with a session cookie need the X-Requested-With header."
    title_zh = "使用会话 Cookie 的请求需要 X-Requested-With 标头。"


class OriginNotAllowed(BffError):
    """A cookie came from a page whose origin is not on the list."""

    status, code = 403, "origin_not_allowed"
    title = "This origin may not use the session cookie."
    title_zh = "此来源不能使用会话 Cookie。"


class NotFound(BffError):
    """Nothing lives at this path."""

    status, code = 404, "not_found"
    title = "There is nothing here."
    title_zh = "此处没有任何内容。"


class MethodNotAllowed(BffError):
    """The path exists, the method does not."""

    status, code = 405, "method_not_allowed"
    title = "This method is not allowed here."
    title_zh = "此处不支持该请求方法。"


class RateLimited(BffError):
    """The caller asks more often than it may."""

    status, code = 429, "rate_limited"
    title = "Too many requests."
    title_zh = "请求过于频繁。"


class InternalError(BffError):
    """A defect of ours."""

    status, code = 500, "internal_error"
    title = "Something went wrong on our side."
    title_zh = "服务内部出错。"


class UpstreamRejected(BffError):
    """GenAuth understood the request and refused it for a reason that is not the token: ours to fix, nothing to serve."""

    status, code = 502, "upstream_malformed"
    title = "Linked accounts could not be read."
    title_zh = "无法读取已绑定的账号。"


class UpstreamForbidden(UpstreamRejected):
    """GenAuth says that the application may not do this. It is no word about the person or the token."""

    status, code = 502, "upstream_forbidden"
    title = "This application may not read linked accounts."
    title_zh = "此应用无权读取已绑定的账号。"


class UpstreamFailure(BffError):
    """GenAuth failed to answer; the last good answer may stand in."""


class UpstreamMalformed(UpstreamFailure):
    """GenAuth answered something unreadable, or a redirect."""

    status, code = 502, "upstream_malformed"
    title = "Linked accounts could not be read."
    title_zh = "无法读取已绑定的账号。"


class UpstreamUnavailable(UpstreamFailure):
    """GenAuth refused the connection, answered with a 5xx, or is known to be down."""

    status, code = 503, "upstream_unavailable"
    title = "Linked accounts are unavailable right now."
    title_zh = "暂时无法查看已绑定的账号。"


class UpstreamTimeout(UpstreamFailure):
    """GenAuth did not answer before the deadline."""

    status, code = 504, "upstream_timeout"
    title = "Linked accounts took too long."
    title_zh = "读取已绑定的账号超时。"


class UpstreamThrottled(UpstreamFailure):
    """GenAuth asks us to slow down."""

    status, code = 429, "rate_limited"
    title = "Too many requests."
    title_zh = "请求过于频繁。"
