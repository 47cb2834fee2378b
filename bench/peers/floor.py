"""The server's floor: a constant answer without a framework."""

from collections.abc import Callable, Iterable
from typing import Any

# As long as the answer for a person with two accounts.
BODY = b'{"linkedAccounts":[],"meta":{"total":0,"stale":false,"fetchedAt":"2026-01-01T00:00:00Z"},"padding":"%b"}' % (b"x" * 480)

_HEADERS = [("Content-Type", "application/json"), ("Content-Length", str(len(BODY)))]


def app(_environ: dict[str, Any], start_response: Callable[..., object]) -> Iterable[bytes]:
    """The same to everybody."""
    start_response("200 OK", _HEADERS)
    return [BODY]
