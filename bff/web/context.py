"""What a request carries: the services it may use, its deadline, the session it belongs to. Typed, since ``g`` is not."""

from typing import cast

from flask import current_app, g, request

from bff.cache import Recollection
from bff.deadline import Deadline
from bff.services import Services
from bff.sessions import Session

_KEY = "linked-accounts"
# What `express` learned from Redis before it handed the request on: nobody asks twice about one request.
SEEN = "linked_accounts.seen"


def provide(app_extensions: dict[str, object], services: Services) -> None:
    """Hand the services to an application."""
    app_extensions[_KEY] = services


def services() -> Services:
    """The services handed in at start."""
    return cast("Services", current_app.extensions[_KEY])


def deadline() -> Deadline:
    """When this request must be answered, counted from its arrival."""
    return cast("Deadline", g.deadline)


def seen() -> Recollection | None:
    """What is known of the session's user and token, if somebody has looked already."""
    return cast("Recollection | None", request.environ.get(SEEN))


def session() -> Session:
    """The session that the guard let in."""
    return cast("Session", g.session)
