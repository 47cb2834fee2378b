"""The reader that docs/events.md shows, and what it gets: all that was answered, whoever dies meanwhile."""

import json
import subprocess
import sys
import threading
from pathlib import Path

import pytest
import redis
import requests

from bff.sandbox import sources
from tests.fault.conftest import ASKED, PATH, eventually, timed, travel
from tests.fault.reading import CODE, LINKED, PAGE, STREAM, UNLINKED, read, unlink

ROOT = Path(__file__).parents[2]
UNLINK = "/api/v3/unlink-extidp"
GITHUB, GOOGLE = sources.GITHUB.id, sources.GOOGLE.id
READER = next(line for line in PAGE.splitlines() if line.startswith("ACL SETUSER")).replace("PASSWORD", "s3cret").split()


@pytest.fixture
def server(valkey):
    with redis.Redis.from_url(valkey.url, decode_responses=True) as connection:
        yield connection


@pytest.fixture
def app(app_with):
    return app_with(EVENTS_STREAM=STREAM)


class Dies(Exception):
    pass


def dies(_event):
    raise Dies


def shows(genauth, headers, account):
    """Whether GenAuth lists it right now."""
    return account in requests.get(f"{genauth.url}{ASKED}", headers=headers, timeout=5).text


def test_the_reader_has_fifteen_lines_and_gets_what_was_unlinked(app, server, sign_in):
    assert len([line for line in CODE.splitlines() if line.strip()]) <= 15
    for account in (GITHUB, GOOGLE):
        unlink(app, sign_in("omar"), account)

    assert read(server, 2) == [(UNLINKED, GITHUB), (UNLINKED, GOOGLE)]
    assert read(server, 2, group="another purpose") == [(UNLINKED, GITHUB), (UNLINKED, GOOGLE)]


def test_the_rights_that_it_needs_are_in_the_document(app, server, valkey, sign_in):
    unlink(app, sign_in("omar"), GITHUB)
    server.execute_command(*READER)
    server.acl_log_reset()
    own = redis.Redis(unix_socket_path=valkey.address, username="reader", password="s3cret", decode_responses=True)
    try:
        with own:
            assert read(own, 1) == [(UNLINKED, GITHUB)]
            with pytest.raises(redis.exceptions.NoPermissionError):
                own.xadd(STREAM, {"event": LINKED})
    finally:
        server.acl_deluser("reader")


def test_what_a_reader_began_and_did_not_finish_is_done_by_another(app, server, sign_in):
    unlink(app, sign_in("omar"), GITHUB)

    with pytest.raises(Dies):
        read(server, 1, work=dies)
    unlink(app, sign_in("omar"), GOOGLE)

    assert read(server, 2, me="another", idle_milliseconds=0) == [(UNLINKED, GITHUB), (UNLINKED, GOOGLE)]
    assert server.xpending(STREAM, "mail")["pending"] == 0


def test_a_reader_that_was_away_goes_on_where_it_was(app, server, sign_in):
    unlink(app, sign_in("omar"), GITHUB)
    assert read(server, 1) == [(UNLINKED, GITHUB)]

    unlink(app, sign_in("omar"), GOOGLE)
    unlink(app, sign_in("kim"), GITHUB)

    assert server.xinfo_groups(STREAM)[0]["lag"] == 2
    assert read(server, 2) == [(UNLINKED, GOOGLE), (UNLINKED, GITHUB)]


def test_a_reader_that_was_away_for_too_long_goes_on_with_the_oldest_there_is(app, server, sign_in):
    unlink(app, sign_in("omar"), GITHUB)
    with pytest.raises(Dies):
        read(server, 1, work=dies)
    unlink(app, sign_in("omar"), GOOGLE)
    server.xtrim(STREAM, maxlen=0, approximate=False)  # as ten thousand more would

    unlink(app, sign_in("kim"), GITHUB)

    assert read(server, 1, idle_milliseconds=0) == [(UNLINKED, GITHUB)]
    assert server.xpending(STREAM, "mail")["pending"] == 0


def test_a_stream_that_was_evicted_begins_anew_with_its_group(app, server, sign_in):
    unlink(app, sign_in("omar"), GITHUB)
    assert read(server, 1) == [(UNLINKED, GITHUB)]
    server.delete(STREAM)

    unlink(app, sign_in("omar"), GOOGLE)

    assert read(server, 1) == [(UNLINKED, GOOGLE)]


def test_a_process_that_is_killed_between_the_change_and_its_answer_leaves_nothing_untold(app, environ, server, genauth, sign_in):
    genauth.trouble(path=UNLINK, latency=20)  # it unlinks at once, and says so later
    token = sign_in("omar")
    told = {
        "environ": {**environ, "EVENTS_STREAM": STREAM},
        "headers": token,
        "threads": 1,
        "method": "DELETE",
        "path": f"{PATH}/{GITHUB}",
    }
    command = [sys.executable, "-m", "tests.fault.worker"]
    with subprocess.Popen(
        command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    ) as process:
        process.stdin.write(f"{json.dumps(told)}\n\n".encode())
        process.stdin.flush()
        assert eventually(lambda: genauth.calls(UNLINK) and not shows(genauth, token, GITHUB), 20)
        process.kill()
    genauth.healthy()
    assert server.xlen(STREAM) == 0

    travel(app, 2)
    for _ in range(2):
        listed = timed(app.test_client(), token).response.json["linkedAccounts"]
        assert [account["id"] for account in listed] == [GOOGLE]

    assert read(server, 1) == [(UNLINKED, GITHUB)]
    assert server.xlen(STREAM) == 1


def test_what_could_not_be_added_to_a_frozen_redis_is_added_when_it_thaws(redis_server, app_on, genauth, sign_in):
    app, token = app_on(redis_server.url, EVENTS_STREAM=STREAM), sign_in("omar")
    genauth.trouble(path=UNLINK, latency=0.25)

    def freeze():
        eventually(lambda: genauth.calls(UNLINK))
        redis_server.freeze()

    freezing = threading.Thread(target=freeze)
    freezing.start()
    try:
        response = app.test_client().delete(f"{PATH}/{GITHUB}", headers=token)
        freezing.join()
        genauth.healthy()
        assert (response.status_code, response.json["code"]) == (504, "change_unconfirmed")
    finally:
        freezing.join()
        redis_server.thaw()

    travel(app, 2)
    with redis.Redis.from_url(redis_server.url, decode_responses=True) as server:
        assert eventually(lambda: timed(app.test_client(), token).status == 200 and server.xlen(STREAM), 10)
        assert read(server, 1) == [(UNLINKED, GITHUB)]
        assert eventually(lambda: "; hit" in timed(app.test_client(), token).source, 10)
        assert server.xlen(STREAM) == 1
