"""granian's own log lines in the shape of ours: one JSON object a line."""

import json
import logging
from datetime import UTC, datetime


class JsonLines(logging.Formatter):
    """A record as one line of JSON; whatever it carries, it stays one line."""

    def format(self, record: logging.LogRecord) -> str:
        """``{"timestamp", "level", "event", "logger"}``, and ``exception`` when there is one."""
        line = {
            "timestamp": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z"),
            "level": record.levelname.lower(),
            "event": record.getMessage(),
            "logger": "server",
        }
        if record.exc_info:
            line["exception"] = self.formatException(record.exc_info)
        return json.dumps(line, ensure_ascii=False)


# What granian gives to `logging.config.dictConfig`, over its own.
LOGGING = {
    "formatters": {"json": {"()": JsonLines}},
    "handlers": {"console": {"class": "logging.StreamHandler", "formatter": "json", "stream": "ext://sys.stdout"}},
    "loggers": {"_granian": {"handlers": ["console"], "propagate": False}},
}
