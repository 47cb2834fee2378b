"""Where a request's microseconds go: py-spy looks at the worker often, and each look is put under a part."""

import re
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Iterable
from pathlib import Path

# From the innermost frame outwards, the first that is known names the part; libraries that are everywhere only when nobody
# more telling called them.
_PARTS = {
    "Redis round trip": ("redis/", "hiredis", "cachelib/", "flask_caching/", "bff/backends.py", "bff/store.py", "bff/breaker.py"),
    "log line": ("structlog/", "bff/logs.py", "logging/"),
    "metrics": ("prometheus_client/", "bff/metrics.py", "bff/metric_labels.py"),
    "token memo": ("bff/sessions.py", "bff/memo.py", "bff/access_tokens.py", "bff/jwks.py", "bff/refusals.py"),
    "GenAuth": ("bff/genauth/", "requests/", "urllib3/"),
    "decode": ("bff/cache.py", "bff/sealing.py", "msgspec"),
    "render": ("bff/web/presenting.py", "bff/providers.py", "marshmallow/", "schemas/"),
    "micro-cache and express": ("bff/web/express.py", "bff/microcache.py", "bff/announcements.py", "bff/gate.py"),
    "guard": ("bff/web/auth.py", "bff/ratelimit.py"),
    "headers": ("bff/web/hygiene.py", "bff/web/request_id.py", "bff/web/cors.py"),
    "observing": ("bff/web/observing.py",),
    "route and use case": ("bff/web/", "bff/linked_accounts.py", "bff/singleflight.py"),
}
_EVERYWHERE = {
    "Flask dispatch": ("flask/", "werkzeug/", "flask_smorest/", "flask_cors/", "bff/factory.py"),
    "WSGI server": ("granian/", "gunicorn/"),
}
OTHER = "everything else"
_PLACE = re.compile(r"\(([^()]+):\d+\)$")


def shares(pid: int, seconds: float) -> dict[str, float]:
    """The parts of what the process did in Python during so many seconds, from 0 to 1, largest first."""
    with tempfile.TemporaryDirectory() as folder:
        stacks = Path(folder, "stacks")
        command = [str(Path(sys.executable).with_name("py-spy")), "record", "--rate", "400", "--duration", str(round(seconds))]
        subprocess.run([*command, "--format", "raw", "--output", str(stacks), "--pid", str(pid)], check=True, capture_output=True)
        return parts(stacks.read_text().splitlines())


def parts(stacks: Iterable[str]) -> dict[str, float]:
    """From py-spy's raw lines, ``frame;frame;frame count``."""
    found: Counter[str] = Counter()
    for line in stacks:
        frames, _, count = line.rpartition(" ")
        found[_part_of(frames.split(";"))] += int(count)
    return {part: count / found.total() for part, count in found.most_common()}


def _part_of(frames: list[str]) -> str:
    places = [match[1] if (match := _PLACE.search(frame)) else frame for frame in reversed(frames)]
    for known in (_PARTS, _EVERYWHERE):
        for place in places:
            for part, signs in known.items():
                if any(sign in place for sign in signs):
                    return part
    return OTHER
