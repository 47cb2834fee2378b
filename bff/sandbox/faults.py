# ruff: noqa: RUF001  # Chinese has its own punctuation
"""What can go wrong between a client and GenAuth, and when.

A `Fault` says which requests it strikes and what happens to them; the effects of several on one request add up.
Nothing here sleeps or writes: it makes a `Plan`, and `server` carries it out.
"""

import gzip
import random
import zlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from http import HTTPStatus
from typing import Any

import orjson

from bff.sandbox.malformed import NAMES, malformed
from bff.sandbox.messages import HTML, Answer, Request, as_json, request_id

ENDINGS = ("hang", "hang-after-headers", "close", "reset", "truncate")
COMPRESSIONS: Mapping[str, Callable[[bytes], bytes]] = {"gzip": gzip.compress, "deflate": zlib.compress}
_ELSEWHERE = "https://elsewhere.example/login"


@dataclass(slots=True, kw_only=True)
class Fault:
    """Which requests, and what happens to them. An endpoint whose answer is replaced does nothing.

    Which: ``path``, ``person``, ``share`` of the requests (0 to 1), the next ``times`` of them.

    What: ``delay`` seconds until the endpoint does its work, which it then does though the client has gone;
    ``carried_out``: false, it does nothing, true, it does its work though its answer is replaced or never comes;
    ``latency`` seconds before the first byte; ``status`` with a gateway's HTML page, a redirect to
    ``location`` for a 3xx, ``retry_after``; ``envelope``, a JSON object or just its statusCode, instead of the
    answer; ``change`` and ``drop`` members of the true answer's envelope; a ``malformed`` body by name;
    a given ``body``; ``compress`` (gzip, deflate), though nobody asked; additional ``headers`` and
    ``set_cookie``; ``drip_headers`` and ``drip_body``, seconds before each byte; ``ending``: hang,
    hang-after-headers, close, reset, truncate.
    """

    path: str | None = None
    person: str | None = None
    share: float = 1.0
    times: int | None = None

    delay: float = 0.0
    carried_out: bool | None = None
    latency: float = 0.0
    status: int | None = None
    retry_after: str | int | None = None
    location: str | None = None
    envelope: Mapping[str, Any] | str | int | None = None
    change: Mapping[str, Any] | None = None
    drop: Sequence[str] = ()
    malformed: str | None = None
    body: bytes | str | None = None
    compress: str | None = None
    headers: Mapping[str, str] = field(default_factory=dict)
    set_cookie: str | None = None
    drip_headers: float = 0.0
    drip_body: float = 0.0
    ending: str | None = None

    def __post_init__(self) -> None:
        """Refuse an unknown malformed body or ending, which would otherwise do nothing."""
        if self.malformed not in (None, *NAMES):
            raise ValueError(f"malformed is one of {', '.join(NAMES)}, not {self.malformed!r}")
        if self.compress not in (None, *COMPRESSIONS):
            raise ValueError(f"compress is one of {', '.join(COMPRESSIONS)}, not {self.compress!r}")
        if self.ending not in (None, *ENDINGS):
            raise ValueError(f"ending is one of {', '.join(ENDINGS)}, not {self.ending!r}")

    @classmethod
    def of(cls, how: Mapping[str, Any]) -> "Fault":
        """From keywords or JSON; an unknown name is a ValueError that lists the known ones."""
        known = {each.name for each in fields(cls)}
        if unknown := sorted(set(how) - known):
            raise ValueError(f"no such trouble: {', '.join(unknown)}; there are {', '.join(sorted(known))}")
        return cls(**how)

    def strikes(self, request: Request, chance: Callable[[], float]) -> bool:
        """Whether this request is struck; if so, one of its ``times`` is used up."""
        if self.path not in (None, request.path) or self.person not in (None, request.person):
            return False
        if self.times == 0 or (self.share < 1 and chance() >= self.share):
            return False
        if self.times is not None:
            self.times -= 1
        return True

    def instead(self) -> Answer | None:
        """The answer given instead of the true one, or None if the true one is given."""
        answer = None
        if self.malformed is not None:
            answer = malformed(self.malformed)
        elif self.envelope is not None:
            answer = as_json(_envelope(self.envelope))
        elif self.status is not None and self.body is None:
            answer = _gateway_page(self.status)
        if self.body is not None:
            answer = Answer(200, self.body.encode() if isinstance(self.body, str) else self.body)
        if answer is not None and self.status is not None:
            answer = replace(answer, status=self.status)
            if 300 <= self.status < 400 and self.status != 304:
                answer = answer.with_headers(("Location", self.location or _ELSEWHERE))
        return answer

    def touch(self, answer: Answer) -> Answer:
        """The answer with this fault's changes to its envelope and headers."""
        if self.change or self.drop:
            envelope = orjson.loads(answer.body) | dict(self.change or {})
            body = orjson.dumps({name: value for name, value in envelope.items() if name not in self.drop})
            answer = replace(answer, body=body)
        if self.compress:
            body = COMPRESSIONS[self.compress](answer.body)
            answer = replace(answer, body=body).with_headers(("Content-Encoding", self.compress))
        extra = dict(self.headers)
        if self.retry_after is not None:
            extra["Retry-After"] = str(self.retry_after)
        if self.set_cookie is not None:
            extra["Set-Cookie"] = self.set_cookie
        types = [value for name, value in extra.items() if name.lower() == "content-type"]
        if types:
            answer = replace(answer, content_type=types[-1])
        return answer.with_headers(*((name, value) for name, value in extra.items() if name.lower() != "content-type"))


