"""One application at GenAuth, with its people and tokens: what the endpoints answer from."""

from dataclasses import dataclass

from bff.sandbox.events import LINKED, Events
from bff.sandbox.messages import BLOCKED, NO_SUCH_APP, NO_SUCH_USER, NOT_LOGGED_IN, Refused, Request
from bff.sandbox.people import People, Person, Row
from bff.sandbox.sources import Source
from bff.sandbox.tokens import Claims, Tokens

APP_ID = "60193c610f9117e7cb049159"
APP_SECRET = "sandbox-application-secret-3f1c9a7e5b2d"


@dataclass(slots=True)
class Application:
    """``base_url`` is known once the sandbox listens."""

    app_id: str
    app_secret: str
    people: People
    tokens: Tokens
    events: Events
    base_url: str = ""

    def signed_in(self, request: Request) -> tuple[Person, Claims]:
        """The person of the request's access token and its claims; `Refused` for a bad token or a blocked user."""
        self.check_named(request)
        token = request.credential
        claims = self.tokens.accepted(token) if token else None
        if claims is None:
            raise Refused(NOT_LOGGED_IN)
        person = self.people.by_id(claims["sub"])
        if person is None:
            raise Refused(NO_SUCH_USER)
        if blocked := self.people.blocked(person):
            raise Refused(BLOCKED[blocked])
        return person, claims

    def link(self, person: Person, source: Source, *, wait: bool = True) -> tuple[Row, ...]:
        """Bind an account of that source and tell the webhook; returns the new records. See `Events.send` for ``wait``."""
        new = self.people.link(person, source)
        self.events.send(LINKED, [person], new, wait=wait)
        return new

    def check_named(self, request: Request) -> None:
        """Refuse a request that names another application, under either header prefix; naming none is fine."""
        for header in ("x-genauth-app-id", "x-authing-app-id"):
            if request.headers.get(header, self.app_id) != self.app_id:
                raise Refused(NO_SUCH_APP)

    def holder(self, request: Request) -> str | None:
        """The key of the person whose genuine token the request carries, however old or revoked; None for any other request."""
        token = request.credential
        claims = self.tokens.genuine(token) if token else None
        person = self.people.by_id(claims["sub"]) if claims else None
        return person.key if person else None
