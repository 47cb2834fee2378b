"""What a caller presents as credentials, good or not, and whether a text has any of it: such a text is never repeated."""

import re
from collections.abc import Iterable

from flask import request

from bff.web.context import services

# Shorter ones are found in innocent text by chance.
_SHORTEST = 8


def credentials() -> list[str]:
    """The words of the Authorization header, and the session cookie in cookie mode."""
    cookie = services().settings.session_cookie_name
    return [*re.split(r"[\s,]+", request.headers.get("Authorization", "")), *(request.cookies.getlist(cookie) if cookie else ())]


def repeats(text: str, credentials: Iterable[str]) -> bool:
    """Whether the text is, has or is part of a credential."""
    return any(len(secret) >= _SHORTEST and (secret in text or text in secret) for secret in credentials)
