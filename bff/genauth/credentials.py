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
_LONGEST_LABEL = 64
_LONGEST_NUMBER = 25  # no id has more digits
_DEEPEST_TEXT = 8  # JSON in a string in a string: a profile string that holds the provider's raw response
_COMPOUND = (dict, list)
_OPENING = frozenset('{[" \t\r\n')  # or what may come before

_PUNCTUATION = re.compile("[^a-z0-9]")
_NAMES = re.compile(
    "token|secret|passw|passphrase|credential|authorization|bearer|jwt|cookie|assertion|samlresponse|verifier"
    "|sess(?:ion)?[^a-z0-9]?id|auth[^a-z0-9]?code|(?:session|api|app|access|private|auth)[^a-z0-9]?key"
)
_NO_CREDENTIALS = frozenset({"tokentype"})
# What has such a name is often innocent, as a person's motto or a country's code: it counts where it looks like a token.
# Signatures are those of object stores; those of an image service, as in ``ssig`` and ``x-signature``, open only the image.
_PERHAPS_NAMES = """
    access auth code key otp pass pwd refresh session sid sig signature st ticket tk
    xamzsignature xgoogsignature qsignature
"""
_PERHAPS = frozenset(_PERHAPS_NAMES.split())
_LABELS = ("key", "name", "k", "type", "field", "label", "id")
_VALUES = frozenset({"value", "v", "val", "content", "data", "text"})
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
# ``name=value`` as in a URL or a form, also within another value; ``name: value`` as in JSON, a header or YAML; ``<name>value``.
_PARAMETER = re.compile(
    r"""(?<![\w.\[\]%~-])([\w.\[\]%~-]{2,}+)["']?\s?([=:>])=*\s?["']?(?=(?:(?:bearer|token|basic)\s)?([^?&;#\s"'<>,=:]{1,64}))""",
    re.IGNORECASE,
)
_SIGN = re.compile(r"[=:>\s]")
_WITHOUT_BLANKS = re.compile(r"[!-~]+")
_ADDRESS = re.compile(r"https?://\S+|[^\s@:/?=]+@[^\s@:/?=]+")
_TOKEN_LIKE = re.compile(rf"[\w.~+/-]{{{_TELLING},}}=*", re.ASCII)  # RFC 6750 2.1, of some length
# Between a letter and a digit, and before a capital letter.
_TURN = re.compile(r"(?<=[A-Za-z])(?=[0-9])|(?<=[0-9])(?=[A-Za-z])|(?<=[a-z])(?=[A-Z])")
_LETTER = re.compile("[A-Za-z]")
_LONG_NUMBER = re.compile(r"(?<![0-9])(?:[0-9]{10}|[0-9]{12,})(?![0-9])")  # eleven digits are a phone number
_WORD = re.compile(rf"[\w.~+=-]{{{SHORTEST_SECRET},}}", re.ASCII)  # of a text that may be sent back or logged

# Where a value stands. Below `oauth` what is named like a profile is one, unless it looks like a token.
_ELSEWHERE, _OAUTH, _PROFILE_IN_OAUTH, _CREDENTIAL = "elsewhere", "oauth", "profile", "credential"


def names_credential(name: str) -> bool:
    """Whether what has this name is a credential, as ``accessToken``, ``oauth_token_secret`` or ``session-key``."""
    return bool(_NAMES.search(name.lower())) and _bare(name) not in _NO_CREDENTIALS


def credential_parameters(text: str) -> list[str]:
    """The first 64 characters of what is named like a credential in a URL, a form or another text of names and values.

    What is not ``name=value``, or may be innocent by its name, counts where it looks like a token.
    """
    found: list[str] = []
    if not _SIGN.search(text):
        return found
    names: dict[str, bool] = {}
    for name, sign, value in _PARAMETER.findall(text):
        certain = names.get(name)
        if certain is None:
            certain = names[name] = names_credential(unquote(name))
        if (certain and sign == "=") or ((certain or _bare(name) in _PERHAPS) and _looks_random(unquote(value))):
            found.append(value)
    return found + [word for word in _SCHEME.findall(text) if _looks_random(word)]


def telling_part(secret: str) -> str:
    """So much of a secret's beginning that whoever has it has the secret, cut short or whole; a short one in full."""
    if "://" in secret[:_TELLING]:
        return secret  # URLs of one host begin alike
    # A number in front is the id of the person, as in Twitter's tokens.
    digits = len(secret) - len(secret.lstrip("0123456789"))
    return secret[: max(_TELLING, min(digits, _LONGEST_NUMBER) + 1)]


def echoes_credential(text: str, credentials: Iterable[str]) -> bool:
    """Whether the text has a credential in it, cut short or whole, a word that is part of one, or any 15 characters of one."""
    # Where they share 15 characters, these have one of the text's pieces of eight in them.
    pieces = [text[at : at + SHORTEST_SECRET] for at in range(0, len(text) - SHORTEST_SECRET + 1, SHORTEST_SECRET)]
    words = _WORD.findall(text) + pieces
    return any(
        len(secret) >= SHORTEST_SECRET and (telling_part(secret) in text or any(word in secret for word in words))
        for secret in credentials
    )


