"""Events as GenAuth sends them to a webhook: what they say, in which form, and their delivery.

There is one for a link and none for an unlink. The secrets in an event begin with ``provider-token-``, as those in identities do.
"""

import hashlib
import threading
from collections import deque
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlencode

import orjson
import requests

from bff.sandbox.people import People, Person, Row, provider_token

LINKED = "user:link-account"
_USERPOOL_ID = "62f1b00100000000000000aa"
_AT_A_TIME = 8
_PATIENCE_SECONDS = 5.0
_RECORDED = 10_000
# One event names all of its users; of the others each user gets one.
_OF_MANY = {LINKED, "kick", "user:deleted"}


@dataclass(frozen=True, slots=True)
class Webhook:
    """Where events go and how, until `Sandbox.reset`. Without a ``url`` none is sent.

    ``header``: the one that carries the ``secret``; none does where that is empty. ``form``: form-encoded, not JSON.
    ``merged``: of a link, with the deprecated ``primaryUser`` and ``secondaryUser``. ``plain_ids``: ``users`` are ids.
    ``copies``: how many times each event is sent. ``attempts`` and ``retry_seconds``: how often a delivery is tried that is
    not answered, or with 5xx, and the pause between. ``wait``: a switch answers once its events are delivered or given up.
    """

    url: str | None = None
    secret: str = ""
    header: str = "x-authing-webhook-secret"
    form: bool = False
    merged: bool = False
    plain_ids: bool = False
    copies: int = 1
    attempts: int = 4
    retry_seconds: float = 0.2
    wait: bool = True

    def __post_init__(self) -> None:
        """Refuse what nothing could be sent to."""
        if self.url is not None and not self.url.startswith(("http://", "https://")):
            raise ValueError(f"url begins with http:// or https://, unlike {self.url!r}")


@dataclass(frozen=True, slots=True)
class Delivery:
    """One event that was sent: its name, and the status of each attempt; None where there was no answer."""

    event: str | None
    statuses: tuple[int | None, ...]


class Events:
    """Sends the events of one application, a few at a time, from threads of its own."""

    def __init__(self, people: People, app_id: str, webhook: Webhook) -> None:
        """Nothing is sent before ``start``."""
        self.webhook = webhook
        self.deliveries: deque[Delivery] = deque(maxlen=_RECORDED)
        self._people = people
        self._app_id = app_id
        self._first = webhook
        self._stopped = threading.Event()
        self._senders: ThreadPoolExecutor | None = None

    def start(self) -> None:
        """Be ready to send."""
        self._stopped.clear()
        self._senders = ThreadPoolExecutor(_AT_A_TIME, thread_name_prefix="genauth-events")

    def stop(self) -> None:
        """Give up what is not delivered."""
        self._stopped.set()
        if self._senders is not None:
            self._senders.shutdown(cancel_futures=True)
            self._senders = None

    def reset(self) -> None:
        """The webhook as at the start, and no deliveries."""
        self.webhook = self._first
        self.deliveries.clear()

    def send(self, name: str | None, people: Sequence[Person], linked: Sequence[Row] = (), *, wait: bool = True) -> None:
        """Send this to the webhook, if there is one; without a name, GenAuth's test.

        ``linked``: the new records of a link; else those that were linked last. ``wait``: if the webhook says so too.
        """
        if name is not None and not people:
            raise ValueError(f"whom is {name} about? people: []")
        webhook = self.webhook
        if webhook.url is None:
            return
        if self._senders is None:
            raise RuntimeError("the sandbox has not started")
        groups = [people] if name is None or name in _OF_MANY else [[person] for person in people]
        messages = [self._message(webhook, name, group, linked) for group in groups]
        sent = [
            self._senders.submit(self._deliver, webhook, webhook.url, name, message)
            for message in messages
            for _ in range(webhook.copies)
        ]
        if wait and webhook.wait:
            for each in sent:
                each.result()

    def _deliver(self, webhook: Webhook, url: str, name: str | None, message: Row) -> None:
        """Post it until it is answered with less than 500, there have been attempts enough, or the sandbox stops."""
        statuses: list[int | None] = []
        headers: dict[str, str | bytes] = {"User-Agent": "authing-webhook@2.0", "x-authing-userpool-id": _USERPOOL_ID}
        if webhook.secret:
            headers[webhook.header] = webhook.secret.encode()
        headers["Content-Type"] = "application/x-www-form-urlencoded" if webhook.form else "application/json"
        body = _form(message) if webhook.form else orjson.dumps(message)
        with requests.Session() as session:
            session.trust_env = False
            while True:
                try:
                    answer = session.post(url, body, headers=headers, timeout=_PATIENCE_SECONDS, allow_redirects=False)
                    statuses.append(answer.status_code)
                except requests.RequestException:
                    statuses.append(None)
                if (statuses[-1] or 500) < 500 or len(statuses) >= webhook.attempts or self._stopped.wait(webhook.retry_seconds):
                    break
        self.deliveries.append(Delivery(name, tuple(statuses)))

    def _message(self, webhook: Webhook, name: str | None, people: Sequence[Person], linked: Sequence[Row]) -> Row:
        if name is None:
            return {"description": "A test from GenAuth Webhook"}
        users = [self._user(person) for person in people]
        data: Row = {"user": users[0]}
        match name:
            case "login":
                return users[0]  # without an envelope in the documentation's sample
            case "user:password-changed":
                data = {"userId": people[0].id}
            case "kick" | "user:deleted":
                data = {"users": [user["id"] for user in users] if webhook.plain_ids else users}
                data |= {"application": {"id": self._app_id}} if name == "kick" else {}
            case "user:updated":
                data |= {"updates": {"emailVerified": users[0]["emailVerified"]}}
            case "user:link-account":
                rows = linked or self._people.rows(people[0])[-1:]
                if webhook.merged or len(people) > 1:
                    data = {"primaryUser": users[0], "secondaryUser": users[1] if len(people) > 1 else _merged(users[0], rows)}
                else:
                    row = rows[0] if rows else {}
                    data |= {"extIdp": {"id": row.get("extIdpId"), "type": row.get("provider")}, "identity": row}
        return {"eventName": name, "data": data}

    def _user(self, person: Person) -> Row:
        """A user as events show one: with the password's hash and with tokens."""
        user: dict[str, Any] = {
            "id": person.id,
            "userPoolId": _USERPOOL_ID,
            "status": "Activated",
            "username": person.key,
            "email": person.email,
            "emailVerified": self._people.sign_in(person).email,
            "blocked": self._people.blocked(person) is not None,
        }
        user |= {name: provider_token(person.key, f"user-{name}") for name in ("password", "salt", "token")}
        return user | {"identities": list(self._people.rows(person))}


def _form(message: Row) -> bytes:
    """Texts as they are, everything else as JSON."""
    return urlencode({name: each if isinstance(each, str) else orjson.dumps(each) for name, each in message.items()}).encode()


def _merged(user: Row, rows: Sequence[Row]) -> Row:
    """The account that became one with the user's, and brought these identities."""
    number = hashlib.sha256(f"merged/{user['id']}".encode()).hexdigest()[:20]
    return user | {"id": f"62f2{number}", "username": f"{user['username']}-merged", "identities": list(rows)}
