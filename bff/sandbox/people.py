"""People: the personas, any number of numbered ones, and what each of them has linked.

Every provider token here begins with ``provider-token-``. It is a canary: a test searches answers, logs and the cache for it to
find leaks.
"""

import hashlib
import re
import threading
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from typing import Any

import orjson
from cachetools import LRUCache, cached

from bff.sandbox import sources
from bff.sandbox.messages import ALREADY_BOUND, LAST_LOGIN_METHOD, NOT_BOUND, Refused
from bff.sandbox.sources import Source

Row = dict[str, Any]

CANARY = re.compile(r"provider-token-[A-Za-z0-9_-]+")
_NUMBERED = re.compile(r"user-(0|[1-9][0-9]{0,17})")
_NUMBERED_ID = "5f"


@dataclass(frozen=True, slots=True)
class SignIn:
    """With what a person can sign in without any linked account. An unverified e-mail address does not count."""

    password: bool = False
    email: bool = False
    phone: bool = False

    def __bool__(self) -> bool:
        """Whether there is any."""
        return self.password or self.email or self.phone


@dataclass(frozen=True, slots=True)
class Linking:
    """How linking and unlinking go, until `Sandbox.reset`.

    ``consent_page``: a browser is asked first, else linked at once. ``refuse_not_linked``: unlinking what is not
    linked is refused with 2216, else answered with 200. After a change get-identities shows the state before it for
    ``shown_after_seconds``, and for the next ``shown_after_reads`` of that person.
    """

    consent_page: bool = True
    refuse_not_linked: bool = False
    shown_after_seconds: float = 0.0
    shown_after_reads: int = 0


@dataclass(slots=True)
class Lag:
    """A change that get-identities does not show yet: the records before it, and until when or for how many reads."""

    before: tuple[Row, ...]
    until: float
    reads: int


@dataclass(frozen=True, slots=True)
class Person:
    """Somebody with an account at the start. What changes (links, blocks) is kept by `People`."""

    key: str
    id: str
    about: str
    rows: tuple[Row, ...] = ()
    sign_in: SignIn = SignIn()
    blocked: int | None = None
    lifetime: int = 3600
    as_documented: bool = False

    @property
    def email(self) -> str:
        """The address at GenAuth, which may differ from the one at a provider."""
        return f"{self.key}@people.example"


def provider_token(person: str, what: str) -> str:
    """A provider's token that names its owner; with its random-looking tail it is nobody's real one."""
    tail = hashlib.sha256(f"{person}/{what}".encode()).hexdigest()[:16]
    return f"provider-token-{person}-{what}-{tail}"


def rows_of(
    person: str, source: Source, subjects: Iterable[tuple[str, str]], info: Row | None, *, refresh: bool = True
) -> tuple[Row, ...]:
    """The identity records of one linked account, as get-identities returns them (docs/genauth.md 2.1)."""
    label = f"{source.provider}-{source.id[18:20]}"
    return tuple(
        {
            "identityId": hashlib.sha256(f"{person}/{source.id}/{kind}".encode()).hexdigest()[:24],
            "extIdpId": source.id,
            "provider": source.provider,
            "type": kind,
            "userIdInIdp": subject,
            "userInfoInIdp": info,
            "accessToken": provider_token(person, f"{label}-access"),
            "refreshToken": provider_token(person, f"{label}-refresh") if refresh else None,
            "originConnIds": [source.connections[0].id],
        }
        for kind, subject in subjects
    )


def wechat(person: str, nickname: str, tail: str) -> tuple[Row, ...]:
    """WeChat: an openid and a unionid for one login."""
    info = {"nickname": nickname, "photo": f"https://thirdwx.qlogo.example/mmopen/vi_32/{tail}/132"}
    subjects = (("openid", f"oH_5k5SflrwjGvk7{tail}"), ("unionid", f"o9Nka5ibU-lUGQae{tail}"))
    return rows_of(person, sources.WECHAT, subjects, info)


def github(person: str, login: str, nickname: str, number: int) -> tuple[Row, ...]:
    """GitHub: the provider's token once more *inside* userInfoInIdp, and in its raw profile (docs/genauth.md 2.3)."""
    raw = {"login": login, "id": number, "access_token": provider_token(person, "github-raw")}
    info = {
        "unionid": str(number),
        "openid": str(number),
        "username": login,
        "profile": f"https://github.com/{login}",
        "nickname": nickname,
        "photo": f"https://avatars.githubusercontent.com/u/{number}?v=4",
        "company": None,
        "city": None,
        "oauth": orjson.dumps(raw).decode(),
        "accessToken": provider_token(person, "github-nested"),
        "userIdInIdp": str(number),
        "provider": "github",
        "registerSource": ["social:github"],
    }
    subjects = (("primary", str(number)), ("openid", str(number)))
    return rows_of(person, sources.GITHUB, subjects, info, refresh=False)


@cached(LRUCache(maxsize=2048), lock=threading.Lock())
def numbered(number: int) -> Person:
    """``user-<n>``: WeChat and GitHub, derived from the number alone."""
    key = f"user-{number}"
    rows = wechat(key, f"用户{number}", f"{number:012x}") + github(key, f"octo-{number}", key, 10_000_000 + number)
    return Person(key, f"{_NUMBERED_ID}{number:022x}", "one of any number", rows, sign_in=SignIn(password=True))


