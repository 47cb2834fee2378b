"""What we keep of GenAuth's answers: allow-lists, load only. A field that is not named here ends here.

Lenient, because what providers send through GenAuth has every shape (genauth-api.md 2.4): a value that cannot be
read is None, and only the caller knows which of them it cannot do without.
"""

import json
import re
from abc import abstractmethod
from collections.abc import Callable, Mapping
from functools import cached_property
from typing import Any, TypeVar, cast

import msgspec
from marshmallow import EXCLUDE, Schema, fields, pre_load

T = TypeVar("T")

LONGEST_NAME = 256
LONGEST_ID = 256
LONGEST_EMAIL = 320
LONGEST_URL = 2048
MOST_CONNECTIONS = 100
_TOO_LARGE = 10**25  # no id has more than 25 digits

# C0, DEL and C1 controls, the line and paragraph separators, and what turns the reading direction around.
_CONTROLS = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069]")
# JavaScript cuts strings between the halves of an emoji; half of one cannot be encoded.
_HALVES = re.compile("[\ud800-\udfff]")


def _no_constant(_name: str) -> None:
    """NaN and Infinity are no JSON (RFC 8259); we read them as nothing."""


def _integer(digits: str) -> int | None:
    try:
        return int(digits)
    except ValueError:  # Python reads 4300 of them at most; one number must not cost the whole answer
        return None


_PROMPT = msgspec.json.Decoder()
_LENIENT = json.JSONDecoder(parse_constant=_no_constant, parse_int=_integer)


def parsed(text: str | bytes) -> object:
    """The value that a JSON text stands for. ValueError when it stands for none, RecursionError when it is nested too deeply.

    What msgspec refuses may still be read by the standard library's reader: half an emoji, as JavaScript servers send, a NaN, a
    byte order mark, and broken UTF-8, which is replaced, since one name must not cost a whole answer.
    """
    try:
        return _PROMPT.decode(text)
    except (msgspec.MsgspecError, UnicodeError):
        pass
    value: object = _LENIENT.decode(text if isinstance(text, str) else text.decode("utf-8-sig", errors="replace"))
    return value


def json_value(text: str | bytes) -> object:
    """The value that a JSON text stands for, None also when it stands for none. Nothing is raised."""
    try:
        return parsed(text)
    except (ValueError, RecursionError):
        return None


def clean(value: object, longest: int | None = None) -> str | None:
    """A str without controls and half emoji, an int as its digits; None for blank, for anything else, and for the too long."""
    if value is None:
        return None
    if not isinstance(value, str):
        if not isinstance(value, int) or isinstance(value, bool):
            return None
        if abs(value) >= _TOO_LARGE:
            return None
        value = str(value)
    if not value.isprintable():  # nearly everything is, and then there is none of them to look for
        value = _CONTROLS.sub("", _HALVES.sub("\ufffd", value))
    text = value.strip()
    return text if text and (longest is None or len(text) <= longest) else None


class Lenient(fields.Field[T]):
    """A field that reads whatever there is and never raises: what cannot be read is None, or something as empty.

    A string of printable characters, no more than ``usual`` of them, is read as itself without the blanks around it.
    """

    usual = -1

    def deserialize(self, value: object, attr: str | None = None, data: Mapping[str, Any] | None = None, **_: object) -> T:  # noqa: ARG002
        """As marshmallow has it."""
        return self.read(value, data or {})

    @abstractmethod
    def read(self, value: object, around: Mapping[str, Any]) -> T:
        """What ``value`` stands for; ``around`` is the object that it was in."""


class Text(Lenient[str | None]):
    """A `clean` string. Longer than ``longest`` is None, or its beginning when ``cut``."""

    def __init__(self, longest: int, *, cut: bool = False, otherwise: str | None = None, data_key: str | None = None) -> None:
        super().__init__(allow_none=False, load_default=otherwise, data_key=data_key)
        self.usual = longest
        self._cut = cut
        self._otherwise = otherwise

    def read(self, value: object, around: Mapping[str, Any]) -> str | None:  # noqa: ARG002
        """The string, or ``otherwise``."""
        text = clean(value)
        if text is not None and len(text) > self.usual:
            text = text[: self.usual].strip() if self._cut else None
        return text or self._otherwise


class FirstText(Text):
    """The first that is readable: under its own name, or one of ``others`` (``customData.giteeName`` is in an object)."""

    def __init__(self, longest: int, *others: str, cut: bool = False) -> None:
        super().__init__(longest, cut=cut)
        self._others = [other.rpartition(".") for other in others]

    def read(self, value: object, around: Mapping[str, Any]) -> str | None:
        """The first readable one counts, even if it is too long."""
        for within, _dot, name in self._others:
            if clean(value):
                break
            place = around.get(within) if within else around
            value = place.get(name) if isinstance(place, dict) else None
        return super().read(value, around)


