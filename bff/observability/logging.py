"""The log: JSON lines on stdout that cannot hold a token. `log_writer` writes them.

Redaction is by construction. A line keeps plain values only, so no object brings along what its repr holds; text that looks like
a credential is masked; of an exception the line has its type and our own lines, never its text, which may quote a request; of a
library's message it has the format string, never the arguments. structlog and the standard library end in one renderer.
"""

import inspect
import logging
import os
import re
import sys
import threading
import traceback
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import orjson
import structlog
from structlog.typing import EventDict, Processor

from bff.observability.log_writer import LogWriter
from bff.resilience import memoised

_LONGEST = 512
_REDACTED = "[redacted]"
_SECRETIVE = "token|secret|authorization|cookie|password"
_CREDENTIAL = re.compile(
    r"eyJ[\w-]{8,}(?:(?:\.|%2E)[\w-]*)*"  # a JWT, whole or cut short
    r"|\b(?:bearer|basic)(?:\s|%20|\+)+[^\s\"',;]+"
    rf"|(?:{_SECRETIVE})[\"']?\s*(?:=|:|%3D)\s*[\"']?[^\s\"'&,;]+"
    r"|(?<=://)[^\s/@]*@",  # the credentials of a URL
    re.IGNORECASE,
)
# Whatever `_CREDENTIAL` finds has one of these in it, in any case.
_MARKS = ("eyj", "bearer", "basic", "://", *_SECRETIVE.split("|"))
_log = structlog.get_logger()
_ROOT = str(Path(__file__).parents[2]) + os.sep
_OURS = (f"{_ROOT}bff{os.sep}", f"{_ROOT}schemas{os.sep}", f"{_ROOT}app.py")


def request_id() -> str:
    """The id of the request that this thread answers, empty outside of one."""
    return str(structlog.contextvars.get_contextvars().get("request_id", ""))


def configure(level: str = "info") -> None:
    """Log lines of ``level`` and above, those of libraries from warning on. To be called before the first line."""
    threshold = logging.getLevelNamesMapping()[level.upper()]
    structlog.configure(
        processors=_PROCESSORS,
        wrapper_class=structlog.make_filtering_bound_logger(threshold),
        logger_factory=lambda *_names: WRITER,
        cache_logger_on_first_use=True,
    )
    handler = _Lines(max(threshold, logging.WARNING))
    logging.root.handlers[:] = [handler]
    logging.root.setLevel(handler.level)
    for logger in logging.root.manager.loggerDict.values():
        if isinstance(logger, logging.Logger):
            # A library's own handler would write its arguments past the renderer.
            logger.handlers.clear()
            logger.propagate = True
    # A handler that fails prints the record's arguments to stderr.
    logging.raiseExceptions = False
    # A hook that somebody has set already, such as a test runner, stays.
    if sys.excepthook is sys.__excepthook__:
        sys.excepthook = lambda _type, error, _traceback: _died("process_died", error)
    if threading.excepthook is threading.__excepthook__:
        threading.excepthook = lambda args: _died("thread_died", args.exc_value)
    if sys.unraisablehook is sys.__unraisablehook__:
        sys.unraisablehook = lambda unraisable: _died("error_unraisable", unraisable.exc_value)


def _died(event: str, error: BaseException | None) -> None:
    if isinstance(error, KeyboardInterrupt | SystemExit):
        return
    _log.critical(event, exc_info=error)


def _redact(_logger: object, method: str, event: EventDict) -> EventDict:
    """Keep plain values, nothing under a name that promises a secret, and nothing that looks like a credential."""
    line: EventDict = {"timestamp": datetime.now(UTC), "level": method, "event": None}
    error = event.pop("exc_info", None)
    for key, value in event.items():
        line[key] = _REDACTED if value is not None and _is_secretive(key) else _plain(value)
    if _may_hold_credential(line):
        line = {key: _CREDENTIAL.sub(_REDACTED, value) if isinstance(value, str) else value for key, value in line.items()}
    return {**line, "exc_info": error} if error else line


