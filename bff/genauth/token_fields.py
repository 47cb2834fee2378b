"""Which strings of a response are secrets, so that the leak guard can refuse any output in which one appears again.

What we serve is an allow-list already; this is for the token that sits where no token should, as in an avatar's URL with
``?access_token=``.
"""

import re
from itertools import repeat
from typing import Any

from schemas.genauth import clean, json_value

SHORTEST_SECRET = 8  # shorter ones would match by chance, and are none
_DEEPEST_TEXT = 3  # JSON in a string in a string: a profile string that holds the provider's raw response
_COMPOUND = (dict, list)
_TEXT_OR_COMPOUND = (str, dict, list)
_OPENING = frozenset("{[ \t\r\n")  # or what may come before
_PUNCTUATION = re.compile("[^a-z0-9]")

_TOKENS = frozenset({"accesstoken", "refreshtoken", "idtoken"})
_OAUTH = "oauth"
# Under `oauth` sits the provider's raw response: its token, and also the very profile that we show. What is named like a
# profile there is no secret, or every nickname, avatar and subject would be taken for one and come out as null.
_PROFILE_KEYS = """
    login name nickname username preferredusername displayname givenname familyname enname realname firstname lastname alias
    email mail phone mobile gender sex birthdate country province city location language locale zoneinfo company bio profile
    avatar avatarthumb avatarmiddle avatarbig picture photo image icon headimgurl figureurl blog website link url uri
    id sub userid uid openid unionid unionids nodeid tenantkey gravatarid useridinidp provider type scope tokentype
    createdat updatedat iss aud azp
"""
_PROFILE = frozenset(_PROFILE_KEYS.split())


def secrets_in(raw: object) -> frozenset[str]:
    """Every string of at least 8 characters that came as a token, at any depth, also inside strings that hold JSON.

    Under a key like ``accessToken``, ``refresh_token``, ``idToken``: all strings below. Under ``oauth``: all but the profile.
    """
    found = _search(raw)
    # Also in the form that is served: output is cleaned of control characters, and the guard looks for what is served.
    return frozenset(found.union([text for secret in found if (text := clean(secret)) and len(text) >= SHORTEST_SECRET]))


def _search(raw: object) -> set[str]:
    found: set[str] = set()
    # Where we are (elsewhere, in a token, in oauth), and how many strings had to be opened to get there. A stack, not recursion:
    # depth is the sender's choice.
    stack: list[tuple[Any, str, int]] = [([raw], "elsewhere", 0)]
    while stack:
        around, where, texts = stack.pop()
        for key, value in around.items() if isinstance(around, dict) else zip(repeat(""), around, strict=False):
            if not value or not isinstance(value, _TEXT_OR_COMPOUND):
                continue  # no secret, and no room for one either
            if not isinstance(value, str):
                stack.append((value, _under(key, where), texts))
                continue
            if len(value) < SHORTEST_SECRET:
                continue
            place = _under(key, where)
            if place != "elsewhere":
                found.add(value)
            if texts < _DEEPEST_TEXT and value[0] in _OPENING and isinstance(opened := json_value(value), _COMPOUND):
                stack.append((opened, place, texts + 1))
    return found


def _under(key: str, where: str) -> str:
    """Where a value below ``key`` is. In a list, whose items have no key, it is where the list is."""
    if not key:
        return where
    name = _PUNCTUATION.sub("", key.lower())
    if name in _TOKENS:
        return "token"
    if name == _OAUTH:
        return "token" if where == "token" else "oauth"
    if where == "oauth" and (name in _PROFILE or name.endswith(("url", "uri"))):
        return "elsewhere"
    return where