class People:
    """All people, with what has changed since the start."""

    def __init__(self, named: Iterable[Person], clock: Callable[[], float] = time.monotonic) -> None:
        """Nothing has changed yet. ``clock`` gives the seconds of what is shown late."""
        self.named = {person.key: person for person in named}
        self._ids = {person.id: person for person in self.named.values()}
        self._rows: dict[str, tuple[Row, ...]] = {}
        self._answers: dict[str, object] = {}
        self._blocked: dict[str, int | None] = {}
        self._sign_in: dict[str, SignIn] = {}
        self._lags: dict[str, list[Lag]] = {}
        self._clock = clock
        self.linking = Linking()

    def reset(self) -> None:
        """As at the start: no changed links, blocks or answers."""
        for changes in (self._rows, self._answers, self._blocked, self._sign_in, self._lags):
            changes.clear()
        self.linking = Linking()

    def by_key(self, key: str) -> Person:
        """The person of that name; `KeyError` for an unknown one."""
        if person := self.named.get(key):
            return person
        if match := _NUMBERED.fullmatch(key):
            return numbered(int(match[1]))
        raise KeyError(f"nobody here is called {key!r}: there are {', '.join(self.named)} and user-<n>")

    def by_id(self, user_id: object) -> Person | None:
        """The person with that GenAuth id."""
        if not isinstance(user_id, str):
            return None
        if user_id.startswith(_NUMBERED_ID) and re.fullmatch(r"[0-9a-f]{24}", user_id):
            return numbered(int(user_id.removeprefix(_NUMBERED_ID), base=16))
        return self._ids.get(user_id)

    def identities(self, person: Person) -> object:
        """What get-identities puts under ``data`` for the person: a list, except for Bo and after `answers`."""
        if person.key in self._answers:
            return self._answers[person.key]
        rows = self._shown(person)
        if person.as_documented and rows:
            # The documentation's "sample result": an object for the array, a string for the list (docs/genauth.md 2.2).
            return rows[0] | {"originConnIds": orjson.dumps(rows[0]["originConnIds"]).decode()}
        return list(rows)

    def rows(self, person: Person) -> tuple[Row, ...]:
        """The person's identity records as they are now."""
        return self._rows.get(person.key, person.rows)

    def answers(self, person: Person, identities: object) -> None:
        """Let get-identities answer the person with exactly this."""
        self._answers[person.key] = identities

    def unlink(self, person: Person, source_id: str) -> None:
        """Remove the linked account; refused if no other login method would be left. None to remove is fine as well."""
        rows = self.rows(person)
        left = tuple(row for row in rows if row.get("extIdpId") != source_id)
        if left == rows:
            if self.linking.refuse_not_linked:
                raise Refused(NOT_BOUND)
            return
        if not left and not self.sign_in(person):
            raise Refused(LAST_LOGIN_METHOD)
        self._change(person, left)

    def link(self, person: Person, source: Source) -> tuple[Row, ...]:
        """Bind an account of that source, as if the person had just signed in there; returns the new records."""
        rows = self.rows(person)
        if any(row.get("extIdpId") == source.id for row in rows):
            raise Refused(ALREADY_BOUND)
        info = {"nickname": f"{person.key} at {source.english}", "email": f"{person.key}@{source.provider}.example"}
        new = rows_of(person.key, source, [("generic", f"{source.provider}|{person.key}")], info)
        self._change(person, rows + new)
        return new

    def _change(self, person: Person, rows: tuple[Row, ...]) -> None:
        """From now on these are the person's records; get-identities may show it late."""
        seconds, reads = self.linking.shown_after_seconds, self.linking.shown_after_reads
        if seconds or reads:
            lag = Lag(self.rows(person), self._clock() + seconds, reads)
            self._lags.setdefault(person.key, []).append(lag)
        self._rows[person.key] = rows

    def _shown(self, person: Person) -> tuple[Row, ...]:
        """The records that get-identities shows this time: those before the first change that is not shown yet."""
        now = self._clock()
        lags = [lag for lag in self._lags.pop(person.key, ()) if lag.reads > 0 or lag.until > now]
        if not lags:
            return self.rows(person)
        self._lags[person.key] = lags
        for lag in lags:
            lag.reads -= 1
        return lags[0].before

    def sign_in(self, person: Person) -> SignIn:
        """With what the person can sign in beside the linked accounts."""
        return self._sign_in.get(person.key, person.sign_in)

    def change_sign_in(self, person: Person, **methods: bool) -> None:
        """Give or take a ``password``, an ``email`` or a ``phone``; those not named stay."""
        self._sign_in[person.key] = replace(self.sign_in(person), **methods)

    def block(self, person: Person, api_code: int | None) -> None:
        """Refuse the person with that code from now on; None lets the person in again."""
        self._blocked[person.key] = api_code

    def blocked(self, person: Person) -> int | None:
        """The apiCode that the person is refused with, or None."""
        return self._blocked.get(person.key, person.blocked)

    def canaries(self, person: Person) -> frozenset[str]:
        """Every provider token that is or was in the person's identities."""
        everything = [person.rows, self.rows(person), self._answers.get(person.key)]
        return frozenset(CANARY.findall(orjson.dumps(everything).decode()))
