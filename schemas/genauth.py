"""What we keep of GenAuth's responses: allow-lists, load only. A field that is not named here ends here.

Lenient, because what providers send through GenAuth has every shape (docs/genauth.md 2.4): a value that cannot be read is None,
and only the caller knows which of them it cannot do without. So loading raises nothing.
"""

import json
import re
import unicodedata
from collections.abc import Mapping
from typing import Any

from marshmallow import EXCLUDE, Schema, fields, pre_load

LONGEST_NAME = 256
# Names are cut when they are shown, after the leak guard has seen what follows: a token that is cut is a token.
LONGEST_UNCUT_NAME = 4 * LONGEST_NAME
LONGEST_ID = 256
LONGEST_EMAIL = 320
LONGEST_URL = 2048
MOST_CONNECTIONS = 100
_TOO_LARGE = 10**25  # no id has more than 25 digits

# C0, DEL and C1 controls, line and paragraph separators, what says or turns the reading direction, annotations that hide text.
_CONTROLS = re.compile("[\x00-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u206f\ufff9-\ufffb]")
# Nothing to see by themselves: controls, formats, separators and marks; and these, which are letters and symbols by their kind.
_UNSEEN_KINDS = frozenset({"Cc", "Cf", "Cs", "Zs", "Zl", "Zp", "Mn", "Mc", "Me"})
_UNSEEN = re.compile("[\u115f\u1160\u2065\u2800\u3164\uffa0\ufff0-\ufff8\ufffe\uffff\U0001d159\U000e0000-\U000e0fff]")
# JavaScript cuts strings between the halves of an emoji; half of one cannot be encoded.
_HALVES = re.compile("[\ud800-\udfff]")


def _no_constant(_name: str) -> None:
    """NaN and Infinity are no JSON (RFC 8259); we read them as null."""


def _integer(digits: str) -> int | None:
    try:
        return int(digits)
    except ValueError:  # Python reads 4300 of them at most; one number must not cost the whole response
        return None


_DECODER = json.JSONDecoder(parse_constant=_no_constant, parse_int=_integer)


def parsed(text: str | bytes) -> object:
    """The value that a JSON text stands for. ValueError when it stands for none, RecursionError when it is nested too deeply.

    Half an emoji, as JavaScript servers send, a NaN and a byte order mark are read, and broken UTF-8 is replaced: one name must
    not cost the whole response.
    """
    value: object = _DECODER.decode(text if isinstance(text, str) else text.decode("utf-8-sig", errors="replace"))
    return value


def json_value(text: str | bytes) -> object:
    """The value that a JSON text stands for, None also when it stands for none. Nothing is raised."""
    try:
        return parsed(text)
    except (ValueError, RecursionError):
        return None


def clean(value: object, longest: int | None = None) -> str | None:
    """A str without controls and half emoji, from what can be seen of it on; an int as its digits.

    None where there is nothing to see, for anything else, and for the too long.
    """
    if isinstance(value, int) and not isinstance(value, bool) and abs(value) < _TOO_LARGE:
        value = str(value)
    if not isinstance(value, str):
        return None
    if not value.isprintable():
        value = _CONTROLS.sub("", _HALVES.sub("\ufffd", value))
    text = value[_first_seen(value) :].rstrip()
    return text if text and (longest is None or len(text) <= longest) else None


def _first_seen(text: str) -> int:
    """Where something can be seen for the first time; the end of the text if that is further than any name is long."""
    for at, character in enumerate(text[:LONGEST_UNCUT_NAME]):
        if unicodedata.category(character) not in _UNSEEN_KINDS and not _UNSEEN.match(character):
            return at
    return len(text)


def number(value: object) -> int | None:
    """An int, a whole float or a numeric string of up to 15 digits as an int; else None."""
    if value is None or isinstance(value, bool):
        return None
    if isinstance(value, float) and value.is_integer():
        value = int(value) if abs(value) < 1e15 else None
    if isinstance(value, int):
        return value if abs(value) < 10**15 else None
    digits = value.strip() if isinstance(value, str) and len(value) <= 32 else ""
    return int(digits) if re.fullmatch(r"[0-9]{1,15}", digits) else None


class Text(fields.Field[str | None]):
    """A `clean` string. Longer than ``longest`` is ``load_default``, or its beginning when ``cut``."""

    def __init__(self, longest: int, *, cut: bool = False, load_default: str | None = None, data_key: str | None = None) -> None:
        super().__init__(load_default=load_default, data_key=data_key)
        self._longest = longest
        self._cut = cut

    def _deserialize(self, value: object, attr: str | None, data: Mapping[str, Any] | None, **_: object) -> str | None:  # noqa: ARG002
        text = clean(value)
        if text is not None and len(text) > self._longest:
            text = text[: self._longest].strip() if self._cut else None
        default: str | None = self.load_default
        return text or default


