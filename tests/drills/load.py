"""Clients that believe nothing: each answer is read, held against the contract and against who asked, timed and kept."""

import asyncio
import itertools
import time
from contextlib import suppress
from dataclasses import dataclass

import orjson

# The contract's table of errors; a 503 or 429 also tells when to come back.
CODES = {
    400: {"invalid_request"},
    401: {"token_missing", "token_expired", "token_invalid"},
    403: {"user_blocked", "csrf_header_missing", "origin_not_allowed"},
    404: {"not_found"},
    405: {"method_not_allowed"},
    429: {"rate_limited"},
    500: {"internal_error"},
    502: {"upstream_malformed", "upstream_forbidden"},
    503: {"upstream_unavailable"},
    504: {"upstream_timeout"},
}
GIVES_UP_AFTER = 15.0
_right = {}


@dataclass(slots=True)
class Answer:
    """What came back. ``status`` 0: nothing did. ``wrong`` says what the contract does not allow, whatever the drill."""

    begun: float
    seconds: float
    status: int
    source: str
    wrong: str | None = None
    stale: bool = False
    age: int = 0
    group: str = ""


@dataclass(frozen=True, slots=True)
class Caller:
    """Somebody with a token. ``user-7`` is also what the sandbox calls them."""

    person: str
    token: str

    @property
    def number(self):
        return int(self.person.removeprefix("user-"))


def expected(number):
    """The accounts of ``user-<n>`` as the contract wants them, written down by hand from the sandbox's records."""
    return [
        ("github", f"user-{number}", f"https://avatars.githubusercontent.com/u/{10_000_000 + number}?v=4", ["openid", "primary"]),
        ("wechat", f"用户{number}", f"https://thirdwx.qlogo.example/mmopen/vi_32/{number:012x}/132", ["openid", "unionid"]),
    ]


class Connection:
    """One kept-alive connection, opened when needed and again when it is gone."""

    def __init__(self, port, host="127.0.0.1"):
        self._address = (host, port)
        self._reader = self._writer = None

    async def ask(self, caller, *, path="/me/linked-accounts", group=""):
        """One question and its answer; never raises."""
        begun = time.monotonic()
        try:
            async with asyncio.timeout(GIVES_UP_AFTER):
                status, headers, body = await self._exchange(path, caller.token if caller else None)
        except (OSError, asyncio.IncompleteReadError, TimeoutError, ValueError) as error:
            self.close()
            return Answer(begun, time.monotonic() - begun, 0, f"lost:{type(error).__name__}", group=group)
        answer = Answer(begun, time.monotonic() - begun, status, "", group=group)
        if path == "/me/linked-accounts":
            judge(answer, caller, headers, body)
        else:
            answer.source = path
        return answer

    async def fetch(self, caller):
        """The list as it is: its status and its body, JSON."""
        status, _, body = await self._exchange("/me/linked-accounts", caller.token)
        return status, orjson.loads(body)

    async def _exchange(self, path, token):
        if self._reader is None or self._reader.at_eof():
            self.close()
            self._reader, self._writer = await asyncio.open_connection(*self._address)
        authorization = f"Authorization: Bearer {token}\r\n" if token else ""
        self._writer.write(f"GET {path} HTTP/1.1\r\nHost: drill\r\n{authorization}\r\n".encode())
        head = (await self._reader.readuntil(b"\r\n\r\n")).decode("latin-1")
        lines = head.split("\r\n")
        headers = dict(line.lower().split(": ", 1) for line in lines[1:] if line)
        body = await self._reader.readexactly(int(headers["content-length"]))
        if headers.get("connection") == "close":
            self.close()
        headers["\0"] = head
        return int(lines[0].split(" ")[1]), headers, body

    def close(self):
        if self._writer is not None:
            with suppress(OSError, RuntimeError):
                self._writer.close()
        self._reader = self._writer = None


def judge(answer, caller, headers, body):
    """Name where the answer came from, and what is wrong with it."""
    if answer.status == 200:
        answer.source = source_of(headers.get("cache-status", ""))
        answer.age = int(headers.get("age", -1))
        answer.wrong = wrong_success(answer, caller, headers, body)
    else:
        answer.source, answer.wrong = wrong_error(answer.status, headers, body)
    if b"provider-token-" in body or "provider-token-" in headers["\0"] or (caller and caller.token.encode() in body):
        answer.wrong = "a token leaked"


def source_of(cache_status):
    if "stale-if-error" in cache_status:
        return "stale"
    if "; hit" in cache_status:
        return "hit"
    return "collapsed" if "collapsed" in cache_status else "genauth"


