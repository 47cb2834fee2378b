"""What decides who somebody is and whether a token counts, read to the letter: it is never cleaned, cut or given a default.

Two texts that differ are two people, and what has another shape than it should names nobody. So loading raises `UnexpectedShape`,
unlike in `schemas.genauth`, where a provider's odd value costs that value alone.
"""

import json
from collections.abc import Mapping
from typing import Any, NoReturn, TypeGuard

from marshmallow import Schema, ValidationError, fields

from schemas.genauth import LONGEST_ID, LONGEST_URL, AllowList, TextList

_END_OF_TIME = 253_402_300_799  # 9999-12-31, the last second that has a date


class UnexpectedShape(ValueError):
    """Its text names the members that have another shape, and shows nothing of what they hold."""


def is_identifier(value: object, longest: int = LONGEST_ID) -> TypeGuard[str]:
    """Whether this can be an id, of a user or an application: printable characters, and no blank at either end."""
    return isinstance(value, str) and 0 < len(value) <= longest and value.isprintable() and value == value.strip()


def is_numeric_date(value: object) -> TypeGuard[float]:
    """Whether this can be a time of RFC 7519 2: a number of seconds since 1970, fractions included."""
    # bool is an int to Python, and 1e400 an infinity to its JSON.
    return isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value <= _END_OF_TIME


def numeric_date(value: object) -> float | None:
    """The time, if this can be one."""
    return float(value) if is_numeric_date(value) else None


def strict_json(text: str) -> object:
    """The value that a JSON text stands for. RecursionError when it is nested too deeply, ValueError when it stands for none.

    Two members of one name are no JSON here, as parsers differ in which of them counts, and neither are NaN and Infinity.
    """
    value: object = _STRICT.decode(text)
    return value


def _once_each(members: list[tuple[str, Any]]) -> dict[str, Any]:
    as_dict = dict(members)
    if len(as_dict) != len(members):
        raise ValueError
    return as_dict


def _no_constant(_nan_or_infinity: str) -> NoReturn:
    raise ValueError


_STRICT = json.JSONDecoder(object_pairs_hook=_once_each, parse_constant=_no_constant)


class Identifier(fields.Field[str]):
    """What `is_identifier` says, to the letter."""

    def __init__(self, longest: int = LONGEST_ID, **options: Any) -> None:  # noqa: ANN401 - marshmallow's own
        super().__init__(**options)
        self._longest = longest

    def _deserialize(self, value: object, attr: str | None, data: Mapping[str, Any] | None, **_: object) -> str:  # noqa: ARG002
        if not is_identifier(value, self._longest):
            raise ValidationError("no identifier")
        return value


class NumericDate(fields.Field[float]):
    """What `is_numeric_date` says."""

    def _deserialize(self, value: object, attr: str | None, data: Mapping[str, Any] | None, **_: object) -> float:  # noqa: ARG002
        if not is_numeric_date(value):
            raise ValidationError("no time")
        return value


class MentionedDate(fields.Field[float | None]):
    """A time that decides nothing of whose a token is and whether it counts: None where it is no time."""

    def _deserialize(self, value: object, attr: str | None, data: Mapping[str, Any] | None, **_: object) -> float | None:  # noqa: ARG002
        return numeric_date(value)


class Audience(fields.Field[tuple[str, ...]]):
    """One audience or a list of them (RFC 7519 4.1.3), as a tuple."""

    def _deserialize(self, value: object, attr: str | None, data: Mapping[str, Any] | None, **_: object) -> tuple[str, ...]:  # noqa: ARG002
        audiences = value if isinstance(value, list) else [value]
        if not all(isinstance(audience, str) for audience in audiences):
            raise ValidationError("no audience")
        return tuple(audiences)


class ToTheLetter(Schema):
    """Loads the members that it names; `UnexpectedShape` if one of them has another shape."""

    class Meta(AllowList.Meta):
        """What is not named ends here."""

    def handle_error(self, error: ValidationError, data: Any, *, many: bool, **kwargs: Any) -> NoReturn:  # noqa: ANN401, ARG002 - marshmallow's own
        """Raise an error that has no values in it; marshmallow's own holds what was sent."""
        raise UnexpectedShape(", ".join(sorted(error.messages_dict))) from None


class IntrospectionSchema(ToTheLetter):
    """Whose an active token is, for whom, and when (RFC 7662 2.2, docs/genauth.md 4.2). What was not sent is None."""

    sub = Identifier(required=True)
    exp = NumericDate(load_default=None, allow_none=False)
    client_id = Identifier(load_default=None, allow_none=False)
    audience = Audience(load_default=None, allow_none=False, data_key="aud")
    not_before = NumericDate(load_default=None, allow_none=False, data_key="nbf")
    token_type = Identifier(load_default=None, allow_none=False)
    issued_at = MentionedDate(load_default=None, allow_none=True, data_key="iat")
    signed_in_at = MentionedDate(load_default=None, allow_none=True, data_key="auth_time")


class DiscoverySchema(ToTheLetter, AllowList):
    """What we keep of the OpenID Connect discovery document. A null is as good as a missing member."""

    issuer = Identifier(LONGEST_URL, required=True)
    jwks_uri = Identifier(LONGEST_URL, required=True)
    introspection_endpoint = Identifier(LONGEST_URL, load_default=None)
    introspection_auth_methods = TextList(data_key="introspection_endpoint_auth_methods_supported")
