"""The entry that the Procfile names; everything else is in `bff`."""

from bff.factory import create_app

__all__ = ["create_app"]
