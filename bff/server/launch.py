"""Start the service: ``python -m bff.server.launch``, as the Procfile does.

Some of what a process needs is read from its environment before any Python runs, or when a module is imported. So this sets the
environment and then replaces itself by `bff.server.serve`, which does the rest. It imports as little as possible itself.
"""

import os
import sys
from collections.abc import Mapping

from bff.server import signals

# A variable that the operator has set stays as it is.
_DEFAULTS = {
    # The system's resolver gives up after one second and one attempt; its own five seconds are longer than our deadline.
    "RES_OPTIONS": "timeout:1 attempts:1",
    # A worker has many threads, and an allocator keeps freed memory apart for each of them or for a few, so that the worker
    # grows (docs/adr/0005). glibc's, which Python uses: two arenas for all threads, and no cache for each thread.
    "MALLOC_ARENA_MAX": "2",
    "GLIBC_TUNABLES": "glibc.malloc.tcache_count=0",
    # The jemalloc inside granian: one arena, a small cache for each thread, and unused memory given back after a second.
    "_RJEM_MALLOC_CONF": "narenas:1,tcache_max:4096,tcache_nslots_small_max:8,dirty_decay_ms:1000,muzzy_decay_ms:0",
}


def environment(inherited: Mapping[str, str]) -> dict[str, str]:
    """The environment of every process of the service."""
    # granian begins each request's environ with the process's own: such a variable would be a header that nobody sent.
    kept = {name: value for name, value in inherited.items() if not name.startswith("HTTP_")}
    kept.pop("PROMETHEUS_MULTIPROC_DIR", None)
    if inherited.get("METRICS_TOKEN", "").strip():
        # Not at the top: what is imported there delays the moment from which no signal is lost.
        from bff.server.child_processes import private_folder  # noqa: PLC0415

        # prometheus-client adds up the workers' metrics through files in one folder, whose name it reads when it is imported.
        kept["PROMETHEUS_MULTIPROC_DIR"] = str(private_folder("linked-accounts-metrics"))
    return {**_DEFAULTS, **kept}


def open_standard_streams() -> None:
    """Open whichever of the three is closed, on nothing: else a connection would get its number, and what is written to it."""
    for descriptor in (0, 1, 2):
        try:
            os.fstat(descriptor)
        except OSError:
            os.set_inheritable(os.open(os.devnull, os.O_RDWR), True)  # the lowest free number: this one


if __name__ == "__main__":
    signals.hold()  # those that come now are waited for by `serve`
    open_standard_streams()
    os.execve(sys.executable, [sys.executable, "-m", "bff.server.serve"], environment(os.environ))  # noqa: S606 - our own module
