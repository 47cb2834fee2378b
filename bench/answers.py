"""What a right answer is, and somebody who looks while the load is on."""

import json
import random
import threading
import time
from collections.abc import Sequence
from types import TracebackType
from typing import Any, Self

from bench.load.wrk import WrongAnswer
from bench.peers.floor import BODY
from bench.programs import Running

_PAUSE_SECONDS = 0.05


def accounts_of(user: int) -> list[dict[str, Any]]:
    """What `standin`'s person of that number has linked, as the contract shows it (GET /me/linked-accounts)."""
    return [
        {
            "id": "62f209327ab3cc10d9046ee5",
            "provider": {
                "type": "github",
                "name": "GitHub",
                "category": "social",
                "logoUrl": "https://files.genauth.example/identity-sources/github.svg",
            },
            "displayName": f"user-{user}",
            "email": None,
            "avatarUrl": f"https://avatars.githubusercontent.com/u/{10_000_000 + user}?v=4",
            "identityTypes": ["openid", "primary"],
        },
        {
            "id": "62f209327ab3cc10d9016ee5",
            "provider": {
                "type": "wechat",
                "name": "WeChat",
                "category": "social",
                "logoUrl": "https://files.genauth.example/identity-sources/wechat.svg",
            },
            "displayName": f"用户{user}",
            "email": None,
            "avatarUrl": f"https://thirdwx.qlogo.example/mmopen/vi_32/{user:012x}/132",
            "identityTypes": ["openid", "unionid"],
        },
    ]


def check(name: str, status: int, body: bytes, user: int) -> None:
    """Raise `WrongAnswer` unless this is that user's answer, not stale."""
    told = json.loads(body) if status == 200 else {}
    if told.get("linkedAccounts") != accounts_of(user) or told["meta"]["total"] != 2 or told["meta"]["stale"]:
        raise WrongAnswer(f"{name} answered user {user} with {status}: {body[:300]!r}")


class Watching:
    """Asks beside the load, some 20 times a second, and holds every answer to what it should be; a context manager."""

    def __init__(self, running: Running, tokens: Sequence[str], seed: int) -> None:
        """``tokens`` are those of the users 0, 1, 2 and so on."""
        self._running = running
        self._tokens = tokens
        self._random = random.Random(seed)
        self._over = threading.Event()
        self._wrong: Exception | None = None
        self._thread = threading.Thread(target=self._watch, daemon=True)
        self.looked_at = 0

    def once(self) -> None:
        """Ask for one user."""
        user = self._random.randrange(len(self._tokens))
        status, body = self._running.ask(self._tokens[user])
        if self._running.program.answers_accounts:
            check(self._running.program.name, status, body, user)
        elif (status, body) != (200, BODY):
            raise WrongAnswer(f"{self._running.program.name} answered with {status}: {body[:300]!r}")
        self.looked_at += 1

    def __enter__(self) -> Self:
        for _ in range(10):
            self.once()
        self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._over.set()
        self._thread.join()
        if error is None and self._wrong is not None:
            raise self._wrong

    def _watch(self) -> None:
        try:
            while not self._over.is_set():
                self.once()
                time.sleep(_PAUSE_SECONDS)
        except Exception as exc:  # noqa: BLE001 - told in the thread that waits for it
            self._wrong = exc
