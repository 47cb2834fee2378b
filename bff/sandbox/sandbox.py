"""The sandbox as Python sees it: start it, get tokens, add faults, read which requests it received."""

import asyncio
import contextlib
import socket
import threading
from collections import Counter, deque
from collections.abc import Coroutine, Mapping, Sequence
from dataclasses import replace
from types import TracebackType
from typing import Any, Self

from bff.sandbox import control, genauth, sources
from bff.sandbox.application import APP_ID, APP_SECRET, Application
from bff.sandbox.events import Delivery, Events, Webhook
from bff.sandbox.faults import Fault, Faults, Plan
from bff.sandbox.messages import BLOCKED, Answer, Request, not_found
from bff.sandbox.people import People
from bff.sandbox.personas import personas
from bff.sandbox.server import Server
from bff.sandbox.tokens import Claims, Key, Tokens

_RECORDED = 10_000


class Sandbox:
    """A GenAuth on a real port, in a thread of its own. A context manager; ``start`` and ``stop`` do the same.

    Anything may be called while it runs, from any thread.
    """

    def __init__(
        self,
        port: int = 0,
        *,
        host: str = "127.0.0.1",
        app_id: str = APP_ID,
        app_secret: str = APP_SECRET,
        issuer: str | None = None,
        algorithms: Sequence[str] = ("RS256", "ES256"),
        keys: Mapping[str, Key] | None = None,
        webhook: Webhook | None = None,
    ) -> None:
        """Port 0 takes a free one. ``algorithms`` are those there are keys for; the first signs. ``webhook`` gets the events.

        ``keys`` are the ones to begin with, as `kept_keys` reads them; without them there are new ones in each process.
        """
        self.app_id = app_id
        self.app_secret = app_secret
        self._host = host
        self._port = port
        self._issuer = issuer
        self._people = People(personas())
        self._tokens = Tokens(app_id, app_secret, algorithms, keys=keys)
        self._events = Events(self._people, app_id, webhook or Webhook())
        self._application = Application(app_id, app_secret, self._people, self._tokens, self._events)
        self._faults = Faults()
        self._requests: deque[Request] = deque(maxlen=_RECORDED)
        self._calls: Counter[str] = Counter()
        self._era = 0
        self._server = Server(self._handle, lambda request: control.answer(self, request))
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread: threading.Thread | None = None

    # Start and stop -------------------------------------------------------------------------------

    def start(self) -> Self:
        """Listen; OSError if the port is taken."""
        sock = socket.create_server((self._host, self._port), backlog=4096)
        self._port = sock.getsockname()[1]
        # Its documents say where to ask next: all addresses together are none that can be asked.
        host = "127.0.0.1" if self._host == "0.0.0.0" else self._host  # noqa: S104 - compared with, not bound to
        self._application.base_url = f"http://{host}:{self._port}"
        self._tokens.issuer = self._issuer or f"{self._application.base_url}/oidc"
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="genauth-sandbox", daemon=True)
        self._thread.start()
        self._events.start()
        self._in_loop(self._server.listen(sock))
        return self

    def stop(self) -> None:
        """Close the port and every connection, and end the thread. Does nothing if it has not started."""
        loop, thread = self._loop, self._thread
        if loop is None or thread is None:
            return
        self._events.stop()
        self._in_loop(self._server.stop_listening())
        self._in_loop(loop.shutdown_default_executor())
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()
        self._loop = self._thread = None

    def __enter__(self) -> Self:
        """Start."""
        return self.start()

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        """Stop."""
        self.stop()

    def stop_listening(self) -> None:
        """Refuse new connections from now on, and close the open ones."""
        self._in_loop(self._server.stop_listening())

    def listen_again(self) -> None:
        """Take connections again, on the same port."""
        self._in_loop(self._server.listen(socket.create_server((self._host, self._port), backlog=4096)))

    def drop_connections(self) -> None:
        """Close every connection, as a load balancer does with idle ones; new ones are accepted."""
        self._in_loop(self._server.drop())

    # Names ----------------------------------------------------------------------------------------

    @property
    def url(self) -> str:
        """Where to ask it."""
        return self._application.base_url

    @property
    def issuer(self) -> str:
        """The ``iss`` of its tokens."""
        return self._tokens.issuer

    @property
    def public_key_pem(self) -> bytes:
        """The public key that verifies tokens at the moment; an attacker would sign HS256 with it."""
        return self._tokens.key.pem

    @property
    def people(self) -> dict[str, str]:
        """The named people, and what each is a case of."""
        return {key: person.about for key, person in self._people.named.items()}

    def id_of(self, person: str) -> str:
        """The person's user id; KeyError for an unknown one."""
        return self._people.by_key(person).id

    def canaries(self, person: str) -> frozenset[str]:
        """Every provider token in their identities: strings that must never be seen elsewhere."""
        return self._people.canaries(self._people.by_key(person))

    # Tokens ---------------------------------------------------------------------------------------

    def token(
        self,
        person: str,
        lifetime: float | None = None,
        kind: str = "access",
        alg: str | None = None,
        claims: Claims | None = None,
        headers: Claims | None = None,
        key: str | bytes | None = None,
    ) -> str:
        """A session token of the person, valid for an hour (Max's expired a minute ago); see `Tokens.mint`."""
        somebody = self._people.by_key(person)
        seconds = somebody.lifetime if lifetime is None else lifetime
        return self._tokens.mint(somebody.id, seconds, kind, alg, claims, headers, key)

    def revoke(self, token: str) -> None:
        """Stop accepting this token."""
        self._tokens.revoke(token)

    def rotate_keys(self, *, keep_old: bool = False) -> None:
        """Sign with new keys; unless the old ones are kept, what they signed is refused from now on."""
        self._tokens.rotate(keep_old=keep_old)

    # People ---------------------------------------------------------------------------------------

    def block(self, person: str, api_code: int = 2005) -> None:
        """Refuse the person: 2005 locked, 2120008 deactivated, 2130010 not in this tenant, 2004 deleted."""
        if api_code not in BLOCKED:
            raise ValueError(f"api_code is one of {', '.join(map(str, BLOCKED))}, not {api_code}")
        self._people.block(self._people.by_key(person), api_code)
        self.send_event("user:deleted" if api_code == 2004 else "user:blocked", person)

    def unblock(self, person: str) -> None:
        """Let the person in again, Rui too."""
        self._people.block(self._people.by_key(person), None)
        self.send_event("user:unblocked", person)

    def kick(self, person: str) -> None:
        """End the person's sessions: no token that they have is accepted any more."""
        self._tokens.kick(self.id_of(person))
        self.send_event("kick", person)

    def link(self, person: str, source: str) -> None:
        """Link an account as another client would; ``source`` is its id or a connection's identifier. `Refused` if linked."""
        self._application.link(self._people.by_key(person), sources.named(source))

    def unlink(self, person: str, source: str) -> None:
        """Unlink one as another client would, which GenAuth tells nobody; `Refused` where it is the last way in."""
        self._people.unlink(self._people.by_key(person), sources.named(source).id)

    def answers(self, person: str, identities: object) -> None:
        """Let get-identities answer the person with exactly this ``data``, until `reset`."""
        self._people.answers(self._people.by_key(person), identities)

    def sign_in(self, person: str, **methods: bool) -> None:
        """Give or take what the person can sign in with beside linked accounts: ``password``, ``email``, ``phone``."""
        self._people.change_sign_in(self._people.by_key(person), **methods)
        self.send_event("user:updated", person)

    def linking(self, **how: Any) -> None:  # noqa: ANN401 - as the fields of `Linking` are
        """How linking and unlinking go from now on: the fields of `Linking`; those not named stay."""
        self._people.linking = replace(self._people.linking, **how)

    # Events ---------------------------------------------------------------------------------------

    def webhook(self, **how: Any) -> None:  # noqa: ANN401 - as the fields of `Webhook` are
        """Where events go and how from now on: the fields of `Webhook`; those not named stay."""
        self._events.webhook = replace(self._events.webhook, **how)

    def send_event(self, name: str | None, *people: str) -> None:
        """Send that event about these people, though nothing has happened; without a name, GenAuth's test."""
        self._events.send(name, [self._people.by_key(person) for person in people])

    @property
    def deliveries(self) -> list[Delivery]:
        """The last 10,000 events that were delivered or given up, in that order."""
        return list(self._events.deliveries.copy())

    # Faults ---------------------------------------------------------------------------------------

    def trouble(self, **how: object) -> None:
        """Add a `Fault`, with its fields as arguments; those added before stay."""
        self._faults.add(Fault.of(how))

    def answers_raw(
        self, path: str, status: int = 200, body: bytes = b"", headers: Mapping[str, str] | None = None, **which: object
    ) -> None:
        """Answer that path with exactly these bytes, until `healthy`; ``which`` requests as in `Fault`."""
        self.trouble(path=path, status=status, body=body, headers=headers or {}, **which)

    def healthy(self) -> None:
        """Remove every fault."""
        self._faults.clear()

    def reset(self) -> None:
        """As at the start, except for the keys: no faults, no changed accounts, nothing revoked or counted."""
        self.healthy()
        self._era += 1
        self._people.reset()
        self._tokens.reset()
        self._events.reset()
        self.forget_calls()

    # Requests -------------------------------------------------------------------------------------

    @property
    def requests(self) -> list[Request]:
        """The last 10,000 requests, oldest first; those under /sandbox/ are not among them."""
        return list(self._requests.copy())

    @property
    def connections(self) -> int:
        """How many connections are open."""
        return len(self._server.connections)

    @property
    def accepted(self) -> int:
        """How many connections there were since the calls were last forgotten."""
        return self._server.accepted

    def calls(self, path: str | None = None, person: str | None = None) -> int:
        """How many requests there were to that path, or to any; of one person among the last 10,000 requests only."""
        if person is None:
            return self._calls.total() if path is None else self._calls[path]
        return sum(path in (None, each.path) and each.person == person for each in self._requests.copy())

    def calls_by_path(self) -> dict[str, int]:
        """How many requests there were to each path."""
        return dict(self._calls)

    def forget_calls(self) -> None:
        """Forget the requests and count from zero."""
        self._calls.clear()
        self._requests.clear()
        self._server.accepted = 0

    def _handle(self, request: Request) -> Plan | Answer:
        request = replace(request, person=self._application.holder(request))
        self._requests.append(request)
        self._calls[request.path] += 1
        era = self._era

        def answer(asked: Request) -> Answer:
            # What a fault delayed until after a reset does not happen any more.
            return genauth.answer(self._application, asked) if era == self._era else not_found(asked)

        return self._faults.plan(request, answer)

    def _in_loop(self, work: Coroutine[Any, Any, None]) -> None:
        if self._loop is None:
            with contextlib.closing(work):
                raise RuntimeError("the sandbox has not started")
        asyncio.run_coroutine_threadsafe(work, self._loop).result(timeout=10)
