import json
import logging
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest
import structlog
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from bff.observability import logging as logs

ROOT = Path(__file__).parents[2]
JWT = "eyJhbGciOiJSUzI1NiJ9.eyJzdWIiOiJtZWkifQ.c2lnbmF0dXJl"


@pytest.fixture
def lines(log_lines, monkeypatch):
    """Configured logs; call for the lines written since the last call."""
    levels = {
        name: logger.level for name, logger in logging.root.manager.loggerDict.items() if isinstance(logger, logging.Logger)
    }
    kept = logging.root.level, logging.root.handlers[:]
    monkeypatch.setattr(logging, "raiseExceptions", logging.raiseExceptions)
    logs.configure("info")
    yield lambda: [json.loads(line) for line in log_lines.take().splitlines()]
    logging.root.level, logging.root.handlers[:] = kept
    for name, level in levels.items():
        logging.getLogger(name).setLevel(level)
    structlog.contextvars.clear_contextvars()


@pytest.fixture
def log(lines):
    return structlog.get_logger()


def line(lines):
    (only,) = lines()
    return only


def test_a_line_is_json_with_time_level_event_and_what_belongs_to_the_request(log, lines):
    structlog.contextvars.bind_contextvars(request_id="r-12345678")

    log.warning("answered", status=200, seconds=0.25, stale=False, code=None)

    logged = line(lines)
    assert list(logged)[:3] == ["timestamp", "level", "event"]
    assert logged.pop("timestamp").endswith("Z")
    assert logged == {
        "level": "warning", "event": "answered", "request_id": "r-12345678",
        "status": 200, "seconds": 0.25, "stale": False, "code": None,
    }  # fmt: skip


def test_a_line_below_the_level_is_not_written(log, lines):
    log.debug("loud")

    assert lines() == []


@pytest.mark.parametrize(
    "name", ["access_token", "refreshToken", "client_secret", "Authorization", "Set-Cookie", "redis_password"]
)
def test_a_value_under_a_name_that_promises_a_secret_is_masked(log, lines, name):
    log.info("event", **{name: "abc", "other": "abc"})

    assert (logged := line(lines))[name] == "[redacted]"
    assert logged["other"] == "abc"


@pytest.mark.parametrize(
    ("text", "left"),
    [
        (JWT, "[redacted]"),
        (f"a {JWT} b", "a [redacted] b"),
        (JWT[:40], "[redacted]"),
        (JWT.replace(".", "%2E"), "[redacted]"),
        ("sent Bearer abc.def/+=~ to it", "sent [redacted] to it"),
        ("BEARER%20abc", "[redacted]"),
        ("Basic YTpi", "[redacted]"),
        ("https://img.example/?access_token=ya29.abc&s=64", "https://img.example/?access_[redacted]&s=64"),
        ('{"refreshToken": "ya29.abc", "x": 1}', '{"refresh[redacted]", "x": 1}'),
        ("Cookie: session=abc", "[redacted]"),
        ("redis://:p4ss@cache:6379/0", "redis://[redacted]cache:6379/0"),
        ("to\u212aen=abc", "[redacted]"),  # KELVIN SIGN and LONG S are k and s to whoever ignores case
        ("\u017fecret=abc", "[redacted]"),
        ("ba\u017fic YTpi", "[redacted]"),
        ("token_expired at https://id.example.com/oidc", "token_expired at https://id.example.com/oidc"),
    ],
)
def test_what_looks_like_a_credential_is_masked_wherever_it_stands(log, lines, text, left):
    log.info("event", note=text)
    log.info(text)

    first, second = lines()
    assert first["note"] == left
    assert second["event"] == left


def test_an_object_is_described_by_its_type(log, lines):
    log.info("event", error=ValueError(JWT), body={"accessToken": "abc"}, rows=["abc"], raw=b"abc")

    logged = line(lines)
    assert [logged[key] for key in ("error", "body", "rows", "raw")] == ["[ValueError]", "[dict]", "[list]", "[bytes]"]


def test_a_line_stays_one_line_of_bounded_length(log, lines):
    log.info("event\nforged", note="x" * 5000 + "\r\n", count=10**30, path="\udcff\x1b[31m", ratio=float("nan"))

    logged = line(lines)
    assert logged["event"] == "event\nforged"
    assert len(logged["note"]) == 513
    assert (logged["count"], logged["path"], logged["ratio"]) == ("[int]", "?\x1b[31m", None)


