"""The real application, called as a server calls it (PEP 3333): no client in between that would tidy a request up first."""

import io
import json
import re
import sys
from dataclasses import dataclass
from urllib.parse import unquote_to_bytes

from tests.security.effort import answered

PATH = "/me/linked-accounts"


@dataclass(frozen=True, slots=True)
class Answer:
    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def json(self):
        return json.loads(self.body)

    @property
    def accounts(self):
        return self.json["linkedAccounts"]

    @property
    def everything(self):
        """Whatever reaches the caller, to search in."""
        return repr(self.headers) + self.body.decode("utf-8", "surrogateescape")


class Service:
    """Asks the application and holds each answer to what holds for all of them."""

    def __init__(self, app):
        self.app = app

    def ask(self, path=PATH, *, method="GET", query="", headers=(), body=b"", address="203.0.113.7"):
        """One request. ``path`` and ``query`` as they stand in the request line, headers as (name, value) pairs in Latin-1."""
        environ = {
            "REQUEST_METHOD": method,
            "SCRIPT_NAME": "",
            "PATH_INFO": unquote_to_bytes(path.encode("utf-8", "surrogatepass")).decode("latin-1"),
            "QUERY_STRING": query,
            "SERVER_NAME": "127.0.0.1",
            "SERVER_PORT": "8000",
            "SERVER_PROTOCOL": "HTTP/1.1",
            "REMOTE_ADDR": address,
            "HTTP_HOST": "127.0.0.1:8000",
            "wsgi.version": (1, 0),
            "wsgi.url_scheme": "http",
            "wsgi.input": io.BytesIO(body),
            "wsgi.errors": sys.stderr,
            "wsgi.multithread": True,
            "wsgi.multiprocess": True,
            "wsgi.run_once": False,
        }
        for name, value in headers:
            key = name.upper().replace("-", "_")
            key = key if key in {"CONTENT_TYPE", "CONTENT_LENGTH"} else f"HTTP_{key}"
            # Doubled headers arrive joined; the host of the request replaces ours.
            environ[key] = f"{environ[key]},{value}" if key in environ and key != "HTTP_HOST" else value
        started = []
        parts = self.app.wsgi_app(environ, lambda status, sent, _exc=None: started.append((status, sent)))
        try:
            content = b"".join(parts)
        finally:
            if hasattr(parts, "close"):
                parts.close()
        status, sent = started[0]
        answer = Answer(int(status[:3]), {name.title(): value for name, value in sent}, content)
        answered(answer.status)
        _hold_to_the_contract(answer, method)
        return answer

    def accounts_of(self, token, **request):
        """The answer to the one question, asked with that token."""
        return self.ask(headers=[("Authorization", f"Bearer {token}"), *request.pop("headers", ())], **request)


def _hold_to_the_contract(answer, method):
    sent = answer.headers
    assert answer.status != 500, answer
    assert re.fullmatch(r"[A-Za-z0-9._-]{8,128}", sent["X-Request-Id"])
    assert sent["X-Content-Type-Options"] == "nosniff"
    assert not any(c in value for value in sent.values() for c in "\r\n\0")
    if answer.status >= 400 and method != "HEAD":
        assert sent["Content-Type"] == "application/problem+json"
        assert {"type", "title", "status", "code", "instance", "requestId"} <= set(answer.json)
        assert answer.json["status"] == answer.status
    if answer.status == 401:
        assert sent["Www-Authenticate"].startswith(("Bearer", "Webhook-Secret"))
    if answer.status in {429, 502, 503, 504}:
        assert int(sent["Retry-After"]) >= 1