def secrets_in(raw: object, ids: Collection[str] = (), shown: Collection[str] = ()) -> frozenset[str]:
    """Every text and number of at least 8 characters that came as a credential, at any depth, also in strings that hold JSON.

    That is everything below a name that `names_credential`; everything below ``oauth`` but the profile in it, of which what looks
    like a token counts; and credentials in the parameters of URLs. What stands below ``oauth`` as an id and is one of the
    person's ``ids`` at the provider is none, nor is what is ``shown`` of the profile and does not look like a token.
    """
    found = {secret for secret in _search(raw, ids, shown) if len(secret) >= SHORTEST_SECRET}
    # Also as it is before percent-encoding, and in the form that is served: output is cleaned of control characters, and the
    # guard looks for what is served.
    found |= {unquote(secret) for secret in found if "%" in secret}
    return frozenset(found.union([text for secret in found if (text := clean(secret)) and len(text) >= SHORTEST_SECRET]))


def _search(raw: object, ids: Collection[str], shown: Collection[str]) -> Iterator[str]:
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
            if not text:
                stack.append((value, _inside(key, place, value), texts))
                continue
            opened = _opened(text) if texts < _DEEPEST_TEXT else None
            if opened is not None:
                stack.append((opened, _inside(key, place, opened), texts + 1))
            if place == _ELSEWHERE:
                if _bare(key) in _PERHAPS and _looks_random(text):
                    yield text
            elif place == _CREDENTIAL or not (
                (text in ids and _is_id(key)) or (place == _OAUTH and text is value and _is_profile(text, shown))
            ):
                yield from _secrets_of(text, place, whole_json=opened is not None)
            yield from map(unquote, credential_parameters(text))
        if where in (_OAUTH, _CREDENTIAL) and isinstance(around, dict):
            yield from filter(_looks_random, around)  # as in {"<token>": {"scope": …}}


def _opened(text: str) -> Any:  # noqa: ANN401 - what JSON can say
    """What a JSON text holds, an object or a list; a text in it as a list of one. None for any other text."""
    value = json_value(text) if text[0] in _OPENING else None
    return [value] if isinstance(value, str) else value if isinstance(value, _COMPOUND) else None


def _named(around: dict[str, Any] | list[Any]) -> Iterable[tuple[str, Any]]:
    """What is in an object or a list, by name. Items of a list have none.

    ``{"key": "token", "value": …}`` and ``["token", …]`` are a token's.
    """
    if isinstance(around, list):
        if len(around) == 2 and isinstance(around[0], str) and names_credential(around[0][:_LONGEST_LABEL]):
            return [("", around[0]), (around[0], around[1])]
        return zip(repeat(""), around, strict=False)
    if not _VALUES.isdisjoint(around):
        for each in _LABELS:
            label = around.get(each)
            if isinstance(label, str) and names_credential(label[:_LONGEST_LABEL]):
                return [(label if key in _VALUES else key, value) for key, value in around.items()]
    return around.items()


def _secrets_of(text: str, place: str, *, whole_json: bool) -> Iterator[str]:
    """What is secret of a text that stands below ``oauth``, or as a credential."""
    if place == _PROFILE_IN_OAUTH:
        if _looks_random(text):
            yield text
        return
    # Below ``oauth`` a sentence is none, but there may be one in it.
    if place == _CREDENTIAL or whole_json or _WITHOUT_BLANKS.fullmatch(text):
        yield text
    if not whole_json and not _TOKEN_LIKE.fullmatch(text):  # the parts of JSON are looked at one by one
        if place == _CREDENTIAL:
            yield text.strip("\"' ")
        yield from _SCHEME.findall(text)
        yield from filter(_looks_random, _TOKEN_LIKE.findall(text))


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


def _inside(key: str, place: str, value: Any) -> str:  # noqa: ANN401 - what JSON can say
    """Where the parts of an object or a list are that is at ``place``."""
    if place == _CREDENTIAL and isinstance(value, dict):
        return _OAUTH  # as in ``tokenInfo``: the answer in which a provider has the token and the profile
    return _OAUTH if place == _PROFILE_IN_OAUTH and key.lower() == "profile" else place


def _is_profile(text: str, shown: Collection[str]) -> bool:
    """Whether a text below ``oauth`` is what a profile has: a web or mail address, or what is shown of it.

    Every provider has its own names for these; `credential_parameters` looks for the token in an address.
    """
    return bool(_ADDRESS.fullmatch(text)) or (text in shown and not _looks_random(text))


def _is_id(key: str) -> bool:
    name = _bare(key)
    return name.endswith("id") or name in _IDS


def _looks_random(text: str) -> bool:
    """Whether it is 16 characters or more without a blank, in which letters, digits and cases take turns, or of a long number."""
    if not _TOKEN_LIKE.fullmatch(text) or not _LETTER.search(text):
        return False
    return len(_TURN.findall(text)) >= 4 or bool(_LONG_NUMBER.search(text))


def _bare(name: str) -> str:
    return _PUNCTUATION.sub("", name.lower())


def _digits(value: object) -> str:
    return str(value) if isinstance(value, int | float) and not isinstance(value, bool) else ""