def wrong_success(answer, caller, headers, body):
    accounts, _, meta = body.partition(b',"meta":')
    answer.stale = b'"stale":true' in meta
    if _right.get(caller.number) != accounts:
        seen = orjson.loads(accounts + b"}")["linkedAccounts"]
        told = [(each["provider"]["type"], each["displayName"], each["avatarUrl"], each["identityTypes"]) for each in seen]
        if told != expected(caller.number):
            return f"not {caller.person}'s accounts"
        _right[caller.number] = accounts
    if answer.stale != (answer.source == "stale"):
        return "meta.stale and Cache-Status disagree"
    if headers.get("cache-control") != "private, no-store" or answer.age < 0:
        return "headers"
    return None


def wrong_error(status, headers, body):
    if status not in CODES or headers.get("content-type") != "application/problem+json":
        # A load balancer speaks for an instance that is gone; ours always speaks problem+json.
        return f"{status}", None if headers.get("content-type") == "text/html" and status in {502, 503, 504} else "no problem"
    problem = orjson.loads(body)
    code = problem.get("code")
    if code not in CODES[status] or problem.get("status") != status or not problem.get("requestId"):
        return f"{status} {code}", "problem and status disagree"
    if status in {429, 503} and int(headers.get("retry-after", 0)) < 1:
        return f"{status} {code}", "no Retry-After"
    return f"{status} {code}", None


# Shapes of load ---------------------------------------------------------------------------------------


async def burst(ports, callers, *, group=""):
    """Everybody at once, each on a connection of their own, over ``ports`` in turn."""
    connections = [Connection(port) for port, _ in zip(itertools.cycle(ports), callers, strict=False)]
    try:
        return list(
            await asyncio.gather(*(each.ask(caller, group=group) for each, caller in zip(connections, callers, strict=True)))
        )
    finally:
        for connection in connections:
            connection.close()


class Steady:
    """Callers who ask again and again at their own pace until told to stop; answers pile up in ``answers``.

    ``lateness`` is how late a clock beside them rang, in seconds: what the machine owes to nobody's fault in the drill.
    """

    def __init__(self):
        self.answers = []
        self.lateness = []
        self._over = asyncio.Event()
        self._tasks = [asyncio.create_task(self._listen_to_the_clock())]

    def people(self, ports, callers, *, every, group="known", path="/me/linked-accounts"):
        """Each caller on a connection of their own, ``every`` so many seconds or as soon as the last answer is there."""
        for position, (port, caller) in enumerate(zip(itertools.cycle(ports), callers, strict=False)):
            offset = every * position / max(1, len(callers))
            self._tasks.append(asyncio.create_task(self._keep_asking(port, caller, every, offset, group, path)))

    def newcomers(self, ports, callers, *, every, group="new"):
        """A caller never seen before, every so many seconds, each asking once."""
        self._tasks.append(asyncio.create_task(self._keep_coming(ports, callers, every, group)))

    async def over(self):
        """Let the last questions be answered; all answers."""
        self._over.set()
        await asyncio.gather(*self._tasks)
        return self.answers

    async def _listen_to_the_clock(self):
        while not self._over.is_set():
            before = time.monotonic()
            await asyncio.sleep(0.01)
            self.lateness.append(time.monotonic() - before - 0.01)

    async def _keep_asking(self, port, caller, every, offset, group, path):
        connection = Connection(port)
        following = time.monotonic() + offset
        while not await self._pause(following):
            answer = await connection.ask(caller, path=path, group=group)
            self.answers.append(answer)
            following = max(following + every, time.monotonic())
        connection.close()

    async def _keep_coming(self, ports, callers, every, group):
        ports, asking = itertools.cycle(ports), []
        for caller in callers:
            if await self._pause(time.monotonic() + every):
                break
            asking.append(asyncio.create_task(self._ask_once(next(ports), caller, group)))
        await asyncio.gather(*asking)

    async def _ask_once(self, port, caller, group):
        connection = Connection(port)
        self.answers.append(await connection.ask(caller, group=group))
        connection.close()

    async def _pause(self, until):
        """Wait until that moment, or until it is over, which is what is returned."""
        if self._over.is_set():
            return True
        wait = until - time.monotonic()
        if wait <= 0:
            await asyncio.sleep(0)
            return self._over.is_set()
        with suppress(TimeoutError):
            await asyncio.wait_for(self._over.wait(), wait)
        return self._over.is_set()
