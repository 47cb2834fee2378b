"""What granian and the ``flask`` command import; everything else is in `bff`."""

import gc

from flask import Flask

from bff import factory
from bff.web import services_of


def create_app(threads: int = factory.THREADS, *, warn: bool = True) -> Flask:
    """The application of a worker with so many threads, from the environment. Call it once in a process."""
    application = factory.create_app(threads=threads, warn=warn)
    # What exists by now stays as long as the process: full collections leave it out, which would stop every thread meanwhile.
    gc.freeze()
    services = services_of(application)
    services.sessions.prepare()
    services.invalidations.listen()  # LOCAL_CACHE_SECONDS=0 as well: changes made elsewhere end more than cached responses
    return application
