"""Owns a Valkey on a port and does one bad thing after the other to it, in a process of its own, until its stdin ends.

Prints a line when the server is up, and in the end, as JSON, how often it did what.
"""

import contextlib
import json
import pickle
import random
import sys
import threading
import time
from collections import Counter

import redis

from tests.valkey import ValkeyServer

DEEP = b"[" * 50_000


class Villain:
    """``swap``s values between people, ``replay``s older ones, ``poison``s, puts other ``types``, ``freeze``s, ``kill``s."""

    def __init__(self, valkey):
        self._valkey = valkey
        self._chance = random.Random()

    def swap(self):
        with self._inside() as connection:
            values = self._values(connection)
            for kind in (b":accounts", b":token:"):
                keys = [key for key in values if kind in key]
                if keys:
                    connection.mset(dict(zip(self._chance.sample(keys, len(keys)), [values[key] for key in keys], strict=True)))

    def replay(self):
        with self._inside() as connection:
            values = self._values(connection)
            time.sleep(0.2)
            if values:
                connection.mset(values)

    def poison(self):
        with self._inside() as connection:
            for key, value in self._values(connection).items():
                connection.set(key, self._chance.choice(self._poisons(key, value)))

    def types(self):
        with self._inside() as connection:
            for key in self._values(connection):
                if self._chance.random() < 0.5:
                    connection.delete(key)
                    connection.lpush(key, "x")

    def freeze(self):
        self._valkey.freeze()
        time.sleep(0.35)
        self._valkey.thaw()

    def kill(self):
        self._valkey.kill()
        time.sleep(0.15)
        self._valkey.restart()

    def _inside(self):
        return redis.Redis.from_url(self._valkey.url, socket_timeout=1)

    def _values(self, connection):
        keys = [key for key in connection.keys("la:6:*") if b":lock:" not in key]
        values = connection.mget(keys) if keys else []
        return {key: value for key, value in zip(keys, values, strict=True) if value is not None}

    def _poisons(self, key, value):
        return [
            self._chance.randbytes(60),
            pickle.dumps({"linkedAccounts": []}),
            b"!" + pickle.dumps([1]),
            DEEP,
            key + b" " + DEEP,
            key + b" [NaN,Infinity,[]]",
            value[: len(value) // 2],
            b"",
        ]


def main(port):
    did = Counter()
    over = threading.Event()
    threading.Thread(target=lambda: (sys.stdin.read(), over.set()), daemon=True).start()
    with ValkeyServer(port=port) as valkey:
        sys.stdout.write("up\n")
        sys.stdout.flush()
        villain = Villain(valkey)
        while not over.wait(0.03):
            for name in ("swap", "poison", "swap", "freeze", "replay", "swap", "kill", "swap", "types", "swap"):
                if over.wait(0.05):
                    break
                with contextlib.suppress(redis.RedisError):
                    getattr(villain, name)()
                    did[name] += 1
    sys.stdout.write(json.dumps(did) + "\n")


if __name__ == "__main__":
    main(int(sys.argv[1]))
