"""Everything that can go wrong, named for what the person met.

    BffError
    ├── InvalidRequest            400 invalid_request
    │   └── InvalidTokenRequest              … carries a challenge
    ├── Unauthenticated           401, carries the challenge
    │   ├── TokenMissing              token_missing
    │   ├── SessionExpired            token_expired
    │   ├── TokenInvalid              token_invalid
    │   │   └── TokenRefused              … refused by GenAuth itself
    │   ├── ReauthenticationRequired  reauthentication_required
    │   └── WebhookSecretInvalid      webhook_secret_invalid
    ├── UserBlocked               403 user_blocked
    ├── CsrfHeaderMissing         403 csrf_header_missing
    ├── OriginNotAllowed          403 origin_not_allowed
    ├── ManagedByOrganization     403 managed_by_organization
    ├── LinkOfAnotherPerson       403 link_of_another_person
    ├── NotFound                  404 not_found
    │   └── NotLinked                 … an account that the person has not linked
    ├── MethodNotAllowed          405 method_not_allowed
    ├── LastLoginMethod           409 last_login_method
    ├── AlreadyLinked             409 already_linked
    ├── LinkedToAnotherPerson     409 linked_to_another_person
    ├── LinkExpired               410 link_expired
    ├── RateLimited               429 rate_limited
    ├── InternalError             500 internal_error
    ├── ChangeUnconfirmed         504 change_unconfirmed
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
from typing import Any, ClassVar

from bff.models import Language


class BffError(Exception):
    """An answer other than success. ``retry_after`` is in seconds, ``headers`` go out with the answer.

    ``members`` are further members of the problem, JSON by name (RFC 9457 3.2). ``counted``: whether it counts against the
    address that the request came from. ``reason``: the call to GenAuth that caused it and how that ended, as
    ``discovery_timeout``. ``unsent``: `bff.genauth.transport` raised it before it sent anything.
    """

    status: ClassVar[int]
    code: ClassVar[str]
    title: ClassVar[str]
    title_zh: ClassVar[str]
    counted, reason, unsent = False, "", False

    def __init__(
        self,
        detail: str | None = None,
        *,
        note: str = "",
        retry_after: float | None = None,
        headers: Mapping[str, str] = MappingProxyType({}),
        members: Mapping[str, Any] = MappingProxyType({}),
    ) -> None:
        super().__init__(note or self.code)
        self.detail, self.note, self.retry_after = detail, note, retry_after
        self.headers, self.members = headers, members

    @classmethod
    def title_in(cls, language: Language) -> str:
        """The title in that language."""
        return cls.title_zh if language == "zh" else cls.title


class InvalidRequest(BffError):
    """The request cannot be understood; ``detail`` says what to fix."""

    status, code = 400, "invalid_request"
    title, title_zh = "The request is not valid.", "请求无效。"


class InvalidTokenRequest(InvalidRequest):
    """The way in which a token was sent is wrong, as opposed to the token."""

    challenge = 'Bearer error="invalid_request"'  # RFC 6750 3.1


class Unauthenticated(BffError):
    """Nothing that shows who asks came with the request, or nothing that we can accept."""

    challenge: str


class TokenMissing(Unauthenticated):
    """No session token was sent."""

    status, code = 401, "token_missing"
    title, title_zh = "Sign in to see your linked accounts.", "请登录以查看已绑定的账号。"
    # RFC 6750 3.1: a request without credentials gets a bare challenge, no error code.
    challenge = "Bearer"


class SessionExpired(Unauthenticated):
    """The session token's ``exp`` has passed."""

    status, code = 401, "token_expired"
    title, title_zh = "Your session has expired.", "登录已过期。"
    challenge = 'Bearer error="invalid_token", error_description="The access token expired"'


class TokenInvalid(Unauthenticated):
    """The session token is malformed, forged, not for us, or not an access token."""

    status, code = 401, "token_invalid"
    title, title_zh = "Your session is not valid.", "登录状态无效。"
    counted = True
    challenge = 'Bearer error="invalid_token", error_description="The access token is invalid"'


class TokenRefused(TokenInvalid):
    """GenAuth itself no longer accepts the session token."""


class ReauthenticationRequired(Unauthenticated):
    """The sign-in is too old for a change, or nothing says when it was (RFC 9470). ``max_age`` in seconds."""

    status, code = 401, "reauthentication_required"
    title, title_zh = "Sign in again to make this change.", "请重新登录后再进行此更改。"
    challenge = 'Bearer error="insufficient_user_authentication"'

    def __init__(self, max_age: int, *, note: str = "") -> None:
        super().__init__(note=note, members={"maxAgeSeconds": max_age})
        self.challenge = f'Bearer error="insufficient_user_authentication", max_age="{max_age}"'


class WebhookSecretInvalid(Unauthenticated):
    """An event came without the secret that shows that GenAuth sent it."""

    status, code = 401, "webhook_secret_invalid"
    title, title_zh = "This event does not show the webhook's secret.", "该事件未携带正确的 Webhook 密钥。"
    challenge = "Webhook-Secret"


