"""What the service says of itself: JSON lines on stdout, in which no token can be.

Redaction is by construction. A line keeps plain values only, so no object brings along what its repr holds; text that looks like
a credential is masked; an exception is told by its type and our own lines, never by its text, which may quote a request; a
library's message is told by its format string, never by its arguments. structlog and the standard library end in one renderer.
"""

import logging
import os
import re
import sys
import threading
from collections.abc import Iterator, Sequence
from contextlib import suppress
from datetime import UTC, datetime
from functools import lru_cache
from pathlib import Path
from types import FrameType

import msgspec
import orjson
import structlog
from msgspec import Struct, structs
from structlog.typing import EventDict, Processor

from bff.observability.log_writer import Stdout

_LONGEST = 512
_REDACTED = "[redacted]"
_SECRETIVE = ("token", "secret", "authorization", "cookie", "password")
_CREDENTIAL = re.compile(
    r"eyJ[\w-]{8,}(?:(?:\.|%2E)[\w-]*)*"  # a JWT, whole or cut short
    r"|\b(?:bearer|basic)(?:\s|%20|\+)+[^\s\"',;]+"
    rf"|(?:{'|'.join(_SECRETIVE)})[\"']?\s*(?:=|:|%3D)\s*[\"']?[^\s\"'&,;]+"
    r"|(?<=://)[^\s/@]*@",  # the credentials of a URL
    re.IGNORECASE,
)
# Each credential has one of these; searching for them is ten times as quick, and nearly every line has none.
_HINTS = (*_SECRETIVE, "eyj", "bearer", "basic", "://")
_encode_lines = msgspec.json.Encoder().encode_lines
_STYLE = orjson.OPT_UTC_Z | orjson.OPT_APPEND_NEWLINE
_log = structlog.get_logger()
_telling = True
_ROOT = str(Path(__file__).parents[2]) + os.sep
_OURS = (f"{_ROOT}bff{os.sep}", f"{_ROOT}schemas{os.sep}", f"{_ROOT}app.py")


