"""What a container's health check runs: ``python -m bff.server.healthcheck`` asks the service beside it for ``/livez``.

The exit code is 0 when it answers with 200, else 1, with the reason on stderr.
"""

import os
import sys
from http.client import HTTPConnection, HTTPException

# What it listens on, when that is every address, and whom to ask then.
_EVERY_ADDRESS = {"": "127.0.0.1", "0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104 - looked up, not bound to
_ANSWERS_WITHIN_SECONDS = 2.0


def main() -> int:
    """Ask once; the exit code."""
    host = os.environ.get("HOST", "").strip()
    port = int(os.environ.get("PORT", "").strip() or 8000)
    # Not by urllib, which would go through HTTP_PROXY.
    connection = HTTPConnection(_EVERY_ADDRESS.get(host, host), port, timeout=_ANSWERS_WITHIN_SECONDS)
    try:
        connection.request("GET", "/livez")
        status = connection.getresponse().status
    except (OSError, HTTPException) as error:
        sys.stderr.write(f"{type(error).__name__}: {error}\n")
        return 1
    finally:
        connection.close()
    if status != 200:
        sys.stderr.write(f"/livez answers {status}\n")
    return int(status != 200)


if __name__ == "__main__":
    sys.exit(main())
