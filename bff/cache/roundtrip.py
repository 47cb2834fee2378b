"""Commands to Redis and their answers, in one round trip, without redis-py's retries, events and telemetry around them.

Those cost more than Redis does. Threads that are about to ask do so together (`gate.together`). Connections are still redis-py's:
its pool makes them, its sentinels say where to, and a cluster's client, which finds the node for a key, is left to do it all.
"""

import copy
import os
from collections.abc import Callable, Sequence
from typing import Any

from hiredis import pack_command
from redis import Redis
from redis.connection import ConnectionPool
from redis.exceptions import RedisError, ResponseError

from bff.resilience import together

Command = tuple[str | bytes | int, ...]
# What Redis says to each of the commands, which share a slot. If it refuses some, raises the first refusal.
Ask = Callable[..., Sequence[Any]]


def way_to(client: Any) -> Ask:  # noqa: ANN401 - redis-py's clients share no type
    """How to ask this client's Redis."""
    if type(client) is Redis:
        return Prompt(client.connection_pool).ask

    def ask(*commands: Command) -> Sequence[Any]:
        if len(commands) == 1:
            return [client.execute_command(*commands[0])]
        with client.pipeline(transaction=False) as pipe:
            for command in commands:
                pipe.execute_command(*command)
            answers: list[Any] = pipe.execute()
            return answers

    return ask


class Prompt:
    """Asks over connections of a redis-py pool, of which it keeps those that it has borrowed. They read by `PromptParser`."""

    def __init__(self, pool: ConnectionPool) -> None:
        self._pool = pool
        # A pool behind sentinels closes its idle connections when the master changes, so it gets them back after each use.
        self._keeps = type(pool) is ConnectionPool
        self._kept: list[Any] = []  # last in, first out, so that few are in use; a list's ends are safe between threads

    def ask(self, *commands: Command) -> Sequence[Any]:
        """What Redis says to each of the ``commands``. If it refuses some, raises the first refusal."""
        said = together(commands, self._put)
        if isinstance(said, Exception):
            raise said
        for answer in said:
            if isinstance(answer, ResponseError):
                raise answer
        return said

    def _put(self, questions: Sequence[Sequence[Command]]) -> Sequence[Sequence[Any] | Exception]:
        """The answers to each of the questions, which different threads may ask, or why there are none. One round trip."""
        said: list[Sequence[Any] | Exception] = []
        connection = None
        try:
            connection = self._borrowed()
            asked = [pack_command(command) for commands in questions for command in commands]  # type: ignore[arg-type]  # its stub's
            connection.send_packed_command([b"".join(asked)])
            # A refusal is an answer like any other, and read to its end; redis-py's connection would raise it here.
            answers = connection._parser.answers  # noqa: SLF001
            for commands in questions:
                said.append(answers(len(commands)))  # noqa: PERF401 - those that came before a failure count
        except BaseException as exc:
            if connection is not None:
                # What was asked for may still arrive: it must not become the next caller's answer.
                connection.disconnect()
                self._pool.release(connection)
            if not isinstance(exc, Exception):
                raise
            # An object of its own for each: raised in many threads, one would gather all their tracebacks.
            return said + [copy.copy(exc) for _ in questions[len(said) :]]
        if self._keeps:
            self._kept.append(connection)
        else:
            self._pool.release(connection)
        return said

    def _borrowed(self) -> Any:  # noqa: ANN401 - redis-py's connections share no type
        while True:
            try:
                connection = self._kept.pop()
            except IndexError:
                return self._pool.get_connection()  # which looks as closely
            if _clean(connection):
                return connection
            connection.disconnect()
            self._pool.release(connection)


def _clean(connection: Any) -> bool:  # noqa: ANN401 - as above
    """Whether it is open, holds nothing that somebody else asked for, and is no other process's that we were forked from."""
    try:
        return connection.pid == os.getpid() and not connection._parser.can_read()  # noqa: SLF001 - the rest would connect
    except (RedisError, OSError):
        return False
