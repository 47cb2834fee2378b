"""`app.create_app`, in a process of its own: what it does to the garbage collector would outlast the test."""

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]
ENTRY = """
import gc
import threading
from app import create_app
application = create_app()
listening = any(thread.name == "invalidations" for thread in threading.enumerate())
print(type(application).__name__, len(gc.get_objects()), gc.get_freeze_count(), listening)
"""


def test_a_full_collection_does_not_look_at_what_was_imported_and_changes_elsewhere_are_heard():
    settings = {
        "GENAUTH_HOST": "http://127.0.0.1:9",
        "GENAUTH_APP_ID": "app",
        "REDIS_URL": "redis://127.0.0.1:9",
        "LOCAL_CACHE_SECONDS": "0",
    }

    ran = subprocess.run(
        [sys.executable, "-c", ENTRY],
        cwd=ROOT,
        env={**settings, "PATH": os.environ["PATH"]},
        capture_output=True,
        text=True,
        check=True,
        timeout=30,
    )
    name, looked_at, frozen, listening = ran.stdout.splitlines()[-1].split()

    assert name == "Flask"
    assert int(looked_at) < int(frozen) / 50
    assert listening == "True"
