"""What to do about a token that cannot be the right one, by its form: for whoever writes the client, never for a decision."""

import base64
import json
import re

B64TOKEN = re.compile(r"[A-Za-z0-9\-._~+/]+=*", re.ASCII)  # RFC 6750 2.1
HOW_TO_SEND = "Send `Bearer <access token>`."
_SEND_ANOTHER = "This is an id_token; send the access token."
_NO_TOKEN = f"This is no token. {HOW_TO_SEND}"

_LONGEST = 8192  # characters
# What a program writes where it has no token.
_NOTHING = frozenset(
    {"undefined", "null", "none", "nan", "nil", "true", "false", "token", "bearer", "your_token", "access_token"}
)
# An id_token has no scope, unlike an access token of GenAuth, and may have one of these (OpenID Connect Core 2, 3.3.2.11).
ID_TOKEN_CLAIMS = frozenset({"nonce", "at_hash", "c_hash"})


def what_to_send_instead(token: str) -> str | None:
    """A sentence for a token that was refused; None where its form says nothing."""
    if not B64TOKEN.fullmatch(token) or token.lower() in _NOTHING:
        return _NO_TOKEN
    claims = _claims(token)
    if claims and "aud" in claims and (not ID_TOKEN_CLAIMS.isdisjoint(claims) or "scope" not in claims):
        return _SEND_ANOTHER
    return None


def _claims(token: str) -> dict[str, object] | None:
    """The claims of what has the form of a signed token; who made them is unknown."""
    parts = token.split(".")
    if len(parts) != 3 or len(token) > _LONGEST:
        return None
    try:
        claims = json.loads(base64.urlsafe_b64decode(parts[1] + "=" * (-len(parts[1]) % 4)))
    except (ValueError, RecursionError):
        return None
    return claims if isinstance(claims, dict) else None
