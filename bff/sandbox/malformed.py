"""Bodies that no client should trust, by name, as get-identities or a gateway before it might send them."""

import gzip
from collections.abc import Callable
from functools import cache

import orjson

from bff.sandbox.messages import HTML, JSON, Answer, as_json

_MIB = 1024 * 1024
_GOOD = b'{"statusCode":200,"message":"Operation successful","data":%s}'
_RIGHT_ROW = {
    "identityId": "62f20932aaaabcc10d966ee5",
    "extIdpId": "62f209327ab3cc10d9016ee5",
    "provider": "wechat",
    "type": "openid",
    "userInfoInIdp": {"nickname": "小明"},
}
_WRONG_ROW = {
    "identityId": {"nested": True},
    "extIdpId": ["62f209327ab3cc10d9016ee5"],
    "provider": 7,
    "type": None,
    "userIdInIdp": 3.5,
    "userInfoInIdp": "a string",
    "accessToken": ["provider-token-nobody-in-a-list-0123456789"],
    "originConnIds": {"not": "a list"},
}


def _json(body: bytes) -> Answer:
    return Answer(200, body, JSON)


def _oversized() -> Answer:
    """5 MiB of valid JSON."""
    return as_json({"statusCode": 200, "message": "x" * (5 * _MIB), "data": []})


def _gzip_bomb() -> Answer:
    """300 KB that unpack to 256 MiB of valid JSON, whether or not the client asked for gzip."""
    spaces = gzip.compress(b" " * _MIB, 9)
    # Members of a gzip file follow each other (RFC 1952 2.2), so one packed MiB serves 256 times.
    body = gzip.compress(b'{"statusCode":200,"data":[],"message":"') + spaces * 256 + gzip.compress(b'"}')
    return Answer(200, body, JSON, (("Content-Encoding", "gzip"),))


_BODIES: dict[str, Callable[[], Answer]] = {
    "truncated-json": lambda: _json((_GOOD % b'[{"identityId":"62f20932"}]')[:-20]),
    "html": lambda: Answer(200, b"<!doctype html><title>Please log in</title><p>Captive portal</p>", HTML),
    "empty": lambda: _json(b""),
    "nan": lambda: _json(_GOOD % b"NaN"),
    "infinity": lambda: _json(b'{"statusCode":Infinity,"data":[]}'),
    "huge-number": lambda: _json(b'{"statusCode":' + b"9" * 5000 + b',"data":[]}'),
    "deep": lambda: _json(_GOOD % (b"[" * 100_000 + b"]" * 100_000)),
    "wrong-types": lambda: _json(_GOOD % orjson.dumps([7, "row", None, True, [], _WRONG_ROW])),
    # One good record: between others that are none, and in an object that holds the list.
    "strays": lambda: _json(_GOOD % orjson.dumps([None, "row", {}, _RIGHT_ROW, 7])),
    "list-in-object": lambda: _json(_GOOD % orjson.dumps({"totalCount": 1, "list": [_RIGHT_ROW]})),
    "not-an-object": lambda: _json(b"[1,2,3]"),
    "null": lambda: _json(b"null"),
    "invalid-utf8": lambda: _json(b'{"statusCode":200,"message":"\xff\xfe\xc3","data":[]}'),
    "lone-surrogate": lambda: _json(
        _GOOD % b'[{"identityId":"a","extIdpId":"b","provider":"wechat","userInfoInIdp":{"nickname":"\\ud800"}}]'
    ),
    "oversized": _oversized,
    "gzip-bomb": _gzip_bomb,
}

NAMES = tuple(_BODIES)


@cache
def malformed(name: str) -> Answer:
    """The body of that name, as an answer with HTTP 200."""
    return _BODIES[name]()
