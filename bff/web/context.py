"""What a request carries: the services it may use, its deadline, the session it belongs to. Typed, since ``g`` is not."""

from typing import cast

from flask import current_app, g

from bff.models import Session
from bff.resilience import Deadline
from bff.services import Services

_KEY = "linked-accounts"


def provide(app_extensions: dict[str, object], services: Services) -> None:
    """Hand the services to an application."""
    app_extensions[_KEY] = services


def services() -> Services:
    """The services handed in at start."""
    return cast("Services", current_app.extensions[_KEY])


def deadline() -> Deadline:
    """When this request must be answered, counted from its arrival."""
    return cast("Deadline", g.deadline)


def session() -> Session:
    """The session that the guard let in."""
    return cast("Session", g.session)
