"""Whose token is this? Signed access tokens, introspection, and GenAuth's signing keys."""

from bff.auth.access_tokens import LEEWAY_SECONDS, AccessTokens
from bff.auth.genauth_check import GenAuthCheck
from bff.auth.id_tokens import LONGEST_ID_TOKEN, IdToken, IdTokens
from bff.auth.introspection import Introspector
from bff.auth.jwks_cache import JwksCache
from bff.auth.jwks_fetcher import JwksFetcher
from bff.auth.jwks_refresher import JwksRefresher
from bff.auth.jwks_snapshot import JwksSnapshot
from bff.auth.sessions import Sessions, Verifier
from bff.auth.token_kinds import B64TOKEN, HOW_TO_SEND

__all__ = [
    "B64TOKEN",
    "HOW_TO_SEND",
    "LEEWAY_SECONDS",
    "LONGEST_ID_TOKEN",
    "AccessTokens",
    "GenAuthCheck",
    "IdToken",
    "IdTokens",
    "Introspector",
    "JwksCache",
    "JwksFetcher",
    "JwksRefresher",
    "JwksSnapshot",
    "Sessions",
    "Verifier",
]