def configure(level: str = "info") -> None:
    """Send lines of ``level`` and above to stdout, those of libraries from warning on. To be called before the first line."""
    global _telling  # noqa: PLW0603 - as structlog's own configuration is
    threshold = logging.getLevelNamesMapping()[level.upper()]
    _telling = threshold <= logging.INFO
    structlog.configure(
        processors=_PROCESSORS,
        wrapper_class=structlog.make_filtering_bound_logger(threshold),
        logger_factory=lambda *_names: _STDOUT,
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


class Answered(Struct, frozen=True, gc=False, omit_defaults=True):
    """The line of a request that was answered. Of all this only the ``request_id`` may be of a caller's making.

    ``code`` and ``note`` are those of an error; what of them is empty is left out.
    """

    timestamp: datetime
    level: str
    event: str
    method: str
    route: str
    status: int
    source: str
    milliseconds: float
    request_id: str
    code: str = ""
    note: str = ""


def tell(line: Answered) -> None:
    """The line as structlog would write it, for a fraction of the price: for the one line that every request costs.

    It is made and written a moment later, with others.
    """
    if _telling:
        _STDOUT.write_soon(line)


def flush() -> None:
    """Write now what waits for others."""
    _STDOUT.flush()


def _finished(told: Sequence[Answered]) -> bytes:
    """The lines of what was told. What cannot be written as it is goes structlog's way."""
    notes = [line.note for line in told if line.note]
    offered = "\0".join([*[line.request_id for line in told], *notes])
    if not _is_suspicious(offered.lower()) and not any(map(_is_long, notes)):
        with suppress(UnicodeEncodeError):
            return _encode_lines(told)
    return b"".join([_masked(line) for line in told])


def _masked(line: Answered) -> bytes:
    said = {name: value for name, value in structs.asdict(line).items() if value != ""}
    return _render(None, line.level, {**_redact(None, line.level, said), "timestamp": line.timestamp})


def _died(event: str, error: BaseException | None) -> None:
    if isinstance(error, KeyboardInterrupt | SystemExit):
        return
    _log.critical(event, exc_info=error)


def _redact(_logger: object, method: str, event: EventDict) -> EventDict:
    """Keep plain values, nothing under a name that promises a secret, and nothing that looks like a credential."""
    line: EventDict = {**_head(method), "event": None}
    error = event.pop("exc_info", None)
    for key, value in event.items():
        line[key] = _REDACTED if _is_secretive(key) and value is not None else _plain(value)
    text = "\0".join([value for value in line.values() if isinstance(value, str)]).lower()
    if _is_suspicious(text):
        line = {key: _CREDENTIAL.sub(_REDACTED, value) if isinstance(value, str) else value for key, value in line.items()}
    return {**line, "exc_info": error} if error else line


def _is_suspicious(text: str) -> bool:
    return any([hint in text for hint in _HINTS])  # noqa: C419 - a generator costs twice as much as the nine searches


def _plain(value: object) -> str | int | float | bool | None:
    if isinstance(value, str):
        return f"{value[:_LONGEST]}…" if _is_long(value) else value
    # orjson has no numbers beyond 64 bits.
    if value is None or isinstance(value, float) or (isinstance(value, int) and -(2**63) <= value < 2**63):
        return value
    return f"[{type(value).__name__}]"


def _is_long(value: str) -> bool:
    return len(value) > _LONGEST


@lru_cache(512)
def _is_secretive(key: str) -> bool:
    return any(word in key.lower() for word in _SECRETIVE)


def _explain(_logger: object, _method: str, event: EventDict) -> EventDict:
    """Tell an exception and its causes by their types and where in our own code they passed."""
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
    lines = []
    traceback = error.__traceback__
    while traceback:
        file = traceback.tb_frame.f_code.co_filename
        if file.startswith(_OURS):
            lines.append(f"{file.removeprefix(_ROOT)}:{traceback.tb_lineno}")
        traceback = traceback.tb_next
    return lines[-16:]


def _name(kind: type) -> str:
    return kind.__qualname__ if kind.__module__ == "builtins" else f"{kind.__module__}.{kind.__qualname__}"


def _head(method: str) -> EventDict:
    return {"timestamp": datetime.now(UTC), "level": method}


def _render(_logger: object, _method: str, event: EventDict) -> bytes:
    try:
        return orjson.dumps(event, option=_STYLE)
    except TypeError:
        # A lone surrogate, as in a path that was no UTF-8, is the one thing that a plain value can hold and JSON cannot.
        return orjson.dumps({key: _sound(value) for key, value in event.items()}, option=_STYLE)


def _sound(value: object) -> object:
    return value.encode(errors="replace").decode() if isinstance(value, str) else value


class _Lines(logging.Handler):
    """The standard library's records as lines of ours."""

    def emit(self, record: logging.LogRecord) -> None:
        try:
            level = min(record.levelno // 10 * 10, logging.CRITICAL)
            where = f"{record.module}:{record.lineno}"
            _log.log(level, "%s", _message(record), logger=record.name, where=where, exc_info=record.exc_info)
        except Exception:  # noqa: BLE001 - a line that fails must not fail what it tells of
            self.handleError(record)


def _message(record: logging.LogRecord) -> str:
    if record.name.startswith("bff."):
        return record.getMessage()
    # A library's arguments are URLs, headers and texts of exceptions. A message without arguments may have them in it already.
    return str(record.msg) if record.args or _is_literal(record) else "[message withheld]"


def _is_literal(record: logging.LogRecord) -> bool:
    frame: FrameType | None = sys._getframe()  # noqa: SLF001 - how the standard library finds the caller, too
    while frame is not None and frame.f_code.co_filename != record.pathname:
        frame = frame.f_back
    return frame is not None and record.msg in frame.f_code.co_consts


_STDOUT = Stdout(_finished)
# One list for ever: loggers remember it, and structlog's `capture_logs` empties it in place.
_PROCESSORS: list[Processor] = [structlog.contextvars.merge_contextvars, _redact, _explain, _render]
