"""The operator's commands, beside applications that run."""

import re
import time

import pytest
import redis
from click.testing import CliRunner

from bff.cli import main
from bff.settings import ConfigurationError, Settings, StorageSettings
from bff.web import services_of
from tests.valkey import ValkeyServer, free_port

PATH = "/me/linked-accounts"
KEY = "b3f1c9a7e5b2d4068812aa77cc90ef31"  # a passphrase
NAMES = list(StorageSettings.kinds())


@pytest.fixture
def run(environ):
    """``run("forget", "user-1", REDIS_URL=…)``: what came of a command with these settings, and with no others."""

    def running(*arguments, **changed):
        asked = {name: environ.get(name, "") for name in NAMES} | changed
        return CliRunner().invoke(main, arguments, env=dict.fromkeys(Settings.kinds()) | asked)

    return running


@pytest.fixture
def two_apps(app_with):
    """Two workers over one Redis, which answer from memory."""
    made = [app_with(LOCAL_CACHE_SECONDS="30", TOKEN_ACCEPTED_SECONDS="300", CACHE_TTL_SECONDS="600") for _ in range(2)]
    for app in made:
        patience = time.monotonic() + 10
        while not services_of(app).invalidations.connected:
            assert time.monotonic() < patience
            time.sleep(0.01)
    yield made
    for wait_seconds in (0, 5):
        for app in made:
            services_of(app).invalidations.stop(wait_seconds=wait_seconds)


def ask(app, headers):
    return app.test_client(use_cookies=False).get(PATH, headers=headers)


def shown(app, headers):
    return [account["provider"]["type"] for account in ask(app, headers).json["linkedAccounts"]]


def a_moment_later(apps):
    """What is asked from now on was not asked before a change by any clock, and is kept."""
    for app in apps:
        app.extensions["clock"].by += 2


def test_what_changed_elsewhere_is_seen_at_once_by_every_worker(run, two_apps, genauth, sign_in):
    mei, omar = sign_in("mei"), sign_in("omar")
    for app in two_apps * 2:
        assert shown(app, mei) == ["lark", "wechat"]
        ask(app, omar)
    genauth.answers("mei", [])
    assert [shown(app, mei) for app in two_apps] == [["lark", "wechat"]] * 2
    genauth.forget_calls()

    result = run("forget", genauth.id_of("mei"))

    assert [shown(app, mei) for app in two_apps] == [[], []]
    assert (result.exit_code, result.stderr) == (0, "")
    assert "Workers that were listening: 2." in result.stdout
    assert genauth.id_of("mei") not in result.output
    for app in two_apps:
        ask(app, omar)
    assert genauth.calls(person="omar") == 0


@pytest.fixture
def two_sessions(two_apps, sign_in):
    """Two sessions of one person, which GenAuth accepted lately, the same answers for both."""
    sessions = sign_in("mei"), sign_in("mei")
    for app in two_apps * 2:
        assert [ask(app, headers).status_code for headers in sessions] == [200, 200]
    return sessions


def test_a_session_that_ended_elsewhere_ends_at_once_when_the_person_is_signed_out(run, two_apps, genauth, two_sessions):
    ended, other = two_sessions
    genauth.revoke(ended["Authorization"].removeprefix("Bearer "))
    run("forget", genauth.id_of("mei"))
    a_moment_later(two_apps)
    assert [ask(app, headers).status_code for app in two_apps for headers in (other, ended)] == [200] * 4, "still believed"

    result = run("forget", genauth.id_of("mei"), "--sign-out")

    assert [ask(app, headers).status_code for app in two_apps for headers in (other, ended)] == [200, 401] * 2
    assert result.exit_code == 0


def test_what_came_later_does_not_undo_that_a_person_was_signed_out(run, two_apps, genauth, two_sessions):
    early, late = two_sessions
    run("forget", genauth.id_of("mei"), "--sign-out")
    run("forget", genauth.id_of("mei"))
    a_moment_later(two_apps)
    assert [ask(app, early).status_code for app in two_apps] == [200, 200]

    genauth.trouble(status=503)

    assert [ask(app, late).status_code for app in two_apps] == [503, 503]


def test_a_refusal_is_not_repeated_to_a_person_who_is_forgotten(run, two_apps, genauth, sign_in):
    mei = sign_in("mei")
    genauth.block("mei")
    assert [ask(app, mei).status_code for app in two_apps] == [403, 403]
    genauth.unblock("mei")
    assert [ask(app, mei).status_code for app in two_apps] == [403, 403]

    run("forget", genauth.id_of("mei"))

    assert [ask(app, mei).status_code for app in two_apps] == [200, 200]


def test_encrypted_names_are_found_by_the_same_secret(run, app_with, genauth, sign_in, stored):
    app, mei = app_with(CACHE_SECRET=KEY, CACHE_TTL_SECONDS="600"), sign_in("mei")
    shown(app, mei)
    genauth.answers("mei", [])

    run("forget", genauth.id_of("mei"))
    assert shown(app, mei) == ["lark", "wechat"], "without the secret it is another name"
    run("forget", genauth.id_of("mei"), CACHE_SECRET=KEY)

    assert shown(app, mei) == []


