"""Where a request's microseconds go: a timer that counts CPU time looks at the stack often, and each look is put under a part.

In one thread, without the server: what neighbours do to the machine moves the clock on the wall, and hardly this one. The
server's own part is what a constant answer costs it.
"""

import io
import itertools
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from types import FrameType
from typing import Any

from bench.programs import PATH, ROOT, World

# From the innermost frame outwards, the first that is known names the part; libraries that are everywhere only when nobody
# more telling called them.
_PARTS = {
    "Redis round trip": (
        *("redis/", "hiredis", "cachelib/", "flask_caching/"),
        *("bff/backends.py", "bff/roundtrip.py", "bff/store.py", "bff/breaker.py"),
    ),
    "log line": ("structlog/", "bff/logs.py", "logging/"),
    "metrics": ("prometheus_client/", "bff/metrics.py", "bff/metric_labels.py"),
    "token memo": ("bff/sessions.py", "bff/memo.py", "bff/access_tokens.py", "bff/jwks.py", "bff/refusals.py"),
    "GenAuth": ("bff/genauth/", "requests/", "urllib3/"),
    "decode": ("bff/cache.py", "bff/remembered.py", "bff/sealing.py", "msgspec"),
    "render": ("bff/web/presenting.py", "bff/providers.py", "marshmallow/", "schemas/"),
    "micro-cache and express": (
        *("bff/web/repeats.py", "bff/web/express.py", "bff/web/wsgi.py"),
        *("bff/microcache.py", "bff/announcements.py", "bff/gate.py"),
    ),
    "guard": ("bff/web/auth.py", "bff/ratelimit.py"),
    "headers": ("bff/web/hygiene.py", "bff/web/request_id.py", "bff/web/cors.py"),
    "observing": ("bff/web/observing.py",),
    "route and use case": ("bff/web/", "bff/linked_accounts.py", "bff/singleflight.py"),
}
_EVERYWHERE = {
    "Flask dispatch": ("flask/", "werkzeug/", "flask_smorest/", "flask_cors/", "bff/factory.py"),
}
OTHER = "everything else"
_SECONDS = 20.0
_EVERY_SECONDS = 0.001
_BLOCK = 100


def sample(world: World, tokens: Sequence[str], *, core: int, changes: Mapping[str, str]) -> dict[str, Any]:
    """The ``cost`` of a request in microseconds of CPU, and the ``shares`` of its parts, from 0 to 1, largest first."""
    environment = {**world.environment(8000, 1, changes), "BENCH_CORE": str(core)}
    with tempfile.TemporaryDirectory() as folder:
        # As `bff.server.launch` sets it: counting costs more over several workers.
        environment["PROMETHEUS_MULTIPROC_DIR"] = folder
        told = subprocess.run(
            [sys.executable, "-m", "bench.sampling"],
            cwd=ROOT, env=environment, input="\n".join(tokens), check=True, text=True,
            stdout=subprocess.DEVNULL, stderr=subprocess.PIPE,
        )  # fmt: skip
    result: dict[str, Any] = json.loads(told.stderr.strip().rsplit("\n", 1)[-1])
    return {"cost": result["cost"], "shares": parts(result["stacks"])}


def parts(stacks: Iterable[str]) -> dict[str, float]:
    """From lines of ``place;place;place count``, outermost first."""
    found: Counter[str] = Counter()
    for line in stacks:
        frames, _, count = line.rpartition(" ")
        found[_part_of(frames.split(";"))] += int(count)
    return {part: count / found.total() for part, count in found.most_common()}


def _part_of(frames: list[str]) -> str:
    for known in (_PARTS, _EVERYWHERE):
        for place in reversed(frames):
            for part, signs in known.items():
                if any(sign in place for sign in signs):
                    return part
    return OTHER


def main() -> None:
    """In the child: ask the application with the tokens of stdin, and tell of it on stderr, since stdout has the log."""
    os.sched_setaffinity(0, {int(os.environ.pop("BENCH_CORE"))})
    # Imported here, after the environment says what it is to be.
    from app import create_app  # noqa: PLC0415

    application = create_app()
    environs = [_environ(token) for token in sys.stdin.read().split()]
    stacks: Counter[str] = Counter()

    def look(_signal: int, frame: FrameType | None) -> None:
        places = []
        while frame is not None:
            places.append(frame.f_code.co_filename)
            frame = frame.f_back
        stacks[";".join(reversed(places))] += 1

    for environ in environs * 3:
        _ask(application, environ)
    signal.signal(signal.SIGPROF, look)
    signal.setitimer(signal.ITIMER_PROF, _EVERY_SECONDS, _EVERY_SECONDS)
    costs = []
    around = itertools.cycle(environs)
    until = time.monotonic() + _SECONDS
    while time.monotonic() < until:
        started = time.thread_time()
        for environ in itertools.islice(around, _BLOCK):
            _ask(application, environ)
        costs.append((time.thread_time() - started) / _BLOCK * 1e6)
    signal.setitimer(signal.ITIMER_PROF, 0)
    lines = [f"{stack} {count}" for stack, count in stacks.items()]
    # The quietest tenth: what disturbs only ever adds.
    print(json.dumps({"cost": sorted(costs)[len(costs) // 10], "stacks": lines}), file=sys.stderr)


def _ask(application: Any, environ: Mapping[str, Any]) -> None:  # noqa: ANN401 - a WSGI application
    statuses: list[str] = []
    answer = application({**environ, "wsgi.input": io.BytesIO()}, lambda status, *_: statuses.append(status))
    b"".join(answer)
    if close := getattr(answer, "close", None):
        close()
    assert statuses == ["200 OK"], statuses


def _environ(token: str) -> dict[str, Any]:
    """What granian hands over for one of wrk's requests: the process's own environment is in there."""
    return {
        **os.environ, "GATEWAY_INTERFACE": "CGI/1.1", "SERVER_SOFTWARE": "Granian", "wsgi.input_terminated": True,
        "REQUEST_METHOD": "GET", "SCRIPT_NAME": "", "PATH_INFO": PATH, "QUERY_STRING": "", "SERVER_PROTOCOL": "HTTP/1.1",
        "SERVER_NAME": "127.0.0.1", "SERVER_PORT": "8000", "REMOTE_ADDR": "127.0.0.1", "HTTP_HOST": "127.0.0.1:8000",
        "HTTP_AUTHORIZATION": f"Bearer {token}", "wsgi.version": (1, 0), "wsgi.url_scheme": "http", "wsgi.errors": sys.stderr,
        "wsgi.multithread": True, "wsgi.multiprocess": True, "wsgi.run_once": False,
    }  # fmt: skip


if __name__ == "__main__":
    main()