@memoised("log_fields")
def _is_secretive(name: str) -> bool:
    return any(word in name.casefold() for word in _SECRETIVE.split("|"))


def _may_hold_credential(line: EventDict) -> bool:
    text = "\n".join([value for value in line.values() if isinstance(value, str)]).casefold()
    return any(mark in text for mark in _MARKS)


def _plain(value: object) -> str | int | float | bool | None:
    if isinstance(value, str):
        # A lone surrogate, as in a path that was no UTF-8, is the one thing that JSON cannot hold.
        text = value if value.isascii() else value.encode(errors="replace").decode()
        return f"{text[:_LONGEST]}…" if len(text) > _LONGEST else text
    # orjson has no numbers beyond 64 bits.
    if value is None or isinstance(value, float) or (isinstance(value, int) and -(2**63) <= value < 2**63):
        return value
    return f"[{type(value).__name__}]"


def _explain(_logger: object, _method: str, event: EventDict) -> EventDict:
    """Describe an exception and its causes by their types and the lines of our own code that they passed."""
    error = event.pop("exc_info", None)
    error = sys.exception() if error is True else error[1] if isinstance(error, tuple) else error
    if isinstance(error, BaseException):
        event["exception"] = [{"type": _name(type(cause)), "at": _our_lines(cause)} for cause in _causes(error)]
    return event


def _causes(error: BaseException | None) -> Iterator[BaseException]:
    for _ in range(8):
        if error is None:
            return
        yield error
        error = error.__cause__ or (None if error.__suppress_context__ else error.__context__)


def _our_lines(error: BaseException) -> list[str]:
    frames = traceback.walk_tb(error.__traceback__)
    passed = [(frame.f_code.co_filename, line) for frame, line in frames if frame.f_code.co_filename.startswith(_OURS)]
    return [f"{file.removeprefix(_ROOT)}:{line}" for file, line in passed[-16:]]


def _name(kind: type) -> str:
    return kind.__qualname__ if kind.__module__ == "builtins" else f"{kind.__module__}.{kind.__qualname__}"


def _render(_logger: object, _method: str, event: EventDict) -> bytes:
    return orjson.dumps(event, option=orjson.OPT_UTC_Z | orjson.OPT_APPEND_NEWLINE)


def _dropped(lines: int) -> bytes:
    return _render(None, "warning", _redact(None, "warning", {"event": "log_lines_dropped", "lines": lines}))


class _Lines(logging.Handler):
    """The standard library's records as lines of ours."""

    def emit(self, record: logging.LogRecord) -> None:
        try:
            level = min(record.levelno // 10 * 10, logging.CRITICAL)
            where = f"{record.module}:{record.lineno}"
            _log.log(level, "%s", _message(record), logger=record.name, where=where, exc_info=record.exc_info)
        except Exception:  # noqa: BLE001 - a line that fails must not fail what it describes
            self.handleError(record)


def _message(record: logging.LogRecord) -> str:
    if record.name.startswith("bff."):
        return record.getMessage()
    # A library's arguments are URLs, headers and texts of exceptions. A message without arguments may have them in it already.
    return str(record.msg) if record.args or _is_literal(record) else "[message withheld]"


def _is_literal(record: logging.LogRecord) -> bool:
    """Whether the message is a constant of the function that logs it, so that nothing was formatted into it."""
    frame = inspect.currentframe()
    while frame is not None and frame.f_code.co_filename != record.pathname:
        frame = frame.f_back
    return frame is not None and record.msg in frame.f_code.co_consts


WRITER = LogWriter(_dropped)
# One list for ever: loggers keep a reference to it, and structlog's `capture_logs` empties it in place.
_PROCESSORS: list[Processor] = [structlog.contextvars.merge_contextvars, _redact, _explain, _render]
