"""One thing: whatever is asked, an application with a response cache answers as one without it does."""

import random
import time
from collections import Counter

import pytest

from bff.factory import create_app
from bff.settings import Settings
from bff.web import services_of
from tests.conftest import PATIENT
from tests.security.effort import LONG, tried

PATH = "/me/linked-accounts"
REQUESTS = 20_000 if LONG else 250  # with each of the settings
# They tell the time or name the request.
MOMENTARY = {"Date", "X-Request-Id", "Age", "Cache-Status", "RateLimit"}
PAGE, OTHER_PAGE = "https://app.example.com", "https://evil.example"
SETTINGS = [
    {},
    {"CORS_ORIGINS": PAGE},
    {"CORS_ORIGINS": "*"},
    {"SESSION_COOKIE_NAME": "session"},
    {"SESSION_COOKIE_NAME": "session", "CORS_ORIGINS": f"{PAGE},https://b.example"},
    {"ALLOWED_HOSTS": "a.example,b.example"},
    {"TRUSTED_PROXIES": "1", "CORS_ORIGINS": PAGE, "RATE_LIMIT": "100000/minute"},
    {
        "CACHE_SECRET": "a passphrase of more than thirty-two characters",
        "SESSION_COOKIE_NAME": "session",
        "ALLOWED_HOSTS": "a.example",
    },
]
METHODS = ["GET"] * 8 + ["HEAD"] * 3 + ["OPTIONS", "POST"]
QUERIES = [
    "",
    "",
    "",
    "include=identities",
    "include=providers,providers",
    "include=unlink&include=identities",
    "include=",
    "include=friends",
    "x=1",
    "%FF",
    "refresh=false",
    "refresh=1",
]
LANGUAGES = [None, None, "", "en", "zh", "zh-CN,en;q=0.5", "de", "zh;q=0", "*", "\xe9,,;q=", "x" * 300]
ORIGINS = [None, None, "", PAGE, OTHER_PAGE, "null", f"{PAGE},{OTHER_PAGE}", f"{PAGE}/"]
PAGES_WORDS = [None, "", " ", "fetch", "XMLHttpRequest"]
HOSTS = ["a.example", "a.example", "b.example", "evil.example", "a.example:8443", "", "a b", "x" * 300, "a.example/x"]
SCHEMES = ["http", "http", "https"]
ODD = [
    {},
    {},
    {},
    {},
    {"Cache-Control": "max-age=0"},
    {"Pragma": "no-cache"},
    {"Range": "bytes=0-9"},
    {"If-Match": '"x"'},
    {"If-Modified-Since": "Wed, 21 Oct 2015 07:28:00 GMT"},
    {"Accept": "text/html"},
    {"X-Forwarded-Proto": "https"},
    {"X-Forwarded-For": "203.0.113.9"},
    {"Access-Control-Request-Method": "GET"},
    {"Access-Control-Request-Private-Network": "true"},
    {"X-Request-Id": "a-request-of-mine"},
    {"Content-Length": "0"},
    {"Content-Length": ""},
    {"Forwarded": "for=192.0.2.1;proto=https"},
]


class Asking:
    """Requests at random; two of three are an earlier one again with at most one part of it changed."""

    def __init__(self, seed, tokens, etags):
        self._random = random.Random(seed)
        self._parts = {
            "method": METHODS,
            "query": QUERIES,
            "scheme": SCHEMES,
            "host": HOSTS,
            "Authorization": authorizations(tokens),
            "Cookie": cookies(tokens),
            "Accept-Language": LANGUAGES,
            "Origin": ORIGINS,
            "X-Requested-With": PAGES_WORDS,
            "If-None-Match": [None, None, "", "*", '"x"', *etags, ", ".join(etags)],
            "odd": ODD,
        }
        self._earlier = []

    def request(self):
        pick = self._random.choice
        if self._earlier and self._random.random() < 2 / 3:
            parts = dict(pick(self._earlier))
            if self._random.random() < 0.5:
                changed = pick(list(parts))
                parts[changed] = pick(self._parts[changed])
        else:
            # Most parts are plain, so that many requests are answered with accounts.
            parts = {name: pick(values) if self._random.random() < 0.4 else values[0] for name, values in self._parts.items()}
            parts["Authorization"] = pick(self._parts["Authorization"])
        self._earlier.append(parts)
        headers = {name: parts[name] for name in parts if name[0].isupper()} | parts["odd"]
        return {
            "method": parts["method"],
            "query_string": parts["query"],
            "headers": {name: value for name, value in headers.items() if value is not None},
            "base_url": f"{parts['scheme']}://localhost",
            "environ_overrides": {"HTTP_HOST": parts["host"]},
        }


def authorizations(tokens):
    known = [f"Bearer {token}" for token in tokens]
    return [*known * 4, None, "", "Bearer", "Basic eA==", f"bearer {tokens[0]}", f"{known[0]},{known[1]}", "Bearer x.y.z"]


def cookies(tokens):
    mei, omar = (f"session={token}" for token in tokens[:2])
    several = [f"{mei}; other=1", f"other=1; {mei}", f"{mei}; {omar}"]
    return [None, "", mei, mei, omar, *several, "session=", f'session="{tokens[0]}"']


def comparable(response):
    headers = sorted((name, value) for name, value in response.headers if name not in MOMENTARY)
    body = response.data.replace(response.headers["X-Request-Id"].encode(), b"its own")
    return response.status_code, headers, body, sorted({name for name, _ in response.headers} & MOMENTARY)


@pytest.mark.parametrize("number", range(len(SETTINGS)), ids=[", ".join(settings) or "as they are" for settings in SETTINGS])
def test_cached_equals_uncached(environ, genauth, number):
    cached, uncached = (
        create_app(Settings.from_env({**environ, **SETTINGS[number], "LOCAL_CACHE_SECONDS": seconds}), **PATIENT)
        for seconds in ("30", "0")
    )
    bus = services_of(cached).invalidations
    ends = time.monotonic() + 5
    while not bus.connected and time.monotonic() < ends:
        time.sleep(0.01)
    tokens = [genauth.token(person) for person in ("mei", "omar")] + [genauth.token("mei")]
    host = {"HTTP_HOST": "a.example"}
    first = [
        app.test_client(use_cookies=False).get(
            f"{PATH}?include=providers", headers={"Authorization": f"Bearer {token}"}, environ_overrides=host
        )
        for app in (uncached, cached)
        for token in tokens
    ]
    asking = Asking(number, tokens, sorted({response.headers["ETag"] for response in first}))
    statuses = Counter()
    try:
        for _ in range(REQUESTS):
            asked = asking.request()
            expected, response = (app.test_client(use_cookies=False).open(PATH, **asked) for app in (uncached, cached))
            assert comparable(response) == comparable(expected), asked
            statuses[response.status_code] += 1
            tried("requests with and without the response cache")
    finally:
        bus.stop(wait_seconds=5)

    metrics = services_of(cached).metrics.render().decode()
    from_memory = sum(
        float(line.rpartition(" ")[2])
        for line in metrics.splitlines()
        if line.startswith("linked_accounts_answers_total") and 'source="memory"' in line
    )
    assert from_memory > REQUESTS / 10, "too few of them were alike to show anything"
    assert {200, 304} <= statuses.keys()
