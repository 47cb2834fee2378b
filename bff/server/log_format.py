"""granian's own log lines in the shape of ours: one JSON object a line."""

import structlog
from structlog.processors import JSONRenderer, TimeStamper, format_exc_info
from structlog.stdlib import ProcessorFormatter

_JSON = {
    "()": ProcessorFormatter,
    "foreign_pre_chain": [
        structlog.stdlib.add_log_level,
        TimeStamper(fmt="iso"),
        lambda _logger, _method, event: event | {"logger": "server"},
    ],
    "processors": [ProcessorFormatter.remove_processors_meta, format_exc_info, JSONRenderer(ensure_ascii=False)],
}
# What granian gives to `logging.config.dictConfig`, over its own.
LOGGING = {
    "formatters": {"json": _JSON},
    "handlers": {"console": {"class": "logging.StreamHandler", "formatter": "json", "stream": "ext://sys.stdout"}},
    "loggers": {"_granian": {"handlers": ["console"], "propagate": False}},
}