class TextList(fields.Field[tuple[str, ...]]):
    """An array of strings, or a JSON string of one (GenAuth's "Sample result", docs/genauth.md 2.2), as a tuple."""

    def __init__(self, *, data_key: str) -> None:
        super().__init__(load_default=(), data_key=data_key)

    def _deserialize(self, value: object, attr: str | None, data: Mapping[str, Any] | None, **_: object) -> tuple[str, ...]:  # noqa: ARG002
        if isinstance(value, str):
            value = json_value(value)
        if not isinstance(value, list):
            return ()
        return tuple([text for each in value[:MOST_CONNECTIONS] if (text := clean(each, LONGEST_ID))])


class AllowList(Schema):
    """Loads the fields that it names. Secrets have none, so there is nothing to remember to remove."""

    class Meta:
        """What is not named ends here."""

        unknown = EXCLUDE

    @pre_load
    def without_nulls(self, raw: Mapping[str, Any], **_: object) -> dict[str, Any]:
        """A null is as good as a missing key: providers send either (docs/genauth.md 2.4)."""
        return {key: value for key, value in raw.items() if value is not None}


class ProfileSchema(AllowList):
    """What a provider says of the person; its tokens end here (docs/genauth.md 2.3)."""

    nickname = Text(LONGEST_UNCUT_NAME, cut=True)
    name = Text(LONGEST_UNCUT_NAME, cut=True)
    username = Text(LONGEST_UNCUT_NAME, cut=True)
    email = Text(LONGEST_EMAIL)
    photo = Text(LONGEST_URL)

    @pre_load
    def with_other_names(self, raw: Mapping[str, Any], **_: object) -> dict[str, Any]:
        """Where a provider does not fill a field, what it sends instead (docs/genauth.md 2.4). The first readable one counts."""
        custom = _custom_data(raw.get("customData"))
        candidates = {
            "name": (raw.get("name"), custom.get("giteeName")),
            "username": (
                raw.get("username"),
                custom.get("giteeLogin"),
                raw.get("preferred_username"),
                raw.get("preferredUsername"),
                raw.get("middleName"),
                raw.get("familyName"),
            ),
            "photo": (raw.get("photo"), raw.get("picture"), raw.get("avatar")),
        }
        return {**raw} | {name: next(filter(clean, values), None) for name, values in candidates.items()}


def _custom_data(value: object) -> dict[str, Any]:
    """An object, a list of ``{"key": …, "value": …}``, or a JSON string of either, as an object; empty for anything else."""
    if isinstance(value, str):
        value = json_value(value)
    if isinstance(value, list):
        pairs = [each for each in value if isinstance(each, dict) and isinstance(each.get("key"), str)]
        return {each["key"]: each.get("value") for each in pairs}
    return value if isinstance(value, dict) else {}


class ProfileField(fields.Nested):
    """An object, or a JSON string of one, as a loaded profile; any other shape is an empty profile.

    Accounts that were merged have no profile at all (docs/genauth.md 2.4).
    """

    def __init__(self, *, data_key: str) -> None:
        super().__init__(ProfileSchema, load_default=dict, data_key=data_key)

    def _deserialize(self, value: object, *args: Any, **kwargs: Any) -> Any:  # noqa: ANN401 - marshmallow's own
        if isinstance(value, str):
            value = json_value(value)
        return super()._deserialize(value if isinstance(value, dict) else {}, *args, **kwargs)


class IdentitySchema(AllowList):
    """What we keep of an identity; its accessToken and refreshToken end here."""

    identity_id = Text(LONGEST_ID, data_key="identityId")
    ext_idp_id = Text(LONGEST_ID, data_key="extIdpId")
    # An open string: new ones broke the official clients (docs/genauth.md 2.5).
    provider = Text(LONGEST_ID, load_default="unknown")
    type = Text(LONGEST_ID)
    user_id_in_idp = Text(LONGEST_ID, data_key="userIdInIdp")
    connection_ids = TextList(data_key="originConnIds")
    profile = ProfileField(data_key="userInfoInIdp")


class ExtIdpSchema(AllowList):
    """What we keep of a connection to an identity source that the application offers (docs/genauth.md 3)."""

    ext_idp_id = Text(LONGEST_ID, data_key="extIdpId")
    type = Text(LONGEST_ID, load_default="unknown")
    category = Text(LONGEST_NAME, data_key="extIdpType")
    name = Text(LONGEST_UNCUT_NAME, cut=True)
    name_en = Text(LONGEST_UNCUT_NAME, cut=True)
    logo_url = Text(LONGEST_URL, data_key="logo")
    identifier = Text(LONGEST_ID)


class Flag(fields.Field[bool | None]):
    """A JSON boolean; anything else is None, as whoever may unlink an account depends on it."""

    def __init__(self, *, data_key: str) -> None:
        super().__init__(load_default=None, data_key=data_key)

    def _deserialize(self, value: object, attr: str | None, data: Mapping[str, Any] | None, **_: object) -> bool | None:  # noqa: ARG002
        return value if isinstance(value, bool) else None


class SecurityInfoSchema(AllowList):
    """What we keep of a person's ways to sign in (docs/genauth.md 3)."""

    password_set = Flag(data_key="passwordSet")
    email_bound = Flag(data_key="emailBinded")
    phone_bound = Flag(data_key="phoneBinded")