class UserBlocked(BffError):
    """GenAuth locked or deactivated the user, or the user is not in this tenant."""

    status, code = 403, "user_blocked"
    title, title_zh = "This user account is blocked.", "该用户账号已被停用。"


class CsrfHeaderMissing(BffError):
    """A cookie came without the header that a page on another site cannot send."""

    status, code = 403, "csrf_header_missing"
    title = "Requests with a session cookie need the X-Requested-With header."
    title_zh = "使用会话 Cookie 的请求需要 X-Requested-With 标头。"


class OriginNotAllowed(BffError):
    """A cookie came from a page whose origin is not on the list."""

    status, code = 403, "origin_not_allowed"
    title, title_zh = "This origin may not use the session cookie.", "此来源不能使用会话 Cookie。"


class ManagedByOrganization(BffError):
    """The operator does not let people unlink accounts of this source (``UNLINK_DENIED_SOURCES``)."""

    status, code = 403, "managed_by_organization"
    title, title_zh = "Your organization manages this account.", "该账号由您的组织管理。"


class LinkOfAnotherPerson(BffError):
    """Another person began this link than the one whose session asks for its outcome."""

    status, code = 403, "link_of_another_person"
    title, title_zh = "Somebody else began to link this account.", "此绑定由其他用户发起。"


class NotFound(BffError):
    """Nothing lives at this path."""

    status, code = 404, "not_found"
    title, title_zh = "There is nothing here.", "此处没有任何内容。"


class NotLinked(NotFound):
    """The person has linked no account of that id."""

    title, title_zh = "You have not linked this account.", "您尚未绑定此账号。"


class MethodNotAllowed(BffError):
    """The path exists, the method does not."""

    status, code = 405, "method_not_allowed"
    title, title_zh = "This method is not allowed here.", "此处不支持该请求方法。"


class LastLoginMethod(BffError):
    """Without this account the person could not sign in any more."""

    status, code = 409, "last_login_method"
    title, title_zh = "This account is your only way to sign in.", "该账号是您唯一的登录方式。"


class AlreadyLinked(BffError):
    """The person has linked an account of this source already."""

    status, code = 409, "already_linked"
    title, title_zh = "You have linked this account already.", "您已绑定此账号。"


class LinkedToAnotherPerson(BffError):
    """The outside account is linked to another user."""

    status, code = 409, "linked_to_another_person"
    title, title_zh = "This account is linked to somebody else.", "该账号已被其他用户绑定。"


class LinkExpired(BffError):
    """The link is not known here, was used, or began too long ago."""

    status, code = 410, "link_expired"
    title, title_zh = "This link is no longer valid.", "此绑定链接已失效。"


class RateLimited(BffError):
    """The caller asks more often than it may."""

    status, code = 429, "rate_limited"
    title, title_zh = "Too many requests.", "请求过于频繁。"


class InternalError(BffError):
    """A defect of ours."""

    status, code = 500, "internal_error"
    title, title_zh = "Something went wrong on our side.", "服务内部出错。"


class ChangeUnconfirmed(BffError):
    """GenAuth was asked for a change, and whether it made it is not known. Not an UpstreamFailure: nothing may stand in."""

    status, code = 504, "change_unconfirmed"
    title, title_zh = "We could not confirm the change.", "无法确认更改是否成功。"


class UpstreamRejected(BffError):
    """GenAuth understood the request and refused it for a reason that is not the token: ours to fix, nothing to serve."""

    status, code = 502, "upstream_malformed"
    title, title_zh = "Linked accounts could not be read.", "无法读取已绑定的账号。"


class UpstreamForbidden(UpstreamRejected):
    """GenAuth says that the application may not do this. It is no word about the person or the token."""

    status, code = 502, "upstream_forbidden"
    title, title_zh = "This application may not read linked accounts.", "此应用无权读取已绑定的账号。"


class UpstreamFailure(BffError):
    """GenAuth failed to answer; the last good answer may stand in."""


class UpstreamMalformed(UpstreamFailure):
    """GenAuth answered something unreadable, or a redirect."""

    status, code = 502, "upstream_malformed"
    title, title_zh = "Linked accounts could not be read.", "无法读取已绑定的账号。"


class UpstreamUnavailable(UpstreamFailure):
    """GenAuth refused the connection, answered with a 5xx, or is known to be down."""

    status, code = 503, "upstream_unavailable"
    title, title_zh = "Linked accounts are unavailable right now.", "暂时无法查看已绑定的账号。"


class UpstreamTimeout(UpstreamFailure):
    """GenAuth did not answer before the deadline."""

    status, code = 504, "upstream_timeout"
    title, title_zh = "Linked accounts took too long.", "读取已绑定的账号超时。"


class UpstreamThrottled(UpstreamFailure):
    """GenAuth asks us to slow down."""

    status, code = 429, "rate_limited"
    title, title_zh = "Too many requests.", "请求过于频繁。"
