"""granian's own log lines in the shape of ours, one JSON object a line, and written as ours are: nothing waits for a log."""

import logging

import structlog
from structlog.processors import JSONRenderer, TimeStamper, format_exc_info
from structlog.stdlib import ProcessorFormatter

from bff.observability.logging import WRITER

_JSON = {
    "()": ProcessorFormatter,
    "foreign_pre_chain": [
        structlog.stdlib.add_log_level,
        TimeStamper(fmt="iso"),
        lambda _logger, _method, event: event | {"logger": "server"},
    ],
    "processors": [ProcessorFormatter.remove_processors_meta, format_exc_info, JSONRenderer(ensure_ascii=False)],
}


class Queued(logging.Handler):
    """Gives each line to the thread that writes the log."""

    def emit(self, record: logging.LogRecord) -> None:
        """As `logging.Handler` asks."""
        WRITER.write(f"{self.format(record)}\n".encode(errors="replace"))


# What granian gives to `logging.config.dictConfig`, over its own.
LOGGING = {
    "formatters": {"json": _JSON},
    "handlers": {"console": {"()": Queued, "formatter": "json"}},
    "loggers": {"_granian": {"handlers": ["console"], "propagate": False}},
}
