"""What is a credential: a value under a telling name, a parameter of a URL, a text that has one in it.

What we serve is an allow-list already; this is for the token that sits where no token should, as in a name, in an avatar's URL
with ``?access_token=`` or in GenAuth's id of a request.
"""

import re
from collections.abc import Collection, Iterable, Iterator
from itertools import repeat
from typing import Any
from urllib.parse import unquote

from schemas.genauth import clean, json_value

SHORTEST_SECRET = 8  # shorter ones would match by chance, and are none
_TELLING = 16  # so many of a secret's first characters give it away
_LONGEST_NUMBER = 25  # no id has more digits
_DEEPEST_TEXT = 8  # JSON in a string in a string: a profile string that holds the provider's raw response
_COMPOUND = (dict, list)
_OPENING = frozenset("{[ \t\r\n")  # or what may come before

_PUNCTUATION = re.compile("[^a-z0-9]")
_NAMES = re.compile(
    "token|secret|passw|credential|authorization|bearer|jwt|cookie"
    "|session[^a-z0-9]?id|auth[^a-z0-9]?code|(?:session|api|access|private|auth)[^a-z0-9]?key"
)
_NO_CREDENTIALS = frozenset({"tokentype"})
# Under `oauth` sits the provider's raw response: its token, and also the very profile that we show. If all of it were secret,
# every nickname, avatar and subject would come out as null.
_PROFILE_KEYS = """
    login name nickname username preferredusername displayname givenname familyname enname realname firstname lastname alias
    email mail phone mobile gender sex birthdate country province city location language locale zoneinfo company bio profile
    avatar avatarthumb avatarmiddle avatarbig picture photo image icon headimgurl figureurl blog website link url uri
    id sub userid uid openid unionid unionids nodeid tenantkey gravatarid useridinidp provider type scope tokentype
    createdat updatedat iss aud azp
"""
_PROFILE = frozenset(_PROFILE_KEYS.split())
_IDS = frozenset({"sub", "idstr"})  # and what ends in "id"

_SCHEME = re.compile(r"\b(?:bearer|basic|token|mac)\s+(\S+)", re.IGNORECASE)  # as before a token in an Authorization field
_PARAMETER = re.compile(r"""(?:^|[?&;#\s])([^?&;#\s=]{1,64})=([^?&;#\s"'<>]+)""")
_WORD = re.compile(rf"[\w.~+/-]{{{_TELLING},}}=*", re.ASCII)
_CHANGE = re.compile(r"(?<=[A-Za-z])(?=[0-9])|(?<=[0-9])(?=[A-Za-z])|(?<=[a-z])(?=[A-Z])")
_LETTER = re.compile("[A-Za-z]")
_LONG_NUMBER = re.compile(r"(?<![0-9])(?:[0-9]{10}|[0-9]{12,})(?![0-9])")  # eleven digits are a phone number
_SPOKEN = re.compile(rf"[\w.~+=-]{{{SHORTEST_SECRET},}}", re.ASCII)

# Where a value stands. Below `oauth` what is named like a profile is one, unless it looks like a token.
_ELSEWHERE, _OAUTH, _PROFILE_IN_OAUTH, _CREDENTIAL = "elsewhere", "oauth", "profile", "credential"


def names_credential(name: str) -> bool:
    """Whether what has this name is a credential, as ``accessToken``, ``oauth_token_secret`` or ``session-key``."""
    return bool(_NAMES.search(name.lower())) and _bare(name) not in _NO_CREDENTIALS


def credential_parameters(text: str) -> list[str]:
    """The values of parameters that are named like credentials, in a URL or a form."""
    return [value for name, value in _PARAMETER.findall(text) if names_credential(name)] if "=" in text else []


def telling_part(secret: str) -> str:
    """So much of a secret's beginning that whoever has it has the secret, cut short or whole; a short one in full."""
    if "://" in secret[:_TELLING]:
        return secret  # URLs of one host begin alike
    # A number in front is the id of the person, as in Twitter's tokens.
    digits = len(secret) - len(secret.lstrip("0123456789"))
    return secret[: max(_TELLING, min(digits, _LONGEST_NUMBER) + 1)]


def echoes_credential(text: str, credentials: Iterable[str]) -> bool:
    """Whether the text has a credential in it, cut short or whole, or a word that is part of one."""
    words = _SPOKEN.findall(text)
    return any(
        len(secret) >= SHORTEST_SECRET and (telling_part(secret) in text or any(word in secret for word in words))
        for secret in credentials
    )


