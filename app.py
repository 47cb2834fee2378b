"""The entry that the Procfile names; everything else is in `bff`."""

import gc

from flask import Flask

from bff import factory


def create_app() -> Flask:
    """The application of a worker, from the environment. Call it once: what there is by then is there to stay."""
    application = factory.create_app()
    # Else each full collection looks at all that was imported, 80,000 objects, and for 40 ms nobody is answered.
    gc.freeze()
    return application
