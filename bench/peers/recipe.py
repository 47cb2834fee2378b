"""The recipe: what tutorials for Flask, flask-caching and PyJWT add up to, for the same answer.

The token is verified at every request, the accounts are cached per user with ``cache.get`` and ``cache.set``, GenAuth is asked
with requests. No acceptance of tokens, no single flight, no stale answers, no ETag, no log line: less work than the service does.
"""

import os
from itertools import groupby
from operator import itemgetter
from typing import Any

import jwt
import requests
from flask import Flask, Response, abort, jsonify, request
from flask_caching import Cache

HOST = os.environ["GENAUTH_HOST"]
APP_ID = os.environ["GENAUTH_APP_ID"]

app = Flask(__name__)
app.config.from_mapping(
    CACHE_TYPE="RedisCache",
    CACHE_REDIS_URL=os.environ["REDIS_URL"],
    CACHE_DEFAULT_TIMEOUT=int(os.environ["CACHE_TTL_SECONDS"]),
)
cache = Cache(app)
jwks = jwt.PyJWKClient(os.environ["GENAUTH_JWKS_URL"], cache_keys=True)
genauth = requests.Session()
genauth.headers["x-authing-app-id"] = APP_ID


@app.get("/me/linked-accounts")
def linked_accounts() -> Response:
    """The outside accounts that this person has linked."""
    token = request.headers.get("Authorization", "").removeprefix("Bearer ")
    try:
        key = jwks.get_signing_key_from_jwt(token)
        claims = jwt.decode(token, key, algorithms=["RS256"], audience=APP_ID, issuer=os.environ["GENAUTH_ISSUER"])
    except jwt.PyJWTError:
        abort(401)
    accounts = cache.get(f"accounts:{claims['sub']}")
    if accounts is None:
        accounts = ask(token)
        cache.set(f"accounts:{claims['sub']}", accounts)
    return jsonify(accounts)


def ask(token: str) -> dict[str, Any]:
    """Ask GenAuth, and gather identity records into accounts."""
    data = get("get-identities", token)
    sources = cache.get("sources")
    if sources is None:
        sources = {each["extIdpId"]: each for each in reversed(get("get-application-enabled-extidps", token))}
        cache.set("sources", sources, timeout=600)
    by_source = itemgetter("provider", "extIdpId")
    accounts = [
        account(list(records), sources.get(source, {}))
        for (_, source), records in groupby(sorted(data, key=by_source), by_source)
    ]
    return {"linkedAccounts": accounts, "meta": {"total": len(accounts), "stale": False}}


def get(what: str, token: str) -> list[dict[str, Any]]:
    """The data of a GenAuth answer."""
    answer = genauth.get(f"{HOST}/api/v3/{what}", headers={"Authorization": f"Bearer {token}"}, timeout=3)
    envelope: dict[str, Any] = answer.json()
    if envelope["statusCode"] != 200:
        abort(502)
    data: list[dict[str, Any]] = envelope["data"]
    return data


def account(records: list[dict[str, Any]], source: dict[str, Any]) -> dict[str, Any]:
    """One account as the contract shows it."""
    profile = records[0]["userInfoInIdp"]
    return {
        "id": records[0]["extIdpId"],
        "provider": {
            "type": records[0]["provider"],
            "name": source.get("name_en"),
            "category": source.get("extIdpType"),
            "logoUrl": source.get("logo"),
        },
        "displayName": profile.get("nickname"),
        "email": profile.get("email"),
        "avatarUrl": profile.get("photo"),
        "identityTypes": sorted({record["type"] for record in records}),
    }