def test_it_works_whatever_is_wrong_with_other_settings(run, two_apps, genauth, sign_in):
    mei = sign_in("mei")
    assert [shown(app, mei) for app in two_apps] == [["lark", "wechat"]] * 2
    genauth.answers("mei", [])
    broken = {name: "'no such value" for name in Settings.kinds() if name not in NAMES}

    result = run("forget", genauth.id_of("mei"), **broken)

    assert result.exit_code == 0
    assert [shown(app, mei) for app in two_apps] == [[], []]


def test_a_change_is_kept_for_as_long_as_any_settings_may_keep_accounts(run, environ, genauth, stored):
    longest = {"CACHE_TTL_SECONDS": 86_400, "CACHE_STALE_SECONDS": 30 * 86_400, "TOKEN_ACCEPTED_SECONDS": 86_400}
    for name, seconds in longest.items():
        Settings.from_env(environ | {name: str(seconds)})
        with pytest.raises(ConfigurationError, match=name):
            Settings.from_env(environ | {name: str(seconds + 1)})

    run("forget", genauth.id_of("mei"))

    (marker,) = stored.keys("*:invalidated")
    assert stored.ttl(marker) >= longest["CACHE_TTL_SECONDS"] * 1.1 + longest["CACHE_STALE_SECONDS"] - 60


def test_every_mistake_in_its_settings_is_named_at_once(run):
    result = run("forget", "user-1", GENAUTH_HOST="", REDIS_URL="mysql://user:p4ss@host", CACHE_SECRET="hush-5521")

    assert result.exit_code == 2
    assert re.findall(r"(?m)^  - ([A-Z_]+) .*\.$", result.stderr) == ["GENAUTH_HOST", "REDIS_URL", "CACHE_SECRET"]
    assert not re.search("p4ss|hush-5521|user-1", result.output)


@pytest.mark.parametrize("user", ["", " ", " user-1", "user-1 ", "u\n1", "u\x001", "u\x7f", "\ud800", "u" * 257])
def test_what_is_no_id_is_refused(run, user, stored):
    result = run("forget", user)

    assert result.exit_code == 2
    assert "an id has 1 to 256 printable characters" in result.stderr
    assert stored.keys("*:invalidated") == []


@pytest.mark.parametrize("arguments", [("forget",), ("forget", "a", "b"), ("forget", "a", "--signout"), ("forgot", "a"), ()])
def test_a_command_that_cannot_be_understood_forgets_nobody(run, arguments, stored):
    assert run(*arguments).exit_code == 2
    assert stored.keys("*:invalidated") == []


def test_an_embedded_valkey_is_the_services_own(run):
    result = run("forget", "user-1", REDIS_URL="embedded")

    assert result.exit_code == 1
    assert "private to the service" in result.stderr


def test_a_redis_that_is_away_is_named_without_its_password(run):
    port = free_port()

    result = run("forget", "user-1", REDIS_URL=f"redis://me:p4ss@127.0.0.1:{port}/3?client_name=x")

    assert result.exit_code == 1
    assert f"Redis at redis://127.0.0.1:{port}/3 " in result.stderr
    assert "(refused)" in result.stderr
    assert not re.search("p4ss|user-1|Forgotten", result.output)


def test_a_redis_that_does_not_do_it_is_named_with_its_reason(run):
    with ValkeyServer(port=free_port(), extra_args=("--requirepass", "s3cret")) as server:
        assert "(authentication)" in run("forget", "user-1", REDIS_URL=server.url).stderr
        url = server.url.replace("//", "//:s3cret@")
        with redis.Redis.from_url(url) as connection:
            connection.execute_command("ACL", "SETUSER", "few", "on", ">few", "allkeys", "allchannels", "+@all", "-eval")
            result = run("forget", "user-1", REDIS_URL=server.url.replace("//", "//few:few@"))
            assert (result.exit_code, "(rights)" in result.stderr) == (1, True)
            connection.execute_command("ACL", "SETUSER", "few", "+eval", "-pubsub")
            result = run("forget", "user-1", REDIS_URL=server.url.replace("//", "//few:few@"))
            assert (result.exit_code, "(rights)" in result.stderr) == (0, True)
            assert "Forgotten" in result.stdout


def test_nobody_listening_is_worth_a_look(run):
    result = run("forget", "user-1", GENAUTH_APP_ID="another")

    assert result.exit_code == 0
    assert "Workers that were listening: 0." in result.stdout
    assert all(name in result.stderr for name in NAMES)


def test_help_names_the_commands_and_what_they_read(run):
    assert "forget" in run("--help").stdout
    assert all(name in run("forget", "--help").stdout for name in (*NAMES, "--sign-out"))