class Texts(Lenient[tuple[str, ...]]):
    """An array of strings, or a JSON string of one (GenAuth's "Sample result"), as a tuple."""

    def read(self, value: object, around: Mapping[str, Any]) -> tuple[str, ...]:  # noqa: ARG002
        """Those that can be read."""
        if isinstance(value, str):
            value = json_value(value)
        if not isinstance(value, list):
            return ()
        return tuple([text for each in value[:MOST_CONNECTIONS] if (text := clean(each, LONGEST_ID))])


class Moment(Lenient[int | None]):
    """Seconds since 1970, as a number or its digits; else None."""

    def read(self, value: object, around: Mapping[str, Any]) -> int | None:  # noqa: ARG002
        """The number."""
        return number(int(value) if isinstance(value, float) and abs(value) < 1e15 else value)


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


class AllowList(Schema):
    """Loads the fields that it names. Secrets have none, so there is nothing to remember to remove."""

    class Meta:
        """What is not named ends here."""

        unknown = EXCLUDE


class LenientList(AllowList):
    """An allow-list of lenient fields, without hooks."""

    def read(self, raw: Mapping[str, Any]) -> dict[str, Any]:
        """What `load` makes of an object, at a fifth of its price: there are no errors to gather and no hooks to run."""
        found = {}
        for name, key, usual, read in self._readers:
            value = raw.get(key)
            # Nearly every one is a string as it should be.
            if type(value) is str and len(value) <= usual and value.isprintable() and (text := value.strip()):
                found[name] = text
            else:
                found[name] = read(value, raw)
        return found

    @cached_property
    def _readers(self) -> tuple[tuple[str, str, int, Callable[..., Any]], ...]:
        lenient = {name: cast("Lenient[Any]", field) for name, field in self.load_fields.items()}
        return tuple((name, field.data_key or name, field.usual, field.read) for name, field in lenient.items())


class ProfileSchema(LenientList):
    """What a provider says of the person; its tokens end here (genauth-api.md 2.3). The fallbacks are those of 2.4."""

    nickname = Text(LONGEST_NAME, cut=True)
    name = FirstText(LONGEST_NAME, "customData.giteeName", cut=True)
    username = FirstText(LONGEST_NAME, "customData.giteeLogin", "preferred_username", "preferredUsername", cut=True)
    email = Text(LONGEST_EMAIL)
    photo = FirstText(LONGEST_URL, "picture", "avatar")


class ProfileField(Lenient[dict[str, Any]]):
    """An object, or a JSON string of one, as a loaded profile; any other shape is an empty profile."""

    def read(self, value: object, around: Mapping[str, Any]) -> dict[str, Any]:  # noqa: ARG002
        """Accounts that were merged have no profile at all (genauth-api.md 2.4)."""
        if isinstance(value, str):
            value = json_value(value)
        return _PROFILE.read(value) if isinstance(value, dict) else {}


class IdentitySchema(LenientList):
    """What we keep of an identity; its accessToken and refreshToken end here."""

    identity_id = Text(LONGEST_ID, data_key="identityId")
    ext_idp_id = Text(LONGEST_ID, data_key="extIdpId")
    provider = Text(LONGEST_ID, otherwise="unknown")  # an open string: new ones broke the official clients (2.5)
    type = Text(LONGEST_ID)
    user_id_in_idp = Text(LONGEST_ID, data_key="userIdInIdp")
    connection_ids = Texts(data_key="originConnIds")
    profile = ProfileField(data_key="userInfoInIdp")


class ExtIdpSchema(LenientList):
    """What we keep of an identity source that the application offers (genauth-api.md 3, ExtIdpInfoDto)."""

    identifier = Text(LONGEST_ID)
    ext_idp_id = Text(LONGEST_ID, data_key="extIdpId")
    type = Text(LONGEST_ID, otherwise="unknown")
    category = Text(LONGEST_NAME, data_key="extIdpType")
    name = Text(LONGEST_NAME, cut=True)
    name_en = Text(LONGEST_NAME, cut=True)
    logo_url = Text(LONGEST_URL, data_key="logo")


class IntrospectionSchema(AllowList):
    """What GenAuth says of a token (RFC 7662 2.2, genauth-api.md 4.2). ``active`` is true for ``true`` and nothing else."""

    active = fields.Boolean(load_default=False, truthy={True}, falsy={False})
    sub = Text(LONGEST_ID)
    exp = Moment(load_default=None)
    client_id = Text(LONGEST_ID)
    scope = Text(4096)
    iss = Text(LONGEST_URL)

    @pre_load
    def strictly(self, raw: Mapping[str, Any], **_: object) -> dict[str, Any]:
        """Neither 1 nor "true" admits anybody."""
        return {**raw, "active": raw.get("active") is True}


class DiscoverySchema(AllowList):
    """What we keep of the OpenID Connect discovery document."""

    issuer = Text(LONGEST_URL)
    jwks_uri = Text(LONGEST_URL)
    introspection_endpoint = Text(LONGEST_URL)
    introspection_auth_methods = Texts(data_key="introspection_endpoint_auth_methods_supported")


_PROFILE = ProfileSchema()
