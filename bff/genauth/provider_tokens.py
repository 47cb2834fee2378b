"""Which strings of an answer are secrets, so that the leak guard can refuse any output in which one appears again.

What we serve is an allow-list already; this is for the token that sits where no token should, as in an avatar's URL with
``?access_token=``.
"""

import re
from collections.abc import Iterator
from itertools import repeat

from schemas.genauth import clean, json_value

SHORTEST_SECRET = 8  # shorter ones would match by chance, and are none
_DEEPEST_TEXT = 3  # JSON in a string in a string: a profile string that holds the provider's raw answer
_PUNCTUATION = re.compile("[^a-z0-9]")

_TOKENS = frozenset({"accesstoken", "refreshtoken", "idtoken"})
_OAUTH = "oauth"
# Under `oauth` sits the provider's raw answer: its token, and also the very profile that we show. What is named like a
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
    found = {secret for secret in _search(raw, "elsewhere", 0) if len(secret) >= SHORTEST_SECRET}
    # As served, too: output is cleaned of controls, and a guard that looks for the original would not find it.
    return frozenset(found | {text for secret in found if (text := clean(secret)) and len(text) >= SHORTEST_SECRET})


def _search(raw: object, where: str, texts: int) -> Iterator[str]:
    """``where`` is elsewhere, token or oauth; ``texts`` counts the strings that had to be opened to get here."""
    stack = [(raw, where, texts)]  # not recursion: depth is the sender's choice
    while stack:
        value, where, texts = stack.pop()
        if isinstance(value, str):
            if where != "elsewhere":
                yield value
            if texts < _DEEPEST_TEXT and value.lstrip()[:1] in {"{", "["}:
                stack.append((json_value(value), where, texts + 1))
        elif isinstance(value, dict):
            for key, below in value.items():
                stack.append((below, _under(key, where), texts))
        elif isinstance(value, list):
            stack.extend(zip(value, repeat(where), repeat(texts), strict=False))


def _under(key: str, where: str) -> str:
    name = key.lower()
    if not (name.isascii() and name.isalnum()):  # most are, and need no cleaning
        name = _PUNCTUATION.sub("", name)
    if name in _TOKENS:
        return "token"
    if name == _OAUTH:
        return "token" if where == "token" else "oauth"
    if where == "oauth" and (name in _PROFILE or name.endswith(("url", "uri"))):
        return "elsewhere"
    return where
