"""Connections that are used again and again: never for an answer that somebody else asked for."""

import os
import threading

import pytest
import redis
from redis.exceptions import ResponseError

from bff.roundtrip import way_to


@pytest.fixture
def client(valkey):
    with redis.Redis.from_url(valkey.url, protocol=2, driver_info=None) as client:
        yield client


@pytest.fixture
def prompt(client):
    return way_to(client).__self__


def test_answers_come_in_the_order_of_the_commands(prompt):
    assert prompt.ask(("SET", "a", b"\r\n$1\r\n", "PX", 60_000), ("GET", "a"), ("STRLEN", "a"), ("GET", "小明")) == [
        b"OK",
        b"\r\n$1\r\n",
        6,
        None,
    ]


def test_a_refusal_in_the_middle_is_told_and_the_answers_behind_it_are_not_left_to_the_next_caller(prompt, stored):
    stored.rpush("list", "x")
    stored.set("a", "one")
    before = prompt.ask(("CLIENT", "ID"))

    for _ in range(3):
        with pytest.raises(ResponseError, match="WRONGTYPE"):
            prompt.ask(("GET", "a"), ("GET", "list"), ("SET", "b", "done"), ("GET", "a"))
        assert prompt.ask(("GET", "b")) == [b"done"]
    assert prompt.ask(("CLIENT", "ID")) == before, "a refusal costs no connection"


def test_a_connection_that_holds_an_unread_answer_is_not_used_again(prompt):
    prompt.ask(("SET", "mine", "mine"), ("SET", "yours", "yours"))
    (connection,) = prompt._kept
    connection.send_command("GET", "yours")
    assert connection.can_read(timeout=1)

    assert prompt.ask(("GET", "mine")) == [b"mine"]
    assert prompt.ask(("GET", "mine")) == [b"mine"]


def test_a_connection_that_was_closed_meanwhile_is_replaced_without_a_word(prompt, stored):
    prompt.ask(("SET", "a", "one"))
    stored.client_kill_filter(_type="normal", skipme=True)

    assert prompt.ask(("GET", "a")) == [b"one"]


def test_who_is_interrupted_leaves_nothing_behind(prompt, monkeypatch):
    prompt.ask(("SET", "mine", "mine"), ("SET", "yours", "yours"))
    (connection,) = prompt._kept
    with monkeypatch.context() as interrupted:
        interrupted.setattr(connection, "read_response", lambda: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            prompt.ask(("GET", "yours"))

    assert prompt.ask(("GET", "mine")) == [b"mine"]


def test_a_forked_process_makes_connections_of_its_own(prompt):
    (ours,) = prompt.ask(("CLIENT", "ID"))
    reading, writing = os.pipe()
    if not (child := os.fork()):
        os.write(writing, str(prompt.ask(("CLIENT", "ID"))[0]).encode())
        os._exit(0)
    os.waitpid(child, 0)
    os.close(writing)
    with os.fdopen(reading) as told:
        assert int(told.read()) != ours
    assert prompt.ask(("CLIENT", "ID")) == [ours]


def test_many_threads_get_their_own_answers(prompt):
    for n in range(8):
        prompt.ask(("SET", f"key-{n}", f"value-{n}"))
    wrong = []

    def ask(n):
        got = [prompt.ask(("GET", f"key-{n}"), ("STRLEN", f"key-{n}")) for _ in range(300)]
        wrong.extend(answers for answers in got if answers != [f"value-{n}".encode(), 7])

    threads = [threading.Thread(target=ask, args=(n,)) for n in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert not wrong
    assert len(prompt._kept) <= 8