@dataclass(frozen=True, slots=True)
class Plan:
    """How a request is answered: with what, after how long, how slowly, and how it ends.

    ``answer`` is called once, after ``delay`` seconds: the endpoint does its work then.
    """

    answer: Callable[[], Answer]
    delay: float = 0.0
    latency: float = 0.0
    drip_headers: float = 0.0
    drip_body: float = 0.0
    ending: str | None = None


class Faults:
    """The faults that are active now; without any, the sandbox is healthy."""

    def __init__(self) -> None:
        self._now: tuple[Fault, ...] = ()
        # Seeded, so that a share of a thousand requests is the same requests each time.
        self._random = random.Random(20)  # noqa: S311  # no cryptography

    def add(self, fault: Fault) -> None:
        """Add one to those that are active."""
        self._now = (*self._now, fault)

    def clear(self) -> None:
        """Remove all of them."""
        self._now = ()

    def plan(self, request: Request, answer: Callable[[Request], Answer]) -> Plan | Answer:
        """How to answer this request: with the plain answer when no fault strikes it."""
        if not self._now:
            return answer(request)
        struck = [fault for fault in self._now if fault.strikes(request, self._random.random)]
        if not struck:
            return answer(request)
        endings = [fault.ending for fault in struck if fault.ending]
        delay = sum(fault.delay for fault in struck)

        def work() -> Answer:
            return _result(request, answer, struck, endings)

        def already(result: Answer) -> Callable[[], Answer]:
            return lambda: result

        return Plan(
            work if delay else already(work()),
            delay=delay,
            latency=sum(fault.latency for fault in struck),
            drip_headers=max(fault.drip_headers for fault in struck),
            drip_body=max(fault.drip_body for fault in struck),
            ending=endings[-1] if endings else None,
        )


def _result(request: Request, answer: Callable[[Request], Answer], struck: Sequence[Fault], endings: Sequence[str]) -> Answer:
    """The answer after these faults. The endpoint does its work unless its answer is replaced or never comes."""
    replacements = [instead for fault in struck if (instead := fault.instead()) is not None]
    said = [fault.carried_out for fault in struck if fault.carried_out is not None]
    carried_out = said[-1] if said else not (replacements or "hang" in endings[-1:])
    result = answer(request) if carried_out else _gateway_page(502)
    if replacements:
        result = replacements[-1]
    for fault in struck:
        result = fault.touch(result)
    return result


def _envelope(value: Mapping[str, Any] | str | int) -> Mapping[str, Any]:
    if isinstance(value, Mapping):
        return value
    # Throttled and broken alike come without an apiCode (docs/genauth.md 1.5).
    return {"statusCode": value, "message": "您的请求已超过最大数量限制，请稍后重试", "requestId": request_id()}


def _gateway_page(status: int) -> Answer:
    try:
        reason = f"{status} {HTTPStatus(status).phrase}"
    except ValueError:
        reason = str(status)
    page = f"<html>\r\n<head><title>{reason}</title></head>\r\n<body>\r\n<center><h1>{reason}</h1></center>\r\n"
    return Answer(status, f"{page}<hr><center>openresty</center>\r\n</body>\r\n</html>\r\n".encode(), HTML)