def test_an_exception_is_described_by_its_types_and_our_own_lines_alone(log, lines):
    from bff.settings import ConfigurationError, Settings

    class Trouble(Exception):
        pass

    try:
        try:
            Settings.from_env({"GENAUTH_APP_SECRET": f"local {JWT}"})
        except ConfigurationError as mistakes:
            raise Trouble(f"Bearer {JWT}") from mistakes
    except Trouble:
        log.exception("failed")

    logged = line(lines)
    assert logged["level"] == "error"
    assert [cause["type"].rpartition(".")[2] for cause in logged["exception"]] == ["Trouble", "ConfigurationError"]
    assert logged["exception"][1]["at"][0].startswith("bff/settings.py:")
    assert "eyJ" not in json.dumps(logged)
    assert "missing" not in json.dumps(logged)


def test_a_ring_of_causes_ends(log, lines):
    one, two = ValueError(), TypeError()
    one.__cause__, two.__cause__ = two, one

    log.error("failed", exc_info=one)

    assert len(line(lines)["exception"]) == 8


def test_a_librarys_warning_is_logged_without_its_arguments(lines):
    library = logging.getLogger("some.pool")

    library.warning("Retrying (%r) after connection broken by '%r': %s", 3, "abc", "/api?access_token=abc")
    library.info("below warning")

    logged = line(lines)
    assert logged["event"] == "Retrying (%r) after connection broken by '%r': %s"
    assert (logged["level"], logged["logger"]) == ("warning", "some.pool")
    assert logged["where"].startswith("test_logging:")


def test_a_librarys_finished_text_is_withheld_unless_it_is_written_in_its_code(lines):
    library = logging.getLogger("redis")
    opaque = "abc-opaque"

    library.error(f"connection failed with {opaque}")
    library.error("connection failed")

    assert [logged["event"] for logged in lines()] == ["[message withheld]", "connection failed"]


def test_our_own_modules_may_say_what_they_mean(lines):
    logging.getLogger("bff.auth.jwks_cache").warning("key set not refreshed: %s after %d s", "refused", 3)

    assert line(lines)["event"] == "key set not refreshed: refused after 3 s"


def test_a_librarys_own_handler_is_silenced(lines, capfd):
    library = logging.getLogger("some.library")
    library.addHandler(logging.StreamHandler())
    library.propagate = False

    logs.configure("info")
    library.warning("met %s", "abc")

    out, err = capfd.readouterr()
    assert (line(lines)["event"], out, err) == ("met %s", "", "")


def test_a_message_that_cannot_be_formatted_harms_nobody(lines, capfd):
    logging.getLogger("bff.x").warning("%d", "abc-secret")
    logging.getLogger("x").log(35, "between the levels")

    out, err = capfd.readouterr()
    assert line(lines)["level"] == "warning"
    assert (out, err) == ("", "")


@pytest.mark.parametrize(
    ("death", "event"),
    [
        ("raise RuntimeError(secret)", "process_died"),
        ("thread = threading.Thread(target=fail); thread.start(); thread.join()", "thread_died"),
        ("Unraisable(); gc.collect()", "error_unraisable"),
    ],
)
def test_a_death_is_a_line_without_its_text(death, event):
    program = f"""
        import gc, threading
        from bff.observability import logging as logs
        logs.configure("info")
        secret = "abc-secret"
        def fail():
            raise RuntimeError(secret)
        class Unraisable:
            def __del__(self):
                raise RuntimeError(secret)
        {death}
    """

    done = subprocess.run([sys.executable, "-c", textwrap.dedent(program)], cwd=ROOT, capture_output=True, text=True, check=False)

    logged = json.loads(done.stdout)
    assert (logged["event"], logged["level"], logged["exception"][0]["type"]) == (event, "critical", "RuntimeError")
    assert "abc-secret" not in done.stdout + done.stderr


def test_lines_of_many_threads_stay_whole(log, lines):
    import threading

    threads = [threading.Thread(target=lambda: [log.info("event", note="x" * 400) for _ in range(50)]) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert len(lines()) == 400


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(st.characters()) | st.binary() | st.just(JWT),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=5,
)


NAMES = st.text().filter(lambda name: name not in {"self", "event", "method_name"})  # structlog's own parameters


@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture])
@given(st.text(st.characters()), st.dictionaries(NAMES, VALUES, max_size=6))
def test_any_line_is_json_and_holds_no_jwt(log, log_lines, event, fields):
    log.info(event, **fields)
    written = log_lines.take()

    assert json.loads(written)["event"] is not None
    assert written.endswith(b"\n")
    assert written.count(b"\n") == 1
    assert JWT.encode() not in written