def secrets_in(raw: object, ids: Collection[str] = ()) -> frozenset[str]:
    """Every text and number of at least 8 characters that came as a credential, at any depth, also in strings that hold JSON.

    That is everything below a name that `names_credential`; everything below ``oauth`` but the profile in it, of which what looks
    like a token counts; and credentials in the parameters of URLs. What stands below ``oauth`` as an id and is one of the
    person's ``ids`` at the provider is none.
    """
    found = {secret for secret in _search(raw, ids) if len(secret) >= SHORTEST_SECRET}
    # Also in the form that is served: output is cleaned of control characters, and the guard looks for what is served.
    return frozenset(found.union([text for secret in found if (text := clean(secret)) and len(text) >= SHORTEST_SECRET]))


def _search(raw: object, ids: Collection[str]) -> Iterator[str]:
    # Where we are, and how many strings had to be opened to get there. A stack, not recursion: depth is the sender's choice.
    stack: list[tuple[Any, str, int]] = [([raw], _ELSEWHERE, 0)]
    places: dict[tuple[str, str], str] = {}  # records have the same names
    while stack:
        around, where, texts = stack.pop()
        for key, value in _named(around):
            text = value if isinstance(value, str) else _digits(value)
            if len(text) < SHORTEST_SECRET and not (value and isinstance(value, _COMPOUND)):
                continue  # no secret, and no room for one either
            place = places.get((key, where)) or places.setdefault((key, where), _place(key, where))
            inside = _OAUTH if place == _PROFILE_IN_OAUTH and key.lower() == "profile" else place
            if not text:
                stack.append((value, inside, texts))
                continue
            opened = json_value(text) if texts < _DEEPEST_TEXT and text[0] in _OPENING else None
            if isinstance(opened, _COMPOUND):
                stack.append((opened, inside, texts + 1))
            if place != _ELSEWHERE and not (text in ids and _is_id(key)):
                yield from _secrets_of(text, place, whole_json=isinstance(opened, _COMPOUND))
            if "=" in text:
                yield from map(unquote, credential_parameters(text))
        if where in (_OAUTH, _CREDENTIAL) and isinstance(around, dict):
            yield from filter(_looks_random, around)  # as in {"<token>": {"scope": …}}


def _named(around: dict[str, Any] | list[Any]) -> Iterable[tuple[str, Any]]:
    """What is in an object or a list, by name. Items of a list have none; ``{"key": "token", "value": …}`` is a token's."""
    if isinstance(around, list):
        return zip(repeat(""), around, strict=False)
    label = around.get("key") or around.get("name")
    if "value" in around and isinstance(label, str):
        return [(label if key == "value" else key, value) for key, value in around.items()]
    return around.items()


def _secrets_of(text: str, place: str, *, whole_json: bool) -> Iterator[str]:
    """What is secret of a text that stands below ``oauth``, or as a credential."""
    if place == _PROFILE_IN_OAUTH:
        if _looks_random(text):
            yield text
        return
    yield text
    if not whole_json and not _WORD.fullmatch(text):  # the parts of JSON are looked at one by one
        yield text.strip("\"' ")
        yield from _SCHEME.findall(text)
        yield from filter(_looks_random, _WORD.findall(text))


def _place(key: str, where: str) -> str:
    """Where a value below ``key`` is. In a list, whose items have no key, it is where the list is."""
    if not key or where == _CREDENTIAL:
        return where
    if names_credential(key):
        return _CREDENTIAL
    if "oauth" in key.lower():
        return _OAUTH
    if where == _OAUTH:
        name = _bare(key)
        return _PROFILE_IN_OAUTH if name in _PROFILE or name.endswith(("url", "uri", "name")) else _OAUTH
    return where


def _is_id(key: str) -> bool:
    name = _bare(key)
    return name.endswith("id") or name in _IDS


def _looks_random(text: str) -> bool:
    """Whether it is 16 characters or more without a blank, in which letters, digits and cases take turns, or of a long number."""
    if not _WORD.fullmatch(text) or not _LETTER.search(text):
        return False
    return len(_CHANGE.findall(text)) >= 4 or bool(_LONG_NUMBER.search(text))


def _bare(name: str) -> str:
    return _PUNCTUATION.sub("", name.lower())


def _digits(value: object) -> str:
    return str(value) if isinstance(value, int | float) and not isinstance(value, bool) else ""
