"""Connections that are used again and again: never for an answer that somebody else asked for."""

import os
import threading

import pytest
import redis
from redis.exceptions import ResponseError

from bff.cache.redis_client import PromptParser
from bff.cache.roundtrip import way_to
from tests.cache.proxy import Proxy
from tests.crowd import Crowd

OPTIONS = {"protocol": 2, "driver_info": None, "parser_class": PromptParser}


@pytest.fixture
def client(valkey):
    with redis.Redis.from_url(valkey.url, **OPTIONS) as client:
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


def test_a_connection_over_which_redis_says_that_it_cannot_serve_is_given_up(prompt):
    before = prompt.ask(("CLIENT", "ID"))
    with pytest.raises(redis.exceptions.BusyLoadingError):
        prompt.ask(("EVAL", "return redis.error_reply('LOADING Redis is loading the dataset in memory')", 0))

    assert prompt.ask(("CLIENT", "ID")) != before


def test_who_is_interrupted_leaves_nothing_behind(prompt, monkeypatch):
    prompt.ask(("SET", "mine", "mine"), ("SET", "yours", "yours"))
    (connection,) = prompt._kept
    with monkeypatch.context() as interrupted:
        interrupted.setattr(connection._parser, "answers", lambda _count: (_ for _ in ()).throw(KeyboardInterrupt))
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


def all_at_once(questions):
    """What each of them came to, asked by a thread each that are before the same gate at the same time."""

    def inside(environ):
        try:
            return questions[environ["name"]]()
        except (redis.exceptions.RedisError, OSError) as error:
            return error

    crowd = Crowd(inside)
    crowd.come(questions)
    return crowd.let_go()


def test_threads_that_ask_together_each_get_their_own_answer(prompt, stored, monkeypatch):
    stored.mset({f"key-{number}": f"value of {number}" for number in range(12)})
    prompt.ask(("PING",))
    (connection,) = prompt._kept
    send, sent = connection.send_packed_command, []
    monkeypatch.setattr(connection, "send_packed_command", lambda packed: (sent.append(packed), send(packed)))

    said = all_at_once(
        {number: lambda number=number: prompt.ask(("GET", f"key-{number}"), ("ECHO", str(number))) for number in range(12)}
    )

    assert said == {number: [f"value of {number}".encode(), str(number).encode()] for number in range(12)}
    assert len(sent) == 1, "in one round trip"


def test_of_those_that_ask_together_a_refusal_is_heard_by_who_asked_for_it(prompt, stored):
    stored.rpush("list", "x")
    stored.set("a", "one")

    said = all_at_once({number: lambda number=number: prompt.ask(("GET", "a" if number % 3 else "list")) for number in range(9)})

    assert [said[number] for number in range(9) if number % 3] == [[b"one"]] * 6
    assert {type(said[number]) for number in (0, 3, 6)} == {ResponseError}
    assert len({id(said[number]) for number in (0, 3, 6)}) == 3


def test_when_the_line_breaks_everybody_who_asked_together_hears_of_it_in_their_own_error(valkey):
    with (
        Proxy(valkey.address) as wire,
        redis.Redis.from_url(wire.url, **OPTIONS, socket_timeout=0.25) as client,
    ):
        prompt = way_to(client).__self__
        prompt.ask(("SET", "a", "one"))
        wire.hold()

        said = all_at_once({number: lambda: prompt.ask(("GET", "a")) for number in range(8)})

        assert {type(each) for each in said.values()} == {redis.exceptions.TimeoutError}
        assert len({id(each) for each in said.values()}) == 8
        later = threading.Timer(0.1, wire.release)
        later.start()
        assert prompt.ask(("ECHO", "mine")) == [b"mine"], "what was on its way is not the next caller's answer"
        later.join()


def test_what_was_answered_before_the_line_broke_counts(prompt, stored, monkeypatch):
    stored.mset({f"key-{number}": str(number) for number in range(6)})
    prompt.ask(("PING",))
    (connection,) = prompt._kept
    read, answers = connection._parser.answers, []

    def read_three(count):
        if len(answers) == 3:
            raise redis.exceptions.ConnectionError
        answers.extend(read(count))
        return answers[-1:]

    monkeypatch.setattr(connection._parser, "answers", read_three)
    said = all_at_once({number: lambda number=number: prompt.ask(("GET", f"key-{number}")) for number in range(6)})

    good = {number: answer for number, answer in said.items() if not isinstance(answer, Exception)}
    assert len(good) == 3
    assert all(answer == [str(number).encode()] for number, answer in good.items())
    assert {type(answer) for answer in said.values() if isinstance(answer, Exception)} == {redis.exceptions.ConnectionError}
